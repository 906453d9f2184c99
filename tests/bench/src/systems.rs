//! hcube itself, by its own client and by plain HTTP.

pub mod hcube;
pub mod http;
pub mod local;
