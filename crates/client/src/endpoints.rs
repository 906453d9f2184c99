//! Which peers there are to ask, and in which order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hcube_api::cluster::Cluster;
use hcube_core::ids::Vertex;
use reqwest::Url;
use tokio::time::Instant;

/// Base URL of a peer, without a slash at its end.
pub(crate) type Endpoint = Arc<str>;

/// How long a peer that failed stands behind the others.
const SUSPENSION: Duration = Duration::from_secs(2);
/// Shortest time between two looks at the members.
const LEARNING_PAUSE: Duration = Duration::from_secs(1);

/// The peers that were given, and those that they named.
#[derive(Debug)]
pub(crate) struct Directory {
    seeds: Vec<Endpoint>,
    scheme: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<Vertex, Endpoint>,
    suspended: BTreeMap<Endpoint, Instant>,
    /// The peer that answered last; staying with it keeps connections in use.
    current: Option<Endpoint>,
    asked_at: Option<Instant>,
}

impl Directory {
    pub(crate) fn new(seeds: &[Url]) -> Self {
        let scheme = seeds.first().map_or("http", Url::scheme).to_owned();
        let seeds = seeds.iter().map(endpoint).collect();
        Self { seeds, scheme, state: Mutex::default() }
    }

    /// Every peer in the order to ask them: the one at `prefer`, the one that answered last, those given, the
    /// other members; those that failed lately at the end.
    pub(crate) fn candidates(&self, prefer: Option<Vertex>, now: Instant) -> Vec<Endpoint> {
        let mut state = self.state();
        state.suspended.retain(|_, until| *until > now);
        let preferred = prefer.and_then(|vertex| state.members.get(&vertex));
        let all =
            preferred.into_iter().chain(&state.current).chain(&self.seeds).chain(state.members.values());
        let (mut well, mut failed): (Vec<Endpoint>, Vec<Endpoint>) = (Vec::new(), Vec::new());
        for endpoint in all {
            let list = if state.suspended.contains_key(endpoint) { &mut failed } else { &mut well };
            if !list.contains(endpoint) {
                list.push(endpoint.clone());
            }
        }
        well.append(&mut failed);
        well
    }

    /// Notes that a peer answered. `chosen` is false where it was asked for being at some vertex.
    pub(crate) fn worked(&self, endpoint: &Endpoint, chosen: bool) {
        let mut state = self.state();
        state.suspended.remove(endpoint);
        if chosen {
            state.current = Some(endpoint.clone());
        }
    }

    /// Notes that a peer did not answer as it should.
    pub(crate) fn failed(&self, endpoint: &Endpoint, now: Instant) {
        let mut state = self.state();
        state.suspended.insert(endpoint.clone(), now + SUSPENSION);
        if state.current.as_ref() == Some(endpoint) {
            state.current = None;
        }
    }

    /// Whether the peer's address is known.
    pub(crate) fn knows(&self, vertex: Vertex) -> bool {
        self.state().members.contains_key(&vertex)
    }

    /// Whether nobody has asked for the members yet.
    pub(crate) fn is_unlearned(&self) -> bool {
        self.state().asked_at.is_none()
    }

    /// Whether the caller should ask for the members now; says so to one caller at a time.
    pub(crate) fn begin_learning(&self, now: Instant) -> bool {
        let mut state = self.state();
        let due = state.asked_at.is_none_or(|at| now.duration_since(at) >= LEARNING_PAUSE);
        if due {
            state.asked_at = Some(now);
        }
        due
    }

    /// Takes over the members. An address that is no address is left out.
    pub(crate) fn learn(&self, cluster: &Cluster) {
        let url = |address: &str| Url::parse(&format!("{}://{address}", self.scheme)).ok();
        let members = cluster
            .members
            .iter()
            .filter_map(|member| Some((member.vertex, endpoint(&url(&member.client_address)?))));
        self.state().members = members.collect();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding the directory")
    }
}

fn endpoint(url: &Url) -> Endpoint {
    url.as_str().trim_end_matches('/').into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> Directory {
        let seeds = ["http://a:1/", "http://b:2"].map(|text| text.parse().unwrap());
        let directory = Directory::new(&seeds);
        let text = r#"{"cluster_id":"00000000000000000000000000000001","answered_by":"0","version":"0",
            "peers":3,"dimension":2,"replication":3,"epoch":1,"edges":[],"slots":[],
            "metadata":{"leader":null,"replicas":[]},"members":[
            {"label":"00","vertex":0,"node_id":1,"state":"up","client_address":"a:1","zone":""},
            {"label":"01","vertex":1,"node_id":2,"state":"up","client_address":"","zone":""},
            {"label":"10","vertex":2,"node_id":3,"state":"up","client_address":"[::1]:3","zone":""}]}"#;
        directory.learn(&serde_json::from_str(text).unwrap());
        directory
    }

    fn order(directory: &Directory, prefer: Option<u16>, now: Instant) -> Vec<String> {
        let candidates = directory.candidates(prefer.map(Vertex), now);
        candidates.iter().map(|endpoint| endpoint.trim_start_matches("http://").to_owned()).collect()
    }

    #[test]
    fn given_peers_come_first_and_members_once() {
        let now = Instant::now();
        assert_eq!(order(&directory(), None, now), ["a:1", "b:2", "[::1]:3"]);
        assert_eq!(order(&directory(), Some(2), now), ["[::1]:3", "a:1", "b:2"]);
        assert_eq!(order(&directory(), Some(1), now), ["a:1", "b:2", "[::1]:3"], "its address is not known");
    }

    #[test]
    fn a_failed_peer_stands_last_for_a_while() {
        let (directory, now) = (directory(), Instant::now());
        let a: Endpoint = "http://a:1".into();
        directory.failed(&a, now);
        assert_eq!(order(&directory, Some(0), now), ["b:2", "[::1]:3", "a:1"]);
        assert_eq!(order(&directory, None, now + SUSPENSION), ["a:1", "b:2", "[::1]:3"]);
        directory.failed(&a, now);
        directory.worked(&a, true);
        assert_eq!(order(&directory, None, now), ["a:1", "b:2", "[::1]:3"]);
    }

    #[test]
    fn the_peer_that_answered_last_is_asked_again() {
        let (directory, now) = (directory(), Instant::now());
        directory.worked(&"http://b:2".into(), true);
        directory.worked(&"http://[::1]:3".into(), false);
        assert_eq!(order(&directory, None, now), ["b:2", "a:1", "[::1]:3"]);
        directory.failed(&"http://b:2".into(), now);
        assert_eq!(order(&directory, None, now), ["a:1", "[::1]:3", "b:2"]);
    }

    #[test]
    fn one_caller_at_a_time_learns() {
        let (directory, now) = (directory(), Instant::now());
        assert!(directory.is_unlearned());
        assert!(directory.begin_learning(now));
        assert!(!directory.begin_learning(now));
        assert!(directory.begin_learning(now + LEARNING_PAUSE));
    }
}
