//! As much of an HTTP proxy as the client needs: the first line of a connection says for whom it is (RFC 9112,
//! section 3.2.2), and a client keeps one connection to each peer.

use std::io;

use hcube_api::{Code, Problem};
use hcube_client::Url;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Bytes of the longest first line.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Whom a connection is for, and what was read of it so far.
#[derive(Debug)]
pub struct Wish {
    /// The host.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What comes first on the way there.
    pub head: Vec<u8>,
}

/// Reads for whom a connection is.
///
/// # Errors
/// Where its first line names no peer, or the caller goes away.
pub async fn wish<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Wish> {
    let mut head = Vec::new();
    loop {
        if let Some(end) = head.windows(2).position(|pair| pair == b"\r\n") {
            let line = std::str::from_utf8(&head[..end]).ok().and_then(peer);
            let (host, port) =
                line.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "names no peer"))?;
            return Ok(Wish { host, port, head });
        }
        if head.len() > LINE_BYTES_MAX || stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// The peer that a request line names.
fn peer(line: &str) -> Option<(String, u16)> {
    let url: Url = line.split(' ').nth(1)?.parse().ok()?;
    (url.scheme() == "http").then_some(())?;
    Some((url.host_str()?.to_ascii_lowercase(), url.port_or_known_default()?))
}

/// Answers that the peer cannot be asked, so that another one is; nothing was sent to it.
pub async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, why: &str) -> io::Result<()> {
    let problem = Problem::new(Code::NotReady, why);
    let body = serde_json::to_vec(&problem).map_err(io::Error::other)?;
    let head = format!(
        "HTTP/1.1 {} Refused\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        problem.status,
        body.len()
    );
    stream.write_all(&[head.into_bytes(), body].concat()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(bytes: &[u8]) -> io::Result<Wish> {
        let (mut caller, mut here) = tokio::io::duplex(1024);
        caller.write_all(bytes).await.unwrap();
        caller.shutdown().await.unwrap();
        wish(&mut here).await
    }

    #[tokio::test]
    async fn the_first_line_says_for_whom_and_nothing_of_it_is_lost() {
        let bytes = b"GET http://Demo.shop.svc:8000/v1?x=1 HTTP/1.1\r\nhost: a\r\n";
        let wish = asked(bytes).await.unwrap();
        assert_eq!(
            (wish.host.as_str(), wish.port, wish.head.as_slice()),
            ("demo.shop.svc", 8000, &bytes[..])
        );
        for wrong in
            [&b"GET /v1 HTTP/1.1\r\n"[..], b"CONNECT a:80 HTTP/1.1\r\n", b"GET http://a:80/", b"\r\n", b""]
        {
            assert!(asked(wrong).await.is_err(), "{wrong:?}");
        }
    }
}
