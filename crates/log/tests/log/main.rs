//! The write-ahead log from outside, on a disk that crashes, fills up and flips bits.

#![allow(clippy::unwrap_used, reason = "clippy knows the tests, but not the functions that they share")]

mod damage;
mod full;
mod model;
mod random;
mod rules;
mod steps;
mod used;
