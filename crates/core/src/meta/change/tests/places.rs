//! Where replicas are meant to be.

use super::*;
use crate::meta::mover::{Limits, Mover, lacks_majority};

#[test]
fn a_reader_binds_a_peer_as_a_voter_does() {
    let mut meta = cube(4, 1);
    drain(&mut meta, 4);
    empty(&mut meta, 4);
    assert_eq!(meta.replicas_held(NodeId(4)), 0);
    let voter = meta.placement[0].voters[0].node.0;
    put(&mut meta, SLOT, &[voter], &[4]);
    assert_eq!(meta.replicas_held(NodeId(4)), 1);
}

#[test]
fn a_place_keeps_replicas_that_stay_and_names_new_ones() {
    let mut meta = cube(4, 3);
    put(&mut meta, SLOT, &[1, 2, 3], &[]);
    settle(&mut meta, SLOT);
    let before = meta.placement[0].clone();
    put(&mut meta, SLOT, &[4, 2, 1], &[]);
    let after = meta.placement[0].clone();
    assert_eq!(nodes(&after), (vec![1, 2, 4], vec![], vec![3]));
    assert_eq!(after.voters[..2], before.voters[..2]);
    assert_eq!((after.version, after.settled, after.leader), (meta.epoch, false, NodeId(4)));
    // A voter becomes a reader and keeps its replica; one that was to go and is wished back keeps it as well.
    put(&mut meta, SLOT, &[3], &[2]);
    let back = meta.placement[0].clone();
    assert_eq!(nodes(&back), (vec![3], vec![2], vec![1, 4]));
    assert_eq!((back.voters[0], back.learners[0]), (before.voters[2], before.voters[1]));
    let gone = back.leaving.clone();
    assert!(gone.iter().all(|replica| !meta.is_retired(SLOT, replica.id)), "they exist until it is settled");
    settle(&mut meta, SLOT);
    assert!(gone.iter().all(|replica| meta.is_retired(SLOT, replica.id)));
    put(&mut meta, SLOT, &[1, 3, 4], &[]);
    assert!(meta.placement[0].replicas().all(|replica| !gone.contains(&replica)), "ids are not used again");
    assert!(
        !meta.is_retired(SLOT, ReplicaId(meta.next_replica)),
        "an id that nobody has heard of is not retired"
    );
}

#[test]
fn senseless_places_are_refused() {
    let mut meta = cube(4, 3);
    join(&mut meta, replacement(900, 0, 1));
    let wrong = ChangeRefusal::Placement(SLOT);
    let cases: [(&[u64], &[u64]); 5] =
        [(&[], &[]), (&[2, 2, 3], &[]), (&[2], &[2]), (&[2, 3, 9], &[]), (&[2], &[9])];
    for (voters, learners) in cases {
        assert_eq!(refused(&meta, place(&meta, SLOT, voters, learners)), wrong);
    }
    let leader = Change::Place {
        group: SLOT,
        version: meta.placement[0].version,
        voters: vec![NodeId(2)],
        learners: vec![NodeId(3)],
        leader: NodeId(3),
    };
    assert_eq!(refused(&meta, leader), wrong);
    assert_eq!(refused(&meta, place(&meta, GroupId(99), &[2], &[])), ChangeRefusal::Placement(GroupId(99)));
    // Who is lost may keep what it has, and gets nothing new.
    put(&mut meta, SLOT, &[2, 3, 4], &[]);
    assert_eq!(refused(&meta, place(&meta, SLOT, &[1, 2, 3], &[])), wrong);
}

#[test]
fn the_same_place_again_changes_nothing() {
    let meta = cube(4, 3);
    let placement = &meta.placement[0];
    let same = Change::Place {
        group: SLOT,
        version: placement.version,
        voters: placement.voting_nodes().collect(),
        learners: vec![],
        leader: placement.leader,
    };
    let mut after = meta.clone();
    assert_eq!(after.change(same), Ok(Changed::Done));
    assert_eq!(after, meta);
}

#[test]
fn every_member_follows_the_metadata_whatever_is_wished() {
    let mut meta = cube(5, 3);
    put(&mut meta, META, &[1, 2, 5], &[3]);
    assert_eq!(nodes(&meta.metadata), (vec![1, 2, 5], vec![3, 4], vec![]));
}

#[test]
fn a_lead_goes_to_a_voter_and_leaves_the_version() {
    let mut meta = cube(4, 3);
    let placement = meta.placement[0].clone();
    let version = placement.version;
    let other = placement.voting_nodes().find(|node| *node != placement.leader).unwrap();
    make(&mut meta, Change::Lead { group: SLOT, version, leader: other });
    assert_eq!((meta.placement[0].leader, meta.placement[0].version), (other, version));
    assert!(meta.placement[0].settled);
    let outside = (1..=4).map(NodeId).find(|node| !placement.votes(*node)).unwrap();
    let to_outside = Change::Lead { group: SLOT, version, leader: outside };
    assert_eq!(refused(&meta, to_outside), ChangeRefusal::Placement(SLOT));
    let stale = ChangeRefusal::Stale { group: SLOT, version };
    assert_eq!(refused(&meta, Change::Lead { group: SLOT, version: 7, leader: other }), stale);
    let nowhere = Change::Lead { group: GroupId(99), version, leader: other };
    assert_eq!(refused(&meta, nowhere), ChangeRefusal::Placement(GroupId(99)));
}

