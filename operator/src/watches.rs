//! The watches behind a [`World`]: each keeps its kind of object, and says whose hypercube has changed.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use hcube_crd::{Hypercube, HypercubeTopic};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use crate::context::Context;
use crate::names::{INSTANCE, MANAGED_BY, MANAGER};
use crate::world::World;
use crate::{orphans, topics};

/// Hypercubes whose objects have changed.
pub type Changed = UnboundedSender<ObjectRef<Hypercube>>;

/// Where watches look.
#[derive(Clone)]
pub struct Scope {
    /// Kubernetes.
    pub client: Client,
    /// One namespace, or all.
    pub namespace: Option<String>,
}

impl Scope {
    /// The objects of a kind within the scope.
    #[must_use]
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// A world, and the watches that have to run for it to stay true.
#[must_use]
pub fn world(
    scope: &Scope,
    topics: Store<HypercubeTopic>,
    changed: &Changed,
) -> (World, Vec<BoxFuture<'static, ()>>) {
    let mut watches = Vec::new();
    let world = World {
        sets: watch(scope, changed, &mut watches),
        pods: watch(scope, changed, &mut watches),
        claims: watch(scope, changed, &mut watches),
        services: watch(scope, changed, &mut watches),
        accounts: watch(scope, changed, &mut watches),
        budgets: watch(scope, changed, &mut watches),
        policies: watch(scope, changed, &mut watches),
        topics,
    };
    (world, watches)
}

fn watch<K>(scope: &Scope, changed: &Changed, watches: &mut Vec<BoxFuture<'static, ()>>) -> Store<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
    K::DynamicType: Hash + Eq + Clone,
{
    let (reader, writer) = reflector::store();
    let ours = watcher::Config::default().labels(&format!("{MANAGED_BY}={MANAGER}"));
    let changed = changed.clone();
    let stream = watcher(scope.api::<K>(), ours)
        .default_backoff()
        // Nobody reads them, and they are the larger half of many objects.
        .modify(|object| object.managed_fields_mut().clear())
        .reflect(writer)
        .for_each(move |event| {
            match event {
                Ok(
                    watcher::Event::Apply(object)
                    | watcher::Event::InitApply(object)
                    | watcher::Event::Delete(object),
                ) => {
                    if let Some(hypercube) = owner(&object) {
                        // Without a receiver the process is about to end.
                        let _ended = changed.send(hypercube);
                    }
                }
                Ok(watcher::Event::Init | watcher::Event::InitDone) => {}
                Err(error) => tracing::warn!(%error, "a watch was interrupted"),
            }
            std::future::ready(())
        });
    watches.push(Box::pin(stream));
    reader
}

/// The hypercube that an object belongs to.
fn owner<K: Resource>(object: &K) -> Option<ObjectRef<Hypercube>> {
    let meta = object.meta();
    let name = meta.labels.as_ref()?.get(INSTANCE)?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

/// A change of a topic's resource that was seen.
#[derive(Debug)]
pub enum Seen {
    /// It is there.
    There(HypercubeTopic),
    /// It was deleted.
    Deleted(HypercubeTopic),
}

/// The topics' resources, and the watch that has to run for them to stay true.
#[must_use]
pub fn topics(scope: &Scope, seen: UnboundedSender<Seen>) -> (Store<HypercubeTopic>, BoxFuture<'static, ()>) {
    let (reader, writer) = reflector::store();
    let stream = watcher(scope.api::<HypercubeTopic>(), watcher::Config::default())
        .default_backoff()
        .reflect(writer)
        .for_each(move |event| {
            let news = match event {
                Ok(watcher::Event::Apply(topic) | watcher::Event::InitApply(topic)) => Seen::There(topic),
                Ok(watcher::Event::Delete(topic)) => Seen::Deleted(topic),
                Ok(watcher::Event::Init | watcher::Event::InitDone) => return std::future::ready(()),
                Err(error) => {
                    tracing::warn!(%error, "a watch was interrupted");
                    return std::future::ready(());
                }
            };
            // Without a receiver the process is about to end.
            let _ended = seen.send(news);
            std::future::ready(())
        });
    (reader, Box::pin(stream))
}

/// Follows what is seen of topics' resources: acts on deletions, which is done for none that was not seen, and lets
/// the hypercube remember which topics are to go with their resources.
pub async fn follow(mut seen: UnboundedReceiver<Seen>, changed: Changed, context: Arc<Context>) {
    while let Some(news) = seen.recv().await {
        let topic = match news {
            Seen::There(topic) if !orphans::is_news(&context, &topic) => continue,
            Seen::There(topic) => topic,
            Seen::Deleted(topic) => {
                if let Err(error) = topics::removed(&context, &topic).await {
                    tracing::warn!(topic = topic.name_any(), %error, "its deletion was not followed; see the orphans");
                }
                topic
            }
        };
        let namespace = topic.spec.hypercube.namespace.clone().or_else(|| topic.namespace());
        let hypercube = ObjectRef::new(&topic.spec.hypercube.name).within(&namespace.unwrap_or_default());
        let _ended = changed.send(hypercube);
    }
}
