//! Typed async client of hcube.
//!
//! A [`Client`] makes every request of the contract, at whichever of its peers answers. On top of it, a
//! [`Producer`] publishes a stream of messages and a [`Consumer`] reads one, both through failovers.
//!
//! ```no_run
//! use hcube_client::api::messages::Start;
//! use hcube_client::api::topics::CreateTopic;
//! use hcube_client::{Client, Name, Record};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["http://127.0.0.1:8000".parse()?, "http://127.0.0.1:8001".parse()?])?;
//! let quakes: Name = "quakes".parse()?;
//! client.create_topic(&quakes, &CreateTopic::default()).await?;
//!
//! let producer = client.producer(&quakes).build().await?;
//! let record = Record { key: Some("alaska".into()), value: "magnitude 4.5".into(), ..Record::default() };
//! let ack = producer.send(record).await?;
//! assert!(!ack.is_duplicate);
//! producer.close().await?;
//!
//! let mut consumer = client.consumer(&quakes).from(Start::Earliest).follows(false).build().await?;
//! while let Some(message) = consumer.next().await? {
//!     assert_eq!(message.record.value, "magnitude 4.5");
//! }
//! # Ok(())
//! # }
//! ```

mod admin;
mod attempts;
mod builder;
mod client;
mod consumer;
mod endpoints;
mod error;
mod producer;
mod stream;

pub use admin::{Added, Admin};
pub use builder::ClientBuilder;
pub use client::{Client, Created, Published, Pulled};
pub use consumer::{Consumer, ConsumerBuilder, Transport};
pub use error::{Error, innermost};
/// The HTTP contract: bodies, queries, cursors, problems.
pub use hcube_api as api;
pub use hcube_api::messages::Message;
pub use hcube_core::record::Record;
pub use hcube_core::topic::Name;
pub use producer::{Ack, Delivery, Failure, Producer, ProducerBuilder, SendError, Unacknowledged};
pub use reqwest::Url;
