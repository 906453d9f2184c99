//! Publishers and subscribers whose peer dies go on at another one, where they were.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc::channel;

use hcube_tests::history::value;
use hcube_tests::{Cluster, Events, Publisher, eventually, seconds};
use reqwest::Method;
use serde_json::json;

/// Numbers of the messages of a publisher named `p`.
fn values(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|number| value("p", number)).collect()
}

fn publish(publisher: &mut Publisher, range: std::ops::Range<u64>) {
    for value in values(range) {
        let _ = publisher.publish(&value);
    }
}

#[test]
fn subscribers_resume_where_they_were_when_their_peer_dies() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", 1);
    // The leader, because that hurts most.
    let victim = cluster.leader("t", 0);
    let others: Vec<u16> = cluster.vertices().filter(|vertex| *vertex != victim).collect();
    let endpoints: Vec<String> = others.iter().map(|vertex| cluster.endpoint(*vertex)).collect();
    let url = |vertex: u16| format!("{}/v1/topics/t/messages", cluster.endpoint(vertex));

    // `hcube subscribe --follow`, whose first endpoint is the peer that will die.
    let mut command = cluster.command(&["subscribe", "t", "--follow", "--from", "earliest"]);
    let all = [vec![cluster.endpoint(victim)], endpoints.clone()].concat();
    command.env("HCUBE_ENDPOINT", all.join(",")).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut follower = command.spawn().unwrap();
    let (sender, followed) = channel();
    let stdout = follower.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let expect_followed = |range: std::ops::Range<u64>| {
        for expected in values(range) {
            let line = followed.recv_timeout(seconds(60));
            assert_eq!(line.as_deref(), Ok(expected.as_str()), "hcube subscribe --follow");
        }
    };

    let events = Events::open(&format!("{}?from=earliest", url(victim)), None);
    let mut publisher = Publisher::register(&endpoints, None, "t", 0);
    publish(&mut publisher, 0..50);
    let mut seen = events.take(50, seconds(30));
    expect_followed(0..50);
    cluster.kill(victim);
    // What was on the way may still arrive; then the stream ends.
    seen.extend(events.rest(seconds(10)));
    let last_id = seen.last().unwrap().id.clone();
    publish(&mut publisher, 50..100);

    // A stream ends where the new one goes on: nothing twice, nothing left out.
    let resumed = Events::open(&url(others[1]), Some(&last_id));
    seen.extend(resumed.take(100 - seen.len(), seconds(30)));
    let got: Vec<&str> = seen.iter().map(hcube_tests::events::Event::value).collect();
    assert_eq!(got, values(0..100));
    expect_followed(50..100);

    // Back to the peer that was dead, with an id that another one gave.
    cluster.start(victim);
    let back = Events::open(&url(victim), Some(&seen[79].id));
    let got: Vec<String> = back.take(20, seconds(30)).iter().map(|event| event.value().to_owned()).collect();
    assert_eq!(got, values(80..100));
    // A live message, at every stream that is open.
    publish(&mut publisher, 100..101);
    for stream in [&back, &resumed] {
        assert_eq!(stream.take(1, seconds(30))[0].value(), value("p", 100));
    }
    expect_followed(100..101);
    let _ = follower.kill();
    let _ = follower.wait();
    let _ = reader.join();
}

