//! Peers that join and leave, one short step at a time. What is under way is in the state file before anything of it
//! is done, and every step looks at what is there; so after a crash at any point the next step goes on.

use anyhow::{Context as _, bail};
use hcube_api::Code;
use hcube_api::admin::{MemberStatus, Members};
use hcube_api::cluster::{Cluster, MemberState, Rebalance};
use hcube_client::Client;
use hcube_core::ids::Vertex;
use rustix::process::Signal;

use super::enrolment::{Enrolment, Refusal};
use super::{Fleet, POLL};
use crate::admin;
use crate::connect;
use crate::local::admin::Admin;
use crate::local::home::Change;

/// The most peers whose ports do not meet.
const PEERS_MAX: u16 = 64;
/// How long one look at the hypercube may be tried.
const LOOK: std::time::Duration = std::time::Duration::from_secs(3);

/// How often the next step is tried while something is waited for.
pub const PACE: std::time::Duration = POLL.saturating_mul(5);

/// What a step did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing is under way any more.
    Finished,
    /// Something is waited for: in words, and how many slots are left.
    Waits {
        /// What.
        what: String,
        /// How much of it is left.
        left: u64,
    },
    /// Something was done.
    Did(Step),
}

/// What a step can have done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A peer was started, to join.
    Launched(String),
    /// It was made a member.
    Added(String),
    /// It has its share, and everything is in place.
    Joined(String),
    /// A peer was told to give its replicas away.
    Draining(String),
    /// It is no member any more, and gone with its data.
    Removed(String),
}

impl Fleet {
    /// Notes that peers are to join, and until how many there are. What is under way is gone on with instead.
    pub async fn grow(&mut self, count: u16) -> anyhow::Result<u16> {
        let peers = self.cube().peers();
        match self.state.change {
            Some(Change::Grow { to, .. }) => return Ok(to),
            Some(Change::Shrink { .. }) => self.forget_shrinking().await?,
            None => {}
        }
        let to = peers.saturating_add(count);
        anyhow::ensure!(to <= PEERS_MAX, "a local hypercube has at most {PEERS_MAX} peers, not {to}");
        self.note(Some(Change::Grow { to, joining: false }))?;
        Ok(to)
    }

    /// Notes that the highest vertices are to leave, and until how many peers there are.
    pub fn shrink(&mut self, count: u16) -> anyhow::Result<u16> {
        let peers = self.cube().peers();
        match self.state.change {
            Some(Change::Shrink { to }) => return Ok(to),
            Some(Change::Grow { .. }) => {
                bail!("peers are being added; finish that by `hcube local add`")
            }
            None => {}
        }
        let to = peers.checked_sub(count).filter(|to| *to > 0);
        let to = to.with_context(|| format!("{count} of {peers} peers cannot leave; one stays"))?;
        self.note(Some(Change::Shrink { to }))?;
        Ok(to)
    }

    /// Forgets a removal that was taken back by whoever administers the hypercube.
    async fn forget_shrinking(&mut self) -> anyhow::Result<()> {
        let last = Vertex(self.cube().peers() - 1);
        let members = self.members().await?;
        match at(&members, last).map(|member| member.state) {
            None => bail!("peer {} is removed already; `hcube local remove` goes on", self.label(last)),
            Some(MemberState::Leaving) => bail!(
                "peer {0} is being removed; finish that by `hcube local remove`, or take it back by `hcube \
                 cluster cancel {0}`",
                self.label(last)
            ),
            Some(_) => self.note(None),
        }
    }

    /// Does what comes next of what is under way.
    pub async fn step(&mut self) -> anyhow::Result<Stepped> {
        match self.state.change {
            None => Ok(Stepped::Finished),
            Some(Change::Grow { to, joining }) => self.step_growing(to, joining).await,
            Some(Change::Shrink { to }) => self.step_shrinking(to).await,
        }
    }

