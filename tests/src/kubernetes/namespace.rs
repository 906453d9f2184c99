//! A namespace for one story: shown whole when the story fails, and deleted at its end.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::kubectl::{file, json as get, kubectl};
use super::operator;
use crate::program::Ran;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(300);
/// Lines of the end of a log that are shown.
const TAIL: usize = 60;

/// Stories that leave the cluster's machines and the operator alone run beside each other; those that do not, alone.
static TURNS: RwLock<()> = RwLock::new(());

// Held, never looked at.
#[derive(Debug)]
#[allow(dead_code, reason = "a guard works by being there")]
enum Turn {
    Beside(RwLockReadGuard<'static, ()>),
    Alone(RwLockWriteGuard<'static, ()>),
}

/// A namespace.
#[derive(Debug)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    began: Instant,
    _turn: Option<Turn>,
}

impl Namespace {
    /// For a story that others may run beside.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn beside(story: &str) -> Self {
        let turn = Turn::Beside(TURNS.read().unwrap_or_else(PoisonError::into_inner));
        Self::make(story, Some(turn))
    }

    /// For a story that harms machines, the API server or the operator.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn alone(story: &str) -> Self {
        let turn = Turn::Alone(TURNS.write().unwrap_or_else(PoisonError::into_inner));
        Self::make(story, Some(turn))
    }

    /// Another one for the same story.
    ///
    /// # Panics
    /// When it cannot be made.
    #[track_caller]
    #[must_use]
    pub fn another(&self, suffix: &str) -> Self {
        Self::make(&format!("{}-{suffix}", self.name), None)
    }

    #[track_caller]
    fn make(name: &str, turn: Option<Turn>) -> Self {
        operator::is_there();
        // What an interrupted run left.
        let _ = kubectl(&["delete", "namespace", name, "--ignore-not-found", "--timeout=120s"]).ok();
        let namespace = Self { name: name.to_owned(), began: Instant::now(), _turn: turn };
        let labels = json!({
            "pod-security.kubernetes.io/enforce": "restricted",
            "pod-security.kubernetes.io/warn": "restricted",
            "hcube-tests": "story",
        });
        let made = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        });
        let manifest = file(&[made]);
        let path = manifest.path().to_string_lossy().into_owned();
        let _ = kubectl(&["apply", "-f", &path]).ok();
        namespace
    }

    /// kubectl in this namespace.
    ///
    /// # Panics
    /// When it cannot be started or does not end.
    #[track_caller]
    #[must_use]
    pub fn kubectl(&self, arguments: &[&str]) -> Ran {
        let mut all = vec!["--namespace", self.name.as_str()];
        all.extend(arguments);
        kubectl(&all)
    }

    /// Tries to apply objects.
    ///
    /// # Panics
    /// When kubectl cannot be started or does not end.
    #[track_caller]
    #[must_use]
    pub fn try_apply(&self, objects: &[Value]) -> Ran {
        let manifest = file(objects);
        self.kubectl(&["apply", "-f", &manifest.path().to_string_lossy()])
    }

    /// Applies objects.
    ///
    /// # Panics
    /// When they are refused, or warned about.
    #[track_caller]
    pub fn apply(&self, objects: &[Value]) {
        let ran = self.try_apply(objects).expect_code(0);
        assert!(!ran.stderr.contains("Warning"), "{ran}");
    }

    /// An object; none where there is no such thing or the API does not answer.
    #[must_use]
    pub fn get(&self, kind: &str, name: &str) -> Option<Value> {
        get(&["--namespace", &self.name, kind, name])
    }

    /// All objects of a kind.
    ///
    /// # Panics
    /// When the API does not tell.
    #[track_caller]
    #[must_use]
    pub fn list(&self, kind: &str) -> Vec<Value> {
        let list = get(&["--namespace", &self.name, kind]);
        let list = list.unwrap_or_else(|| panic!("no list of {kind} in {}", self.name));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    /// Waits until an object is as it should be, and returns it.
    ///
    /// # Panics
    /// When it is not in time; the message shows the object.
    #[track_caller]
    pub fn until(
        &self,
        kind: &str,
        name: &str,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        let began = Instant::now();
        loop {
            let object = self.get(kind, name);
            if let Some(object) = object.filter(|object| is_so(object)) {
                return object;
            }
            if began.elapsed() >= patience {
                let shown = self.kubectl(&["get", kind, name, "-o", "yaml"]);
                panic!("not within {patience:?}: {kind}/{name} {what}: {shown}");
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until an object is gone.
    ///
    /// # Panics
    /// When it is not in time.
    #[track_caller]
    pub fn until_gone(&self, kind: &str, name: &str, patience: Duration) {
        let began = Instant::now();
        loop {
            let ran = self.kubectl(&["get", kind, name, "--ignore-not-found", "-o", "name"]);
            if ran.code == Some(0) && ran.stdout.trim().is_empty() {
                return;
            }
            assert!(began.elapsed() < patience, "{kind}/{name} is still there after {patience:?}: {ran}");
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for an Event about an object, and returns its message.
    ///
    /// # Panics
    /// When there is none in time.
    #[track_caller]
    pub fn until_event(&self, about: &str, reason: &str, patience: Duration) -> String {
        let began = Instant::now();
        loop {
            let events = get(&["--namespace", &self.name, "events.v1.events.k8s.io"]);
            let events = events.and_then(|list| list["items"].as_array().cloned()).unwrap_or_default();
            let is_it = |event: &&Value| event["reason"] == reason && event["regarding"]["name"] == about;
            if let Some(event) = events.iter().find(is_it) {
                return event["note"].as_str().unwrap_or_default().to_owned();
            }
            let reasons: Vec<&Value> = events.iter().map(|event| &event["reason"]).collect();
            assert!(began.elapsed() < patience, "no Event {reason} about {about}: {reasons:?}");
            std::thread::sleep(LOOK);
        }
    }

    /// Everything about this namespace that explains a failure.
    fn show(&self) -> String {
        let mut shown = format!("==== namespace {}, {:?} old\n", self.name, self.began.elapsed());
        let mut add = |what: &str, ran: &Ran| {
            shown.push_str(&format!("---- {what}\n{}{}\n", ran.stdout, ran.stderr));
        };
        let kinds =
            "hypercubes,hypercubetopics,statefulsets,pods,persistentvolumeclaims,poddisruptionbudgets";
        add("objects", &self.kubectl(&["get", kinds, "-o", "wide"]));
        add("resources", &self.kubectl(&["get", "hypercubes,hypercubetopics", "-o", "yaml"]));
        add("events", &self.kubectl(&["events"]));
        for pod in get(&["--namespace", &self.name, "pods"])
            .iter()
            .flat_map(|list| list["items"].as_array())
            .flatten()
        {
            let name = pod["metadata"]["name"].as_str().unwrap_or_default();
            let tail = format!("--tail={TAIL}");
            add(&format!("log of {name}"), &self.kubectl(&["logs", name, &tail]));
            let restarts = pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or(0);
            if restarts > 0 {
                add(&format!("earlier log of {name}"), &self.kubectl(&["logs", name, "--previous", &tail]));
            }
        }
        add("operator", &operator::log(self.began.elapsed(), &self.name));
        shown
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The harness shows what a failed test prints on stdout and stderr through these macros alone.
            shout(&self.show());
        }
        let _ = kubectl(&["delete", "namespace", &self.name, "--ignore-not-found", "--wait=false"]);
    }
}

#[allow(clippy::print_stderr, reason = "a failure explains itself")]
fn shout(text: &str) {
    eprintln!("{text}");
}
