//! One peer whose actions are carried out at once, on a real disk.

use std::path::Path;

use hcube_broker::storage::Storage;
use hcube_broker::{Action, Answer, Config, Error, Event, Now, Peer, Request, RequestId, start};
use hcube_core::ids::{ClusterId, GroupId, Incarnation, NodeId, Vertex};
use hcube_core::meta::{Founder, Meta, genesis};
use hcube_log::Log;
use hcube_log::disk::RealDisk;
use hcube_log::identity::{Identity, Membership};

/// A hypercube of one peer.
pub struct One {
    peer: Peer,
    log: Log<RealDisk>,
    storage: Storage<RealDisk>,
    now: Now,
    answers: Vec<Result<Answer, Error>>,
}

const CLUSTER: ClusterId = ClusterId(7);
const INCARNATION: Incarnation = Incarnation(11);
const NODE: NodeId = NodeId(1);

fn log_config() -> hcube_log::Config {
    hcube_log::Config { segment_bytes: 8 << 10, sealed_segments_target: 1 }
}

fn founding() -> Meta {
    let founder = Founder {
        incarnation: INCARNATION,
        vertex: Vertex(0),
        zone: "here".to_owned(),
        peer_address: "peer:1".to_owned(),
        client_address: "client:1".to_owned(),
    };
    genesis(CLUSTER, vec![founder], 2, 3).expect("a valid founding")
}

impl One {
    /// Founds a hypercube in an empty directory.
    pub fn found(dir: &Path) -> Self {
        let disk = RealDisk::open(dir).expect("an empty directory opens");
        let member = Some(Membership { cluster: CLUSTER, node: NODE });
        Identity { incarnation: INCARNATION, member }.store(&disk).expect("there is room");
        let (mut log, _) = Log::open(disk, log_config()).expect("an empty log opens");
        log.write(&start::genesis_ops(&founding(), NODE)).expect("there is room");
        log.sync().expect("the disk syncs");
        drop(log);
        Self::open(dir)
    }

    /// Opens what is there.
    pub fn open(dir: &Path) -> Self {
        let disk = RealDisk::open(dir).expect("nobody else is there");
        let identity = Identity::load(&disk).expect("the identity is whole").expect("there is one");
        assert_eq!(identity.member, Some(Membership { cluster: CLUSTER, node: NODE }));
        let (log, recovery) = Log::open(disk.clone(), log_config()).expect("the log is whole");
        let reader = log.reader();
        let now = Now { mono_ms: 0, wall_ms: 1_700_000_000_000 };
        let peer = Peer::start(Config::default(), NODE, &recovery, |at| reader.read(at), now, 1)
            .expect("the log is this node's");
        let storage = Storage::new(disk, log.reader());
        let mut one = Self { peer, log, storage, now, answers: Vec::new() };
        // A peer on its own elects itself.
        for _ in 0..40 {
            one.tick();
        }
        one
    }

    /// A tenth of a second passes.
    pub fn tick(&mut self) {
        self.now.mono_ms += 100;
        self.now.wall_ms += 100;
        self.event(Event::Tick);
    }

    /// Asks, and takes the answer.
    pub fn ask(&mut self, request: Request) -> Result<Answer, Error> {
        self.event(Event::Request { id: RequestId(1), request, patience_ms: 1000 });
        for _ in 0..20 {
            if let Some(answer) = self.answers.pop() {
                return answer;
            }
            self.tick();
        }
        panic!("no answer within two seconds");
    }

    /// The metadata, and the last entry of its log that this peer has applied.
    pub fn meta(&self) -> (&Meta, u64) {
        let indexes = self.peer.status().groups.get(&GroupId::META).map(|group| group.indexes);
        (self.peer.meta(), indexes.expect("every peer follows the metadata").applied)
    }

    /// Moves everything that lies in the log into sorted files.
    pub fn compact(&mut self) {
        let pressure = (0..3).map(GroupId).collect();
        self.event(Event::Disk { pressure, full: false });
        self.log.reclaim().expect("the disk works");
    }

    fn event(&mut self, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            self.peer.take(self.now, event);
            for action in self.peer.act() {
                events.extend(self.carry_out(action));
            }
        }
    }

    fn carry_out(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Write(write) => {
                let positions = self.log.write(&write.ops).expect("there is room");
                self.log.sync().expect("the disk syncs");
                Some(Event::Written { number: write.number, positions })
            }
            Action::Reply { reply, .. } => {
                self.answers.push(reply.result);
                None
            }
            Action::Read { token, plan } => Some(Event::ReadDone { token, result: self.storage.read(&plan) }),
            Action::Compact(compaction) => {
                let result = self.storage.compact(&compaction, |_| ());
                Some(Event::Compacted { group: compaction.group, result })
            }
            Action::RemoveFiles(files) => {
                self.storage.remove(&files).expect("the disk works");
                None
            }
            // Members that never come are talked to in vain.
            Action::Send { .. } => None,
            other => panic!("a peer on its own does not {other:?}"),
        }
    }
}