    async fn step_growing(&mut self, to: u16, joining: bool) -> anyhow::Result<Stepped> {
        let peers = self.cube().peers();
        if !joining {
            if peers >= to {
                self.note(None)?;
                return Ok(Stepped::Finished);
            }
            // Whoever listens where the new one should is found before anything is noted.
            self.ports(Vertex(peers)).check_free(&format!("{peers:b}"))?;
            self.state.peers.push(None);
            self.note(Some(Change::Grow { to, joining: true }))?;
        }
        let vertex = Vertex(self.cube().peers() - 1);
        let label = self.label(vertex);
        if self.running(vertex).is_none() {
            if !joining {
                // What lies here is nobody's.
                self.home.remove_files(&self.state.file_name(vertex))?;
            }
            self.launch(vertex)?;
            return Ok(Stepped::Did(Step::Launched(label)));
        }
        let admin = Admin::new(&self.home.token_file())?;
        let Ok(identity) = admin.identity(self.ports(vertex).admin).await else {
            self.pause(vertex).await?;
            return Ok(Stepped::Waits { what: format!("peer {label} to answer"), left: 1 });
        };
        match self.enrol(vertex, &identity).await {
            Ok(Enrolment::Member) => {}
            Ok(Enrolment::Added | Enrolment::Replaced) => return Ok(Stepped::Did(Step::Added(label))),
            Err(Refusal::NotNow(why)) => {
                return Ok(Stepped::Waits {
                    what: format!("the hypercube to take peer {label}: {why:#}"),
                    left: 1,
                });
            }
            Err(Refusal::Final(why)) => {
                // It never became a member: nothing of it is left.
                self.forget(vertex).await?;
                self.note(None)?;
                return Err(why.context(format!("peer {label} cannot join")));
            }
        }
        let cluster = match self.look().await {
            Ok(cluster) => cluster,
            Err(why) => return Ok(Stepped::Waits { what: format!("an answer: {why:#}"), left: 1 }),
        };
        let is_known = cluster.members.iter().any(|member| Some(member.node_id) == identity.node_id);
        let left = left(&cluster.rebalance);
        // Whoever has paused the moves does not want to wait for them.
        let is_settled = is_known && (left == 0 || cluster.rebalance.paused);
        if is_settled && self.is_ready(vertex).await {
            self.note(Some(Change::Grow { to, joining: false }))?;
            return Ok(Stepped::Did(Step::Joined(label)));
        }
        Ok(Stepped::Waits { what: format!("peer {label} to get its share"), left: left.max(1) })
    }

    async fn step_shrinking(&mut self, to: u16) -> anyhow::Result<Stepped> {
        let peers = self.cube().peers();
        if peers <= to {
            self.note(None)?;
            return Ok(Stepped::Finished);
        }
        let vertex = Vertex(peers - 1);
        let label = self.label(vertex);
        let cluster = self.state.cluster_id;
        let members = match self.members().await {
            Ok(members) => members,
            Err(why) => return Ok(Stepped::Waits { what: format!("an answer: {why:#}"), left: 1 }),
        };
        let Some(member) = at(&members, vertex) else {
            self.forget(vertex).await?;
            return Ok(Stepped::Did(Step::Removed(label)));
        };
        let node = member.node_id;
        let admins = self.admins(None)?;
        if member.state != MemberState::Leaving {
            return match admins.ask(async |admin| admin.drain(node, cluster).await).await {
                Ok(_) => Ok(Stepped::Did(Step::Draining(label))),
                Err(error) if error.is_retriable() => {
                    Ok(Stepped::Waits { what: format!("the hypercube: {error}"), left: 1 })
                }
                Err(error) => {
                    self.note(None)?;
                    Err(anyhow::Error::new(error).context(format!("peer {label} cannot leave")))
                }
            };
        }
        if member.held == 0 {
            match admins.ask(async |admin| admin.remove(node, cluster).await).await {
                Ok(_) => {
                    self.forget(vertex).await?;
                    return Ok(Stepped::Did(Step::Removed(label)));
                }
                Err(error) if error.is_retriable() || error.code() == Some(Code::NotEmpty) => {}
                Err(error) => {
                    return Err(anyhow::Error::new(error).context(format!("peer {label} cannot be removed")));
                }
            }
        }
        let left = u64::from(member.held).max(1);
        let what = match &member.obstacle {
            Some(obstacle) => format!("peer {label} to give its replicas away: {obstacle}"),
            None => format!("peer {label} to give its replicas away"),
        };
        Ok(Stepped::Waits { what, left })
    }

    /// How far the hypercube is from where it should be, and its members, from one peer's view.
    pub async fn look(&self) -> anyhow::Result<Cluster> {
        let (cluster, ours) = (self.client()?.cluster().await?, self.state.cluster_id);
        anyhow::ensure!(
            cluster.cluster_id == ours,
            "a peer of {} answers, not of {ours}",
            cluster.cluster_id
        );
        Ok(cluster)
    }

