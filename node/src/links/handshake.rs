//! The challenge that opens a link: each side proves that it knows the cluster secret, and binds its hello.
//!
//! ```text
//! dialer   -> acceptor   "HCUBELNK", version u32, nonce of 32 bytes
//! acceptor -> dialer     the same, with its own nonce
//! dialer   -> acceptor   length u16 and bytes of its hello, proof of 32 bytes
//! acceptor -> dialer     length u16 and bytes of its hello, proof of 32 bytes
//! ```
//!
//! A proof is HMAC-SHA256 (RFC 2104, FIPS 180-4) under the secret over the prover's role, the version, both
//! nonces, the dialer's hello and, in the acceptor's, the acceptor's hello. The role keeps a proof from being
//! sent back to where it came from, the fresh nonces from being used twice. The acceptor says nothing about
//! itself before the dialer has proved itself. Lengths are bounded, nothing is decoded before its proof holds.

use std::io;

use bytes::Bytes;
use hcube_core::codec::DecodeError;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::hello::{self, Hello};
use crate::config::Secret;

const MAGIC: &[u8; 8] = b"HCUBELNK";
const VERSION: u32 = 1;
const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const OPENING_BYTES: usize = 8 + 4 + NONCE_BYTES;

type Nonce = [u8; NONCE_BYTES];

/// Why a connection does not become a link.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The connection failed or ended.
    #[error("the connection ended: {0}")]
    Io(#[from] io::Error),
    /// Not a peer, or one of a version that this one does not know.
    #[error("the other side does not speak version {VERSION} of hcube's links")]
    Version,
    /// It does not know the cluster secret.
    #[error("the other side did not prove that it knows the cluster secret")]
    Proof,
    /// Longer than a hello may be.
    #[error("the other side's hello has {0} bytes")]
    Length(usize),
    /// It proved itself and makes no sense: of a newer version perhaps.
    #[error("the other side's hello does not decode: {0}")]
    Hello(#[from] DecodeError),
}

#[derive(Clone, Copy)]
enum Role {
    Dialer,
    Acceptor,
}

/// Opens a link on a connection that this side made. Returns who the other side is.
pub(super) async fn dial<S>(stream: &mut S, secret: &Secret, ours: &Hello) -> Result<Hello, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let nonce = fresh_nonce();
    stream.write_all(&opening(&nonce)).await?;
    let theirs = read_opening(stream).await?;
    let transcript = Transcript { dialer: nonce, acceptor: theirs };
    let own = ours.encode();
    let secret = secret.shown();
    let proof = transcript.proof(secret, Role::Dialer, &[&own]).finalize().into_bytes();
    send_hello(stream, &own, &proof).await?;
    let (hello, proof) = read_hello(stream).await?;
    transcript
        .proof(secret, Role::Acceptor, &[&own, &hello])
        .verify_slice(&proof)
        .map_err(|_wrong| Error::Proof)?;
    Ok(Hello::decode(hello)?)
}

/// Opens a link on a connection that the other side made. Returns who that is.
pub(super) async fn accept<S>(stream: &mut S, secret: &Secret, ours: &Hello) -> Result<Hello, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let theirs = read_opening(stream).await?;
    let nonce = fresh_nonce();
    stream.write_all(&opening(&nonce)).await?;
    let transcript = Transcript { dialer: theirs, acceptor: nonce };
    let (hello, proof) = read_hello(stream).await?;
    // While secrets are being replaced, the dialer may still show the earlier one, or already the later.
    let proves =
        |secret: &&[u8]| transcript.proof(secret, Role::Dialer, &[&hello]).verify_slice(&proof).is_ok();
    let secret = secret.accepted().find(proves).ok_or(Error::Proof)?;
    let own = ours.encode();
    let proof = transcript.proof(secret, Role::Acceptor, &[&hello, &own]).finalize().into_bytes();
    send_hello(stream, &own, &proof).await?;
    Ok(Hello::decode(hello)?)
}

struct Transcript {
    dialer: Nonce,
    acceptor: Nonce,
}

impl Transcript {
    fn proof(&self, secret: &[u8], role: Role, hellos: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
        mac.update(match role {
            Role::Dialer => b"hcube link, dialer\0",
            Role::Acceptor => b"hcube link, acceptor\0",
        });
        mac.update(&VERSION.to_le_bytes());
        mac.update(&self.dialer);
        mac.update(&self.acceptor);
        for hello in hellos {
            mac.update(&(hello.len() as u64).to_le_bytes());
            mac.update(hello);
        }
        mac
    }
}

fn fresh_nonce() -> Nonce {
    rand::random()
}

fn opening(nonce: &Nonce) -> Vec<u8> {
    [MAGIC.as_slice(), &VERSION.to_le_bytes(), nonce].concat()
}

async fn read_opening<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Nonce, Error> {
    let mut raw = [0; OPENING_BYTES];
    stream.read_exact(&mut raw).await?;
    let (head, nonce) = raw.split_last_chunk::<NONCE_BYTES>().ok_or(Error::Version)?;
    if head[..MAGIC.len()] != MAGIC[..] || head[MAGIC.len()..] != VERSION.to_le_bytes() {
        return Err(Error::Version);
    }
    Ok(*nonce)
}

async fn send_hello<S: AsyncWrite + Unpin>(stream: &mut S, hello: &[u8], proof: &[u8]) -> Result<(), Error> {
    let length = u16::try_from(hello.len()).map_err(|_| Error::Length(hello.len()))?;
    stream.write_all(&[&length.to_le_bytes(), hello, proof].concat()).await?;
    Ok(())
}

