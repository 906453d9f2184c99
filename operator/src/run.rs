//! The operator as a process: one replica acts, the others wait for its Lease.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::StreamExt;
use futures_util::future::{BoxFuture, join_all, select_all};
use hcube_crd::{Hypercube, HypercubeTopic};
use kube::Client;
use kube::runtime::controller::{Config, Controller, Error as ControllerError};
use kube::runtime::watcher;
use kube_lease_manager::{DurationSeconds, LeaseManagerBuilder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::EnvFilter;

use crate::build::Defaults;
use crate::config::Args;
use crate::context::{Context, Parts};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::peers::Http;
use crate::watches::{self, Scope};
use crate::{reconcile, topics};

/// Seconds that a Lease lasts unless it is renewed.
const LEASE_SECONDS: DurationSeconds = 15;
/// Seconds before its end at which it is renewed.
const LEASE_GRACE_SECONDS: DurationSeconds = 10;
/// How long the process waits at its end for what blocks a thread.
const END_PATIENCE: Duration = Duration::from_secs(1);
/// Hypercubes that are looked at at the same time.
const CONCURRENCY: u16 = 16;

/// Runs the operator until it is told to end, as the main function of a process.
///
/// # Errors
/// When it cannot reach Kubernetes, or has lost its Lease: it is to be started again.
pub fn main_with(args: Args) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second call finds the first one's logs, which go on.
    let _already = if args.log_json { logs.json().try_init() } else { logs.try_init() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let ended = runtime.block_on(run(args));
    // A name that is still being looked up would otherwise hold up the end of the process until the resolver gives up.
    runtime.shutdown_timeout(END_PATIENCE);
    ended
}

async fn run(args: Args) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let metrics = Arc::new(Metrics::default());
    let health = Health::new(Arc::clone(&metrics));
    let listener = TcpListener::bind(args.http_listen).await.context("health and metrics")?;
    tokio::spawn(health.clone().serve(listener));

    let client = Client::try_default().await.context("no way to Kubernetes")?;
    let mut lease = LeaseManagerBuilder::new(client.clone(), &args.lease)
        .with_namespace(&args.namespace)
        .with_duration(LEASE_SECONDS)
        .with_grace(LEASE_GRACE_SECONDS);
    if let Some(pod) = &args.pod {
        lease = lease.with_identity(pod);
    }
    let (mut leads, lease) = lease.build().await.context("the Lease")?.watch().await;
    health.is_ready();

    let end = async move {
        tokio::select! {
            _signal = terminate.recv() => tracing::info!("SIGTERM"),
            _signal = interrupt.recv() => tracing::info!("SIGINT"),
        }
    };
    tokio::pin!(end);
    let ended = tokio::select! {
        () = &mut end => true,
        led = leads.wait_for(|leads| *leads) => {
            led.context("the Lease is not watched any more")?;
            false
        }
    };
    if ended {
        return release(leads, lease).await;
    }
    tracing::info!("this replica acts");
    metrics.lead(true);
    let (stop, stopped) = watch::channel(false);
    let acting = tokio::spawn(act(client, args, metrics, stopped));
    let lost = tokio::select! {
        () = &mut end => false,
        _lost = leads.wait_for(|leads| !*leads) => true,
    };
    // Looks under way come to their end; whatever they leave undone, the next look finds.
    stop.send_replace(true);
    acting.await?;
    anyhow::ensure!(!lost, "the Lease was lost to another replica");
    release(leads, lease).await
}

/// Gives the Lease back, so that the next replica need not wait for its end.
async fn release<T, E>(
    leads: watch::Receiver<bool>,
    lease: tokio::task::JoinHandle<Result<T, E>>,
) -> anyhow::Result<()>
where
    E: std::error::Error + Send + Sync + 'static,
{
    drop(leads);
    let patience = std::time::Duration::from_secs(5);
    match tokio::time::timeout(patience, lease).await {
        Ok(released) => drop(released?.context("the Lease was not given back")?),
        Err(_) => tracing::warn!("the Lease was not given back in time"),
    }
    Ok(())
}

/// Looks after all resources until it is told to stop.
async fn act(client: Client, args: Args, metrics: Arc<Metrics>, stopped: watch::Receiver<bool>) {
    let scope = Scope { client: client.clone(), namespace: args.watched().map(str::to_owned) };
    let (changed, changes) = mpsc::unbounded_channel();
    let config =
        || Config::default().concurrency(CONCURRENCY).debounce(std::time::Duration::from_millis(100));
    let changes = futures_util::stream::unfold(changes, |mut changes| async move {
        changes.recv().await.map(|hypercube| (hypercube, changes))
    });
    let hypercubes = Controller::new(scope.api::<Hypercube>(), watcher::Config::default())
        .with_config(config())
        .reconcile_on(changes)
        .graceful_shutdown_on(until(stopped.clone()));
    let declared = Controller::new(scope.api::<HypercubeTopic>(), watcher::Config::default())
        .with_config(config())
        .graceful_shutdown_on(until(stopped.clone()));
    let (see, seen) = mpsc::unbounded_channel();
    let (topics_store, topics_watch) = watches::topics(&scope, see);
    let (world, mut background) = watches::world(&scope, topics_store, &changed);
    background.push(topics_watch);
    let context = Arc::new(Context::new(Parts {
        client,
        world: world.clone(),
        hypercubes: hypercubes.store(),
        peers: Arc::new(Http),
        operator: args.name(),
        defaults: Defaults { image: args.node_image, operator_namespace: args.namespace },
        domain: args.cluster_domain,
        metrics: Arc::clone(&metrics),
        instance: args.pod,
    }));
    background.push(Box::pin(watches::follow(seen, changed, Arc::clone(&context))));
    // Before every store is filled, what is missing in it proves nothing.
    let mut background = Box::pin(select_all(background));
    let filled = filled(&world);
    tokio::pin!(filled);
    let mut stopping = Box::pin(until(stopped.clone()));
    tokio::select! {
        () = &mut filled => {}
        _ended = &mut background => return,
        () = &mut stopping => return,
    }
    let hypercubes = hypercubes
        .run(reconcile::reconcile, reconcile::after_failure, Arc::clone(&context))
        .for_each(move |result| {
            if let Err(ControllerError::ObjectNotFound(gone)) = &result {
                metrics.gone(gone.namespace.as_deref().unwrap_or_default(), &gone.name);
            }
            std::future::ready(())
        });
    let declared =
        declared.run(topics::reconcile, topics::after_failure, context).for_each(|_| std::future::ready(()));
    let controllers: [BoxFuture<'_, ()>; 2] = [Box::pin(hypercubes), Box::pin(declared)];
    tokio::select! {
        _ended = join_all(controllers) => {}
        _ended = background => tracing::error!("a watch has ended"),
    }
}

/// Until every store has heard everything once.
async fn filled(world: &crate::world::World) {
    // A store whose writer is gone is noticed by the watches' end.
    let _ready = tokio::join!(
        world.sets.wait_until_ready(),
        world.pods.wait_until_ready(),
        world.claims.wait_until_ready(),
        world.services.wait_until_ready(),
        world.accounts.wait_until_ready(),
        world.budgets.wait_until_ready(),
        world.policies.wait_until_ready(),
        world.topics.wait_until_ready(),
    );
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone says stop as well.
    let _stopped = stopped.wait_for(|stopped| *stopped).await;
}