    /// How many slots are not where they should be, as told by somebody who knows the present disks of these
    /// vertices.
    pub async fn unsettled(&self, vertices: &[Vertex]) -> anyhow::Result<u64> {
        let admin = Admin::new(&self.home.token_file())?;
        let cluster = self.look().await?;
        for &vertex in vertices {
            let identity = admin.identity(self.ports(vertex).admin).await?;
            let is_known = cluster.members.iter().any(|member| Some(member.node_id) == identity.node_id);
            anyhow::ensure!(is_known, "peer {} has not spoken with all others yet", self.label(vertex));
        }
        Ok(left(&cluster.rebalance))
    }

    /// A client of all peers that run.
    pub fn client(&self) -> anyhow::Result<Client> {
        let endpoints: Vec<String> = self.answering().map(|vertex| self.endpoint(vertex)).collect();
        anyhow::ensure!(!endpoints.is_empty(), "no peer runs; `hcube local up` starts them");
        let builder = connect::builder(&endpoints)?.learns_members(false);
        Ok(builder.request_timeout(LOOK).retry_timeout(LOOK).build()?)
    }

    async fn members(&self) -> anyhow::Result<Members> {
        let cluster = self.state.cluster_id;
        Ok(self.admins(None)?.ask(async |admin| admin::members(admin, cluster).await).await?)
    }

    /// Ends the last peer, and removes everything of it.
    async fn forget(&mut self, vertex: Vertex) -> anyhow::Result<()> {
        self.end(&[vertex], Signal::TERM).await?;
        self.home.remove_files(&self.state.file_name(vertex))?;
        let last = self.state.peers.pop();
        assert!(last == Some(None), "the highest vertex has ended, and is the one that is forgotten");
        self.home.store(&self.state)
    }

    fn note(&mut self, change: Option<Change>) -> anyhow::Result<()> {
        self.state.change = change;
        self.home.store(&self.state)
    }
}

/// Slots that are not where they should be and will be by themselves: one without a majority waits for a person.
pub fn left(rebalance: &Rebalance) -> u64 {
    let Rebalance { moving, waiting, under_replicated, without_majority, .. } = *rebalance;
    let all = (u64::from(moving) + u64::from(waiting)).max(under_replicated.into());
    all.saturating_sub(without_majority.into())
}

fn at(members: &Members, vertex: Vertex) -> Option<&MemberStatus> {
    members.members.iter().find(|member| member.vertex == vertex)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::fleet::{Lifetime, Wish};

    async fn fleet(dir: &std::path::Path, peers: u16) -> Fleet {
        let wish = Wish { peers: Some(peers), base_port: Some(20_000), ..Wish::default() };
        Fleet::open_or_create(dir, wish, Lifetime::Ours).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_under_way_is_noted_and_gone_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let mut growing = fleet(dir.path(), 3).await;
        std::fs::create_dir(growing.data_dir(Vertex(0))).unwrap();
        assert_eq!(growing.grow(2).await.unwrap(), 5);
        drop(growing);
        let mut again = Fleet::open(dir.path()).await.unwrap();
        assert_eq!(again.grow(1).await.unwrap(), 5, "an interrupted command is gone on with");
        assert!(again.shrink(1).is_err());
    }

    #[tokio::test]
    async fn one_peer_stays_and_at_most_so_many_join() {
        let dir = tempfile::tempdir().unwrap();
        let mut three = fleet(dir.path(), 3).await;
        assert!(three.shrink(3).unwrap_err().to_string().contains("one stays"));
        assert!(three.grow(62).await.unwrap_err().to_string().contains("at most 64"));
        assert_eq!(three.change(), None, "what was refused is not noted");
        assert_eq!(three.shrink(2).unwrap(), 1);
        assert!(three.grow(1).await.is_err(), "nobody runs who could tell whether it was taken back");
    }

    #[test]
    fn slots_under_way_and_waiting_are_left() {
        let rebalance = Rebalance { moving: 2, waiting: 3, under_replicated: 4, ..Rebalance::default() };
        assert_eq!(left(&rebalance), 5);
        assert_eq!(
            left(&Rebalance { without_majority: 5, ..rebalance }),
            0,
            "nobody need wait for what is stuck"
        );
        assert_eq!(left(&Rebalance { under_replicated: 1, ..Rebalance::default() }), 1);
    }
}
