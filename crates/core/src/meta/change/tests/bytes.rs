//! Changes as bytes, and any change to a state.

use proptest::prelude::*;

use super::*;

fn any_change() -> impl Strategy<Value = Change> {
    let node = || any::<u64>().prop_map(NodeId);
    let group = || any::<u32>().prop_map(GroupId);
    let list = || proptest::collection::vec(any::<u64>().prop_map(NodeId), 0..8);
    let texts = (".{0,20}", ".{0,20}", ".{0,20}");
    prop_oneof![
        (any::<u128>(), any::<u16>(), texts, proptest::option::of(node())).prop_map(
            |(incarnation, vertex, (zone, peer_address, client_address), replaces)| {
                let (incarnation, vertex) = (Incarnation(incarnation), Vertex(vertex));
                Change::AddMember(NewMember {
                    incarnation,
                    vertex,
                    zone,
                    peer_address,
                    client_address,
                    replaces,
                })
            }
        ),
        node().prop_map(|node| Change::Drain { node }),
        node().prop_map(|node| Change::CancelDrain { node }),
        node().prop_map(|node| Change::RemoveMember { node }),
        any::<u8>().prop_map(|replication| Change::SetReplication { replication }),
        any::<bool>().prop_map(|paused| Change::SetPaused { paused }),
        ("[a-z]{1,20}", any::<u8>())
            .prop_map(|(name, count)| Change::SetReadReplicas { topic: name.parse().unwrap(), count }),
        (group(), any::<u64>(), list(), list(), node()).prop_map(
            |(group, version, voters, learners, leader)| {
                Change::Place { group, version, voters, learners, leader }
            }
        ),
        (group(), any::<u64>(), node()).prop_map(|(group, version, leader)| Change::Lead {
            group,
            version,
            leader
        }),
        (group(), any::<u64>()).prop_map(|(group, version)| Change::Settled { group, version }),
        (group(), any::<u64>().prop_map(ReplicaId))
            .prop_map(|(group, replica)| Change::ReplaceReplica { group, replica }),
        (group(), any::<u64>(), proptest::option::of(node()))
            .prop_map(|(group, version, survivor)| Change::Recover { group, version, survivor }),
        (node(), list()).prop_map(|(survivor, lost)| Change::RecoverMetadata { survivor, lost }),
    ]
}

proptest! {
    #[test]
    fn changes_round_trip_and_their_ruins_never_panic(change in any_change(), at: prop::sample::Index, byte: u8) {
        let command = Command::Change(change);
        let bytes = command.encode();
        prop_assert_eq!(Command::decode(bytes.clone()).unwrap(), command);
        prop_assert!(Command::decode(bytes.slice(..bytes.len() - 1)).is_err(), "a byte is missing");
        let mut ruined = bytes.to_vec();
        let at = at.index(ruined.len());
        ruined[at] = byte;
        let _ = Command::decode(ruined.into());
        let mut longer = bytes.to_vec();
        longer.push(byte);
        prop_assert!(Command::decode(longer.into()).is_err(), "a byte is left over");
    }

    #[test]
    fn no_change_breaks_a_state(change in any_change(), small: bool) {
        let mut meta = cube(4, 3);
        // Small numbers, so that some name what there is.
        let change = if small { shrunk(change) } else { change };
        let before = meta.clone();
        if meta.change(change).is_err() {
            prop_assert_eq!(&meta, &before);
        }
        prop_assert!(meta.epoch - before.epoch <= 1);
        prop_assert_eq!(Meta::decode(meta.encode()).unwrap(), meta);
    }
}

fn shrunk(change: Change) -> Change {
    let node = |node: NodeId| NodeId(node.0 % 6);
    let nodes = |nodes: Vec<NodeId>| nodes.into_iter().map(node).collect();
    let group = |group: GroupId| GroupId(group.0 % 6);
    match change {
        Change::AddMember(new) => {
            let vertex = Vertex(new.vertex.0 % 6);
            Change::AddMember(NewMember { vertex, replaces: new.replaces.map(node), ..new })
        }
        Change::Drain { node: n } => Change::Drain { node: node(n) },
        Change::CancelDrain { node: n } => Change::CancelDrain { node: node(n) },
        Change::RemoveMember { node: n } => Change::RemoveMember { node: node(n) },
        Change::Place { group: g, voters, learners, leader, .. } => {
            let (voters, learners) = (nodes(voters), nodes(learners));
            Change::Place { group: group(g), version: 1, voters, learners, leader: node(leader) }
        }
        Change::Lead { group: g, leader, .. } => {
            Change::Lead { group: group(g), version: 1, leader: node(leader) }
        }
        Change::ReplaceReplica { group: g, replica } => {
            Change::ReplaceReplica { group: group(g), replica: ReplicaId(replica.0 % 20) }
        }
        Change::Recover { group: g, survivor, .. } => {
            Change::Recover { group: group(g), version: 1, survivor: survivor.map(node) }
        }
        Change::RecoverMetadata { survivor, lost } => {
            Change::RecoverMetadata { survivor: node(survivor), lost: nodes(lost) }
        }
        other => other,
    }
}
