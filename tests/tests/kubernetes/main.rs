//! Stories of hypercubes on Kubernetes, in the kind cluster of `tests/kind/up`.
//!
//! Those that are ignored take long; `tests/run --all` runs them too.

mod apply;
mod bad_resources;
mod disturbances;
mod endings;
mod helm;
mod losses;
mod neighbours;
mod retain;
mod scale;
mod strangers;
mod topics;
