//! Requests about topics.

use hcube_api::topics::{CreateTopic, PatchTopic, Topic, TopicList, TopicSummary};
use hcube_api::{media, paths};
use hcube_core::topic::Name;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};

use super::{Call, Client};
use crate::error::Error;

/// Answer to the creation of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// The topic as it is now.
    pub topic: Topic,
    /// Whether it was created now; false where it existed, be it by an earlier attempt of this very request.
    pub is_new: bool,
}

impl Client {
    /// Creates a topic, or finds it with these partitions and this retention.
    ///
    /// # Errors
    /// `topic-exists` where it has others; see [`Error`].
    pub async fn create_topic(&self, topic: &Name, settings: &CreateTopic) -> Result<Created, Error> {
        let call = Call::new(Method::PUT, paths::topic(topic)).json(settings);
        let answer = self.execute(&call).await?;
        Ok(Created { topic: answer.json()?, is_new: answer.status == StatusCode::CREATED })
    }

    /// Describes a topic: its partitions, where they live and how far they go.
    ///
    /// # Errors
    /// `unknown-topic`; see [`Error`].
    pub async fn describe_topic(&self, topic: &Name) -> Result<Topic, Error> {
        self.execute(&Call::get(paths::topic(topic))).await?.json()
    }

    /// Changes a topic's retention.
    ///
    /// # Errors
    /// `unknown-topic`; see [`Error`].
    pub async fn alter_topic(&self, topic: &Name, patch: &PatchTopic) -> Result<Topic, Error> {
        let call = Call::new(Method::PATCH, paths::topic(topic)).json(patch);
        self.execute(&call.header(CONTENT_TYPE, media::MERGE_PATCH)).await?.json()
    }

    /// Deletes a topic. It is not repeated once it may have been done, because by then the name may belong to
    /// a new topic: such an error says [`Error::maybe_done`].
    ///
    /// # Errors
    /// `unknown-topic`; see [`Error`].
    pub async fn delete_topic(&self, topic: &Name) -> Result<(), Error> {
        self.execute(&Call::new(Method::DELETE, paths::topic(topic)).repeatable(false)).await?;
        Ok(())
    }

    /// Lists the topics by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_topics(&self) -> Result<Vec<TopicSummary>, Error> {
        let list: TopicList = self.execute(&Call::get(paths::TOPICS)).await?.json()?;
        Ok(list.topics)
    }
}