#[test]
fn a_report_about_another_version_changes_nothing() {
    let mut meta = cube(4, 3);
    put(&mut meta, SLOT, &[1, 2, 4], &[]);
    put(&mut meta, SLOT, &[1, 2, 3], &[4]);
    let before = meta.clone();
    let version = meta.placement[0].version;
    for other in [0, 1, version - 1, version + 1] {
        make(&mut meta, Change::Settled { group: SLOT, version: other });
    }
    make(&mut meta, Change::Settled { group: GroupId(99), version });
    assert_eq!(meta, before);
    make(&mut meta, Change::Settled { group: SLOT, version });
    assert!(meta.placement[0].settled && meta.placement[0].leaving.is_empty());
    assert_eq!((meta.epoch, meta.placement[0].version), (before.epoch + 1, version));
}

#[test]
fn a_damaged_replica_is_replaced_once_on_the_same_node() {
    let mut meta = cube(4, 3);
    for group in [META, SLOT] {
        let before = meta.placement_of(group).unwrap().clone();
        let damaged = before.voters[1];
        make(&mut meta, Change::ReplaceReplica { group, replica: damaged.id });
        let after = meta.placement_of(group).unwrap().clone();
        assert_eq!(nodes(&after).0, nodes(&before).0);
        assert_eq!(after.leaving, [damaged]);
        assert_eq!((after.settled, after.version), (false, meta.epoch));
        let new = after.voters[1];
        assert_eq!(after.replica_on(damaged.node), Some(new.id));
        assert!(new.id > damaged.id && !before.all().any(|replica| replica.id == new.id));
        // The one in its place breaks as well, and then the node is not to hold the slot any more.
        make(&mut meta, Change::ReplaceReplica { group, replica: new.id });
        assert_eq!(meta.placement_of(group).unwrap().leaving, [damaged, new]);
        settle(&mut meta, group);
        assert!(meta.is_retired(group, damaged.id) && meta.is_retired(group, new.id));
    }
    // Off the node and back again before that is settled: of its replicas, only the newest exists.
    put(&mut meta, SLOT, &[1, 2, 3], &[]);
    settle(&mut meta, SLOT);
    let damaged = meta.placement[0].voters[2];
    make(&mut meta, Change::ReplaceReplica { group: SLOT, replica: damaged.id });
    let newest = meta.placement[0].voters[2];
    put(&mut meta, SLOT, &[1, 2, 4], &[]);
    assert_eq!(meta.placement[0].leaving, [damaged, newest]);
    let mut back = meta.clone();
    put(&mut back, SLOT, &[1, 2, 3], &[]);
    assert_eq!(back.placement[0].voters[2], newest);
    let (version, survivor) = (meta.placement[0].version, Some(damaged.node));
    make_once(&mut meta, Change::Recover { group: SLOT, version, survivor });
    assert_eq!(meta.placement[0].voters, [newest]);
    let before = meta.clone();
    make(&mut meta, Change::ReplaceReplica { group: GroupId(99), replica: ReplicaId(1) });
    make(&mut meta, Change::ReplaceReplica { group: SLOT, replica: ReplicaId(9999) });
    assert_eq!(meta, before);
}

#[test]
fn a_group_that_lost_its_majority_goes_on_with_its_survivor() {
    let mut meta = cube(4, 3);
    put(&mut meta, SLOT, &[1, 2, 3], &[]);
    settle(&mut meta, SLOT);
    join(&mut meta, replacement(900, 0, 1));
    join(&mut meta, replacement(901, 1, 2));
    let placement = meta.placement[0].clone();
    let recover = |survivor: Option<u64>| Change::Recover {
        group: SLOT,
        version: placement.version,
        survivor: survivor.map(NodeId),
    };
    for nobody in [1, 4, 9] {
        assert_eq!(
            refused(&meta, recover(Some(nobody))),
            ChangeRefusal::Placement(SLOT),
            "{nobody} has nothing"
        );
    }
    let version = placement.version - 1;
    let stale = Change::Recover { group: SLOT, version, survivor: Some(NodeId(3)) };
    assert!(matches!(refused(&meta, stale), ChangeRefusal::Stale { .. }));
    let metadata = Change::Recover { group: META, version: meta.metadata.version, survivor: Some(NodeId(3)) };
    assert_eq!(refused(&meta, metadata), ChangeRefusal::Placement(META));

    let mut anew = meta.clone();
    make_once(&mut meta, recover(Some(3)));
    let alone = &meta.placement[0];
    assert_eq!(nodes(alone), (vec![3], vec![], vec![1, 2]));
    assert_eq!(alone.voters[0], placement.voters[2], "it goes on as it is");
    assert_eq!((alone.leader, alone.forced, alone.version), (NodeId(3), meta.epoch, meta.epoch));
    assert!(!alone.settled);
    assert_eq!(meta.losses, [Loss { group: SLOT, epoch: meta.epoch, survivor: Some(NodeId(3)) }]);

    // Without a survivor it begins anew, with a replica that never was.
    let next = anew.next_replica;
    make_once(&mut anew, recover(None));
    let first = &anew.placement[0];
    assert_eq!(nodes(first), (vec![3], vec![], vec![1, 2, 3]));
    assert_eq!((first.voters[0].id, anew.next_replica), (ReplicaId(next), next + 1));
    assert_eq!(anew.losses, [Loss { group: SLOT, epoch: anew.epoch, survivor: None }]);
    settle(&mut anew, SLOT);
    assert!(placement.all().all(|replica| anew.is_retired(SLOT, replica.id)));
}

