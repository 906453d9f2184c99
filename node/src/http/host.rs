//! Which `Host` a request may name: this peer's own, so that a page in a browser cannot reach a peer on its
//! user's machine through a name of its own (DNS rebinding).

use std::collections::BTreeSet;
use std::net::IpAddr;

use hcube_api::{Code, Problem};
use http::{HeaderMap, Uri};

/// Hosts that are this peer, besides the address that a connection came in on.
#[derive(Debug, Clone)]
pub(super) struct Hosts(BTreeSet<String>);

impl Hosts {
    /// The machine itself and what was configured, with or without a port.
    pub fn new<'a>(configured: impl IntoIterator<Item = &'a str>) -> Self {
        let local = ["localhost", "127.0.0.1", "::1"];
        let named = local.into_iter().chain(configured);
        Self(named.filter_map(host).collect())
    }

    /// Checks a request that arrived at `local`; `advertised` is where clients are told that this peer is.
    ///
    /// # Errors
    /// `unknown-host`.
    pub fn check(
        &self,
        uri: &Uri,
        headers: &HeaderMap,
        local: IpAddr,
        advertised: Option<&str>,
    ) -> Result<(), Problem> {
        if headers.get_all(http::header::HOST).iter().nth(1).is_some() {
            // Whoever stands between client and peer may have looked at another one (RFC 9112, section 3.2).
            return Err(Problem::invalid("a request names one host"));
        }
        // HTTP/2 has an authority in place of the header, and so has an absolute URI.
        let named = match uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => headers.get(http::header::HOST).and_then(|value| value.to_str().ok()),
        };
        let refuse = |detail: String| Err(Problem::new(Code::UnknownHost, detail));
        let Some(host) = named.and_then(host) else {
            return refuse("the request names no host".into());
        };
        let own = self.0.contains(&host)
            || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == local.to_canonical())
            || advertised.and_then(self::host).is_some_and(|advertised| advertised == host);
        if own { Ok(()) } else { refuse(format!("{:?} is not this peer", shorten(&host))) }
    }
}

/// The host of `host:port`, `[v6]:port` or a host alone, in lower case; none where it is something else.
fn host(text: &str) -> Option<String> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, after.strip_prefix(':').or_else(|| after.is_empty().then_some("0"))?)
        }
        // A v6 address without brackets, as people write it in a configuration.
        None if text.parse::<IpAddr>().is_ok() => (text, "0"),
        None => text.split_once(':').unwrap_or((text, "0")),
    };
    if host.is_empty() || port.parse::<u16>().is_err() {
        return None;
    }
    // An address may be written in several ways.
    let address = host.parse::<IpAddr>().map(|address| address.to_string());
    Some(address.unwrap_or_else(|_| host.trim_end_matches('.').to_ascii_lowercase()))
}

fn shorten(host: &str) -> String {
    host.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(host: &str) -> bool {
        let hosts = Hosts::new(["Peer.example:80", "fd00::7"]);
        let mut headers = HeaderMap::new();
        headers.insert(http::header::HOST, host.parse().unwrap());
        let local = "10.0.0.5".parse().unwrap();
        hosts.check(&"/healthz".parse().unwrap(), &headers, local, Some("hcube-3.hcube:8000")).is_ok()
    }

    #[test]
    fn a_peer_knows_itself_and_nobody_else() {
        for own in [
            "localhost",
            "LOCALHOST:8000",
            "127.0.0.1:8000",
            "[::1]:9",
            "10.0.0.5",
            "10.0.0.5:1",
            "peer.example",
            "peer.example.:81",
            "hcube-3.hcube:1",
            "[fd00::7]",
            "[FD00:0::7]:80",
        ] {
            assert!(check(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "localhost.evil.example",
            "10.0.0.6",
            "",
            ":80",
            "[::2]",
            "localhost:x",
            "[::1",
            "[x]",
        ] {
            assert!(!check(foreign), "{foreign}");
        }
    }

    #[test]
    fn the_authority_stands_for_the_header() {
        let hosts = Hosts::new([]);
        let local = "10.0.0.5".parse().unwrap();
        let check = |uri: &str| hosts.check(&uri.parse().unwrap(), &HeaderMap::new(), local, None);
        assert!(check("http://localhost:8000/").is_ok());
        assert_eq!(check("http://evil.example/").unwrap_err().code, Code::UnknownHost);
        assert_eq!(check("/").unwrap_err().code, Code::UnknownHost);
    }

    proptest! {
        #[test]
        fn random_hosts_never_panic(text in ".{0,30}", shaped in "[\\[\\]:.a-f0-9]{0,20}") {
            let _ = (host(&text), host(&shaped));
        }
    }
}
