//! hcube by its own client crate.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use hcube_client::api::messages::Start as From;
use hcube_client::{Client, Consumer, Producer, Record};

use super::local::{Hypercube, version};
use crate::servers::Servers;
use crate::system::{Each, Launcher, Mode, Publisher, Reader, Start, System};

/// Messages under way where as many as possible are wanted; the producer's own buffer bounds their bytes.
const WINDOW: usize = 1 << 16;

/// The column `hcube`.
#[derive(Debug)]
pub struct Hcube {
    /// The program.
    pub program: PathBuf,
}

impl Launcher for Hcube {
    type System = Running;

    fn name(&self) -> &'static str {
        "hcube"
    }

    fn described(&self) -> Vec<(String, String)> {
        vec![
            ("version".into(), version(&self.program)),
            (
                "servers".into(),
                "`hcube local up`, defaults: three replicas, acknowledged when synced on two".into(),
            ),
            ("publishing".into(), "`Producer`, defaults; without a timer".into()),
            ("reading".into(), "`Consumer`, defaults".into()),
        ]
    }

    async fn launch(&self, dir: &Path, peers: u16) -> Result<Running> {
        Ok(Running { hypercube: Hypercube::raise(&self.program, dir, peers).await? })
    }
}

/// A hypercube that is spoken to by the client crate.
#[derive(Debug)]
pub struct Running {
    hypercube: Hypercube,
}

impl System for Running {
    type Publisher = Producers;
    type Reader = Reading;

    fn servers(&self) -> &Servers {
        &self.hypercube.servers
    }

    fn started(&self) -> Instant {
        self.hypercube.started
    }

    async fn create_topics(&self, names: &[String]) -> Result<()> {
        self.hypercube.create_topics(names).await
    }

    async fn check_settings(&self) -> Result<()> {
        // There is no setting under which less is promised.
        Ok(())
    }

    async fn publisher(&self, topics: &[String], _mode: Mode) -> Result<Producers> {
        let client = self.client()?;
        let mut producers = Vec::with_capacity(topics.len());
        for topic in topics {
            producers.push(client.producer(&topic.parse()?).build().await?);
        }
        Ok(Producers(producers))
    }

    async fn reader(&self, topic: &str, start: Start) -> Result<Reading> {
        let from = match start {
            Start::Earliest => From::Earliest,
            Start::Latest => From::Latest,
        };
        Ok(Reading(self.client()?.consumer(&topic.parse()?).from(from).build().await?))
    }

    async fn leader(&self, topic: &str) -> Result<usize> {
        self.hypercube.leader(topic).await
    }
}

impl Running {
    /// A client with connections of its own, as another program would have them.
    fn client(&self) -> Result<Client> {
        let urls = self.hypercube.endpoints.iter().map(|endpoint| endpoint.parse());
        Ok(Client::new(urls.collect::<Result<Vec<_>, _>>()?)?)
    }
}

/// A producer for each topic.
#[derive(Debug)]
pub struct Producers(Vec<Producer>);

impl Publisher for Producers {
    type Delivery = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

    fn window(&self, _payload_bytes: usize) -> usize {
        WINDOW
    }

    async fn enqueue(&self, topic: usize, payload: Bytes) -> Result<Self::Delivery> {
        let delivery = self.0[topic].enqueue(Record { value: payload, ..Record::default() }).await?;
        Ok(Box::pin(async move {
            delivery.await?;
            Ok(())
        }))
    }
}

/// A consumer.
#[derive(Debug)]
pub struct Reading(Consumer);

impl Reader for Reading {
    async fn read(&mut self, each: Each<'_>) -> Result<()> {
        self.0.next_chunk().await?.iter().for_each(|message| each(&message.record.value));
        Ok(())
    }
}
