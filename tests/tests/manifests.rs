//! What installs hcube on Kubernetes is not stale: the chart's copies, the rendered file, and the names in them. Whether
//! the rendered file is what helm makes of the chart is `deploy/render --check`'s to say, where there is helm.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The workspace's root, asked for at run time: what is compiled in may be another clone's.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells its tests where they lie");
    Path::new(&package).parent().expect("this package lies in the root").to_path_buf()
}

fn text_of(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The lines that say something, without their depth, which the chart changes.
fn flat(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.fold(String::from("\n"), |flat, line| flat + line + "\n")
}

/// The words that begin with `hcube_`: names of metrics, in what Prometheus and Grafana are told.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("hcube_")).collect()
}

/// The names that a source registers with a prefix, each followed by what its unit and its kind add.
fn registered(path: &str, prefix: &str) -> BTreeSet<String> {
    let source = text_of(path);
    let mut names = BTreeSet::new();
    for (call, units) in [("register(", &[""][..]), ("register_with_unit(", &["_seconds", "_bytes"])] {
        for rest in source.split(call).skip(1) {
            let Some(name) = rest.trim_start().strip_prefix('"').and_then(|name| name.split('"').next())
            else {
                continue;
            };
            for unit in units {
                for kind in ["", "_total", "_bucket", "_sum", "_count"] {
                    names.insert(format!("{prefix}_{name}{unit}{kind}"));
                }
            }
        }
    }
    assert!(names.len() > 10, "{path} registers nothing");
    names
}

#[test]
fn the_charts_copies_are_the_originals() {
    for (copy, original) in [
        ("charts/hcube/files/crds/hypercubes.yaml", "deploy/crds/hypercubes.yaml"),
        ("charts/hcube/files/crds/hypercubetopics.yaml", "deploy/crds/hypercubetopics.yaml"),
        ("charts/hcube/files/rbac.yaml", "operator/rbac.yaml"),
    ] {
        assert!(text_of(copy) == text_of(original), "{copy} is not {original}: deploy/render writes it anew");
    }
}

#[test]
fn the_rendered_file_has_these_definitions_and_these_roles() {
    let rendered = flat(&text_of("deploy/hcube.yaml"));
    for name in ["hypercubes", "hypercubetopics"] {
        let text = flat(&text_of(&format!("deploy/crds/{name}.yaml")));
        let (_, spec) = text.split_once("\nspec:\n").expect("a definition has a spec");
        assert!(
            rendered.contains(&format!("\nspec:\n{spec}")),
            "deploy/hcube.yaml has an older {name}: deploy/render writes it anew"
        );
    }
    let rules = flat(&text_of("operator/rbac.yaml"));
    let rules = rules.strip_prefix("\ncluster:\n").expect("it begins with what belongs to no namespace");
    let (cluster, rest) = rules.split_once("\nown:\n").expect("own comes second");
    let (own, watched) = rest.split_once("\nwatched:\n").expect("watched comes last");
    for wanted in [format!("\nrules:\n{cluster}\n{watched}"), format!("\nrules:\n{own}\n")] {
        assert!(
            rendered.contains(&wanted),
            "deploy/hcube.yaml has older roles: deploy/render writes it anew"
        );
    }
}

#[test]
fn the_operator_knows_each_variable_that_it_is_given() {
    let config = text_of("operator/src/config.rs");
    let template = text_of("charts/hcube/templates/deployment.yaml");
    let variables = template.lines().filter_map(|line| line.trim().strip_prefix("- name: "));
    let ours: Vec<&str> =
        variables.filter(|name| name.starts_with("HCUBE_") || name.starts_with("POD_")).collect();
    assert!(ours.len() > 5, "{ours:?}");
    for name in ours {
        assert!(config.contains(&format!("env = \"{name}\"")), "the operator does not know {name}");
    }
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let mut known = registered("node/src/metrics.rs", "hcube");
    known.extend(registered("operator/src/metrics.rs", "hcube_operator"));
    for path in ["charts/hcube/files/alerts.yaml", "charts/hcube/files/dashboard.json"] {
        let text = text_of(path);
        let asked = metric_names(&text);
        assert!(asked.len() > 5, "{path} asks for {asked:?}");
        let unknown: Vec<_> = asked.into_iter().filter(|name| !known.contains(*name)).collect();
        assert!(unknown.is_empty(), "{path} asks for {unknown:?}");
    }
}

#[test]
fn the_chart_has_the_version_of_the_rest() {
    let manifest = text_of("Cargo.toml");
    let version =
        manifest.lines().find_map(|line| line.strip_prefix("version = ")).expect("it has a version");
    assert!(text_of("charts/hcube/Chart.yaml").contains(&format!("\nappVersion: {version}\n")), "{version}");
}
