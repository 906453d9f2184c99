//! `open-large [GIB] [TOPICS]`: how long a peer takes to open so much data in so many topics, 10 and 10,000 unless
//! told otherwise. Prints one JSON document; stderr tells what goes on.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hcube_tests::bulk::{BATCH_BYTES, BUSY_PAUSE, batch, in_parallel, insist, say};
use hcube_tests::{Cluster, Shape};
use reqwest::Method;
use serde_json::{Value, json};

/// Segments of a log that holds nothing but its newest records.
const SETTLED_SEGMENTS: u64 = 8;

fn fill(cluster: &Cluster, bytes: u64, topics: u64) {
    let endpoint = cluster.endpoint(0);
    in_parallel("topics", topics, |client, number| {
        insist(client, BUSY_PAUSE, || client.put(format!("{endpoint}/v1/topics/topic-{number:05}")));
    });
    in_parallel("batches", bytes.div_ceil(BATCH_BYTES), |client, number| {
        let body = batch(number);
        let url = format!("{endpoint}/v1/topics/topic-{:05}/messages", number % topics);
        insist(client, BUSY_PAUSE, || {
            client.post(&url).header("content-type", "application/x-ndjson").body(body.clone())
        });
    });
}

/// Bytes of all files below a directory.
fn disk_bytes(dir: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}

/// Lines of the peer's log that tell of opening, from a byte on.
fn opening_lines(cluster: &Cluster, from: usize) -> Vec<String> {
    let log = cluster.log(0);
    let told = log.get(from..).unwrap_or_default().lines();
    told.filter(|line| ["open", "ready", "start", "serving"].iter().any(|word| line.contains(word)))
        .map(str::to_owned)
        .collect()
}

/// Waits until the records have moved into sorted files, which the peer does behind the publishers' backs.
fn settle(cluster: &Cluster) {
    let began = Instant::now();
    let segments = || {
        let metrics = cluster.get(0, "/metrics").text();
        let line = metrics.lines().find_map(|line| line.strip_prefix("hcube_wal_segments "));
        line.and_then(|figure| figure.trim().parse::<u64>().ok()).unwrap_or_else(|| panic!("{metrics}"))
    };
    say(&format!("the log has {} segments", segments()));
    while segments() > SETTLED_SEGMENTS && began.elapsed() < Duration::from_secs(300) {
        std::thread::sleep(Duration::from_millis(500));
    }
    say(&format!("{} after another {:.1} s", segments(), began.elapsed().as_secs_f64()));
}

fn restart(cluster: &Cluster, when: &str, kill: bool) -> Value {
    let said = cluster.log(0).len();
    cluster.down(kill);
    let began = Instant::now();
    cluster.up_again();
    let seconds = began.elapsed().as_secs_f64();
    let how = format!("{} {when}", if kill { "kill -9" } else { "SIGTERM" });
    say(&format!("ready {seconds:.2} s after the start that followed {how}"));
    json!({ "after": how, "seconds_to_ready": seconds, "log": opening_lines(cluster, said) })
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let mut figure = |default: f64| arguments.next().map_or(Some(default), |text| text.parse::<f64>().ok());
    let (Some(gibibytes), Some(topics)) = (figure(10.0), figure(10_000.0)) else {
        say("usage: open-large [GIB] [TOPICS]");
        return ExitCode::from(2);
    };
    let (bytes, topics) = ((gibibytes * f64::from(1 << 30)) as u64, (topics as u64).max(1));
    let cluster = Cluster::raise(Shape { peers: 1, slots: 64, replication: 1 }, |_| {});
    say(&format!("one peer in {}", cluster.dir().display()));
    fill(&cluster, bytes, topics);
    // The worst moment first: everything is in the log still, and read again whole.
    let under_load = restart(&cluster, "right after the last publish", true);
    settle(&cluster);
    let settled =
        [false, true].map(|kill| restart(&cluster, "when records have moved into sorted files", kill));
    let listed = cluster.send(cluster.request(Method::GET, 0, "/v1/topics")).json();
    let report = json!({
        "bytes_published": bytes,
        "topics": listed["topics"].as_array().map(Vec::len),
        "bytes_on_disk": disk_bytes(&cluster.data_dir(0)),
        "restarts": { "under_load": under_load, "settled": settled },
    });
    match writeln!(std::io::stdout(), "{report:#}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
