//! A walk through the commands of `hcube`: what they print, for people and for programs, and how they end.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use hcube_tests::program::{self, Ran, Running};
use hcube_tests::{Cluster, seconds};
use serde_json::{Value, json};

/// Arguments with `--output json` behind them.
fn as_json<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--output", "json"]].concat()
}

fn with_stdin(cluster: &Cluster, arguments: &[&str], text: &str) -> Ran {
    let mut command = cluster.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let line = format!("{command:?} < stdin");
    Ran { line, code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A header line and so many rows.
#[track_caller]
fn assert_table(text: &str, columns: &[&str], rows: usize) {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let header = lines.iter().position(|line| columns.iter().all(|column| line.contains(column)));
    let header = header.unwrap_or_else(|| panic!("no header with {columns:?} in\n{text}"));
    assert_eq!(lines.len() - header - 1, rows, "{text}");
    assert!(!text.contains('\u{1b}'), "colours in what is no terminal");
}

fn topics(cluster: &Cluster) {
    let created = cluster.hcube(&as_json(&["topic", "create", "walk", "--partitions", "2"])).json();
    assert_eq!((&created["name"], created["partitions"].as_array().unwrap().len()), (&json!("walk"), 2));
    // Repeating it changes nothing; another shape is refused.
    assert_table(
        &cluster.hcube(&["topic", "create", "walk", "--partitions", "2"]).ok(),
        &["partition", "leader"],
        2,
    );
    let refused = cluster.hcube(&["topic", "create", "walk", "--partitions", "3"]).expect_code(1);
    assert!(refused.stderr.contains("topic-exists"), "{refused}");
    let _ = cluster.hcube(&["topic", "create", "a/b"]).expect_code(2);

    let kept = ["--retention-age", "7d", "--retention-bytes", "1MiB"];
    let _shown = cluster.hcube(&[&["topic", "create", "kept"], &kept[..]].concat()).ok();
    let list = cluster.hcube(&as_json(&["topic", "list"])).json();
    let names: Vec<&str> =
        list["topics"].as_array().unwrap().iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["kept", "walk"]);
    assert_table(&cluster.hcube(&["topic", "list"]).ok(), &["topic", "partitions"], 2);

    let retention = |topic: &Value| topic["retention"].clone();
    let described = cluster.hcube(&as_json(&["topic", "describe", "kept"])).json();
    assert_eq!(retention(&described), json!({ "age_ms": 604_800_000, "bytes": 1_048_576 }));
    let altered = cluster.hcube(&as_json(&["topic", "alter", "kept", "--retention-age", "none"])).json();
    assert_eq!(retention(&altered), json!({ "age_ms": null, "bytes": 1_048_576 }));
    assert_table(
        &cluster.hcube(&["topic", "describe", "walk"]).ok(),
        &["partition", "replicas", "in sync"],
        2,
    );

    let _talk = cluster.hcube(&["topic", "delete", "kept"]).ok();
    for arguments in [&["topic", "describe", "kept"], &["topic", "delete", "kept"]] {
        let gone = cluster.hcube(arguments).expect_code(3);
        assert!(gone.stderr.contains("unknown-topic") && gone.stdout.is_empty(), "{gone}");
    }
}

fn messages(cluster: &Cluster) {
    // Arguments, with key and headers.
    let publish = ["publish", "walk", "one", "two", "--key", "k", "--header", "colour=red"];
    let acks = cluster.hcube(&as_json(&publish)).json_lines();
    let offsets: Vec<_> = acks.iter().map(|ack| (ack["line"].as_u64(), ack["offset"].as_u64())).collect();
    assert_eq!(offsets, [(Some(1), Some(0)), (Some(2), Some(1))]);
    let partition = acks[0]["partition"].as_u64().unwrap().to_string();
    // Lines of stdin, and a file in either format.
    let silent = with_stdin(cluster, &["publish", "walk", "--key", "k"], "three\n\nfive");
    assert_eq!(silent.clone().ok(), "", "acknowledgements are talk for people");
    assert!(silent.stderr.contains('3'), "{silent}");
    let file = cluster.dir().join("feed.ndjson");
    fs::write(&file, "{\"key\":\"k\",\"value\":{\"n\": 6},\"headers\":{\"h\":\"1\"}}\n").unwrap();
    let file = file.to_str().unwrap();
    let _talk = cluster.hcube(&["publish", "walk", "--file", file]).ok();

    let pull = |more: &[&str]| cluster.hcube(&[&["pull", "walk", "--partition", &partition], more].concat());
    assert_eq!(pull(&[]).ok(), "one\ntwo\nthree\n\nfive\n{\"n\":6}\n");
    assert_eq!(pull(&["--from", "1", "--limit", "2"]).ok(), "two\nthree\n");
    assert_eq!(pull(&["--from", "latest"]).ok(), "");
    let all = pull(&["--output", "json"]).json_lines();
    let first = &all[0];
    assert_eq!((&first["key"], &first["value"], &first["offset"]), (&json!("k"), &json!("one"), &json!(0)));
    assert_eq!(first["headers"]["colour"], "red");
    assert_eq!(all[5]["headers"]["h"], "1");
    let stamp = first["timestamp_ms"].as_u64().expect("a message has a stamp");
    let since = pull(&["--from", &format!("timestamp:{stamp}"), "--limit", "1"]).ok();
    assert_eq!(since, "one\n");
    let beyond = pull(&["--from", "1000"]).expect_code(1);
    assert!(beyond.stderr.contains("offset-out-of-range"), "{beyond}");
    let _ = cluster.hcube(&["pull", "none"]).expect_code(3);

    // Subscribing ends where it caught up, or after a number of messages.
    let subscribed =
        cluster.hcube(&["subscribe", "walk", "--partition", &partition, "--from", "earliest"]).ok();
    assert_eq!(subscribed, pull(&[]).ok());
    let follow = ["subscribe", "walk", "--partition", &partition, "--follow", "--from", "2", "--limit", "2"];
    assert_eq!(cluster.hcube(&follow).ok(), "three\n\n");
    // A reader that has enough ends it quietly.
    let head = format!(
        "{} pull walk --partition {partition} --endpoint {} | head -n 1",
        program::hcube().display(),
        cluster.endpoint(0)
    );
    let mut bash = std::process::Command::new("bash");
    let ran = program::run({
        bash.args(["-euo", "pipefail", "-c", &head]);
        bash
    });
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "one\n"), "{ran}");

    // Every replica by name has the same, and nobody else has any.
    let describe = cluster.hcube(&as_json(&["topic", "describe", "walk"])).json();
    let place = &describe["partitions"][partition.parse::<usize>().unwrap()];
    let labels: Vec<&str> =
        place["replicas"].as_array().unwrap().iter().map(|r| r["label"].as_str().unwrap()).collect();
    assert_eq!(labels.len(), 3);
    for label in cluster.vertices().map(|vertex| cluster.label(vertex)) {
        let fetch = ["replica", "fetch", "walk", "--partition", &partition, "--replica", &label];
        if labels.contains(&label.as_str()) {
            hcube_tests::eventually("a follower to have everything", seconds(20), || {
                (cluster.hcube(&fetch).ok() == pull(&[]).ok()).then_some(())
            });
        } else {
            let none = cluster.hcube(&fetch).expect_code(3);
            assert!(none.stderr.contains("replica-not-here"), "{none}");
        }
    }

    // What cannot be published is named, and ends non-zero.
    let wrong = cluster.dir().join("wrong.ndjson");
    fs::write(&wrong, "{\"key\":\"k\",\"value\":7}\n{\"value\":\n").unwrap();
    let refused = cluster.hcube(&["publish", "walk", "--file", wrong.to_str().unwrap()]).expect_code(1);
    assert!(refused.stderr.contains("line 2"), "{refused}");
    let _ = cluster.hcube(&["publish", "none", "x"]).expect_code(3);
    let _ = cluster.hcube(&["publish", "walk", "x", "--file", file]).expect_code(2);
}

