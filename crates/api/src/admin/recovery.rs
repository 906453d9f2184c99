//! Bodies of the last resort: slots that lost their majority go on with what is left, and so does the metadata.

use hcube_core::ids::{ClusterId, NodeId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cluster::Loss;
use crate::error::{Code, Problem};
use crate::json::UuidSchema;

/// Body of `POST /v1/unsafe-recover`: the slots that lost most of their voters with the nodes given go on with the
/// copy that is farthest, or begin anew where none is left. What only the lost disks held is gone for good, although it
/// may have been acknowledged. Repeating it changes nothing.
///
/// With `metadata` it is the metadata that goes on, where it cannot elect a leader any more. Every peer that is not named
/// has to answer, and the one with the most of the metadata goes on alone; slots come after that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnsafeRecover {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// The nodes whose disks are lost for good. For slots each was replaced at its vertex, so that its disk can never
    /// come back. For the metadata they are members still, as nobody can replace them; from then on they are refused, but
    /// by others that were named with them: whose disks must really be gone.
    #[schemars(with = "Vec<u64>")]
    pub lost: Vec<NodeId>,
    /// Whether somebody has decided that what only those disks held is given up. Must be true.
    #[serde(default)]
    pub accept_data_loss: bool,
    /// Whether this is about the metadata.
    #[serde(default)]
    pub metadata: bool,
}

impl UnsafeRecover {
    /// Checks what can be known before anybody is asked.
    ///
    /// # Errors
    /// `invalid-argument`, `loss-not-accepted`.
    pub fn check(&self) -> Result<(), Problem> {
        if self.lost.is_empty() {
            return Err(Problem::invalid("name the lost nodes in `lost`"));
        }
        if self.accept_data_loss {
            return Ok(());
        }
        let detail = "acknowledged messages may be lost for good: say so with \"accept_data_loss\": true";
        Err(Problem::new(Code::LossNotAccepted, detail))
    }
}

/// Answer to `POST /v1/unsafe-recover`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Recovered {
    /// The hypercube.
    #[schemars(with = "UuidSchema")]
    pub cluster_id: ClusterId,
    /// What was given up by this request. What was given up ever is in `GET /v1/cluster`.
    pub losses: Vec<Loss>,
    /// Slots that still lack their majority, with other nodes than those that were named.
    pub without_majority: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_has_to_be_accepted_in_so_many_words() {
        let read = |text: &str| {
            let text = format!(r#"{{"cluster_id":"{}",{text}}}"#, ClusterId(1));
            crate::json::from_slice::<UnsafeRecover>(text.as_bytes()).unwrap().check()
        };
        assert_eq!(read(r#""lost":[3],"accept_data_loss":true"#), Ok(()));
        assert_eq!(read(r#""lost":[3],"accept_data_loss":true,"metadata":true"#), Ok(()));
        for not in [r#""lost":[3]"#, r#""lost":[3],"accept_data_loss":false"#] {
            assert_eq!(read(not).unwrap_err().code, Code::LossNotAccepted);
        }
        assert_eq!(read(r#""lost":[],"accept_data_loss":true"#).unwrap_err().code, Code::InvalidArgument);
    }
}
