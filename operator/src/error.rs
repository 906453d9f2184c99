//! What can go wrong while a resource is looked at.

/// Why a reconcile did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Kubernetes refused or did not answer.
    #[error("Kubernetes: {0}")]
    Kube(#[from] kube::Error),
    /// A peer refused or did not answer.
    #[error("a peer: {0}")]
    Peer(#[from] hcube_client::Error),
    /// An object does not hold what it should.
    #[error("{0}")]
    Object(String),
}

impl Error {
    /// Whether somebody else changed the object meanwhile; the next look sees what they wrote.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}
