//! Bits that flip in what is durable: never in so much that an acknowledged record could be lost by right.

use std::collections::BTreeSet;

use hcube_core::ids::{GroupId, ReplicaId};
use hcube_log::{DamageScope, Log};

use crate::admin::Admin;
use crate::streams::pick;
use crate::world::World;

/// Places that are tried for one flip.
const TRIES: usize = 6;

/// One bit of a file.
struct Bit {
    path: String,
    byte: u64,
    bit: u8,
}

/// A machine loses power, a bit of its log flips, and it starts again. Returns whether one flipped.
pub(super) fn flip(world: &mut World, admin: &mut Admin, at: usize) -> bool {
    let member = world.machines[at].node.filter(|node| world.newest().members.contains_key(node));
    let Some(node) = member else { return false };
    if world.machines[at].lost {
        return false;
    }
    world.crash(at);
    let mut flipped = None;
    for _ in 0..TRIES {
        let Some(bit) = draw(world, at) else { break };
        let Some(effect) = effect(world, at, &bit) else { continue };
        let harmless = matches!(&effect, Effect::Replicas(hit) if hit.is_empty());
        flipped = Some((bit, effect));
        if !harmless {
            break;
        }
    }
    let Some((bit, effect)) = flipped else {
        world.start(at);
        return false;
    };
    world.machines[at].disk.flip_bit(&bit.path, bit.byte, bit.bit);
    match effect {
        Effect::Replicas(hit) => {
            world.counts.damaged += hit.len() as u64;
            world.machines[at].damaged.extend(hit);
            world.start(at);
        }
        Effect::Everything => {
            world.machines[at].spoilt = true;
            world.machines[at].lost = true;
            world.start(at);
            admin.replace(world, node);
        }
    }
    true
}

/// What a flip does to a machine.
enum Effect {
    /// These replicas are damaged.
    Replicas(Vec<ReplicaId>),
    /// The disk is of no use any more.
    Everything,
}

fn draw(world: &mut World, at: usize) -> Option<Bit> {
    let files = world.machines[at].disk.content();
    let files: Vec<(&str, u64)> = files
        .iter()
        .filter(|(path, bytes)| path.starts_with("log/") && *bytes > 0)
        .map(|(path, bytes)| (path.as_str(), *bytes))
        .collect();
    let (path, bytes) = pick(&mut world.streams.faults, &files)?;
    let byte = world.streams.faults.below(bytes);
    let bit = u8::try_from(world.streams.faults.below(8)).expect("below 8");
    Some(Bit { path: path.to_owned(), byte, bit })
}

/// What would come of it; none where too much would, or where it could not be told from a tear: then acknowledged
/// records could be lost without anybody's fault.
fn effect(world: &World, at: usize, bit: &Bit) -> Option<Effect> {
    let whole = world.machines[at].disk.fork();
    let damaged = world.machines[at].disk.fork();
    damaged.flip_bit(&bit.path, bit.byte, bit.bit);
    let open = |disk| Log::open(disk, world.log_config.clone()).map(|(_, recovery)| recovery);
    let before = open(whole).ok()?;
    let everything = || world.may_lose(at).then_some(Effect::Everything);
    let Ok(after) = open(damaged) else { return everything() };
    let groups = match after.damage.as_ref().map(|damage| &damage.scope) {
        Some(DamageScope::All) => return everything(),
        Some(DamageScope::Groups(groups)) if groups.contains(&GroupId::META) => return everything(),
        Some(DamageScope::Groups(groups)) => groups.clone(),
        None => BTreeSet::new(),
    };
    let others_stay = before
        .groups
        .keys()
        .chain(after.groups.keys())
        .all(|group| groups.contains(group) || before.groups.get(group) == after.groups.get(group));
    let tombstones_stay = before.tombstones == after.tombstones;
    let survives = groups.iter().all(|group| world.may_lose_replica(*group, at));
    // Of a group whose first frame is damaged, the log may not know any more which replica it held.
    let hit = groups.iter().filter_map(|group| before.groups.get(group)).map(|found| found.replica);
    (others_stay && tombstones_stay && survives).then(|| Effect::Replicas(hit.collect()))
}
