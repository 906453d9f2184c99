//! The lines of the README that say how to use hcube with curl, as a reader would type them.

use std::process::Command;

use hcube_tests::program::run;
use hcube_tests::{Cluster, Shape, readme};

/// Stands before a block of the README whose lines are run here.
const MARK: &str = "<!-- tested -->";

/// The line for a hypercube at other ports than 8000 to 8007.
fn at_ports(line: &str, base_port: u16) -> String {
    (0..8).fold(line.to_owned(), |line, vertex| {
        line.replace(&format!("localhost:{}", 8000 + vertex), &format!("localhost:{}", base_port + vertex))
    })
}

#[test]
fn the_readme_curl_lines_work() {
    let lines = readme::blocks(MARK).concat();
    assert!(lines.len() > 5, "the README has only {} tested lines", lines.len());
    let cluster = Cluster::raise(Shape { slots: 64, ..Shape::of(8) }, |_| {});
    for line in lines {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &at_ports(&line, cluster.base_port)]);
        bash.env("NO_PROXY", "localhost,127.0.0.1").current_dir(cluster.dir());
        let ran = run(bash);
        assert_eq!(ran.code, Some(0), "{line}\n{ran}");
        if !line.contains(" -X DELETE ") {
            assert!(!ran.stdout.is_empty(), "{line} printed nothing\n{ran}");
        }
    }
    // The last line deletes what the first one made.
    assert_eq!(cluster.get(0, "/v1/topics").json()["topics"], serde_json::json!([]));
}
