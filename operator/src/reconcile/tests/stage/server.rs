//! The Kubernetes of a stage.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};

use super::NAMESPACE;
use crate::rbac;

/// What Kubernetes holds, as far as it matters, and what it was asked.
#[derive(Debug, Default)]
pub struct Server {
    /// Writes, as `VERB path`, without Events.
    pub writes: Vec<String>,
    /// Reasons and notes of the Events.
    pub events: Vec<(String, String)>,
    /// Bodies of the writes, by path.
    pub bodies: BTreeMap<String, Value>,
    /// Reads.
    pub reads: Vec<String>,
    /// Objects that can be read, by path.
    pub objects: BTreeMap<String, Value>,
    /// Paths whose writes are refused, with what status.
    pub refused: BTreeMap<String, u16>,
    /// Paths that cannot be read, with what status.
    pub unreadable: BTreeMap<String, u16>,
}

type Handle = tower_test::mock::Mock<Request<Body>, Response<Body>>;

/// Serves until the stage is dropped.
pub(super) fn serve(server: Arc<Mutex<Server>>) -> Handle {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let bytes = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
            let (status, answer) = server.lock().unwrap().answer(&parts.method, parts.uri.path(), &body);
            let answer = Body::from(answer.to_string().into_bytes());
            send.send_response(Response::builder().status(status).body(answer).unwrap());
        }
    });
    service
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, body: &Value) -> (u16, Value) {
        let (group, resource, verb) = right(method, path);
        assert!(rbac::allows(group, &resource, verb), "no rule allows to {verb} {resource} of {group:?}");
        if method == Method::GET {
            self.reads.push(path.to_owned());
            if let Some(status) = self.unreadable.get(path) {
                return failure(*status);
            }
            return match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404),
            };
        }
        if path.contains("/events.k8s.io/") {
            assert_eq!(method, Method::POST, "an Event that is counted up keeps the words of the first");
            let text = |field: &str| body[field].as_str().unwrap().to_owned();
            self.events.push((text("reason"), text("note")));
            return (200, body.clone());
        }
        let short = path.rsplit_once(&format!("/namespaces/{NAMESPACE}/")).map_or(path, |(_, rest)| rest);
        self.writes.push(format!("{method} {short}"));
        if let Some(status) = self.refused.get(short) {
            return failure(*status);
        }
        if method == Method::DELETE {
            return (200, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}));
        }
        self.bodies.insert(short.to_owned(), body.clone());
        if let Some(path) = path.strip_suffix("/status") {
            return self.store_status(path, body);
        }
        let mut answer = body.clone();
        // A patch does not say what it is a patch of.
        if short.starts_with("secrets") {
            self.store_secret(body);
            answer["kind"] = "Secret".into();
        } else if short.starts_with("persistentvolumeclaims") {
            answer["kind"] = "PersistentVolumeClaim".into();
        }
        if answer["apiVersion"].is_null() {
            answer["apiVersion"] = "v1".into();
        }
        (200, answer)
    }

    fn store_status(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let object = self.objects.get_mut(path).unwrap();
        let version = object["metadata"]["resourceVersion"].clone();
        if body["metadata"]["resourceVersion"] != version {
            return failure(409);
        }
        let version: u64 = version.as_str().unwrap().parse().unwrap();
        object["metadata"]["resourceVersion"] = (version + 1).to_string().into();
        object["status"] = body["status"].clone();
        (200, object.clone())
    }

    fn store_secret(&mut self, body: &Value) {
        let data: serde_json::Map<String, Value> = body["stringData"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, text)| (key.clone(), base64(text.as_str().unwrap())))
            .collect();
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": "demo-secrets", "annotations": body["metadata"]["annotations"]},
            "data": data,
        });
        self.objects.insert(format!("/api/v1/namespaces/{NAMESPACE}/secrets/demo-secrets"), secret);
    }
}

/// Which right a request needs: API group, resource with its part, verb.
fn right<'p>(method: &Method, path: &'p str) -> (&'p str, String, &'static str) {
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match parts[..] {
        ["api", _, ref rest @ ..] => ("", rest),
        ["apis", group, _, ref rest @ ..] => (group, rest),
        _ => panic!("{path}"),
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    let resource = match rest {
        [resource, _, part] => format!("{resource}/{part}"),
        [resource, ..] => (*resource).to_owned(),
        [] => panic!("{path}"),
    };
    let verb = match (method.as_str(), rest.len()) {
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PATCH", _) => "patch",
        ("DELETE", _) => "delete",
        _ => panic!("{method} {path}"),
    };
    (group, resource, verb)
}

fn base64(text: &str) -> Value {
    serde_json::to_value(k8s_openapi::ByteString(text.as_bytes().to_vec())).unwrap()
}

fn failure(code: u16) -> (u16, Value) {
    let reason = match code {
        403 => "Forbidden",
        409 => "Conflict",
        500 => "InternalError",
        _ => "NotFound",
    };
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": "refused", "reason": reason, "code": code,
    });
    (code, status)
}
