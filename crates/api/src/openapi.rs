//! The endpoints of both ports as one table, and what follows from it: routing and the OpenAPI documents.
//!
//! A server dispatches on [`Operation`] by [`resolve`], so it cannot serve what the document does not
//! describe; an exhaustive `match` makes sure of the other direction.

mod document;
mod endpoint;
mod resolve;
mod table;

pub use document::document;
pub use endpoint::{Endpoint, Operation, Parameter, Place, Port, Reply, Request};
pub use resolve::{Resolved, resolve};
pub use table::endpoints;
