//! `moves [GIB]`: what publishers feel while the hypercube changes. Eight peers with so much data (1 GiB unless told
//! otherwise) are published to at half their peak rate; a ninth joins; then leaders hand over and are killed. Prints
//! one JSON document; stderr tells what goes on.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hcube_tests::bulk::{BATCH_BYTES, BUSY_PAUSE, batch, in_parallel, insist, say};
use hcube_tests::{Cluster, Shape, answer};
use serde_json::{Value, json};

const TOPIC: &str = "orders";
const PARTITIONS: u16 = 32;
/// Publishers at once, each with one message under way.
const PUBLISHERS: u32 = 32;
/// Bytes of a message of the measured load.
const MESSAGE_BYTES: usize = 256;
/// How long peak, quiet run and idle peers are looked at.
const LOOK: Duration = Duration::from_secs(20);
/// Leaders that are stopped, and that are killed.
const LEADERS: u32 = 5;
/// Before a publish that was refused is repeated: a gap is known as exactly as this.
const PAUSE: Duration = Duration::from_millis(5);
/// Ticks of processor time a second (USER_HZ, proc(5)).
const TICKS: f64 = 100.0;

/// A load that goes on for as long as something else does.
struct Load<'a> {
    endpoints: &'a [String],
    partitions: u16,
    /// Time between two publishes of one publisher; none to go as fast as it can.
    period: Option<Duration>,
    over: AtomicBool,
}

impl<'a> Load<'a> {
    fn new(endpoints: &'a [String], partitions: u16, period: Option<Duration>) -> Self {
        Self { endpoints, partitions, period, over: AtomicBool::new(false) }
    }

    /// Publishes while `act` goes on.
    fn during(self, publishers: u32, act: impl FnOnce()) -> Vec<Duration> {
        std::thread::scope(|scope| {
            let load = &self;
            let publish = |publisher| scope.spawn(move || load.publish(publisher));
            let at_work: Vec<_> = (0..publishers).map(publish).collect();
            act();
            self.over.store(true, Ordering::Relaxed);
            at_work
                .into_iter()
                .flat_map(|worker| worker.join().expect("a publisher is never refused"))
                .collect()
        })
    }

    fn publish(&self, publisher: u32) -> Vec<Duration> {
        let client = answer::client();
        let endpoint = &self.endpoints[publisher as usize % self.endpoints.len()];
        let partition = publisher % u32::from(self.partitions);
        let url = format!("{endpoint}/v1/topics/{TOPIC}/messages?partition={partition}");
        let body = vec![b'x'; MESSAGE_BYTES];
        let mut done = Vec::new();
        let mut due = Instant::now();
        while !self.over.load(Ordering::Relaxed) {
            if let Some(period) = self.period {
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                due = (due + period).max(Instant::now());
            }
            let began = Instant::now();
            insist(&client, PAUSE, || {
                client.post(&url).header("content-type", "application/octet-stream").body(body.clone())
            });
            done.push(began.elapsed());
        }
        done
    }
}

/// The latency below which a share of the publishes stayed, in milliseconds.
fn quantile(publishes: &[Duration], share: f64) -> f64 {
    let mut took = publishes.to_vec();
    took.sort_unstable();
    let at = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
    took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn latencies(publishes: &[Duration]) -> Value {
    json!({
        "publishes": publishes.len(),
        "p50_ms": quantile(publishes, 0.5),
        "p99_ms": quantile(publishes, 0.99),
        "longest_ms": quantile(publishes, 1.0),
    })
}

fn fill(endpoints: &[String], bytes: u64) {
    in_parallel("batches", bytes.div_ceil(BATCH_BYTES), |client, number| {
        let body = batch(number);
        let partition = number % u64::from(PARTITIONS);
        let url = format!("{}/v1/topics/{TOPIC}/messages?partition={partition}", endpoints[0]);
        insist(client, BUSY_PAUSE, || {
            client.post(&url).header("content-type", "application/x-ndjson").body(body.clone())
        });
    });
}

/// Processor time of a process so far, of its own and of the kernel for it: fields 14 and 15 of `/proc/PID/stat`.
fn processor_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    fields.iter().sum::<f64>() / TICKS
}

