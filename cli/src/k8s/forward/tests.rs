//! The way, against an API server that is played.

use std::sync::Mutex as Lock;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::json;

use super::*;
use crate::k8s::pods::tests::{names, pod};

/// An API server with these pods, whose port-forwards are refused with this status; and what it was asked.
fn server(pods: Vec<Pod>, refusal: StatusCode) -> (kube::Client, Arc<Lock<Vec<String>>>) {
    let (service, mut handle) = tower_test::mock::pair::<Request<Body>, Response<Body>>();
    let asked = Arc::new(Lock::new(Vec::new()));
    let told = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Some((request, send)) = handle.next_request().await {
            let (parts, body) = request.into_parts();
            let _ = body.collect().await.unwrap();
            told.lock().unwrap().push(parts.uri.path().to_owned());
            let (status, answer) = if parts.uri.path().ends_with("/portforward") {
                let why = json!({"status": "Failure", "message": "so it is", "code": refusal.as_u16()});
                (refusal, why)
            } else if parts.uri.path().ends_with("/secrets/demo-secrets") {
                let token = k8s_openapi::ByteString(b"new\nold\n".to_vec());
                (StatusCode::OK, json!({"metadata": {"name": "demo-secrets"}, "data": {TOKEN: token}}))
            } else {
                (
                    StatusCode::OK,
                    json!({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods}),
                )
            };
            let body = Body::from(answer.to_string().into_bytes());
            send.send_response(Response::builder().status(status).body(body).unwrap());
        }
    });
    (kube::Client::new(service, "shop"), asked)
}

#[tokio::test]
async fn a_request_goes_to_ready_pods_by_name_and_its_refusal_is_told() {
    let pods = vec![pod("demo-0", true, false), pod("demo-1", false, false), pod("demo-2", true, false)];
    let (client, asked) = server(pods, StatusCode::FORBIDDEN);
    let forward = Forward::open(client, names()).await.unwrap();
    let hcube = hcube_client::Client::builder([forward.endpoint().parse().unwrap()]).proxy(forward.proxy());
    let hcube = hcube.learns_members(false).retry_timeout(Duration::ZERO).build().unwrap();
    let error = hcube.cluster().await.unwrap_err();
    assert!(!error.maybe_done() && error.code() == Some(hcube_api::Code::NotReady), "{error:?}");
    let trouble = forward.trouble().unwrap();
    assert!(trouble.starts_with("forbidden: you may not forward a port to pod demo-"), "{trouble}");
    let asked = asked.lock().unwrap();
    for (pod, tried) in [("demo-0", true), ("demo-1", false), ("demo-2", true)] {
        let path = format!("/api/v1/namespaces/shop/pods/{pod}/portforward");
        assert_eq!(asked.contains(&path), tried, "{pod}: {asked:?}");
    }
}

#[tokio::test]
async fn nobody_to_talk_to_is_told_at_once() {
    let (client, _) = server(vec![pod("demo-0", false, false)], StatusCode::OK);
    let forward = Forward::open(client, names()).await.unwrap();
    let error = forward.is_there("demo").await.unwrap_err();
    assert_eq!(crate::exit::code_of(&error), crate::exit::UNREACHABLE);
    assert!(error.to_string().ends_with("demo-0 is not ready"), "{error}");
}

#[tokio::test]
async fn the_token_that_is_shown_is_the_first() {
    let (client, asked) = server(Vec::new(), StatusCode::OK);
    let forward = Forward::open(client, names()).await.unwrap();
    assert!(asked.lock().unwrap().is_empty(), "no secret is read before it is needed");
    assert_eq!(forward.token().await.unwrap(), "new");
}

#[tokio::test]
async fn no_other_host_is_reached() {
    let (client, asked) = server(vec![pod("demo-0", true, false)], StatusCode::OK);
    let forward = Forward::open(client, names()).await.unwrap();
    for elsewhere in ["http://kubernetes.default.svc:8000", "http://demo.shop.svc:6443"] {
        let hcube = hcube_client::Client::builder([elsewhere.parse().unwrap()]).proxy(forward.proxy());
        let hcube = hcube.learns_members(false).retry_timeout(Duration::ZERO).build().unwrap();
        assert!(hcube.cluster().await.is_err());
    }
    assert!(asked.lock().unwrap().is_empty());
}
