//! House rules that a test can check, so that no reviewer has to. Each failure lists every offender with what to do.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Lines a source file may have; beyond it, it has more than one purpose and is split.
const LINES_MAX: usize = 600;

/// The exceptions, with their present size in lines. They may only shrink: a new size is written here when it is less.
const LONG_FILES: &[(&str, usize)] = &[];

/// Bytes any committed file may have.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Work that is not done. The words are put together here so that this file does not hold them.
const UNFINISHED: &[&str] =
    &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("to", "do!("), concat!("unimpl", "emented!(")];

/// What belongs to one developer's machine and never into a commit.
const MACHINE_BOUND: &[&str] =
    &[concat!("arti", "factory"), concat!("/ro", "ot/."), concat!("/wo", "rk/main")];

/// Every package with its height: a package uses only what lies below it.
const HEIGHTS: &[(&str, u32)] = &[
    ("hcube-core", 0),
    ("hcube-log", 1),
    ("hcube-api", 1),
    ("hcube-crd", 1),
    ("hcube-consensus", 2),
    ("hcube-client", 2),
    ("hcube-broker", 3),
    ("hcube-operator", 3),
    ("hcube-sim", 4),
    ("hcube-node", 4),
    ("hcube-cli", 5),
    ("hcube-tests", 6),
    ("hcube-compare", 6),
];

/// Packages that compute and nothing else, by their folder: no files, sockets, threads, clocks or randomness.
const PURE: &[(&str, &str)] = &[
    ("hcube-core", "crates/core/src/"),
    ("hcube-consensus", "crates/consensus/src/"),
    ("hcube-broker", "crates/broker/src/"),
];
const EFFECT_CRATES: &[&str] = &["axum", "rand", "reqwest", "rustix", "tempfile", "tokio"];
const EFFECT_CALLS: &[&str] =
    &["std::env", "std::fs", "std::net", "std::process", "std::thread", "Instant::now", "SystemTime::now"];

/// The workspace's root, asked for at run time: what is compiled in may be another clone's.
fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo tells its tests where they lie");
    Path::new(&package).parent().expect("this package lies in the root").to_path_buf()
}

