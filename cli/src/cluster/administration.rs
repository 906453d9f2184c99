//! Who may change the hypercube that is meant, and how far it has come: by its own administration ports, or by what
//! `hcube local` knows of those on this machine.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use hcube_api::admin::{MemberStatus, Members};
use hcube_api::cluster::{Cluster, MemberState};
use hcube_client::{Client, Url};
use hcube_core::ids::ClusterId;

use crate::admin::{Admins, token};
use crate::args::{AdminArgs, ENDPOINT_DEFAULT};
use crate::connect::{self, Reach};
use crate::exit::Coded;
use crate::k8s::Forward;
use crate::local;
use crate::local::fleet::left;
use crate::output::Output;
use crate::progress::Progress;

/// How often what is waited for is looked at.
const PACE: Duration = Duration::from_millis(200);
/// How long one look may be tried.
const LOOK: Duration = Duration::from_secs(5);
/// How long a peer that hears nothing new may still tell what was before.
const STALE: Duration = Duration::from_secs(3);

/// The administration of one hypercube.
pub struct Administration {
    admins: Admins,
    client: Client,
    cluster: ClusterId,
}

impl Administration {
    /// That of the ports that are named, or of the hypercube on this machine.
    pub async fn find(args: &AdminArgs, reach: &Reach) -> anyhow::Result<Self> {
        if let (Some(forward), []) = (&reach.forward, args.admin.as_slice()) {
            return Self::through(forward, args, reach).await;
        }
        let endpoints = named(&reach.endpoints);
        let (admins, clients) = match &args.token_file {
            Some(file) if !args.admin.is_empty() => {
                let urls = args.admin.iter().map(|text| {
                    let url = if text.contains("://") { text.clone() } else { format!("http://{text}") };
                    url.parse::<Url>().with_context(|| format!("--admin: {text} is no URL"))
                });
                (Admins::new(urls.collect::<anyhow::Result<Vec<_>>>()?, &token(file)?)?, endpoints)
            }
            _ => {
                let fleet = local::open(&args.place).await?;
                is_the_same(&endpoints, &fleet.endpoints())?;
                (fleet.admins(None)?, fleet.endpoints())
            }
        };
        let members = admins.ask(async |admin| admin.members().await).await?;
        let told = members.members.iter().map(|member| member.client_address.clone());
        let clients: Vec<String> = if clients.is_empty() { told.collect() } else { clients };
        let client = connect::builder(&clients)?.request_timeout(LOOK).retry_timeout(LOOK).build()?;
        Ok(Self { admins, client, cluster: members.cluster_id })
    }

    /// That of a hypercube on Kubernetes.
    async fn through(forward: &Forward, args: &AdminArgs, reach: &Reach) -> anyhow::Result<Self> {
        let token = match &args.token_file {
            Some(file) => token(file)?,
            None => forward.token().await?,
        };
        let admins = Admins::through(forward, &token)?;
        let members = admins.ask(async |admin| admin.members().await).await?;
        let client = reach.builder()?.request_timeout(LOOK).retry_timeout(LOOK).build()?;
        Ok(Self { admins, client, cluster: members.cluster_id })
    }

    /// The ports.
    pub fn admins(&self) -> &Admins {
        &self.admins
    }

    /// Which hypercube it is.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The members.
    pub async fn members(&self) -> anyhow::Result<Members> {
        Ok(self.admins.ask(async |admin| admin.members().await).await?)
    }

    /// The hypercube as some peer sees it.
    pub async fn look(&self) -> anyhow::Result<Cluster> {
        let cluster = self.client.cluster().await?;
        anyhow::ensure!(
            cluster.cluster_id == self.cluster,
            "{} answers at --endpoint, not {}, which is administered",
            cluster.cluster_id,
            self.cluster
        );
        Ok(cluster)
    }