#[test]
fn a_majority_that_is_lost_while_replicas_are_under_way_is_missed() {
    let mut meta = cube(5, 3);
    put(&mut meta, SLOT, &[1, 2, 3], &[]);
    settle(&mut meta, SLOT);
    // The first disk is lost, and what it held is on its way; then the second is.
    join(&mut meta, replacement(900, 0, 1));
    put(&mut meta, SLOT, &[3, 4, 5], &[]);
    let lacks = |meta: &Meta| lacks_majority(meta, &meta.placement[0]);
    assert_eq!((nodes(&meta.placement[0]).2, lacks(&meta)), (vec![1, 2], false));
    join(&mut meta, replacement(901, 1, 2));
    assert!(lacks(&meta), "two of three voters are gone, wherever the others were to go");
    let mut arrived = meta.clone();
    settle(&mut arrived, SLOT);
    assert!(!lacks(&arrived), "they had arrived in time");
    let version = meta.placement[0].version;
    make_once(&mut meta, Change::Recover { group: SLOT, version, survivor: Some(NodeId(3)) });
    assert_eq!((nodes(&meta.placement[0]).0, lacks(&meta)), (vec![3], false));
}

#[test]
fn the_metadata_goes_on_with_one_peer_and_those_it_lost_keep_their_vertices_only() {
    let mut meta = cube(5, 3);
    join(&mut meta, newcomer(900, 5));
    let before = meta.clone();
    let recover = |survivor: u64, lost: &[u64]| Change::RecoverMetadata {
        survivor: NodeId(survivor),
        lost: lost.iter().copied().map(NodeId).collect(),
    };
    for (survivor, lost) in [(9, vec![1]), (2, vec![1, 2])] {
        assert_eq!(refused(&meta, recover(survivor, &lost)), ChangeRefusal::Placement(META));
    }
    let epoch = meta.epoch + 1;
    assert_eq!(meta.change(recover(4, &[1, 2, 3])), Ok(Changed::GivenUp { epoch }));
    let (alone, epoch) = (meta.metadata.clone(), meta.epoch);
    assert_eq!(nodes(&alone), (vec![4], vec![5, 6], vec![]));
    let kept = |replica: &crate::meta::Replica| before.metadata.all().any(|held| held == *replica);
    assert!(alone.replicas().all(|replica| kept(&replica)), "whoever is left goes on as it is");
    assert_eq!((alone.forced, alone.version, alone.settled), (epoch, epoch, false));
    assert_eq!(meta.losses, [Loss { group: META, epoch, survivor: Some(NodeId(4)) }]);
    assert_eq!(meta.cube(), before.cube());
    for lost in [1, 2, 3].map(NodeId) {
        assert!(meta.is_lost(lost) && meta.retired.contains_key(&before.members[&lost].incarnation));
        assert_eq!(refused(&meta, Change::Drain { node: lost }), ChangeRefusal::Retired(lost));
        assert_eq!(refused(&meta, Change::CancelDrain { node: lost }), ChangeRefusal::Retired(lost));
    }
    assert!(matches!(refused(&meta, place(&meta, META, &[1, 4, 5], &[])), ChangeRefusal::Placement(META)));
    let stuck = meta.placement.iter().filter(|placement| lacks_majority(&meta, placement)).count();
    let two_of = |p: &&Placement| p.voting_nodes().filter(|node| node.0 <= 3).count() >= 2;
    assert_eq!(stuck, meta.placement.iter().filter(two_of).count());

    // Peers with empty disks stand at their vertices, and the metadata gets its voters back.
    for (incarnation, vertex) in [(901, 0), (902, 1), (903, 2)] {
        let member = join(&mut meta, replacement(incarnation, vertex, u64::from(vertex) + 1));
        assert_eq!(member.standing, Standing::Active);
    }
    assert_eq!(meta.present().count(), 6);
    let changes = Mover::default().next(&meta, Limits::default()).unwrap();
    let refill = changes.iter().find(|change| matches!(change, Change::Place { group: META, .. }));
    make_once(&mut meta, refill.unwrap().clone());
    assert_eq!(meta.metadata.voters.len(), 5);
    assert!(meta.metadata.votes(NodeId(4)), "{:?}", meta.metadata);
    assert_eq!(Meta::decode(meta.encode()).unwrap(), meta);
}
