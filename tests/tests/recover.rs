//! Disks are lost for good, more of them than a slot can do without.

use std::collections::BTreeSet;

use hcube_tests::{Answer, Cluster, eventually, seconds};
use reqwest::Method;
use serde_json::{Value, json};

const PARTITIONS: u16 = 16;

fn publish(cluster: &Cluster, vertex: u16, partition: u16, text: &str) -> Answer {
    let path = format!("/v1/topics/t/messages?partition={partition}");
    cluster.send(
        cluster
            .request(Method::POST, vertex, &path)
            .header("content-type", "text/plain")
            .body(text.to_owned()),
    )
}

fn recover(cluster: &Cluster, body: &Value) -> Answer {
    let url = format!("http://127.0.0.1:{}/v1/unsafe-recover", cluster.admin_port(0));
    let request = cluster.client.post(url).header("content-type", "application/json");
    cluster.send(request.bearer_auth(cluster.admin_token()).body(body.to_string()))
}

#[test]
fn slots_that_lost_their_majority_go_on_when_somebody_decides_so() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", PARTITIONS);
    let (lost, kept) = ([3, 4], [0, 1, 2]);
    let stuck: BTreeSet<u16> = (0..PARTITIONS)
        .filter(|p| cluster.replicas("t", *p).iter().filter(|vertex| lost.contains(vertex)).count() == 2)
        .collect();
    assert!(!stuck.is_empty() && stuck.len() < usize::from(PARTITIONS), "{stuck:?}");
    for partition in 0..PARTITIONS {
        for number in 0..5 {
            let _ = publish(&cluster, 0, partition, &format!("{partition}-{number}")).expect(200);
        }
    }
    for partition in 0..PARTITIONS {
        cluster.replicas_become_equal("t", partition);
    }
    let id = cluster.get(0, "/v1/cluster").expect(200).json()["cluster_id"].clone();
    let nodes: Vec<u64> = lost.iter().map(|vertex| cluster.node_id(*vertex)).collect();
    let body = |lost: &[u64]| json!({ "cluster_id": id, "lost": lost, "accept_data_loss": true });
    let refused = |answer: Answer, status: u16, code: &str| drop(answer.expect_problem(status, code));
    refused(recover(&cluster, &body(&nodes)), 409, "still-alive");
    for vertex in lost {
        cluster.kill(vertex);
        cluster.wipe(vertex);
    }
    eventually("the peers miss them", seconds(30), || {
        let problem = recover(&cluster, &body(&nodes)).expect(409).json();
        (problem["code"] == "not-lost").then_some(())
    });
    for vertex in lost {
        cluster.start(vertex);
    }

    // Nothing can be published there, and whoever tries is told why.
    let first = *stuck.iter().next().unwrap_or_else(|| panic!("there are some"));
    refused(publish(&cluster, 0, first, "too early"), 503, "majority-lost");
    let rebalance =
        |figure: &str| cluster.get(1, "/v1/cluster").expect(200).json()["rebalance"][figure].clone();
    eventually("every slot without a majority is told", seconds(60), || {
        (rebalance("without_majority") == stuck.len()).then_some(())
    });
    let shown = cluster.hcube(&["cluster", "status"]).ok();
    assert!(shown.contains("majority lost of slots"), "{shown}");
    let metrics = cluster.get(2, "/metrics").expect(200).text();
    assert!(metrics.contains(&format!("hcube_slots_without_majority {}\n", stuck.len())), "{metrics}");

    refused(recover(&cluster, &json!({ "cluster_id": id, "lost": nodes })), 400, "loss-not-accepted");
    refused(recover(&cluster, &body(&[99])), 404, "unknown-node");
    let other =
        json!({ "cluster_id": "00000000000000000000000000000043", "lost": nodes, "accept_data_loss": true });
    refused(recover(&cluster, &other), 409, "wrong-cluster");
    let labels: Vec<String> = lost.iter().map(|vertex| cluster.label(*vertex)).collect();
    let dir = cluster.dir().to_string_lossy().into_owned();
    let command = |more: &[&str]| {
        let named = ["cluster", "unsafe-recover", "--dir", &dir, "--lost", &labels[0], &labels[1]];
        cluster.hcube(&[&named, more].concat())
    };
    let told = command(&[]);
    assert!(told.stderr.contains("--accept-data-loss") && told.stderr.contains("gone for good"), "{told:?}");
    assert_eq!(rebalance("without_majority"), stuck.len(), "nothing has changed");

    let done = command(&["--accept-data-loss"]).ok();
    assert_eq!(done.matches("went on with the copy").count(), stuck.len(), "{done}");
    for partition in 0..PARTITIONS {
        eventually(&format!("partition {partition} takes messages"), seconds(60), || {
            (publish(&cluster, partition % 3, partition, "after").status == 200).then_some(())
        });
    }
    eventually("everything is in place", seconds(60), || {
        let figures = ["without_majority", "moving", "waiting", "under_replicated"];
        figures.iter().all(|figure| rebalance(figure) == 0).then_some(())
    });
    // The survivors had everything here, which needs not be so.
    for (partition, messages) in cluster.read(2, "t", PARTITIONS) {
        let values: Vec<&str> = messages.iter().map(|message| message.value.as_str()).collect();
        let before: Vec<String> = (0..5).map(|number| format!("{partition}-{number}")).collect();
        assert_eq!(values[..5], before[..], "partition {partition}");
        assert!(values[5..].iter().all(|value| *value == "after"), "{values:?}");
    }
    cluster.replicas_become_equal("t", PARTITIONS);
    let losses = cluster.get(0, "/v1/cluster").expect(200).json()["losses"].clone();
    let survivors: BTreeSet<u64> = kept.iter().map(|vertex| cluster.node_id(*vertex)).collect();
    let told = losses.as_array().cloned().unwrap_or_default();
    assert_eq!(told.len(), stuck.len(), "{losses}");
    assert!(told.iter().all(|l| l["survivor"].as_u64().is_some_and(|s| survivors.contains(&s))), "{losses}");
    assert!(
        cluster.hcube(&["cluster", "status"]).ok().contains("data may have been lost"),
        "it stays on record"
    );
    let again = recover(&cluster, &body(&nodes)).expect(200).json();
    assert_eq!(
        (&again["losses"], &again["without_majority"]),
        (&json!([]), &json!(0)),
        "repeated, it does nothing"
    );
}
