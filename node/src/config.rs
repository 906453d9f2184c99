//! What a node is told when it starts.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use hcube_core::feature;
use subtle::ConstantTimeEq;

/// Bytes of a secret at least; fewer could be guessed.
const SECRET_BYTES_MIN: usize = 16;
/// Bytes of a secret at most; a longer file is not one.
const SECRET_BYTES_MAX: usize = 4096;

/// Everything that a node is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data directory; created where it does not exist, held by one process at a time.
    pub data_dir: PathBuf,
    /// Where clients are served.
    pub client_listen: SocketAddr,
    /// Where other peers connect.
    pub peer_listen: SocketAddr,
    /// Where the hypercube is administered.
    pub admin_listen: SocketAddr,
    /// Where other peers reach this one, `host:port`; the listening address where left out, if that is one machine's.
    pub peer_address: Option<String>,
    /// Failure domain; empty when unknown.
    pub zone: String,
    /// The newest feature level that it lets itself know, see [`hcube_core::feature`]: an older one keeps the way back to
    /// an older hcube open.
    pub feature_level: u32,
    /// What all peers of the hypercube know and nobody else.
    pub cluster_secret: Secret,
    /// What administrators show.
    pub admin_token: Secret,
    /// Milliseconds of a tick: leaders send heartbeats every 2, elections begin after 10 to 20.
    pub tick_ms: u64,
    /// Bytes of a new log segment, a multiple of 512 from 8 MiB to 2 GiB.
    pub segment_bytes: u64,
    /// Sealed segments beyond which records are moved into sorted files.
    pub sealed_segments_target: usize,
    /// Threads that read from the disk.
    pub reader_threads: usize,
    /// Requests of this node's own clients under way at most; further ones are refused.
    pub requests_max: usize,
    /// Bytes that may wait for one peer; beyond it Raft messages are dropped and links with requests closed.
    pub link_bytes_max: usize,
    /// How long a graceful shutdown waits for requests under way, in milliseconds.
    pub shutdown_patience_ms: u64,
}

/// Why a configuration cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file with a secret is not there, or not readable.
    #[error("{} cannot be read: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than its owner may read the file.
    #[error("{} has mode {mode:04o}; a secret's file is readable by its owner only, as with mode 0600", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The secret could be guessed, or is no secret.
    #[error("a secret has {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes, not {0}")]
    Length(usize),
    /// A feature level that this version does not know.
    #[error("this hcube knows the feature levels {oldest} to {newest}, not {0}", oldest = feature::OLDEST, newest = feature::NEWEST)]
    FeatureLevel(u32),
    /// A figure that makes no sense.
    #[error("{what} must be {allowed}, not {found}")]
    Figure {
        /// The option.
        what: &'static str,
        /// What it may be.
        allowed: &'static str,
        /// What it is.
        found: u64,
    },
}

impl Config {
    /// The defaults: everything listens on 127.0.0.1.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, cluster_secret: Secret, admin_token: Secret) -> Self {
        let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            data_dir: data_dir.into(),
            client_listen: local(8000),
            peer_listen: local(8100),
            admin_listen: local(8200),
            peer_address: None,
            zone: String::new(),
            feature_level: feature::NEWEST,
            cluster_secret,
            admin_token,
            tick_ms: 100,
            segment_bytes: 64 << 20,
            sealed_segments_target: 3,
            reader_threads: 4,
            requests_max: 10_000,
            link_bytes_max: 64 << 20,
            shutdown_patience_ms: 5_000,
        }
    }

    /// Checks the figures. The log checks its own.
    ///
    /// # Errors
    /// [`Error::Figure`] for the first that makes no sense.
    pub fn check(&self) -> Result<(), Error> {
        if !(feature::OLDEST..=feature::NEWEST).contains(&self.feature_level) {
            return Err(Error::FeatureLevel(self.feature_level));
        }
        let figures = [
            ("tick_ms", self.tick_ms, 1, 10_000, "1 to 10000"),
            (
                "segment_bytes",
                self.segment_bytes,
                8 << 20,
                2 << 30,
                "8 MiB to 2 GiB, room for the largest batch",
            ),
            ("reader_threads", self.reader_threads as u64, 1, 64, "1 to 64"),
            ("requests_max", self.requests_max as u64, 1, 1_000_000, "1 to 1000000"),
            ("link_bytes_max", self.link_bytes_max as u64, 1 << 20, 1 << 30, "1 MiB to 1 GiB"),
            ("shutdown_patience_ms", self.shutdown_patience_ms, 0, 600_000, "0 to 600000"),
        ];
        match figures.into_iter().find(|(_, found, least, most, _)| !(least..=most).contains(&found)) {
            Some((what, found, .., allowed)) => Err(Error::Figure { what, allowed, found }),
            None => Ok(()),
        }
    }

    pub(crate) fn log(&self) -> hcube_log::Config {
        hcube_log::Config {
            segment_bytes: self.segment_bytes,
            sealed_segments_target: self.sealed_segments_target,
        }
    }
}

/// Bytes that must not be shown: `Debug` hides them.
///
/// A text of several lines is as many secrets: the first is shown to others, all of them are accepted. So a secret is
/// replaced by another one without a moment in which two peers have none in common.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<Vec<u8>>);

