//! The README's lines about Kubernetes, one after the other as a reader types them.

use hcube_tests::kubernetes::{Hypercube, Namespace, Reader, figures};
use hcube_tests::program::Running;
use hcube_tests::{readme, seconds};

/// Stands before the blocks of the README whose lines are run here: with kubectl, then with Helm.
const MARK: &str = "<!-- tested on Kubernetes -->";

/// The lines of one of them.
pub fn block(number: usize) -> Vec<String> {
    let blocks = readme::blocks(MARK);
    assert_eq!(blocks.len(), 2, "{blocks:?}");
    blocks[number].clone()
}

#[test]
fn the_lines_with_kubectl_work_and_verify_finds_nothing_missing() {
    let namespace = Namespace::beside("hct-readme");
    let reader = Reader::within(&namespace);
    let demo = Hypercube::reach(&namespace, "demo", 3);
    let mut verify = None;
    let mut lines = block(0).into_iter();
    // The cluster stands: `tests/run --stage kubernetes` has begun with this very line.
    let first = lines.next().unwrap_or_default();
    let env = first.strip_prefix("tests/kind/up && ");
    let _ = reader.types(env.unwrap_or_else(|| panic!("the README begins with {first}"))).ok();
    for line in lines {
        let scales = line.split("--replicas=").nth(1).and_then(|rest| rest.split(' ').next());
        if scales.is_some() && verify.is_none() {
            verify = Some(Running::start(demo.afar(&["verify", "--duration", "50s"])));
        }
        let ran = reader.types(&line).expect_code(0);
        assert!(!ran.stdout.is_empty() || !ran.stderr.is_empty(), "{line} says nothing");
        let printed = ran.stdout;
        if line.contains(" pull ") {
            assert_eq!(printed.lines().count(), 3, "{line}: {printed}");
        }
        if let Some(peers) = scales {
            // What is said beside the line.
            let object = demo.until_settled();
            assert_eq!(object["status"]["replicas"].to_string(), peers, "{line}: {object}");
        }
    }
    for vertex in [3, 4] {
        namespace.until_gone("pvc", &format!("data-demo-{vertex}"), seconds(60));
    }
    let plugin = reader.types("kubectl hcube --hypercube demo k8s status").ok();
    assert!(plugin.contains("demo-2"), "{plugin}");
    let report = verify.expect("the README scales").finish(seconds(300)).ok();
    for line in report.lines().filter(|line| line.contains("acknowledged")) {
        figures::tell("verify", "while scaled 3 to 5 to 3", line.trim());
    }
}
