//! The operator of hcube: hypercubes on Kubernetes.
//!
//! A look at a resource goes one way: fetch, validate, plan, build, apply, act, status. Validating, planning and
//! building are pure. The operator states what is wished and watches; moving replicas is the hypercube's own doing,
//! so that while the operator or Kubernetes is away, only growing and shrinking stop.

pub mod act;
pub mod announce;
pub mod apply;
pub mod build;
pub mod config;
pub mod contacts;
pub mod context;
pub mod drift;
pub mod error;
pub mod events;
pub mod fetch;
pub mod health;
pub mod metrics;
pub mod observed;
pub mod orphans;
pub mod peers;
pub mod plan;
pub mod rbac;
pub mod reconcile;
pub mod run;
pub mod secrets;
pub mod status;
pub mod tenure;
pub mod topics;
pub mod validate;
pub mod verdicts;
pub mod watches;
pub mod world;

pub use hcube_crd::names;