fn names(cluster: &Cluster) {
    let register = |name: &str| cluster.hcube(&as_json(&["publisher", "register", name])).json();
    let (first, second) = (register("shop"), register("shop"));
    assert_eq!(first["producer_id"], second["producer_id"]);
    assert!(second["epoch"].as_u64() > first["epoch"].as_u64());
    let anonymous = cluster.hcube(&as_json(&["publisher", "register"])).json();
    assert_ne!(anonymous["producer_id"], first["producer_id"]);
    let acks = cluster
        .hcube(&as_json(&["publish", "walk", "named", "--key", "k", "--producer", "shop"]))
        .json_lines();
    assert_eq!(acks.len(), 1);

    let subscriber = |arguments: &[&str]| cluster.hcube(&as_json(&[&["subscriber"], arguments].concat()));
    assert_eq!(subscriber(&["register", "billing"]).json()["created"], true);
    assert_eq!(subscriber(&["register", "billing"]).json()["created"], false);
    assert_table(&cluster.hcube(&["subscriber", "register", "billing"]).ok(), &["subscriber"], 1);
    let partition = acks[0]["partition"].as_u64().unwrap().to_string();
    let commit = ["commit", "billing", "walk", "--partition", &partition, "--offset", "4"];
    let committed = subscriber(&commit).json();
    assert_eq!(subscriber(&["show", "billing", "walk"]).json(), committed);
    let rest = cluster.hcube(&["pull", "walk", "--subscriber", "billing", "--partition", &partition]).ok();
    assert!(rest.starts_with("five\n") && rest.ends_with("named\n"), "{rest}");
    let cursor = committed["cursor"].as_str().unwrap();
    assert_eq!(subscriber(&["commit", "billing", "walk", "--cursor", cursor]).json()["cursor"], cursor);
    let reset = subscriber(&["reset", "billing", "walk"]).json();
    let offsets = reset["partitions"].as_array().unwrap().iter().map(|p| p["offset"].as_u64());
    assert!(offsets.into_iter().all(|offset| offset == Some(0)), "{reset}");
    let _ = subscriber(&["show", "nobody", "walk"]).expect_code(3);
    let _ = subscriber(&["commit", "billing", "walk"]).expect_code(2);
}