async fn read_hello<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(Bytes, [u8; PROOF_BYTES]), Error> {
    let length = usize::from(stream.read_u16_le().await?);
    if length > hello::BYTES_MAX {
        return Err(Error::Length(length));
    }
    let mut hello = vec![0; length];
    stream.read_exact(&mut hello).await?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    Ok((hello.into(), proof))
}

#[cfg(test)]
mod tests {
    use hcube_core::ids::{ClusterId, Incarnation, NodeId};
    use hcube_log::identity::Membership;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text.as_bytes()).unwrap()
    }

    fn hello(node: u64) -> Hello {
        let member = Membership { cluster: ClusterId(5), node: NodeId(node) };
        Hello {
            feature_level: 1,
            incarnation: Incarnation(node.into()),
            member: Some(member),
            address: "127.0.0.1:8100".to_owned(),
        }
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is() {
        let (mut dialer, mut acceptor) = duplex(1024);
        let secret = secret("0123456789abcdef");
        let (one, two) = (hello(1), hello(2));
        let (at_dialer, at_acceptor) =
            tokio::join!(dial(&mut dialer, &secret, &one), accept(&mut acceptor, &secret, &two));
        assert_eq!((at_dialer.unwrap(), at_acceptor.unwrap()), (two, one));
    }

    #[tokio::test]
    async fn a_secret_is_replaced_while_peers_know_each_other() {
        let (old, new) = ("0123456789abcdef", "fedcba9876543210");
        let (both, turned) = (format!("{old}\n{new}"), format!("{new}\n{old}"));
        for (one, two, expected) in [
            (old, both.as_str(), true),
            (&both, old, true),
            (&both, &turned, true),
            (&turned, &both, true),
            (&turned, new, true),
            (new, &turned, true),
            // Two steps at once would be too many.
            (&turned, old, false),
            (new, &both, true),
            (&both, new, false),
        ] {
            let (mut dialer, mut acceptor) = duplex(1024);
            let (at_dialer, at_acceptor) = (secret(one), secret(two));
            let accepting = tokio::spawn(async move { accept(&mut acceptor, &at_acceptor, &hello(2)).await });
            let dialed = dial(&mut dialer, &at_dialer, &hello(1)).await;
            assert_eq!(dialed.is_ok(), expected, "{one:?} to {two:?}");
            assert_eq!(accepting.await.unwrap().is_ok(), expected);
        }
    }

    #[tokio::test]
    async fn acceptor_says_nothing_of_itself_to_a_wrong_secret() {
        let (mut dialer, mut acceptor) = duplex(1024);
        let accepting =
            tokio::spawn(async move { accept(&mut acceptor, &secret("0123456789abcdef"), &hello(2)).await });
        dialer.write_all(&opening(&[1; NONCE_BYTES])).await.unwrap();
        dialer.write_all(&[&[4, 0][..], b"what", &[9; PROOF_BYTES]].concat()).await.unwrap();
        let mut heard = Vec::new();
        dialer.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard.len(), OPENING_BYTES);
        assert!(matches!(accepting.await.unwrap(), Err(Error::Proof)));
    }

    #[tokio::test]
    async fn dialer_notices_an_acceptor_without_the_secret() {
        let (mut dialer, mut acceptor) = duplex(1024);
        tokio::spawn(async move {
            let theirs = read_opening(&mut acceptor).await.unwrap();
            acceptor.write_all(&opening(&[3; NONCE_BYTES])).await.unwrap();
            let (hello, _) = read_hello(&mut acceptor).await.unwrap();
            let transcript = Transcript { dialer: theirs, acceptor: [3; NONCE_BYTES] };
            let wrong = secret("fedcba9876543210");
            let proof =
                transcript.proof(wrong.shown(), Role::Acceptor, &[&hello, &hello]).finalize().into_bytes();
            send_hello(&mut acceptor, &hello, &proof).await.unwrap();
        });
        let result = dial(&mut dialer, &secret("0123456789abcdef"), &hello(1)).await;
        assert!(matches!(result, Err(Error::Proof)));
    }

    #[tokio::test]
    async fn a_proof_sent_back_to_its_maker_proves_nothing() {
        // Whoever knows no secret answers a dialer with the dialer's own words.
        let (mut dialer, mut mirror) = duplex(1024);
        tokio::spawn(async move {
            let mut raw = [0; OPENING_BYTES];
            mirror.read_exact(&mut raw).await.unwrap();
            mirror.write_all(&raw).await.unwrap();
            let (hello, proof) = read_hello(&mut mirror).await.unwrap();
            send_hello(&mut mirror, &hello, &proof).await.unwrap();
        });
        let result = dial(&mut dialer, &secret("0123456789abcdef"), &hello(1)).await;
        assert!(matches!(result, Err(Error::Proof)));
    }

    async fn answer_to(bytes: &[u8]) -> Result<Hello, Error> {
        let (mut dialer, mut acceptor): (DuplexStream, _) = duplex(64 << 10);
        dialer.write_all(bytes).await.unwrap();
        dialer.shutdown().await.unwrap();
        accept(&mut acceptor, &secret("0123456789abcdef"), &hello(2)).await
    }

    #[tokio::test]
    async fn strangers_are_refused_before_memory_is_spent_on_them() {
        assert!(matches!(
            answer_to(b"GET / HTTP/1.1\r\nHost: a-very-long-name-of-a-host\r\n").await,
            Err(Error::Version)
        ));
        assert!(matches!(answer_to(b"HCUBE").await, Err(Error::Io(_))));
        let newer = [&MAGIC[..], &2u32.to_le_bytes(), &[0; NONCE_BYTES]].concat();
        assert!(matches!(answer_to(&newer).await, Err(Error::Version)));
        let long = [&opening(&[0; NONCE_BYTES])[..], &[255, 255]].concat();
        assert!(matches!(answer_to(&long).await, Err(Error::Length(65535))));
    }
}