    /// Waits until everything is where it should be, as told in the epoch given or a later one.
    pub async fn settles(&self, epoch: u64, what: &str, output: &Output) -> anyhow::Result<()> {
        let mut progress = Progress::new(output);
        loop {
            match self.look().await {
                Ok(cluster) if cluster.rebalance.epoch >= epoch => {
                    match left(&cluster.rebalance) {
                        0 => break,
                        _ if cluster.rebalance.paused => {
                            progress.end();
                            output.talk("slots may not move at the moment; `hcube cluster rebalance --resume` lets them");
                            return Ok(());
                        }
                        left => progress.wait(what, left),
                    }
                }
                Ok(_) => progress.wait(what, 1),
                Err(error) => progress.wait(&format!("an answer: {error:#}"), 1),
            }
            tokio::time::sleep(PACE).await;
        }
        progress.end();
        Ok(())
    }

    /// Waits until a member that drains holds nothing; how it stands then.
    ///
    /// Somebody else may take the drain back: on Kubernetes the operator does, where it was not its own.
    pub async fn empties(&self, drained: &MemberStatus, output: &Output) -> anyhow::Result<MemberStatus> {
        let mut progress = Progress::new(output);
        let mut left_at = Instant::now();
        loop {
            match self.members().await {
                Ok(members) => match members.members.into_iter().find(|m| m.node_id == drained.node_id) {
                    None => break Ok(drained.clone()),
                    Some(member) if member.held == 0 => break Ok(member),
                    Some(member) if member.state != MemberState::Leaving && left_at.elapsed() > STALE => {
                        progress.end();
                        anyhow::bail!(
                            "the drain of peer {} was taken back; where an operator decides who leaves, as on \
                             Kubernetes, `kubectl scale` tells it",
                            member.label
                        );
                    }
                    Some(member) => {
                        if member.state == MemberState::Leaving {
                            left_at = Instant::now();
                        }
                        let why = member.obstacle.map_or_else(String::new, |why| format!(": {why}"));
                        let what = format!("peer {} to give its replicas away{why}", member.label);
                        progress.wait(&what, member.held.into());
                    }
                },
                Err(error) => progress.wait(&format!("an answer: {error:#}"), 1),
            }
            tokio::time::sleep(PACE).await;
        }
    }
}

/// The endpoints, none where nobody named any.
fn named(endpoints: &[String]) -> Vec<String> {
    if endpoints == [ENDPOINT_DEFAULT] { Vec::new() } else { endpoints.to_vec() }
}

/// Whoever names an endpoint means the hypercube there, not the one that happens to be on this machine.
fn is_the_same(named: &[String], local: &[String]) -> anyhow::Result<()> {
    let plain = |text: &str| {
        text.trim_start_matches("http://").trim_end_matches('/').replace("localhost", "127.0.0.1")
    };
    let local: Vec<String> = local.iter().map(|text| plain(text)).collect();
    match named.iter().find(|text| !local.contains(&plain(text))) {
        None => Ok(()),
        Some(other) => anyhow::bail!(
            "{other} is no peer of the hypercube on this machine; to administer another one, give --admin and \
             --token-file"
        ),
    }
}

/// The member that a person means: by label, by number, or as the fallback says.
pub fn pick<'m>(
    members: &'m Members,
    text: Option<&str>,
    fallback: impl Fn(&MemberStatus) -> bool,
) -> anyhow::Result<&'m MemberStatus> {
    let all = || members.members.iter();
    let found = match text {
        None => all().filter(|member| fallback(member)).max_by_key(|member| member.vertex),
        Some(text) => all()
            .find(|member| member.label.as_str() == text)
            .or_else(|| all().find(|member| member.vertex.to_string() == text)),
    };
    let labels = || all().map(|member| member.label.to_string()).collect::<Vec<_>>().join(" ");
    found.ok_or_else(|| match text {
        Some(text) => Coded::not_found(format!("there is no peer {text}; peers are {}", labels())).into(),
        None => Coded::not_found("there is no such peer").into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_hypercube_is_not_administered_by_accident() {
        let local = ["http://127.0.0.1:8000".to_owned(), "http://127.0.0.1:8001".into()];
        assert!(is_the_same(&named(&[ENDPOINT_DEFAULT.to_owned()]), &[]).is_ok());
        assert!(is_the_same(&["localhost:8001/".into()], &local).is_ok());
        assert!(is_the_same(&["http://far:8000".into()], &local).is_err());
        assert!(is_the_same(&["http://127.0.0.1:9000".into()], &local).is_err());
    }
}