/// The share of one core that each peer takes while nobody asks anything of it.
fn idle(cluster: &Cluster) -> Vec<f64> {
    let pids: Vec<u32> = cluster.vertices().map(|vertex| cluster.process(vertex).pid).collect();
    let before: Vec<f64> = pids.iter().map(|pid| processor_seconds(*pid)).collect();
    std::thread::sleep(LOOK);
    let spent = pids.iter().zip(before).map(|(pid, before)| processor_seconds(*pid) - before);
    spent.map(|seconds| 100.0 * seconds / LOOK.as_secs_f64()).collect()
}

/// Ends the leader of partition 0 again and again; for each time, the longest that one publish there took.
fn leaders_end(cluster: &Cluster, endpoints: &[String], kill: bool) -> Vec<f64> {
    let mut gaps = Vec::new();
    for _ in 0..LEADERS {
        let leader = cluster.leader(TOPIC, 0);
        // Published through another peer, or the gap would be that of the client's connection.
        let others: Vec<String> =
            endpoints.iter().filter(|at| **at != cluster.endpoint(leader)).take(1).cloned().collect();
        let publishes = Load::new(&others, 1, None).during(1, || {
            std::thread::sleep(Duration::from_secs(1));
            if kill {
                cluster.kill(leader)
            } else {
                cluster.stop(leader)
            }
            std::thread::sleep(Duration::from_secs(4));
        });
        gaps.push(quantile(&publishes, 1.0));
        cluster.start(leader);
        std::thread::sleep(Duration::from_secs(3));
    }
    gaps
}

fn main() -> ExitCode {
    let gibibytes = std::env::args().nth(1).map_or(Some(1.0), |text| text.parse::<f64>().ok());
    let Some(gibibytes) = gibibytes else {
        say("usage: moves [GIB]");
        return ExitCode::from(2);
    };
    let mut cluster = Cluster::raise(Shape { peers: 8, slots: 64, replication: 3 }, |_| {});
    say(&format!("eight peers in {}", cluster.dir().display()));
    cluster.create_topic(TOPIC, PARTITIONS);
    let idle = idle(&cluster);
    let endpoints = cluster.endpoints();
    fill(&endpoints, (gibibytes * f64::from(1 << 30)) as u64);
    let peak = Load::new(&endpoints, PARTITIONS, None).during(PUBLISHERS, || std::thread::sleep(LOOK));
    let peak_rate = peak.len() as f64 / LOOK.as_secs_f64();
    say(&format!("peak: {peak_rate:.0} publishes a second"));
    let period = Some(Duration::from_secs_f64(2.0 * f64::from(PUBLISHERS) / peak_rate));
    let quiet = Load::new(&endpoints, PARTITIONS, period).during(PUBLISHERS, || std::thread::sleep(LOOK));
    say(&format!("half of it, quiet: {}", latencies(&quiet)));
    let began = Instant::now();
    let joining = Load::new(&endpoints, PARTITIONS, period).during(PUBLISHERS, || cluster.grow(1));
    let join_seconds = began.elapsed().as_secs_f64();
    say(&format!("while a ninth joins, {join_seconds:.1} s: {}", latencies(&joining)));
    let handed_over = leaders_end(&cluster, &endpoints, false);
    say(&format!("planned hand-offs: {handed_over:.0?} ms"));
    let killed = leaders_end(&cluster, &endpoints, true);
    say(&format!("leaders killed: {killed:.0?} ms"));
    let report = json!({
        "gibibytes": gibibytes,
        "idle_percent_of_a_core": idle,
        "peak_per_second": peak_rate,
        "quiet": latencies(&quiet),
        "joining": { "seconds": join_seconds, "publishes": latencies(&joining) },
        "p99_ratio": quantile(&joining, 0.99) / quantile(&quiet, 0.99),
        "hand_off_longest_ms": handed_over,
        "leader_killed_longest_ms": killed,
    });
    match writeln!(std::io::stdout(), "{report:#}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
