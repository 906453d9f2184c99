//! Data directories that a peer must not work with: in use, of another hypercube, damaged.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test; clippy only excuses functions marked as such"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use hcube_tests::history::value;
use hcube_tests::program::{self, Ran};
use hcube_tests::{Acked, Cluster, Publisher, Shape, eventually, load, seconds};

/// `hcube node run` with a peer's data at ports that nobody uses.
fn node_run(cluster: &Cluster, vertex: u16, data_dir: &Path) -> Ran {
    let mut command = program::command(&["node", "run"]);
    let free = |kind: u16| format!("127.0.0.1:{}", cluster.base_port + 100 * kind + 64 + vertex);
    command.arg("--data-dir").arg(data_dir);
    command.args(["--client-listen", &free(0), "--peer-listen", &free(1), "--admin-listen", &free(2)]);
    command.arg("--secret-file").arg(cluster.dir().join("cluster.secret"));
    command.arg("--token-file").arg(cluster.dir().join("admin.token"));
    // As `hcube local` has it: with another size the blank segment ahead is made anew, and rightly so.
    command.args(["--segment-bytes", "16777216"]);
    program::Running::start(command).finish(seconds(20))
}

/// All files below a directory with what they hold.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap().display().to_string();
                files.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    files
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let cluster = Cluster::up(1);
    cluster.create_topic("t", 1);
    let process = cluster.process(0);
    let second = node_run(&cluster, 0, &cluster.data_dir(0)).expect_code(1);
    assert!(second.stderr.contains("is in use by another process"), "{second}");
    assert!(process.runs());
    let _ = cluster.post(0, "t", "text/plain", "still here").expect(200);
    // The same by the front door: what runs already is left alone.
    cluster.up_again();
    assert_eq!(cluster.process(0), process);
}

#[test]
fn a_data_directory_of_another_cluster_is_refused() {
    let (ours, theirs) =
        (Cluster::up(3), Cluster::raise(Shape { peers: 1, slots: 4, replication: 1 }, |_| {}));
    theirs.create_topic("t", 1);
    let _ = theirs.post(0, "t", "text/plain", "theirs#0").expect(200);
    for cluster in [&ours, &theirs] {
        cluster.down(false);
    }
    let (place, aside) = (ours.data_dir(1), ours.dir().join("aside"));
    fs::rename(&place, &aside).unwrap();
    fs::rename(theirs.data_dir(0), &place).unwrap();
    let before = content(&place);

    let refused = ours.local(&["up"]).expect_code(1);
    assert!(refused.stderr.contains("belongs to another hypercube"), "{refused}");
    assert!(ours.processes().iter().all(Option::is_none), "peers were left running");
    // The peer ran for a moment, on its own log: only what every start writes may differ, and nothing is missing.
    let after = content(&place);
    assert_eq!(before["identity"], after["identity"]);

    fs::rename(&place, theirs.data_dir(0)).unwrap();
    fs::rename(&aside, &place).unwrap();
    for cluster in [&ours, &theirs] {
        cluster.up_again();
    }
    assert_eq!(theirs.read(0, "t", 1)[&0][0].value, "theirs#0");
    ours.create_topic("t", 1);
}

/// Flips a bit in the middle of what was written to the newest segment that holds anything; the same call flips it
/// back.
fn flip(data_dir: &Path, at: &mut Option<(std::path::PathBuf, usize)>) {
    let (path, offset) = at.get_or_insert_with(|| {
        let segments = fs::read_dir(data_dir.join("log")).unwrap().map(|entry| entry.unwrap().path());
        let written = |path: &Path| fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let longest = segments.map(|path| (written(&path), path)).max().expect("a log has a segment");
        (longest.1, longest.0 / 2)
    });
    let mut bytes = fs::read(&*path).unwrap();
    bytes[*offset] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_damaged_log_is_refused_or_had_anew_but_never_served() {
    let cluster = Cluster::up(3);
    cluster.create_topic("t", 1);
    let victim = cluster.leader("t", 0);
    let (_, mut acked) =
        load::during(&cluster.endpoints(), "t", 1, 2, |progress| progress.advances(100, seconds(60)));
    let _stopped = cluster.local(&["stop", &cluster.label(victim)]).ok();
    let mut place = None;
    flip(&cluster.data_dir(victim), &mut place);
    let started = cluster.local(&["start", &cluster.label(victim)]);
    if started.code != Some(0) {
        // The metadata was hit: then the whole peer would have to be replaced, so the bit is put back.
        assert!(started.stderr.contains("damaged"), "{started}");
        flip(&cluster.data_dir(victim), &mut place);
        cluster.start(victim);
    }

    let others: Vec<u16> = cluster.vertices().filter(|vertex| *vertex != victim).collect();
    let endpoints: Vec<String> = others.iter().map(|vertex| cluster.endpoint(*vertex)).collect();
    let mut publisher = Publisher::register(&endpoints, None, "t", 0);
    for number in 0..20 {
        let value = value("meanwhile", number);
        acked.push(Acked { partition: 0, offset: publisher.publish(&value).offset, value });
    }
    let label = cluster.label(victim);
    let own = format!("/v1/topics/t/messages?partition=0&from=earliest&replica={label}");
    eventually("a replica in the place of the damaged one", seconds(60), || {
        let answer = cluster.get(others[0], &own);
        (answer.status == 200 && !answer.body.is_empty()).then_some(())
    });
    let _ = cluster.check("t", 1, &acked, &[0, 1, 2]);
}
