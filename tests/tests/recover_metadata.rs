//! Most of the metadata's voters lose their disks for good.

use std::collections::BTreeSet;

use hcube_tests::program::{self, Running};
use hcube_tests::{Answer, Cluster, eventually, seconds};
use reqwest::Method;
use serde_json::{Value, json};

const PARTITIONS: u16 = 8;
const PATIENCE: std::time::Duration = seconds(60);

fn publish(cluster: &Cluster, partition: u16, text: &str) -> Answer {
    let path = format!("/v1/topics/t/messages?partition={partition}");
    let request = cluster.request(Method::POST, 0, &path).header("content-type", "text/plain");
    cluster.send(request.body(text.to_owned()))
}

/// What peer 0 answers to a request for recovery.
fn recover(cluster: &Cluster, body: &Value) -> Answer {
    let url = format!("http://127.0.0.1:{}/v1/unsafe-recover", cluster.admin_port(0));
    let request = cluster.client.post(url).header("content-type", "application/json");
    cluster.send(request.bearer_auth(cluster.admin_token()).body(body.to_string()))
}

/// Makes a topic whose slot may have no leader.
fn make_topic(cluster: &Cluster, name: &str) {
    let path = format!("/v1/topics/{name}");
    let _ = cluster.send_json(Method::PUT, 0, &path, &json!({ "partitions": 1 })).expect(201);
}

/// Kills peer 0 and starts it again. It is not ready: the slots that it holds have no leader.
fn bounce(cluster: &Cluster) {
    cluster.kill(0);
    let dir = cluster.dir().to_string_lossy().into_owned();
    let starting = Running::start(program::command(&["local", "start", &cluster.label(0), "--dir", &dir]));
    eventually("it answers again", PATIENCE, || {
        cluster.client.get(format!("{}/healthz", cluster.endpoint(0))).send().ok()
    });
    let _waited = starting.kill();
}

#[test]
fn metadata_that_lost_its_majority_goes_on_with_the_last_peer() {
    let cluster = Cluster::up(3);
    cluster.create_topic("t", PARTITIONS);
    for partition in 0..PARTITIONS {
        for number in 0..3 {
            let _ = publish(&cluster, partition, &format!("{partition}-{number}")).expect(200);
        }
        cluster.replicas_become_equal("t", partition);
    }
    let id = cluster.get(0, "/v1/cluster").expect(200).json()["cluster_id"].clone();
    let nodes: Vec<u64> = cluster.vertices().map(|vertex| cluster.node_id(vertex)).collect();
    let body =
        |lost: &[u64]| json!({ "cluster_id": id, "lost": lost, "accept_data_loss": true, "metadata": true });
    let refused = |what: &str, lost: &[u64], status: u16, code: &str| {
        eventually(what, PATIENCE, || {
            let answer = recover(&cluster, &body(lost));
            assert_ne!(answer.status, 200, "{what}: {answer:?}");
            (answer.status == status && answer.json()["code"] == code).then_some(())
        });
    };
    refused("all are well", &nodes[1..], 409, "still-alive");
    cluster.kill(2);
    cluster.wipe(2);
    refused("two of three lead the metadata", &nodes[2..], 409, "metadata-not-lost");
    cluster.kill(1);
    refused("one that may have more is not named", &nodes[2..], 503, "survivor-silent");
    cluster.wipe(1);
    refused("nobody has that id", &[99, 98], 503, "survivor-silent");
    let other = json!({
        "cluster_id": "00000000000000000000000000000043", "lost": nodes[1..], "accept_data_loss": true, "metadata": true
    });
    drop(recover(&cluster, &other).expect_problem(409, "wrong-cluster"));
    let unaccepted = json!({ "cluster_id": id, "lost": nodes[1..], "metadata": true });
    drop(recover(&cluster, &unaccepted).expect_problem(400, "loss-not-accepted"));

    let dir = cluster.dir().to_string_lossy().into_owned();
    let labels = [cluster.label(1), cluster.label(2)];
    let command = |more: &[&str]| {
        let named = ["cluster", "unsafe-recover", "--dir", &dir, "--lost", &labels[0], &labels[1]];
        cluster.hcube(&[&named, more].concat())
    };
    let told = command(&["--metadata"]);
    assert!(told.code != Some(0) && told.stderr.contains("--accept-data-loss"), "{told}");
    let losses = || cluster.get(0, "/v1/cluster").expect(200).json()["losses"].clone();
    assert_eq!(losses(), json!([]), "nothing has changed");

    let done = command(&["--metadata", "--accept-data-loss"]).ok();
    assert!(done.contains(&format!("the metadata went on with the copy of node {}", nodes[0])), "{done}");
    bounce(&cluster);
    let again = command(&["--metadata", "--accept-data-loss"]);
    assert!(again.stderr.contains("nothing was given up"), "{again}");
    assert_eq!(losses().as_array().map(Vec::len), Some(1), "it stays on record");
    make_topic(&cluster, "made-by-one");
    after_the_metadata(&cluster, &nodes, || command(&["--accept-data-loss"]).ok());
    let again = recover(&cluster, &body(&nodes[1..])).expect(200).json();
    assert_eq!(again["losses"], json!([]), "repeated, it does nothing");
}

