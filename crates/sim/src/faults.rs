//! What can go wrong, how often, and how it is brought about.

mod flip;

use crate::admin::Admin;
use crate::streams::{once_in, pick};
use crate::world::World;

/// One kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A machine loses power; what was not synced is lost or torn.
    Crash,
    /// All machines lose power at once.
    PowerCut,
    /// Frames from one machine to another are lost.
    CutOneWay,
    /// Two machines do not reach each other.
    CutBothWays,
    /// A machine reaches nobody.
    Isolation,
    /// A machine stands still for a while.
    Pause,
    /// A disk is slow.
    SlowDisk,
    /// A disk is full.
    FullDisk,
    /// A sync fails, and the process ends.
    SyncError,
    /// A bit of what is durable flips.
    BitFlip,
    /// A disk is wiped; another machine takes the peer's place.
    WipedDisk,
    /// A disk is set aside; another machine takes the peer's place, and the disk comes back later.
    DiskSetAside,
    /// A process that is only cut off is replaced, and comes back: two under one name.
    Twin,
    /// A disk that was set aside starts again under its old identity.
    OldDiskBack,
    /// A wall clock jumps.
    ClockJump,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 15] = [
        Self::Crash,
        Self::PowerCut,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::Isolation,
        Self::Pause,
        Self::SlowDisk,
        Self::FullDisk,
        Self::SyncError,
        Self::BitFlip,
        Self::WipedDisk,
        Self::DiskSetAside,
        Self::Twin,
        Self::OldDiskBack,
        Self::ClockJump,
    ];

    /// What it is called in figures.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Crash => "crashes",
            Self::PowerCut => "power cuts of everything",
            Self::CutOneWay => "links cut one way",
            Self::CutBothWays => "links cut both ways",
            Self::Isolation => "isolated peers",
            Self::Pause => "pauses",
            Self::SlowDisk => "slow disks",
            Self::FullDisk => "full disks",
            Self::SyncError => "failed syncs",
            Self::BitFlip => "bit flips",
            Self::WipedDisk => "wiped disks",
            Self::DiskSetAside => "disks set aside",
            Self::Twin => "twins",
            Self::OldDiskBack => "old disks back",
            Self::ClockJump => "clock jumps",
        }
    }

    /// How often it happens beside the others.
    fn weight(self) -> u64 {
        match self {
            Self::Crash => 16,
            Self::PowerCut | Self::Pause | Self::SlowDisk | Self::FullDisk => 4,
            Self::CutOneWay | Self::CutBothWays | Self::Isolation | Self::SyncError => 6,
            Self::BitFlip => 6,
            Self::WipedDisk | Self::DiskSetAside | Self::Twin | Self::ClockJump => 3,
            Self::OldDiskBack => 5,
        }
    }

    fn draw(world: &mut World) -> Self {
        let total = Self::ALL.iter().map(|fault| fault.weight()).sum();
        let mut at = world.streams.faults.below(total);
        for fault in Self::ALL {
            match at.checked_sub(fault.weight()) {
                Some(rest) => at = rest,
                None => return fault,
            }
        }
        Self::Crash
    }
}

/// Something goes wrong, or something that went wrong ends.
pub(crate) fn inject(world: &mut World, admin: &mut Admin) {
    let_twins_back(world);
    if once_in(&mut world.streams.faults, 3) {
        return mend(world);
    }
    let fault = Fault::draw(world);
    if happens(world, admin, fault) {
        let kind = Fault::ALL.iter().position(|other| *other == fault).expect("all kinds are listed");
        world.counts.faults[kind] += 1;
    }
}

