//! The operator's figures: every metric with its meaning and labels.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Which kind of resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfKind {
    kind: &'static str,
}

/// Which resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResource {
    namespace: String,
    name: String,
}

/// All figures.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OfKind, Counter>,
    failures: Family<OfKind, Counter>,
    seconds: Family<OfKind, Histogram, fn() -> Histogram>,
    writes: Counter,
    leading: Gauge,
    ready: Family<OfResource, Gauge>,
    members: Family<OfResource, Gauge>,
    stalled: Family<OfResource, Gauge>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 12))
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("hcube_operator"),
            reconciles: Family::default(),
            failures: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            writes: Counter::default(),
            leading: Gauge::default(),
            ready: Family::default(),
            members: Family::default(),
            stalled: Family::default(),
        };
        let registry = &mut metrics.registry;
        registry.register("reconciles", "Looks at a resource, by kind", metrics.reconciles.clone());
        registry.register("reconcile_failures", "Looks that failed, by kind", metrics.failures.clone());
        registry.register("reconcile_seconds", "How long looks took, by kind", metrics.seconds.clone());
        registry.register("writes", "Objects and statuses written to Kubernetes", metrics.writes.clone());
        registry.register("leading", "1 while this replica of the operator acts", metrics.leading.clone());
        registry.register("hypercube_ready", "Condition Ready, 1 or 0, by Hypercube", metrics.ready.clone());
        registry.register("hypercube_members", "Members, by Hypercube", metrics.members.clone());
        registry.register(
            "hypercube_stalled",
            "Condition Stalled, 1 or 0, by Hypercube",
            metrics.stalled.clone(),
        );
        metrics
    }
}

impl Metrics {
    /// A look at a resource is over.
    pub fn reconciled(&self, kind: &'static str, took: Duration, succeeded: bool) {
        let of = OfKind { kind };
        self.reconciles.get_or_create(&of).inc();
        self.seconds.get_or_create(&of).observe(took.as_secs_f64());
        if !succeeded {
            self.failures.get_or_create(&of).inc();
        }
    }

    /// Something was written.
    pub fn wrote(&self) {
        self.writes.inc();
    }

    /// Whether this replica acts.
    pub fn lead(&self, leads: bool) {
        self.leading.set(i64::from(leads));
    }

    /// How a Hypercube stands.
    pub fn stands(&self, namespace: &str, name: &str, ready: bool, stalled: bool, members: i32) {
        let of = OfResource { namespace: namespace.to_owned(), name: name.to_owned() };
        self.ready.get_or_create(&of).set(i64::from(ready));
        self.stalled.get_or_create(&of).set(i64::from(stalled));
        self.members.get_or_create(&of).set(members.into());
    }

    /// A Hypercube is gone.
    pub fn gone(&self, namespace: &str, name: &str) {
        let of = OfResource { namespace: namespace.to_owned(), name: name.to_owned() };
        self.ready.remove(&of);
        self.stalled.remove(&of);
        self.members.remove(&of);
    }

    /// All of them, as Prometheus reads them.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _written = encode(&mut text, &self.registry);
        text
    }
}
