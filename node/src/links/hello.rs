//! Who a side of a link says it is.

use bytes::Bytes;
use hcube_core::codec::{DecodeError, Reader, Writer};
use hcube_core::ids::{ClusterId, Incarnation, NodeId};
use hcube_log::identity::Membership;

/// Version of the encoding.
const FORMAT: u8 = 1;
/// Bytes of an address at most; a DNS name has 253.
const ADDRESS_BYTES_MAX: usize = 300;
/// Bytes of an encoded hello at most.
pub(super) const BYTES_MAX: usize = 512;

/// Encoded little-endian: format `u8`, feature level `u32`, incarnation `u128`, then 0, or 1 and cluster id
/// `u128` and node id `u64`, then the address behind its `u32` length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hello {
    /// The newest formats that the side knows.
    pub feature_level: u32,
    /// Its disk.
    pub incarnation: Incarnation,
    /// Its place in a hypercube, if it has one.
    pub member: Option<Membership>,
    /// Where it is reached, `host:port`.
    pub address: String,
}

impl Hello {
    /// The hello's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.address.len());
        out.u8(FORMAT);
        out.u32(self.feature_level);
        out.u128(self.incarnation.0);
        out.option(self.member, |out, member| {
            out.u128(member.cluster.0);
            out.u64(member.node.0);
        });
        out.text(&self.address);
        out
    }

    /// The hello in these bytes.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        match reader.u8("hello format")? {
            FORMAT => {}
            other => return Err(DecodeError::Unknown { what: "hello format", value: other.into() }),
        }
        let hello = Self {
            feature_level: reader.u32("feature level")?,
            incarnation: Incarnation(reader.u128("incarnation")?),
            member: reader.option("membership", |reader| {
                Ok(Membership {
                    cluster: ClusterId(reader.u128("cluster")?),
                    node: NodeId(reader.u64("node")?),
                })
            })?,
            address: reader.text("address")?,
        };
        reader.finish()?;
        if hello.address.len() > ADDRESS_BYTES_MAX {
            return Err(DecodeError::Invalid("address"));
        }
        Ok(hello)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn hellos_round_trip(level: u32, incarnation: u128, member: Option<(u128, u64)>, address in "[a-z0-9.:]{0,300}") {
            let member =
                member.map(|(cluster, node)| Membership { cluster: ClusterId(cluster), node: NodeId(node) });
            let hello =
                Hello { feature_level: level, incarnation: Incarnation(incarnation), member, address };
            let bytes = hello.encode();
            prop_assert!(bytes.len() <= BYTES_MAX);
            prop_assert_eq!(Hello::decode(bytes.into()).unwrap(), hello);
        }

        #[test]
        fn random_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Hello::decode(bytes.into());
        }
    }
}
