//! The administration ports of one hypercube: any of them does, so the first that answers is taken.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use hcube_api::admin::Members;
use hcube_api::{Code, Problem};
use hcube_client::{Admin, Client, Error, Url};
use hcube_core::ids::ClusterId;

use crate::k8s::Forward;

/// How long one port may take, before the next is asked.
const PATIENCE: Duration = Duration::from_secs(4);

/// Administration ports, and the token to show there.
#[derive(Debug, Clone)]
pub struct Admins {
    ports: Vec<(Url, Admin)>,
}

impl Admins {
    /// Those at these addresses.
    pub fn new(urls: impl IntoIterator<Item = Url>, token: &str) -> anyhow::Result<Self> {
        let ports = urls.into_iter().map(|url| Ok((url.clone(), Admin::new(url, token)?)));
        let ports = ports.collect::<Result<Vec<_>, Error>>()?;
        anyhow::ensure!(!ports.is_empty(), "no peer runs that could be asked");
        Ok(Self { ports })
    }

    /// Those of the peers at the end of a way through Kubernetes: each client has connections of its own, and so a pod.
    pub fn through(forward: &Forward, token: &str) -> anyhow::Result<Self> {
        let port = |url: Url| {
            let builder = Client::builder([url.clone()]).proxy(forward.proxy()).connect_timeout(PATIENCE);
            Ok((url, Admin::of(builder, token)?))
        };
        let ports = forward.admin_urls()?.into_iter().map(port).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { ports })
    }

    /// Asks one after the other until one answers, or refuses for good. One of another hypercube, as a disk that was
    /// put in the wrong place makes it, is passed over.
    ///
    /// A port that is too slow is given up, although it may still do what it was asked; every question of this
    /// contract may be repeated.
    pub async fn ask<T>(&self, question: impl AsyncFn(&Admin) -> Result<T, Error>) -> Result<T, Error> {
        let mut last = None;
        for (url, admin) in &self.ports {
            let answer = tokio::time::timeout(PATIENCE, question(admin)).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) if !error.is_retriable() && error.code() != Some(Code::WrongCluster) => {
                    return Err(error);
                }
                Ok(Err(error)) => error,
                Err(_) => Error::Silent { endpoint: url.to_string() },
            };
            // What a peer says tells more than that another one is silent.
            if last.as_ref().is_none_or(|known: &Error| known.problem().is_none()) {
                last = Some(error);
            }
        }
        Err(last.expect("there is at least one port"))
    }
}

/// The token in a file.
pub fn token(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text.trim().to_owned())
}

/// The members, as told by one of this hypercube.
pub async fn members(admin: &Admin, cluster: ClusterId) -> Result<Members, Error> {
    let members = admin.members().await?;
    if members.cluster_id == cluster {
        return Ok(members);
    }
    let detail = format!("this is a peer of {}, not of {cluster}", members.cluster_id);
    Err(Problem::new(Code::WrongCluster, detail).into())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn three() -> Admins {
        let urls = [1, 2, 3].map(|port| format!("http://127.0.0.1:{port}").parse().unwrap());
        Admins::new(urls, "token").unwrap()
    }

    #[tokio::test]
    async fn the_first_answer_is_taken_and_a_refusal_is_final() {
        let asked = AtomicUsize::new(0);
        let second = three()
            .ask(async |_| match asked.fetch_add(1, Ordering::Relaxed) {
                0 => Err(Error::from(Problem::new(Code::NotReady, "starting"))),
                count => Ok(count),
            })
            .await;
        assert_eq!(second.unwrap(), 1);
        let asked = AtomicUsize::new(0);
        let refused: Result<(), Error> = three()
            .ask(async |_| {
                asked.fetch_add(1, Ordering::Relaxed);
                Err(Problem::new(Code::NotEmpty, "drain first").into())
            })
            .await;
        assert_eq!(refused.unwrap_err().code(), Some(Code::NotEmpty));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_peer_of_another_hypercube_is_passed_over() {
        let asked = AtomicUsize::new(0);
        let third = three()
            .ask(async |_| match asked.fetch_add(1, Ordering::Relaxed) {
                count @ 2.. => Ok(count),
                _ => Err(Error::from(Problem::new(Code::WrongCluster, "another"))),
            })
            .await;
        assert_eq!(third.unwrap(), 2);
    }

    #[tokio::test]
    async fn what_a_peer_says_is_told_rather_than_silence() {
        let asked = AtomicUsize::new(0);
        let error = three()
            .ask(async |_| match asked.fetch_add(1, Ordering::Relaxed) {
                1 => Err::<(), _>(Error::from(Problem::new(Code::NoLeader, "election"))),
                _ => Err(Error::Unreachable { endpoint: "e".into(), reason: "refused".into() }),
            })
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::NoLeader));
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn nobody_to_ask_is_said_at_once() {
        assert!(Admins::new([], "token").is_err());
    }
}