/// Brings a fault about, unless it would take what nobody could survive. Returns whether it did.
fn happens(world: &mut World, admin: &mut Admin, fault: Fault) -> bool {
    let up: Vec<usize> = (0..world.machines.len()).filter(|at| !world.machines[*at].is_off()).collect();
    let Some(at) = pick(&mut world.streams.faults, &up) else { return false };
    match fault {
        Fault::Crash => world.crash(at),
        Fault::PowerCut => {
            for at in &up {
                world.crash(*at);
            }
            for at in up {
                world.start(at);
            }
        }
        Fault::CutOneWay | Fault::CutBothWays => {
            let Some(other) = pick(&mut world.streams.faults, &up).filter(|other| *other != at) else {
                return false;
            };
            world.network.cut(at, other);
            if fault == Fault::CutBothWays {
                world.network.cut(other, at);
            }
        }
        Fault::Isolation => world.network.isolate(at, world.machines.len()),
        Fault::Pause => world.machines[at].paused = true,
        Fault::SlowDisk => world.machines[at].disk_us = 2_000 + world.streams.faults.below(200_000),
        Fault::FullDisk => {
            let room = world.streams.faults.below(100_000);
            fill(world, at, room);
        }
        Fault::SyncError => world.machines[at].disk.fail_next_sync(),
        Fault::BitFlip => return flip::flip(world, admin, at),
        Fault::WipedDisk | Fault::DiskSetAside | Fault::Twin => return lose(world, admin, at, fault),
        Fault::OldDiskBack => return old_disk_back(world),
        Fault::ClockJump => world.machines[at].clock_ahead_ms = world.streams.faults.below(7_200_000),
    }
    true
}

/// A disk takes only so many more bytes.
fn fill(world: &mut World, at: usize, room_bytes: u64) {
    let used: u64 = world.machines[at].disk.files().iter().map(|(_, bytes)| bytes).sum();
    world.machines[at].disk.set_capacity(Some(used + room_bytes));
}

/// A peer loses its disk for good, or seems to.
fn lose(world: &mut World, admin: &mut Admin, at: usize, fault: Fault) -> bool {
    let member = world.machines[at].node.filter(|node| world.newest().members.contains_key(node));
    let Some(node) = member else { return false };
    if world.machines[at].lost || !world.may_lose(at) {
        return false;
    }
    world.machines[at].lost = true;
    match fault {
        Fault::Twin => world.network.set_apart(at),
        Fault::WipedDisk => {
            world.switch_off(at);
            world.machines[at].disk.wipe();
            world.machines[at].wiped = true;
        }
        _ => world.switch_off(at),
    }
    admin.replace(world, node);
    true
}

/// A process that was cut off is reached again once its peer was replaced. Before, it would only be one that was away
/// for a while, and whoever replaced it after that would give up what it has got meanwhile.
pub(crate) fn let_twins_back(world: &mut World) {
    let members: Vec<usize> = (0..world.machines.len()).filter(|at| world.is_member(*at)).collect();
    world.network.keep_apart(|at| members.contains(&at));
}

/// A disk that was set aside starts again, after its peer was replaced.
fn old_disk_back(world: &mut World) -> bool {
    let aside = |at: &usize| {
        let machine = &world.machines[*at];
        let back = machine.lost && machine.is_off() && !machine.wiped && !machine.spoilt && !machine.refused;
        back && !world.is_member(*at)
    };
    let aside: Vec<usize> = (0..world.machines.len()).filter(aside).collect();
    let Some(at) = pick(&mut world.streams.faults, &aside) else { return false };
    world.start(at);
    true
}

/// Something ends: a machine starts again, or everything that is cut, paused, slow or full is well.
fn mend(world: &mut World) {
    let off: Vec<usize> = (0..world.machines.len()).filter(|at| is_down(world, *at)).collect();
    if let Some(at) = pick(&mut world.streams.faults, &off).filter(|_| !once_in(&mut world.streams.faults, 3))
    {
        return world.start(at);
    }
    match world.streams.faults.below(4) {
        0 => {
            for machine in &mut world.machines {
                machine.paused = false;
            }
        }
        1 => world.network.mend(),
        2 => {
            let all: Vec<usize> = (0..world.machines.len()).collect();
            let at = pick(&mut world.streams.faults, &all);
            at.into_iter().for_each(|at| world.network.mend_around(at));
        }
        _ => {
            for machine in &mut world.machines {
                machine.disk_us = 2_000;
                machine.disk.set_capacity(None);
            }
        }
    }
}

/// Whether a machine is off that should be on.
pub(crate) fn is_down(world: &World, at: usize) -> bool {
    let machine = &world.machines[at];
    machine.is_off() && !machine.lost && !machine.refused
}