/// What lost its majority beside the metadata is brought back as ever.
fn after_the_metadata(cluster: &Cluster, nodes: &[u64], recover_slots: impl Fn() -> String) {
    for vertex in [1, 2] {
        cluster.start(vertex);
    }
    let now: BTreeSet<u64> = cluster.vertices().map(|vertex| cluster.node_id(vertex)).collect();
    assert!(now.contains(&nodes[0]) && !now.contains(&nodes[1]) && !now.contains(&nodes[2]), "{now:?}");
    let rebalance =
        |figure: &str| cluster.get(0, "/v1/cluster").expect(200).json()["rebalance"][figure].clone();
    assert_eq!(rebalance("without_majority"), cluster.shape.slots);
    let done = recover_slots();
    assert_eq!(done.matches("went on with the copy").count(), usize::from(cluster.shape.slots), "{done}");
    eventually("everything is in place", seconds(120), || {
        let figures = ["without_majority", "moving", "waiting", "under_replicated"];
        figures.iter().all(|figure| rebalance(figure) == 0).then_some(())
    });
    eventually("the metadata has its voters back", PATIENCE, || {
        let held = cluster.get(0, "/v1/cluster").expect(200).json()["metadata"]["replicas"].clone();
        held.as_array().is_some_and(|held| held.len() == 3).then_some(())
    });
    for partition in 0..PARTITIONS {
        let _ = publish(cluster, partition, "after").expect(200);
    }
    for (partition, messages) in cluster.read(2, "t", PARTITIONS) {
        let values: Vec<&str> = messages.iter().map(|message| message.value.as_str()).collect();
        let before: Vec<String> = (0..3).map(|number| format!("{partition}-{number}")).collect();
        assert_eq!(values[..3], before[..], "partition {partition}");
        assert_eq!(values[3..], ["after"]);
    }
    // Any two of them are a majority again, of slots and metadata.
    cluster.kill(0);
    eventually("another leads the metadata", PATIENCE, || {
        let answer = cluster.send_json(Method::PUT, 1, "/v1/topics/u", &json!({ "partitions": 1 }));
        [200, 201].contains(&answer.status).then_some(())
    });
    cluster.start(0);
    let shown = cluster.hcube(&["cluster", "status"]).ok();
    assert!(shown.contains("data may have been lost: the metadata went on"), "{shown}");
}

#[test]
fn a_peer_that_is_killed_while_it_recovers_the_metadata_has_done_all_of_it_or_nothing() {
    let cluster = Cluster::up(3);
    cluster.create_topic("t", 1);
    let _ = publish(&cluster, 0, "kept").expect(200);
    cluster.replicas_become_equal("t", 0);
    let id = cluster.get(0, "/v1/cluster").expect(200).json()["cluster_id"].clone();
    let lost: Vec<u64> = [1, 2].map(|vertex| cluster.node_id(vertex)).to_vec();
    let body = json!({ "cluster_id": id, "lost": lost, "accept_data_loss": true, "metadata": true });
    for vertex in [1, 2] {
        cluster.kill(vertex);
        cluster.wipe(vertex);
    }
    eventually("nobody leads", PATIENCE, || {
        let unnamed =
            json!({ "cluster_id": id, "lost": [lost[0]], "accept_data_loss": true, "metadata": true });
        (recover(&cluster, &unnamed).json()["code"] == "survivor-silent").then_some(())
    });
    for milliseconds in [0, 3, 10, 30] {
        let url = format!("http://127.0.0.1:{}/v1/unsafe-recover", cluster.admin_port(0));
        let request = cluster.client.post(url).header("content-type", "application/json");
        let request = request.bearer_auth(cluster.admin_token()).body(body.to_string());
        let asked = std::thread::spawn(move || request.send().is_ok());
        std::thread::sleep(std::time::Duration::from_millis(milliseconds));
        bounce(&cluster);
        let _answered = asked.join();
    }
    eventually("it is done", PATIENCE, || (recover(&cluster, &body).status == 200).then_some(()));
    let losses = cluster.get(0, "/v1/cluster").expect(200).json()["losses"].clone();
    assert!(losses.as_array().is_some_and(|losses| !losses.is_empty()), "{losses}");
    make_topic(&cluster, "made-by-one");
}
