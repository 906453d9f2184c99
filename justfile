# Entry points for people who have `just`. Each calls what the README tells everybody else to call.

# Lists the recipes.
default:
    @just --list --unsorted

# Builds everything, optimized.
build:
    cargo build --release --workspace

# Every check and test: the same as CI.
test:
    tests/run

# Every check and test that is done in a few minutes.
quick:
    tests/run --quick

# Some stages of tests/run, by name; `tests/run --list` names them.
stage +NAMES:
    tests/run {{ prepend("--stage ", NAMES) }}

# Lays out all sources.
fmt:
    cargo fmt --all

# Layout, house rules, compiler and clippy warnings, dependency tree.
lint:
    tests/run --stage fmt --stage tidy --stage clippy --stage deny

# Eight peers, a real feed, a killed leader, in under a minute.
demo:
    cargo run --release --bin hcube -- demo

# Times every API of a running hypercube; options as of `hcube bench --help`.
bench *OPTIONS:
    cargo run --release --bin hcube -- bench {{ OPTIONS }}

# Raises peers on this machine and leaves them running.
up PEERS="8":
    cargo run --release --bin hcube -- local up --peers {{ PEERS }}

# What the local peers do.
status:
    cargo run --release --bin hcube -- local status

# Stops the local peers; their data stays.
down:
    cargo run --release --bin hcube -- local down

# Makes demo/earthquakes.ndjson anew (needs npm).
feed:
    demo/make-feed

# Removes what was built.
clean:
    cargo clean
