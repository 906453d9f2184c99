//! The way from this machine to the pods: a proxy on a port of its own, whose connections are port-forwards.
//!
//! Peers keep the names that they have inside the cluster, so what they tell of each other is followed from outside
//! too, and a pod that goes is left for another as it would be there.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use hcube_client::Url;
use hcube_crd::names::{ADMIN_PORT, CLIENT_PORT, Names, TOKEN};
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::Api;
use kube::api::{ListParams, Portforwarder};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::access::explained;
use super::pods::{self, PodState, Target};
use super::wish::{self, Wish};
use crate::exit::Coded;

/// How long the list of pods is believed.
const FRESH: Duration = Duration::from_secs(1);
/// How long a port-forward may take to stand.
const PATIENCE: Duration = Duration::from_secs(8);
/// Clients of administration, each with a pod of its own to begin with.
const ADMINS: usize = 3;

/// The way. Dropping it closes it.
#[derive(Debug)]
pub struct Forward {
    dialer: Arc<Dialer>,
    proxy: Url,
    task: JoinHandle<()>,
}

impl Forward {
    /// Opens it.
    pub async fn open(client: kube::Client, names: Names) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port is free on this machine")?;
        let proxy = format!("http://{}", listener.local_addr()?).parse()?;
        let dialer = Arc::new(Dialer {
            client,
            names,
            known: Mutex::default(),
            turn: AtomicUsize::new(0),
            trouble: Mutex::default(),
        });
        let task = tokio::spawn(serve(listener, Arc::clone(&dialer)));
        Ok(Self { dialer, proxy, task })
    }

    /// The proxy.
    pub fn proxy(&self) -> Url {
        self.proxy.clone()
    }

    /// Where any pod that is ready answers.
    pub fn endpoint(&self) -> String {
        pods::service(&self.dialer.names)
    }

    /// Where pods are administered.
    pub fn admin_urls(&self) -> anyhow::Result<Vec<Url>> {
        let mut url: Url = self.endpoint().parse()?;
        url.set_port(Some(ADMIN_PORT)).map_err(|()| anyhow!("{url} has no port"))?;
        Ok(vec![url; ADMINS])
    }

    /// The administration token, from the Secret that the operator made.
    pub async fn token(&self) -> anyhow::Result<String> {
        let Dialer { client, names, .. } = &*self.dialer;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), &names.namespace);
        let act = format!(
            "get secret {}, which holds the administration token (or give --token-file)",
            names.secret()
        );
        let secret =
            secrets.get(&names.secret()).await.map_err(|error| explained(error, &act, &names.namespace))?;
        token_of(&secret).with_context(|| format!("Secret {} holds no {TOKEN}", names.secret()))
    }

    /// Makes sure that there is somebody to talk to.
    pub async fn is_there(&self, name: &str) -> anyhow::Result<()> {
        let states = self.dialer.pods(Duration::ZERO).await?;
        if states.iter().any(|pod| pod.ready) {
            return Ok(());
        }
        Err(Coded::unreachable(pods::none_ready(name, &states)).into())
    }

    /// What was in the way at last.
    pub fn trouble(&self) -> Option<String> {
        self.dialer.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The first line, which is the one to show.
fn token_of(secret: &Secret) -> Option<String> {
    let text = std::str::from_utf8(&secret.data.as_ref()?.get(TOKEN)?.0).ok()?;
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

struct Dialer {
    client: kube::Client,
    names: Names,
    known: Mutex<Option<(Instant, Vec<PodState>)>>,
    turn: AtomicUsize,
    trouble: Mutex<Option<String>>,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer").field("names", &self.names).finish_non_exhaustive()
    }
}

async fn serve(listener: TcpListener, dialer: Arc<Dialer>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let dialer = Arc::clone(&dialer);
                tokio::spawn(async move { dialer.carry(stream).await });
            }
            // Out of file descriptors, most likely; connections that end give some back.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

impl Dialer {
    /// One connection from its wish to its end.
    async fn carry(&self, mut stream: TcpStream) {
        let Ok(Wish { host, port, head }) = wish::wish(&mut stream).await else { return };
        let allowed = [CLIENT_PORT, ADMIN_PORT].contains(&port);
        let dialed = match pods::target(&self.names, &host).filter(|_| allowed) {
            Some(target) => self.dial(target, port).await,
            None => Err(anyhow!("{host}:{port} is no peer of Hypercube {}", self.names.name)),
        };
        match dialed {
            Ok(forward) => self.pump(stream, forward, port, &head).await,
            Err(error) => {
                let why = format!("{error:#}");
                let _gone = wish::refuse(&mut stream, &why).await;
                self.note(why);
            }
        }
    }

    async fn pump(&self, mut stream: TcpStream, mut forward: Portforwarder, port: u16, head: &[u8]) {
        let (Some(mut pod), Some(failed)) = (forward.take_stream(port), forward.take_error(port)) else {
            return;
        };
        let failed = async {
            match failed.await {
                Some(error) => error,
                // That nothing failed is told when the stream ends, which ends the other branch.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ended = async {
                pod.write_all(head).await?;
                tokio::io::copy_bidirectional(&mut stream, &mut pod).await
            } => {}
            error = failed => self.note(error.trim().to_owned()),
        }
        forward.abort();
    }

    /// A port-forward to the pod, or to the first that takes it.
    async fn dial(&self, target: Target, port: u16) -> anyhow::Result<Portforwarder> {
        if let Target::Pod(ordinal) = target {
            return self.dial_pod(&self.names.pod(ordinal), port).await;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut states = self.pods(FRESH).await?;
        let mut last = None;
        for patience in [FRESH, Duration::ZERO] {
            if last.is_some() {
                states = self.pods(patience).await?;
            }
            for pod in pods::in_turn(&states, turn) {
                match self.dial_pod(&pod, port).await {
                    Ok(forward) => return Ok(forward),
                    Err(error) => last = Some(error),
                }
            }
        }
        Err(last.unwrap_or_else(|| anyhow!(pods::none_ready(&self.names.name, &states))))
    }

    async fn dial_pod(&self, pod: &str, port: u16) -> anyhow::Result<Portforwarder> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.names.namespace);
        match tokio::time::timeout(PATIENCE, api.portforward(pod, &[port])).await {
            Ok(Ok(forward)) => Ok(forward),
            Ok(Err(error)) => {
                let act = format!("forward a port to pod {pod} (create pods/portforward)");
                Err(explained(error, &act, &self.names.namespace))
            }
            Err(_) => Err(anyhow!("no port-forward to pod {pod} came about in {} s", PATIENCE.as_secs())),
        }
    }

    /// The pods, as they were at most so long ago.
    async fn pods(&self, age_max: Duration) -> anyhow::Result<Vec<PodState>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((at, states)) = known
            && at.elapsed() < age_max
        {
            return Ok(states);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &self.names.namespace);
        let selector = ListParams::default().labels(&self.names.selector_text());
        let listed = tokio::time::timeout(PATIENCE, api.list(&selector)).await;
        let listed = listed.context("the API server of Kubernetes does not answer")?;
        let listed = listed.map_err(|error| explained(error, "list pods", &self.names.namespace))?;
        let states = pods::states(&self.names, &listed.items);
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), states.clone()));
        Ok(states)
    }

    fn note(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }
}

#[cfg(test)]
mod tests;
