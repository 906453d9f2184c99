//! `moves [GIB]`: what publishers feel while the hypercube changes. Eight peers with so much data (1 GiB unless told
//! otherwise) are published to at half their peak rate; a ninth joins; then leaders hand over and are killed. Prints
//! one JSON document; stderr tells what goes on.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hcube_tests::bulk::{in_parallel, insist, say};
use hcube_tests::{Cluster, Shape, answer};
use serde_json::{Value, json};

const TOPIC: &str = "orders";
const PARTITIONS: u16 = 32;
/// Publishers at once, each with one message under way.
const PUBLISHERS: u32 = 32;
/// Bytes of a message of the measured load.
const MESSAGE_BYTES: usize = 256;
/// Messages of 1,000 bytes in one publish of the data that lies there already.
const FILL_MESSAGES: usize = 3000;
/// How long peak, quiet run and idle peers are looked at.
const LOOK: Duration = Duration::from_secs(20);
/// Leaders that are stopped, and that are killed.
const LEADERS: u32 = 5;
/// Before a publish that was refused is repeated: a gap is known as exactly as this.
const PAUSE: Duration = Duration::from_millis(5);
/// Ticks of processor time a second (USER_HZ, proc(5)).
const TICKS: f64 = 100.0;

/// One acknowledged publish.
#[derive(Clone, Copy)]
struct Publish {
    began: Instant,
    took: Duration,
}

/// A load that goes on until it is dropped by the scope it was started in.
struct Load<'a> {
    cluster: &'a [String],
    partitions: u16,
    /// Time between two publishes of one publisher; none to go as fast as it can.
    period: Option<Duration>,
    over: AtomicBool,
    done: Mutex<Vec<Publish>>,
}

impl<'a> Load<'a> {
    fn new(cluster: &'a [String], partitions: u16, period: Option<Duration>) -> Self {
        Self { cluster, partitions, period, over: AtomicBool::new(false), done: Mutex::new(Vec::new()) }
    }

    /// Publishes while `act` goes on; every publish in order of its beginning.
    fn during(self, publishers: u32, act: impl FnOnce()) -> Vec<Publish> {
        std::thread::scope(|scope| {
            for publisher in 0..publishers {
                let load = &self;
                scope.spawn(move || load.publish(publisher));
            }
            act();
            self.over.store(true, Ordering::Relaxed);
        });
        let mut done = self.done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        done.sort_by_key(|publish| publish.began);
        done
    }

    fn publish(&self, publisher: u32) {
        let client = answer::client();
        let endpoint = &self.cluster[publisher as usize % self.cluster.len()];
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
            done.push(Publish { began, took: began.elapsed() });
        }
        self.done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(done);
    }
}

/// The latency below which a share of the publishes stayed, in milliseconds.
fn quantile(publishes: &[Publish], share: f64) -> f64 {
    let mut took: Vec<_> = publishes.iter().map(|publish| publish.took).collect();
    took.sort_unstable();
    let at = ((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1));
    took.get(at).map_or(0.0, |took| took.as_secs_f64() * 1000.0)
}

fn latencies(publishes: &[Publish]) -> Value {
    let longest = publishes.iter().map(|publish| publish.took).max().unwrap_or_default();
    json!({
        "publishes": publishes.len(),
        "p50_ms": quantile(publishes, 0.5),
        "p99_ms": quantile(publishes, 0.99),
        "longest_ms": longest.as_secs_f64() * 1000.0,
    })
}

fn fill(endpoints: &[String], bytes: u64) {
    let batch = (FILL_MESSAGES * 1000) as u64;
    in_parallel("batches", bytes.div_ceil(batch), |client, number| {
        let mut body = Vec::with_capacity(FILL_MESSAGES * 1020);
        for message in 0..FILL_MESSAGES {
            let head = format!("{number}-{message}-");
            let rest: String =
                (head.len()..1000).map(|at| char::from(b'a' + ((at * 7 + message) % 26) as u8)).collect();
            body.extend_from_slice(json!({ "value": head + &rest }).to_string().as_bytes());
            body.push(b'\n');
        }
        let partition = number % u64::from(PARTITIONS);
        let url = format!("{}/v1/topics/{TOPIC}/messages?partition={partition}", endpoints[0]);
        insist(client, Duration::from_millis(50), || {
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
        let longest = publishes.iter().map(|publish| publish.took).max().unwrap_or_default();
        gaps.push(longest.as_secs_f64() * 1000.0);
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
