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

    /// Whether the same will be answered until somebody mends something: a quota, a right, an object.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        matches!(self, Self::Object(_)) || matches!(self.status(), Some(403 | 422))
    }

    fn status(&self) -> Option<u16> {
        match self {
            Self::Kube(kube::Error::Api(status)) => Some(status.code),
            _ => None,
        }
    }
}