fn the_cube(cluster: &Cluster) {
    let status = cluster.hcube(&as_json(&["cluster", "status"])).json();
    assert_eq!((&status["peers"], status["members"].as_array().unwrap().len()), (&json!(5), 5));
    let text = cluster.hcube(&["cluster", "status"]).ok();
    assert!(text.contains("5 peers") && text.contains("every slot has a leader"), "{text}");
    let route = cluster.hcube(&as_json(&["route", "walk", "--partition", "1"])).json();
    let path = route["path"].as_array().unwrap();
    assert_eq!(path.last(), Some(&route["leader"]), "{route}");
    let text = cluster.hcube(&["route", "walk"]).ok();
    assert!(text.contains("slot") && text.contains("leader"), "{text}");
    let _ = cluster.hcube(&["route", "none"]).expect_code(3);
}

fn this_machine(cluster: &Cluster) {
    let status = cluster.local(&as_json(&["status"])).json();
    let states: Vec<&str> =
        status["peers"].as_array().unwrap().iter().map(|peer| peer["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["ready"; 5]);
    assert_table(&cluster.local(&["status"]).ok(), &["peer", "state", "pid", "endpoint"], 5);
    // By label and by number, politely and not.
    for (peer, kill) in [("011", false), ("4", true)] {
        let arguments = if kill { vec!["stop", peer, "--kill"] } else { vec!["stop", peer] };
        let _talk = cluster.local(&arguments).ok();
        let _talk = cluster.local(&arguments).ok();
        let _talk = cluster.local(&["start", peer]).ok();
    }
    let _ = cluster.local(&["stop", "8"]).expect_code(3);
    let taken = cluster.base_port.to_string();
    let other = cluster.dir().join("other");
    let up = ["local", "up", "--peers", "1", "--base-port", &taken, "--dir", other.to_str().unwrap()];
    let refused = cluster.hcube(&up).expect_code(1);
    assert!(refused.stderr.contains(&taken), "{refused}");
    let refused = cluster.local(&["up", "--peers", "3"]).expect_code(1);
    assert!(refused.stderr.contains("peers"), "{refused}");
    let refused = cluster.local(&["clean"]).expect_code(1);
    assert!(refused.stderr.contains("down"), "{refused}");
}

fn endings(cluster: &Cluster) {
    for shell in ["bash", "zsh", "fish"] {
        let script = cluster.hcube(&["completions", shell]).ok();
        assert!(script.contains("hcube") && script.contains("subscribe"), "{shell}: {script}");
    }
    let help = cluster.hcube(&["--help"]).ok();
    assert!(help.contains("Exit codes"), "{help}");
    let _ = cluster.hcube(&["nonsense"]).expect_code(2);
    let nobody = ["topic", "list", "--endpoint", "http://127.0.0.1:9"];
    let unreachable = cluster.hcube(&nobody).expect_code(5);
    assert!(unreachable.stdout.is_empty() && !unreachable.stderr.is_empty(), "{unreachable}");

    // What nobody acknowledges in time is named.
    let _talk = cluster.hcube(&["topic", "create", "orphan"]).ok();
    let reader = ["publish", "orphan", "--file", "-", "--patience", "3s"];
    let mut command = cluster.command(&reader);
    command.stdin(Stdio::piped());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"before\n").unwrap();
    hcube_tests::eventually("the first message", seconds(20), || {
        (cluster.hcube(&["pull", "orphan"]).ok() == "before\n").then_some(())
    });
    cluster.down(true);
    stdin.write_all(b"after\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{stderr}");
    assert!(stderr.contains("lines 2 "), "{stderr}");

    // Data outlives `down`, and nothing outlives `clean`.
    cluster.up_again();
    assert_eq!(cluster.hcube(&["pull", "orphan", "--limit", "1"]).ok(), "before\n");
    cluster.down(false);
    let _talk = cluster.local(&["clean"]).ok();
    assert!(!cluster.data_dir(0).exists());
    let _ = cluster.local(&["status"]).expect_code(3);
}

#[test]
fn every_command_of_the_cli_does_what_it_says() {
    let cluster = Cluster::up(5);
    for part in [topics, messages, names, the_cube, this_machine, endings] {
        part(&cluster);
    }
}

#[test]
fn peers_in_the_foreground_end_with_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let base = 11_000 + u16::try_from(std::process::id() % 500).unwrap();
    let mut command = program::command(&["local", "up", "--foreground", "--peers", "2"]);
    command.args(["--base-port", &base.to_string(), "--dir"]).arg(dir.path());
    let running = Running::start(command);
    let state = || fs::read(dir.path().join("state.json")).unwrap_or_default();
    let peers = hcube_tests::eventually("two ready peers", seconds(60), || {
        let state: Value = serde_json::from_slice(&state()).ok()?;
        let peers: Vec<_> =
            state["peers"].as_array()?.iter().filter_map(hcube_tests::Peer::of_state).collect();
        let ready = |port: u16| {
            let request = hcube_tests::answer::client().get(format!("http://127.0.0.1:{port}/readyz"));
            request.send().is_ok_and(|answer| answer.status().is_success())
        };
        (peers.len() == 2 && ready(base) && ready(base + 1)).then_some(peers)
    });
    // However the command ends: this is the way that leaves it no time to clean up.
    let _ = running.kill();
    hcube_tests::eventually("the peers to end", seconds(30), || {
        (!peers.iter().any(hcube_tests::Peer::runs)).then_some(())
    });
}
