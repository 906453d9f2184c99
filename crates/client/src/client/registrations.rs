//! Requests about publishers, subscribers and their durable cursors.

use hcube_api::clients::{
    CursorAnswer, Publisher, RegisterPublisher, RegisterSubscriber, SetCursor, Subscriber,
};
use hcube_api::paths;
use hcube_core::topic::Name;
use reqwest::Method;

use super::{Call, Client};
use crate::error::Error;

impl Client {
    /// Registers a publisher. A name gets the same producer id each time and a higher epoch, which fences
    /// whoever published under it before; an attempt that is repeated only raises the epoch once more.
    /// Without a name the producer id is new.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn register_publisher(&self, name: Option<&Name>) -> Result<Publisher, Error> {
        let body = RegisterPublisher { name: name.cloned() };
        self.execute(&Call::new(Method::POST, paths::PUBLISHERS).json(&body)).await?.json()
    }

    /// Registers a subscriber; doing it again changes nothing.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn register_subscriber(&self, name: &Name) -> Result<Subscriber, Error> {
        let body = RegisterSubscriber { name: name.clone() };
        self.execute(&Call::new(Method::POST, paths::SUBSCRIBERS).json(&body)).await?.json()
    }

    /// Fetches a subscriber's durable cursor in a topic.
    ///
    /// # Errors
    /// `unknown-subscriber`, `unknown-topic`; see [`Error`].
    pub async fn fetch_cursor(&self, subscriber: &Name, topic: &Name) -> Result<CursorAnswer, Error> {
        self.execute(&Call::get(paths::cursor(subscriber, topic))).await?.json()
    }

    /// Commits or resets a subscriber's durable cursor in a topic. Each partition commits by itself; after an
    /// error some of them may have.
    ///
    /// # Errors
    /// `unknown-subscriber`, `unknown-topic`, `invalid-cursor`, `offset-out-of-range`; see [`Error`].
    pub async fn set_cursor(
        &self,
        subscriber: &Name,
        topic: &Name,
        to: &SetCursor,
    ) -> Result<CursorAnswer, Error> {
        let call = Call::new(Method::PUT, paths::cursor(subscriber, topic)).json(to);
        self.execute(&call).await?.json()
    }
}
