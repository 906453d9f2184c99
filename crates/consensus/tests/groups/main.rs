//! Several nodes with one group, their disks and the network between them, all in memory.

#![allow(clippy::unwrap_used, reason = "clippy lets tests unwrap, but not the helpers beside them")]

mod disk;
mod drive;
mod world;

mod changes;
mod crashes;
mod doubt;
mod force;
mod random;
mod replicas;
mod rules;
