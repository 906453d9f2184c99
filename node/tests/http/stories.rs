//! What people do with a hypercube, through different peers.

use hcube_api::messages::frames::Frame;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Hypercube, send};

fn values(pulled: &Value) -> Vec<String> {
    let messages = pulled["messages"].as_array().unwrap();
    messages.iter().map(|message| message["value"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_lives_from_creation_to_deletion() {
    let cube = Hypercube::founded(3).await;
    let body = r#"{"partitions":2,"retention":{"age_ms":60000}}"#;
    let created = send(cube.put(0, "/v1/topics/quakes").body(body)).await;
    assert_eq!(created.status, 201, "{}", created.text());
    assert_eq!(created.json()["partitions"][1]["high_watermark"], 0);
    let again = send(cube.put(1, "/v1/topics/quakes").body(body)).await;
    assert_eq!((again.status, &again.json()["id"]), (200, &created.json()["id"]));
    let other = send(cube.put(2, "/v1/topics/quakes").body(r#"{"partitions":3}"#)).await;
    assert_eq!((other.status, other.code().as_str()), (409, "topic-exists"));
    assert_eq!(other.json()["partitions"], 2);

    let described = send(cube.get(2, "/v1/topics/quakes")).await.json();
    for partition in described["partitions"].as_array().unwrap() {
        assert!(partition["leader"].is_string(), "{partition}");
        let replicas = partition["replicas"].as_array().unwrap();
        assert_eq!(replicas.len(), 3);
        assert!(replicas.iter().all(|replica| replica["in_sync"].is_boolean()), "{partition}");
    }
    let patch = r#"{"retention":{"age_ms":null,"bytes":1000000}}"#;
    let altered = send(cube.request(1, Method::PATCH, "/v1/topics/quakes").body(patch)).await;
    assert_eq!(altered.json()["retention"], json!({ "age_ms": null, "bytes": 1_000_000 }));
    let listed = send(cube.get(1, "/v1/topics")).await.json();
    assert_eq!(listed["topics"][0]["name"], "quakes");
    assert_eq!(listed["topics"][0]["retention"]["bytes"], 1_000_000);

    cube.publish(0, "quakes", "gone").await;
    let deleted = send(cube.request(2, Method::DELETE, "/v1/topics/quakes")).await;
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    assert_eq!(send(cube.get(2, "/v1/topics/quakes")).await.code(), "unknown-topic");
    assert_eq!(send(cube.request(1, Method::DELETE, "/v1/topics/quakes")).await.code(), "unknown-topic");
    cube.create("quakes", 2).await;
    for vertex in 0..3 {
        // A peer that still knows the earlier life looks again.
        cube.publish(vertex, "quakes", "new").await;
        let pulled = send(cube.get(vertex, "/v1/topics/quakes/messages")).await.json();
        assert!(values(&pulled).iter().all(|value| value == "new"), "{pulled}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_peer_takes_every_peer_gives() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 1).await;
    let published = cube
        .post(0, "/v1/topics/t/messages")
        .header("content-type", "text/plain")
        .header("hcube-key", "caf%C3%A9")
        .header("ce-id", "7")
        .header("hcube-header-region", "a%20b")
        .body("hello");
    let published = send(published).await;
    assert_eq!(published.status, 200, "{}", published.text());
    assert_eq!(published.header("hcube-ack"), "quorum; replicas=3; fsync");
    assert_eq!((published.header("hcube-partition"), published.header("hcube-offset")), ("0", "0"));
    assert!(published.header("hcube-path").starts_with("00"), "{:?}", published.headers);
    assert!(published.json()["timestamp_ms"].as_u64().unwrap() > 0);

    for vertex in 0..3 {
        let pulled = send(cube.get(vertex, "/v1/topics/t/messages?min-offset=0")).await;
        assert_eq!(pulled.header("hcube-high-watermark"), "0=1");
        let message = &pulled.json()["messages"][0];
        assert_eq!((&message["value"], &message["key"]), (&json!("hello"), &json!("café")));
        let headers = json!({ "ce-id": "7", "content-type": "text/plain", "region": "a b" });
        assert_eq!(message["headers"], headers);
        for label in ["00", "01", "10"] {
            let path = format!("/v1/topics/t/messages?replica={label}&min-offset=0&wait=10000");
            let copy = send(cube.get(vertex, &path)).await;
            assert_eq!(values(&copy.json()), ["hello"], "{vertex} asks {label}");
            assert!(copy.header("hcube-path").ends_with(label), "{:?}", copy.headers);
        }
    }
    let lines = send(cube.get(1, "/v1/topics/t/messages").header("accept", "application/x-ndjson")).await;
    assert_eq!(lines.text().lines().count(), 1);
    let binary = cube.get(2, "/v1/topics/t/messages").header("accept", "application/vnd.hcube.batch");
    let binary = send(binary).await;
    let frames = Frame::all(binary.body.clone().into()).unwrap().unwrap();
    assert_eq!(frames[0].messages(0).unwrap()[0].record.value, "hello");
    let next = binary.header("hcube-next").to_owned();
    let path = format!("/v1/topics/t/messages?from={next}");
    assert_eq!(values(&send(cube.get(0, &path)).await.json()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_spreads_over_partitions_and_is_read_in_pages() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 5).await;
    let lines: Vec<String> = (0..200)
        .map(|number| json!({ "key": format!("k{}", number % 20), "value": format!("{number}") }).to_string())
        .collect();
    let batch = cube.post(1, "/v1/topics/t/messages").header("content-type", "application/x-ndjson");
    let acked = send(batch.body(lines.join("\n"))).await;
    assert_eq!(acked.status, 200, "{}", acked.text());
    let acks = acked.json()["acks"].as_array().unwrap().clone();
    assert_eq!(acks.iter().map(|ack| ack["count"].as_u64().unwrap()).sum::<u64>(), 200);
    assert!(acks.len() > 1, "{acks:?}");

    let (mut from, mut read) = ("earliest".to_owned(), Vec::new());
    for page in 0.. {
        let vertex = page % 3;
        let path = format!("/v1/topics/t/messages?limit=30&wait=5000&from={from}");
        let pulled = send(cube.get(vertex, &path)).await.json();
        let values = values(&pulled);
        assert!(values.len() <= 30);
        read.extend(pulled["messages"].as_array().unwrap().clone());
        from = pulled["next"].as_str().unwrap().to_owned();
        if read.len() >= 200 {
            break;
        }
        assert!(!values.is_empty(), "{} of 200 were read", read.len());
    }
    let mut all: Vec<u32> =
        read.iter().map(|message| message["value"].as_str().unwrap().parse().unwrap()).collect();
    for key in 0..20u32 {
        let of_key: Vec<u32> = all.iter().copied().filter(|number| number % 20 == key).collect();
        assert!(of_key.is_sorted(), "{of_key:?}");
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..200), "every message once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_publish_gets_its_first_offset() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 1).await;
    let named = send(cube.post(0, "/v1/publishers").body(r#"{"name":"sensor"}"#)).await.json();
    let again = send(cube.post(1, "/v1/publishers").body(r#"{"name":"sensor"}"#)).await.json();
    assert_eq!(named["producer_id"], again["producer_id"]);
    assert!(again["epoch"].as_u64() > named["epoch"].as_u64(), "{named} {again}");
    let publish = |vertex, epoch: &Value, sequence: u64| {
        cube.post(vertex, "/v1/topics/t/messages")
            .header("hcube-producer-id", named["producer_id"].as_str().unwrap())
            .header("hcube-producer-epoch", epoch.to_string())
            .header("hcube-sequence", sequence.to_string())
            .body("x")
    };
    let epoch = &again["epoch"];
    let first = send(publish(0, epoch, 0)).await.json();
    assert_eq!((&first["offset"], &first["duplicate"]), (&json!(0), &json!(false)));
    let repeated = send(publish(2, epoch, 0)).await.json();
    assert_eq!((&repeated["offset"], &repeated["duplicate"]), (&json!(0), &json!(true)));
    let gap = send(publish(1, epoch, 5)).await;
    assert_eq!((gap.status, gap.code().as_str(), &gap.json()["expected"]), (409, "sequence-gap", &json!(1)));
    let fenced = send(publish(1, &named["epoch"], 1)).await;
    assert_eq!((fenced.status, fenced.code().as_str()), (409, "fenced"));

    let anonymous = send(cube.post(0, "/v1/publishers")).await.json();
    assert_eq!(anonymous["epoch"], 0);
    assert_ne!(anonymous["producer_id"], named["producer_id"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_goes_on_where_it_was_at_any_peer() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 2).await;
    for number in 0..6 {
        let line = json!({ "value": format!("{number}"), "partition": number % 2 }).to_string();
        let batch = cube.post(0, "/v1/topics/t/messages").header("content-type", "application/x-ndjson");
        assert_eq!(send(batch.body(line)).await.status, 200);
    }
    let register = |vertex| cube.post(vertex, "/v1/subscribers").body(r#"{"name":"reader"}"#);
    let path = "/v1/subscribers/reader/cursors/t";
    assert_eq!(send(cube.get(0, path)).await.code(), "unknown-subscriber");
    assert_eq!(send(register(0)).await.json()["created"], true);
    assert_eq!(send(register(1)).await.json()["created"], false);
    assert_eq!(send(cube.get(2, path)).await.json()["partitions"], json!([]));

    let set = |vertex, body: Value| cube.put(vertex, path).body(body.to_string());
    let committed = send(set(0, json!({ "partitions": [{ "partition": 1, "offset": 2 }] }))).await;
    assert_eq!(committed.status, 200, "{}", committed.text());
    let fetched = send(cube.get(2, path)).await.json();
    assert_eq!(fetched["partitions"], json!([{ "partition": 1, "offset": 2 }]));
    let path_from = format!("/v1/topics/t/messages?from={}", fetched["cursor"].as_str().unwrap());
    let mut rest = values(&send(cube.get(1, &path_from)).await.json());
    rest.sort();
    assert_eq!(rest, ["0", "2", "4", "5"]);
    let latest = send(set(1, json!({ "to": "latest" }))).await.json();
    let end = json!([{ "partition": 0, "offset": 3 }, { "partition": 1, "offset": 3 }]);
    assert_eq!(latest["partitions"], end);
    let stamped = send(set(1, json!({ "to": { "timestamp_ms": 1 } }))).await.json();
    assert_eq!(stamped["partitions"][0]["offset"], 0);
    assert_eq!(send(set(2, json!({ "to": "earliest" }))).await.json()["partitions"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_a_leader_is_shown_and_taken() {
    let cube = Hypercube::founded(3).await;
    cube.create("t", 4).await;
    let cluster = send(cube.get(1, "/v1/cluster")).await.json();
    assert_eq!((&cluster["peers"], &cluster["dimension"]), (&json!(3), &json!(2)));
    assert_eq!(cluster["answered_by"], "01");
    assert_eq!(cluster["slots"].as_array().unwrap().len(), 4);
    assert_eq!(cluster["edges"], json!([["00", "01"], ["00", "10"]]));
    for partition in 0..4 {
        let route = send(cube.get(1, &format!("/v1/cluster/route/t?partition={partition}"))).await.json();
        let way = route["path"].as_array().unwrap();
        assert_eq!(way[0], "01", "{route}");
        assert_eq!(way.last().unwrap(), &route["leader"], "{route}");
        let published = cube.post(1, &format!("/v1/topics/t/messages?partition={partition}"));
        let published = send(published.body("x")).await;
        let labels: Vec<&str> = way.iter().map(|label| label.as_str().unwrap()).collect();
        assert_eq!(published.header("hcube-path"), labels.join(">"));
    }
}
