//! Every path of the client and administration ports: templates for servers, builders for clients.

use hcube_core::ids::{ClusterId, NodeId};
use hcube_core::topic::Name;

/// List of topics.
pub const TOPICS: &str = "/v1/topics";
/// One topic.
pub const TOPIC: &str = "/v1/topics/{topic}";
/// A topic's messages: publish, pull, subscribe.
pub const MESSAGES: &str = "/v1/topics/{topic}/messages";
/// The publish stream.
pub const PUBLISH: &str = "/v1/publish";
/// Registration of publishers.
pub const PUBLISHERS: &str = "/v1/publishers";
/// Registration of subscribers.
pub const SUBSCRIBERS: &str = "/v1/subscribers";
/// A subscriber's durable cursor in one topic.
pub const CURSOR: &str = "/v1/subscribers/{subscriber}/cursors/{topic}";
/// Members, slots and edges of the hypercube. On the administration port, what it is meant to be.
pub const CLUSTER: &str = "/v1/cluster";
/// What would move if the hypercube had other peers or replicas.
pub const PLAN: &str = "/v1/cluster/plan";
/// The path that a request for a topic takes.
pub const ROUTE: &str = "/v1/cluster/route/{topic}";
/// Liveness; depends on no other peer.
pub const HEALTH: &str = "/healthz";
/// Readiness.
pub const READY: &str = "/readyz";
/// Metrics in Prometheus' text form.
pub const METRICS: &str = "/metrics";
/// The OpenAPI document of the port.
pub const OPENAPI: &str = "/openapi.json";
/// Administration port: founds a hypercube.
pub const BOOTSTRAP: &str = "/v1/bootstrap";
/// Administration port: who this peer is.
pub const IDENTITY: &str = "/v1/identity";
/// Administration port: the members.
pub const MEMBERS: &str = "/v1/members";
/// Administration port: one member.
pub const MEMBER: &str = "/v1/members/{node_id}";
/// Administration port: a member is to leave.
pub const DRAIN: &str = "/v1/members/{node_id}/drain";
/// Administration port: a member stays after all.
pub const CANCEL_DRAIN: &str = "/v1/members/{node_id}/cancel-drain";
/// Administration port: slots that lost their majority go on with what is left.
pub const UNSAFE_RECOVER: &str = "/v1/unsafe-recover";
/// Administration port: a topic's replicas that only read.
pub const READ_REPLICAS: &str = "/v1/topics/{topic}/read-replicas";

// A valid name consists of characters that stand for themselves in a path, so nothing is escaped below.

/// Path of one topic.
#[must_use]
pub fn topic(topic: &Name) -> String {
    format!("{TOPICS}/{topic}")
}

/// Path of a topic's messages, without a query.
#[must_use]
pub fn messages(topic: &Name) -> String {
    format!("{TOPICS}/{topic}/messages")
}

/// Path of a subscriber's durable cursor in a topic.
#[must_use]
pub fn cursor(subscriber: &Name, topic: &Name) -> String {
    format!("{SUBSCRIBERS}/{subscriber}/cursors/{topic}")
}

/// Path of the route of a topic's partition.
#[must_use]
pub fn route(topic: &Name, partition: u16) -> String {
    format!("{CLUSTER}/route/{topic}?partition={partition}")
}

/// Path of a member, with the hypercube that it is meant to be removed from.
#[must_use]
pub fn member(node: NodeId, cluster: ClusterId) -> String {
    format!("{MEMBERS}/{node}?cluster_id={cluster}")
}

/// Path of the drain of a member.
#[must_use]
pub fn drain(node: NodeId) -> String {
    format!("{MEMBERS}/{node}/drain")
}

/// Path of the end of a drain.
#[must_use]
pub fn cancel_drain(node: NodeId) -> String {
    format!("{MEMBERS}/{node}/cancel-drain")
}

/// Path of a topic's replicas that only read.
#[must_use]
pub fn read_replicas(topic: &Name) -> String {
    format!("{TOPICS}/{topic}/read-replicas")
}

/// The parameters of a path that fits a template, still percent-encoded, in the template's order.
#[must_use]
pub fn fit<'p>(template: &str, path: &'p str) -> Option<Vec<&'p str>> {
    let mut parameters = Vec::new();
    let mut given = path.split('/');
    for wanted in template.split('/') {
        let segment = given.next()?;
        if wanted.starts_with('{') && !segment.is_empty() {
            parameters.push(segment);
        } else if wanted != segment {
            return None;
        }
    }
    given.next().is_none().then_some(parameters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builders_fit_their_templates() {
        let (a, b): (Name, Name) = ("a.b".parse().unwrap(), "c-d".parse().unwrap());
        assert_eq!(fit(TOPIC, &topic(&a)), Some(vec!["a.b"]));
        assert_eq!(fit(MESSAGES, &messages(&a)), Some(vec!["a.b"]));
        assert_eq!(fit(CURSOR, &cursor(&a, &b)), Some(vec!["a.b", "c-d"]));
        assert_eq!(route(&a, 3), "/v1/cluster/route/a.b?partition=3");
        assert_eq!(fit(READ_REPLICAS, &read_replicas(&a)), Some(vec!["a.b"]));
        assert_eq!(fit(DRAIN, &drain(NodeId(7))), Some(vec!["7"]));
        assert_eq!(fit(CANCEL_DRAIN, &cancel_drain(NodeId(7))), Some(vec!["7"]));
        let member = member(NodeId(7), ClusterId(1));
        let (path, query) = member.split_once('?').unwrap();
        assert_eq!(fit(MEMBER, path), Some(vec!["7"]));
        assert_eq!(crate::admin::cluster_query(Some(query)), Ok(ClusterId(1)));
    }

    #[test]
    fn near_misses_do_not_fit() {
        assert_eq!(fit(TOPIC, "/v1/topics/"), None);
        assert_eq!(fit(TOPIC, "/v1/topics/a/"), None);
        assert_eq!(fit(TOPIC, "/v1/topics"), None);
        assert_eq!(fit(TOPICS, "/v1/topics"), Some(vec![]));
        assert_eq!(fit(TOPICS, "v1/topics"), None);
    }
}