#[test]
fn a_durable_cursor_survives_failover() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", 1);
    let mut publisher = Publisher::register(&cluster.endpoints(), None, "t", 0);
    publish(&mut publisher, 0..10);
    let body = json!({ "name": "reader" });
    let first = cluster.send_json(Method::POST, 0, "/v1/subscribers", &body).expect(200).json();
    assert_eq!(first["created"], true);
    let path = "/v1/subscribers/reader/cursors/t";
    let place = |offset: u64| json!({ "partitions": [{ "partition": 0, "offset": offset }] });
    let set = cluster.send_json(Method::PUT, 1, path, &place(7)).expect(200).json();

    for round in 0..2 {
        let victim = cluster.leader("t", 0);
        let other = (victim + 1) % 5;
        cluster.kill(victim);
        let fetched = eventually("the cursor", seconds(30), || {
            let request = cluster.request(Method::GET, other, path);
            let answer = hcube_tests::Answer::of(&cluster.client, request).ok()?;
            assert!([200, 503, 504].contains(&answer.status), "{answer}");
            (answer.status == 200).then(|| answer.json())
        });
        assert_eq!(fetched["partitions"], set["partitions"], "after failover {round}");
        assert_eq!(fetched["cursor"], set["cursor"]);
        cluster.start(victim);
    }
    // A pull from there, by the cursor and by name.
    let cursor = set["cursor"].as_str().unwrap();
    let pulled = cluster.get(2, &format!("/v1/topics/t/messages?from={cursor}")).expect(200).json();
    let got: Vec<&str> =
        pulled["messages"].as_array().unwrap().iter().map(|m| m["value"].as_str().unwrap()).collect();
    assert_eq!(got, values(7..10));
    let lines = cluster.hcube(&["pull", "t", "--subscriber", "reader"]).ok();
    assert_eq!(lines.lines().collect::<Vec<_>>(), values(7..10));
    assert_eq!(cluster.hcube(&["pull", "t", "--subscriber", "reader"]).ok(), "", "it was committed");
    // The name is registered for ever, and the last one to set the cursor stands, backwards too.
    let again = cluster.send_json(Method::POST, 3, "/v1/subscribers", &body).expect(200).json();
    assert_eq!(again["created"], false);
    let reset = cluster.send_json(Method::PUT, 4, path, &json!({ "to": "earliest" })).expect(200).json();
    let cursor = reset["cursor"].as_str().unwrap();
    let pulled = cluster.get(0, &format!("/v1/topics/t/messages?from={cursor}")).expect(200).json();
    assert_eq!(pulled["messages"].as_array().unwrap().len(), 10, "{reset}");
}

#[test]
fn a_registered_publisher_gets_the_same_offset_for_a_retry_after_failover() {
    let cluster = Cluster::up(5);
    cluster.create_topic("t", 1);
    let endpoints = cluster.endpoints();
    let mut publisher = Publisher::register(&endpoints, Some("named"), "t", 0);
    let offsets: Vec<u64> = values(0..5).iter().map(|value| publisher.publish(value).offset).collect();
    let victim = cluster.leader("t", 0);
    let other = usize::from((victim + 1) % 5);
    cluster.kill(victim);
    let repeat = |sequence: u64| {
        eventually("an answer to a repetition", seconds(30), || {
            let answer = publisher.request(other, sequence, &value("p", sequence)).ok()?;
            assert!([200, 503, 504].contains(&answer.status), "{answer}");
            (answer.status == 200).then(|| answer.json())
        })
    };
    for sequence in [4, 2, 0] {
        let ack = repeat(sequence);
        assert_eq!(ack["offset"], offsets[usize::try_from(sequence).unwrap()], "sequence {sequence}");
        assert_eq!(ack["duplicate"], true);
    }
    // What follows is new; what would leave a gap is refused.
    let ack = repeat(5);
    assert_eq!((ack["offset"].as_u64(), ack["duplicate"].as_bool()), (Some(5), Some(false)));
    let gap = publisher.request(other, 9, "gap").unwrap().expect_problem(409, "sequence-gap");
    assert_eq!(gap.json()["expected"], 6);
    cluster.start(victim);
    // The name gets the same id and a higher epoch, which fences the one before.
    let mut second = Publisher::register(&endpoints, Some("named"), "t", 0);
    assert_eq!(second.id, publisher.id);
    assert!(second.epoch > publisher.epoch);
    assert_eq!(second.publish("second#0").offset, 6);
    let fenced = publisher.request(usize::from(victim), 6, "late").unwrap();
    let _ = fenced.expect_problem(409, "fenced");
    let got = cluster.read(victim, "t", 1)[&0].iter().map(|stored| stored.value.clone()).collect::<Vec<_>>();
    assert_eq!(got, [values(0..6), vec![value("second", 0)]].concat());
    cluster.replicas_become_equal("t", 1);
}
