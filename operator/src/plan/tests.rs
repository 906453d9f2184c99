//! Plans as tables: what is found, and what is done next.

mod founding;
mod levels;
mod rolling;
pub(crate) mod scene;
mod sizes;
mod volumes;
