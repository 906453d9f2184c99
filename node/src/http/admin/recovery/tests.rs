//! Which slots are given up, and with whose copy they go on.

use hcube_core::ids::{ClusterId, Incarnation, Slot, Vertex};
use hcube_core::meta::change::NewMember;
use hcube_core::meta::{Command, Founder, genesis};

use super::*;

/// Seven peers and five replicas of each of four slots; then so many of the first slot's voters are replaced. Also these
/// voters, the lost ones first.
fn after_losses(count: usize) -> (Meta, Vec<NodeId>) {
    let founder = |vertex: u16| Founder {
        incarnation: Incarnation(u128::from(vertex) + 1),
        vertex: Vertex(vertex),
        zone: String::new(),
        peer_address: "peer:1".into(),
        client_address: "client:1".into(),
    };
    let mut meta = genesis(ClusterId(1), (0..7).map(founder).collect(), 4, 5).unwrap();
    let voters: Vec<NodeId> = meta.placement[0].voting_nodes().collect();
    assert_eq!(voters.len(), 5);
    for node in &voters[..count] {
        let vertex = meta.members[node].vertex;
        let new = NewMember {
            incarnation: Incarnation(100 + u128::from(node.0)),
            vertex,
            zone: String::new(),
            peer_address: "peer:1".into(),
            client_address: "client:1".into(),
            replaces: Some(*node),
        };
        meta.apply(Command::Change(Change::AddMember(new))).unwrap();
    }
    (meta, voters)
}

fn stuck(meta: &Meta, lost: &[NodeId]) -> bool {
    let named = lost.iter().copied().collect();
    concerned(meta, &named).iter().any(|(group, _)| *group == Slot(0).into())
}

/// A copy of the first slot.
fn copy(last: (u64, u64)) -> Vec<SlotStatus> {
    let (slot, stranded) = (Slot(0), true);
    vec![SlotStatus { slot, bytes: 1, leads: false, in_sync: true, takes_part: true, stranded, last }]
}

fn decided(meta: &Meta, told: &Told) -> Result<Option<Change>, Code> {
    let group = Slot(0).into();
    let placement = meta.placement_of(group).unwrap();
    match decide(meta, group, placement, told) {
        Ok(decided) => Ok(decided.map(|(_, change)| change)),
        Err(problem) => Err(problem.code),
    }
}

#[test]
fn of_five_replicas_two_can_be_lost_and_of_what_is_left_the_farthest_goes_on() {
    let (meta, voters) = after_losses(2);
    assert!(!stuck(&meta, &voters[..2]), "three of five agree on others");
    let (meta, voters) = after_losses(3);
    assert!(stuck(&meta, &voters[..3]) && !stuck(&meta, &voters[..2]), "all that are lost are to be named");
    let version = meta.placement[0].version;
    let mut told = Told::from([(voters[3], Some(copy((2, 9)))), (voters[4], Some(copy((3, 4))))]);
    let survivor = Some(voters[4]);
    let expected = Change::Recover { group: Slot(0).into(), version, survivor };
    assert_eq!(decided(&meta, &told), Ok(Some(expected)));
    told.insert(voters[3], None);
    assert_eq!(decided(&meta, &told), Err(Code::SurvivorSilent));
    let mut leads = copy((3, 4));
    leads[0].leads = true;
    told.insert(voters[4], Some(leads));
    assert_eq!(decided(&meta, &told), Ok(None), "one that leads needs nobody's decision");
}

#[test]
fn a_slot_of_which_no_copy_is_left_begins_anew() {
    let (mut meta, voters) = after_losses(5);
    assert!(stuck(&meta, &voters));
    let change = decided(&meta, &Told::new()).unwrap().unwrap();
    assert!(matches!(change, Change::Recover { survivor: None, .. }), "{change:?}");
    meta.apply(Command::Change(change)).unwrap();
    let anew = &meta.placement[0];
    assert_eq!((anew.voters.len(), meta.losses.len(), meta.losses[0].survivor), (1, 1, None));
    assert!(meta.members.contains_key(&anew.voters[0].node), "it begins on a peer that is there");
    assert!(!lacks_majority(&meta, anew));
    // A replica that never was begins it: none of those that were lost can be taken for it.
    assert!(anew.leaving.iter().all(|old| old.id < anew.voters[0].id));
}

#[test]
fn slots_of_peers_that_the_metadata_gave_up_need_no_replacement_first() {
    let (mut meta, voters) = after_losses(0);
    let lost = voters[..3].to_vec();
    let change = Change::RecoverMetadata { survivor: voters[4], lost: lost.clone() };
    meta.apply(Command::Change(change)).unwrap();
    assert!(stuck(&meta, &lost));
    let told = Told::from([(voters[3], Some(copy((2, 9)))), (voters[4], Some(copy((2, 9))))]);
    let change = decided(&meta, &told).unwrap().unwrap();
    meta.apply(Command::Change(change)).unwrap();
    assert!(!lacks_majority(&meta, &meta.placement[0]));
}
