//! The metrics of HTTP, each with its meaning and labels. They stand behind those of the node in `/metrics`.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Labels of an answered request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AnswerLabels {
    /// What was asked, such as `publish`; `none` for what nothing is served for.
    operation: &'static str,
    /// The HTTP status.
    status: u16,
}

/// The label of a request's time.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

/// The label of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    /// `client` or `admin`.
    port: &'static str,
}

/// What HTTP counts.
#[derive(Debug)]
pub(super) struct HttpMetrics {
    registry: Registry,
    answers: Family<AnswerLabels, Counter>,
    answer_seconds: Family<OperationLabel, Histogram, fn() -> Histogram>,
    connections: Family<PortLabel, Gauge>,
    refusals: Family<PortLabel, Counter>,
    subscriptions: Gauge,
}

impl HttpMetrics {
    pub fn new() -> Self {
        // 50 microseconds to 52 seconds, which holds the longest poll.
        let seconds = || Histogram::new(exponential_buckets(50e-6, 2.0, 21));
        let mut metrics = Self {
            registry: Registry::with_prefix("hcube_http"),
            answers: Family::default(),
            answer_seconds: Family::new_with_constructor(seconds),
            connections: Family::default(),
            refusals: Family::default(),
            subscriptions: Gauge::default(),
        };
        metrics.register();
        metrics
    }

    #[rustfmt::skip] // One metric a line.
    fn register(&mut self) {
        let r = &mut self.registry;
        r.register("answers", "Requests answered, by operation and HTTP status", self.answers.clone());
        r.register_with_unit("answer", "From a request's head to its answer's, by operation", Unit::Seconds, self.answer_seconds.clone());
        r.register("connections", "Open connections, by port", self.connections.clone());
        r.register("refusals", "Connections refused because there were too many, by port", self.refusals.clone());
        r.register("subscriptions", "Open subscriptions", self.subscriptions.clone());
    }

    /// The metrics behind those of the node, in Prometheus' text form.
    pub fn text(&self, node: &str) -> String {
        const END: &str = "# EOF\n";
        let mut out = node.strip_suffix(END).unwrap_or(node).to_owned();
        if text::encode(&mut out, &self.registry).is_err() {
            out.push_str(END);
        }
        out
    }

    pub fn answered(&self, operation: &'static str, status: u16, took: Duration) {
        self.answers.get_or_create(&AnswerLabels { operation, status }).inc();
        self.answer_seconds.get_or_create(&OperationLabel { operation }).observe(took.as_secs_f64());
    }

    /// Counts a connection until the guard is dropped.
    pub fn connection(&self, port: &'static str) -> Counted {
        Counted::new(self.connections.get_or_create(&PortLabel { port }).clone())
    }

    pub fn refused(&self, port: &'static str) {
        self.refusals.get_or_create(&PortLabel { port }).inc();
    }

    /// Counts a subscription until the guard is dropped.
    pub fn subscription(&self) -> Counted {
        Counted::new(self.subscriptions.clone())
    }
}

/// Something that a gauge counts while it lasts.
#[derive(Debug)]
pub(super) struct Counted(Gauge);

impl Counted {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_parts_stand_in_one_text() {
        let metrics = HttpMetrics::new();
        metrics.answered("publish", 200, Duration::from_millis(1));
        let connection = metrics.connection("client");
        let text = metrics.text("hcube_links_up 1\n# EOF\n");
        assert!(text.starts_with("hcube_links_up 1\n"));
        assert!(text.contains("hcube_http_answers_total{operation=\"publish\",status=\"200\"} 1"), "{text}");
        assert!(text.contains("hcube_http_connections{port=\"client\"} 1"), "{text}");
        assert_eq!(text.matches("# EOF").count(), 1);
        drop(connection);
        assert!(metrics.text("").contains("hcube_http_connections{port=\"client\"} 0"));
    }
}