impl Secret {
    /// A secret of these bytes, or one of each line of a text, without white space at their ends, which editors like
    /// to add.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn new(bytes: &[u8]) -> Result<Self, Error> {
        let bytes = bytes.trim_ascii_end();
        if bytes.len() > SECRET_BYTES_MAX {
            return Err(Error::Length(bytes.len()));
        }
        // Bytes that are no text may hold what looks like the end of a line.
        let is_end = |byte: &u8| *byte == b'\n' && bytes.is_ascii();
        let lines = bytes.split(is_end).map(<[u8]>::trim_ascii_end);
        let secrets: Vec<Vec<u8>> = lines.map(<[u8]>::to_vec).collect();
        match secrets.iter().find(|secret| secret.len() < SECRET_BYTES_MIN) {
            Some(short) => Err(Error::Length(short.len())),
            None => Ok(Self(secrets)),
        }
    }

    /// Reads a secret from a file that only its owner may read.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Mode`] and [`Error::Length`].
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let io = |source| Error::Io { path: path.to_owned(), source };
        // The open file is asked for its mode, so that it cannot be exchanged in between.
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        let mode = metadata.permissions().mode() & 0o7777;
        let process = std::fs::metadata("/proc/self").map_err(io)?.uid();
        if !is_private(mode, metadata.uid(), process) {
            return Err(Error::Mode { path: path.to_owned(), mode });
        }
        let mut bytes = Vec::new();
        // White space at the end does not count, but a file that never ends must.
        file.take(2 * SECRET_BYTES_MAX as u64).read_to_end(&mut bytes).map_err(io)?;
        Self::new(&bytes)
    }

    /// Whether somebody showed the same bytes; takes as long whatever they are.
    #[must_use]
    pub fn matches(&self, shown: &[u8]) -> bool {
        self.0.iter().fold(false, |matches, secret| matches | bool::from(secret.ct_eq(shown)))
    }

    /// The one to show.
    pub(crate) fn shown(&self) -> &[u8] {
        &self.0[0]
    }

    /// All that are accepted.
    pub(crate) fn accepted(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }
}

/// Whether nobody but its owner may read a file. Kubernetes mounts secrets as root's and readable by the pod's group,
/// which a process that is not root can neither change nor do without.
fn is_private(mode: u32, owner: u32, process: u32) -> bool {
    mode & 0o077 == 0 || (owner == 0 && process != 0 && mode & 0o037 == 0)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};

    use super::*;

    #[test]
    fn secrets_that_others_can_read_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
        for (mode, accepted) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o610, false)]
        {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let secret = Secret::from_file(&path);
            assert_eq!(secret.is_ok(), accepted, "mode {mode:o}");
            assert_eq!(matches!(secret, Err(Error::Mode { .. })), !accepted);
        }
    }

    #[test]
    fn what_kubernetes_mounts_is_private_to_whom_it_is_mounted_for() {
        for (mode, owner, process, accepted) in [
            (0o440, 0, 65_532, true),
            (0o640, 0, 65_532, true),
            (0o440, 65_532, 65_532, false),
            (0o440, 0, 0, false),
            (0o444, 0, 65_532, false),
            (0o460, 0, 65_532, false),
        ] {
            assert_eq!(is_private(mode, owner, process), accepted, "{mode:o} of {owner} for {process}");
        }
    }

    #[test]
    fn the_first_line_is_shown_and_every_line_accepted() {
        let secret = Secret::new(b"0123456789abcdef\nfedcba9876543210\n").unwrap();
        assert_eq!(secret.shown(), b"0123456789abcdef");
        assert!(secret.matches(b"0123456789abcdef") && secret.matches(b"fedcba9876543210"));
        assert!(!secret.matches(b"0123456789abcdef\nfedcba9876543210") && !secret.matches(b""));
        assert!(matches!(Secret::new(b"0123456789abcdef\nshort"), Err(Error::Length(5))));
        // Random bytes are one secret, whatever they look like.
        let random = b"0123456789abcdef\n\xff0123456789abcdef";
        assert!(Secret::new(random).unwrap().matches(random));
    }

    #[test]
    fn secrets_are_of_a_length_that_cannot_be_guessed_and_never_shown() {
        assert!(matches!(Secret::new(b"short \n"), Err(Error::Length(5))));
        assert!(matches!(Secret::new(&[b'x'; 5000]), Err(Error::Length(5000))));
        let secret = Secret::new(b"0123456789abcdef\n").unwrap();
        assert!(secret.matches(b"0123456789abcdef") && !secret.matches(b"0123456789abcdeg"));
        assert!(!format!("{secret:?}").contains("012"));
    }

    #[test]
    fn figures_that_make_no_sense_are_refused_by_name() {
        let secret = Secret::new(b"0123456789abcdef").unwrap();
        let config = Config::new("/tmp", secret.clone(), secret);
        assert!(config.check().is_ok());
        let error = Config { tick_ms: 0, ..config }.check().unwrap_err();
        assert_eq!(error.to_string(), "tick_ms must be 1 to 10000, not 0");
    }
}
