//! Stories of hypercubes on Kubernetes, in the kind cluster of `tests/kind/up`.
//!
//! Those that are ignored take long; `tests/run --all` runs them too.

mod afar;
mod apply;
mod bad_resources;
mod disturbances;
mod endings;
mod helm;
mod identities;
mod losses;
mod neighbours;
mod readme;
mod retain;
mod rolling;
mod scale;
mod strangers;
mod topics;
