//! The contract and the server say the same.

use hcube_api::openapi::{Endpoint, Operation, Port, document, endpoints};
use hcube_api::stream::PROTOCOL;
use reqwest::Method;

use crate::harness::{Hypercube, send};

/// A request of each endpoint that should work, in the order of the table but for what deletes.
fn body(endpoint: &Endpoint) -> &'static str {
    use Operation as Op;
    match endpoint.operation {
        Op::CreateTopic => r#"{"partitions":1}"#,
        Op::AlterTopic => r#"{"retention":{"bytes":1000000}}"#,
        Op::RegisterPublisher | Op::RegisterSubscriber => r#"{"name":"s"}"#,
        Op::SetCursor => r#"{"to":"latest"}"#,
        Op::Publish => "hello",
        _ => "",
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_is_served_as_documented() {
    let cube = Hypercube::founded(3).await;
    let mut rows = endpoints();
    rows.retain(|endpoint| endpoint.port == Port::Client);
    rows.sort_by_key(|endpoint| endpoint.method == Method::DELETE);
    for endpoint in &rows {
        let path = endpoint.path.replace("{topic}", "t").replace("{subscriber}", "s");
        let mut request = cube.request(1, endpoint.method.clone(), &path).body(body(endpoint));
        if endpoint.operation == Operation::PublishStream {
            request = request.header("connection", "upgrade").header("upgrade", PROTOCOL);
        }
        let got = send(request).await;
        let reply = endpoint.replies.iter().find(|reply| reply.status == got.status);
        let reply = reply.unwrap_or_else(|| panic!("{path} answers {}: {}", got.status, got.text()));
        if let Some((media_type, _)) = reply.content.first() {
            assert_eq!(&got.header("content-type"), media_type, "{path}");
        }
        let promised = reply.headers.iter().map(|(name, _)| *name);
        for name in promised {
            assert!(got.headers.contains_key(name), "{path} promises {name}: {:?}", got.headers);
        }
        if endpoint.method == Method::GET && got.status != 101 {
            let head = send(cube.request(2, Method::HEAD, &path)).await;
            assert_eq!((head.status, head.body.len()), (got.status, 0), "HEAD {path}");
        }
    }
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.port == Port::Admin) {
        // What works is shown by the harness, which founds through this port, and by the tests of members.
        let path = endpoint.path.replace("{topic}", "t").replace("{node_id}", "99");
        let got = send(cube.admin(1, endpoint.method.clone(), &path)).await;
        assert_ne!(got.code(), "not-found", "{path}");
        let known = endpoint.replies.iter().any(|reply| reply.status == got.status)
            || endpoint.codes().iter().any(|code| code.as_str() == got.code());
        assert!(known, "{path} answers {}: {}", got.status, got.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_and_the_metrics_are_there_before_anything_else() {
    let cube = Hypercube::unbound(1, hcube_node::http::Config::default()).await;
    let served = send(cube.get(0, "/openapi.json")).await;
    assert_eq!(served.json(), document(Port::Client));
    let metrics = send(cube.get(0, "/metrics")).await.text();
    assert!(
        metrics.contains("hcube_http_answers_total{operation=\"open-api\",status=\"200\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("hcube_wal_sync_seconds"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"));
}