/// Runs a command in the root and returns what it printed.
fn output_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(root()).output();
    let output = output.unwrap_or_else(|error| panic!("cannot run {program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("both git and cargo print UTF-8")
}

/// Paths, from the root, of all files that are committed or would be.
fn files() -> Vec<String> {
    let listed = output_of("git", &["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<String> =
        listed.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    files.retain(|path| root().join(path).is_file());
    files.sort();
    files.dedup();
    assert!(!files.is_empty(), "git lists no file");
    files
}

/// The text of a file, or nothing where it is not UTF-8.
fn text_of(path: &str) -> Option<String> {
    String::from_utf8(std::fs::read(root().join(path)).expect("git listed it")).ok()
}

/// All Rust sources with their text.
fn rust_sources() -> Vec<(String, String)> {
    let mut sources = Vec::new();
    for path in files().into_iter().filter(|path| path.ends_with(".rs")) {
        let text = text_of(&path).unwrap_or_else(|| panic!("{path} is not UTF-8"));
        sources.push((path, text));
    }
    sources
}

/// Fails with all offenders at once, so that one run is enough to mend them.
fn assert_none(rule: &str, offenders: &[String]) {
    assert!(offenders.is_empty(), "{rule}:\n  {}\n", offenders.join("\n  "));
}

/// What `cargo metadata` says of the members.
fn members() -> Vec<Value> {
    let arguments = ["metadata", "--no-deps", "--offline", "--format-version", "1"];
    let metadata: Value =
        serde_json::from_str(&output_of(env!("CARGO"), &arguments)).expect("cargo prints JSON");
    metadata["packages"].as_array().expect("metadata lists packages").clone()
}

fn name_of(value: &Value) -> &str {
    value["name"].as_str().expect("packages and dependencies have names")
}

/// A member's dependencies: name, whether it is a member too, whether only tests use it.
fn dependencies_of(member: &Value) -> Vec<(&str, bool, bool)> {
    let all = member["dependencies"].as_array().expect("a package lists its dependencies");
    all.iter().map(|one| (name_of(one), one["path"].is_string(), one["kind"] == "dev")).collect()
}

/// Crates named in the rows of docs/dependencies.md, under each of its headings.
fn explained() -> BTreeMap<String, BTreeSet<String>> {
    let text = text_of("docs/dependencies.md").expect("docs/dependencies.md is UTF-8");
    let mut sections = BTreeMap::<String, BTreeSet<String>>::new();
    let mut heading = String::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            heading = title.to_owned();
        } else if let Some((name, _)) = line.strip_prefix("| `").and_then(|row| row.split_once('`')) {
            let new = sections.entry(heading.clone()).or_default().insert(name.to_owned());
            assert!(new, "docs/dependencies.md explains {name} twice");
        }
    }
    sections
}

#[test]
fn every_source_says_what_it_is_for() {
    let silent = rust_sources().into_iter().filter(|(_, text)| !text.starts_with("//! "));
    assert_none("these must open with a `//!` line", &silent.map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_unfinished() {
    let mut offenders = Vec::new();
    for (path, text) in rust_sources() {
        for (number, line) in text.lines().enumerate() {
            if UNFINISHED.iter().any(|word| line.contains(word)) {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("finish these, or say on the issue what is missing", &offenders);
}

#[test]
fn files_stay_small_enough_to_read() {
    let exceptions: BTreeMap<&str, usize> = LONG_FILES.iter().copied().collect();
    let mut offenders = Vec::new();
    let mut met = BTreeSet::new();
    for (path, text) in rust_sources() {
        let lines = text.lines().count();
        match exceptions.get_key_value(path.as_str()) {
            None if lines > LINES_MAX => {
                offenders.push(format!("{path}: {lines} lines, at most {LINES_MAX}"))
            }
            None => {}
            Some((known, &size)) => {
                met.insert(*known);
                if lines > size {
                    offenders.push(format!("{path}: {lines} lines, it had {size} and may only shrink"));
                } else if lines <= LINES_MAX {
                    offenders.push(format!(
                        "{path}: {lines} lines, no exception any more: take it out of LONG_FILES"
                    ));
                } else if lines < size {
                    offenders
                        .push(format!("{path}: {lines} lines, write that into LONG_FILES instead of {size}"));
                }
            }
        }
    }
    let gone = exceptions.keys().filter(|path| !met.contains(*path));
    offenders.extend(gone.map(|path| format!("{path}: in LONG_FILES, but there is no such file")));
    assert_none("split these by purpose", &offenders);
}

#[test]
fn modules_and_tests_are_named_as_everywhere() {
    let mut offenders = Vec::new();
    for (path, text) in rust_sources() {
        if path.ends_with("/mod.rs") {
            offenders.push(format!("{path}: a module `foo` lives in foo.rs and foo/"));
        }
        let prefixed = text.lines().filter(|line| line.trim_start().starts_with(concat!("fn te", "st_")));
        offenders.extend(prefixed.map(|line| format!("{path}: {}: a test's name is a fact", line.trim())));
    }
    assert_none("rename these", &offenders);
}

#[test]
fn every_allow_gives_its_reason() {
    let mut offenders = Vec::new();
    for (path, text) in rust_sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let allows = ["#[allow(", "#![allow("].iter().any(|open| line.trim_start().starts_with(open));
            let end = lines[number..].iter().position(|line| line.contains(")]")).unwrap_or_default();
            let attribute = lines[number..=number + end].concat();
            let explained = number > 0 && lines[number - 1].trim_start().starts_with("// ");
            let reasoned = explained || attribute.contains("reason =") || attribute.contains("//");
            if allows && !reasoned {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim_start()));
            }
        }
    }
    assert_none("give these a `reason = \"…\"`", &offenders);
}

#[test]
fn no_commit_holds_machine_paths_or_bulk() {
    let mut offenders = Vec::new();
    for path in files() {
        let bytes = std::fs::metadata(root().join(&path)).expect("git listed it").len();
        if bytes > FILE_BYTES_MAX {
            offenders.push(format!("{path}: {bytes} bytes, at most {FILE_BYTES_MAX}"));
        }
        let text = text_of(&path).unwrap_or_default();
        let bound = MACHINE_BOUND.iter().filter(|word| text.contains(*word));
        offenders.extend(bound.map(|word| format!("{path}: holds `{word}`")));
    }
    assert_none("these fit one machine only, or are too large", &offenders);
}

#[test]
fn every_dependency_is_explained_and_every_explained_one_used() {
    let members = members();
    let direct = members.iter().flat_map(dependencies_of).filter(|(_, internal, _)| !internal);
    let used: BTreeSet<String> = direct.map(|(name, ..)| name.to_owned()).collect();
    let sections = explained();
    let none = BTreeSet::new();
    let explained = sections.get("Used directly").unwrap_or(&none);
    let missing = used.difference(explained).map(|name| format!("{name}: add a row under \"Used directly\""));
    let stale =
        explained.difference(&used).map(|name| format!("{name}: no member uses it, take its row out"));
    let mut offenders: Vec<String> = missing.chain(stale).collect();

    let lock = text_of("Cargo.lock").expect("cargo made it before it ran this");
    for name in sections.get("Through another crate").unwrap_or(&none) {
        if used.contains(name) {
            offenders.push(format!("{name}: a member uses it, move its row to \"Used directly\""));
        } else if !lock.contains(&format!("name = \"{name}\"\n")) {
            offenders.push(format!("{name}: no longer in Cargo.lock, take its row out"));
        }
    }
    assert_none("docs/dependencies.md is not what the manifests say", &offenders);
}

#[test]
fn packages_use_only_what_lies_below_them() {
    let heights: BTreeMap<&str, u32> = HEIGHTS.iter().copied().collect();
    let members = members();
    let mut offenders = Vec::new();
    for member in &members {
        let name = name_of(member);
        let Some(height) = heights.get(name) else {
            offenders.push(format!("{name}: give it its place in HEIGHTS"));
            continue;
        };
        let internal = dependencies_of(member).into_iter().filter(|(_, internal, dev)| *internal && !dev);
        let upward = internal.filter(|(used, ..)| heights.get(used).is_none_or(|below| below >= height));
        offenders.extend(upward.map(|(used, ..)| format!("{name} uses {used}, which does not lie below it")));
    }
    assert_none("dependencies point down only", &offenders);
}

#[test]
fn pure_packages_have_no_effects() {
    let mut offenders = Vec::new();
    for member in &members() {
        let name = name_of(member);
        if !PURE.iter().any(|(pure, _)| *pure == name) {
            continue;
        }
        let effects =
            dependencies_of(member).into_iter().filter(|(used, _, dev)| !dev && EFFECT_CRATES.contains(used));
        offenders.extend(effects.map(|(used, ..)| format!("{name} uses {used}")));
    }
    for (path, text) in rust_sources() {
        if !PURE.iter().any(|(_, folder)| path.starts_with(folder)) {
            continue;
        }
        let product = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in product.lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            if EFFECT_CALLS.iter().any(|call| code.contains(call)) {
                offenders.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none("these belong into the node, behind a seam", &offenders);
}

#[test]
fn planted_mistakes_are_out_of_the_products_reach() {
    let mut offenders = Vec::new();
    for member in &members() {
        let name = name_of(member);
        let features = member["features"].as_object().expect("a package lists its features");
        // Only the simulator may ask for it, and only where it is built to.
        let allowed = match name {
            "hcube-core" => &[][..],
            "hcube-sim" => &["hcube-core/planted"],
            _ => &["no feature of this name"],
        };
        for (feature, asks) in features {
            let asks: Vec<&str> = asks.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let plants = feature == "planted" || asks.iter().any(|ask| ask.contains("planted"));
            if plants && (feature != "planted" || asks != allowed) {
                offenders.push(format!("{name}: feature {feature} asks for {asks:?}"));
            }
        }
        for dependency in member["dependencies"].as_array().into_iter().flatten() {
            let asks = dependency["features"].as_array().into_iter().flatten();
            if asks.filter_map(Value::as_str).any(|ask| ask.contains("planted")) {
                offenders.push(format!("{name} asks {} for it", name_of(dependency)));
            }
        }
    }
    assert_none("no build of the product may hold a planted mistake", &offenders);
}

#[test]
fn scripts_run_and_stop_at_the_first_error() {
    let mut offenders = Vec::new();
    for path in files() {
        let mode = std::fs::metadata(root().join(&path)).expect("git listed it").permissions().mode();
        let executable = mode & 0o111 != 0;
        let text = text_of(&path).unwrap_or_default();
        let first = text.lines().next().unwrap_or_default();
        let script = first.starts_with("#!") && !first.starts_with("#![");
        if script && !executable {
            offenders.push(format!("{path}: chmod +x"));
        }
        if executable && !script {
            offenders.push(format!("{path}: executable, but its first line names no interpreter"));
        }
        let shell = script && first.ends_with("sh");
        if shell && !text.lines().any(|line| line == "set -euo pipefail") {
            offenders.push(format!("{path}: no `set -euo pipefail`"));
        }
    }
    assert_none("mend these scripts", &offenders);
}
