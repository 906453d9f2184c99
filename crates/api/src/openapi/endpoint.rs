//! What the table of endpoints consists of.

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};

use crate::error::Code;

/// The listener that serves an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Port {
    /// Publishers, subscribers and whoever looks.
    Client,
    /// Administration; each request needs the bearer token.
    Admin,
}

/// What an endpoint does; a server has one handler for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// `GET /v1/topics`
    ListTopics,
    /// `PUT /v1/topics/{topic}`
    CreateTopic,
    /// `GET /v1/topics/{topic}`
    DescribeTopic,
    /// `PATCH /v1/topics/{topic}`
    AlterTopic,
    /// `DELETE /v1/topics/{topic}`
    DeleteTopic,
    /// `POST /v1/topics/{topic}/messages`
    Publish,
    /// `GET /v1/publish`, see [`crate::stream`].
    PublishStream,
    /// `GET /v1/topics/{topic}/messages`, a subscription where `Accept` says so.
    Pull,
    /// `POST /v1/publishers`
    RegisterPublisher,
    /// `POST /v1/subscribers`
    RegisterSubscriber,
    /// `GET /v1/subscribers/{subscriber}/cursors/{topic}`
    FetchCursor,
    /// `PUT /v1/subscribers/{subscriber}/cursors/{topic}`
    SetCursor,
    /// `GET /v1/cluster`
    DescribeCluster,
    /// `GET /v1/cluster/route/{topic}`
    FindRoute,
    /// `GET /v1/cluster/plan`
    PlanCluster,
    /// `GET /healthz`
    Health,
    /// `GET /readyz`
    Ready,
    /// `GET /metrics`
    Metrics,
    /// `GET /openapi.json`
    OpenApi,
    /// `POST /v1/bootstrap`
    Bootstrap,
    /// `GET /v1/identity`
    Identity,
    /// `GET /v1/members`
    ListMembers,
    /// `POST /v1/members`
    AddMember,
    /// `POST /v1/members/{node_id}/drain`
    DrainMember,
    /// `POST /v1/members/{node_id}/cancel-drain`
    CancelDrain,
    /// `DELETE /v1/members/{node_id}`
    RemoveMember,
    /// `PATCH /v1/cluster`
    AlterCluster,
    /// `POST /v1/unsafe-recover`
    UnsafeRecover,
    /// `PUT /v1/topics/{topic}/read-replicas`
    SetReadReplicas,
}

/// Where a parameter stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
}

/// A parameter of a request.
#[derive(Clone)]
pub struct Parameter {
    /// Its name; a header's as people write it.
    pub name: &'static str,
    /// Where it stands.
    pub place: Place,
    /// Whether it must be given; one in the path must always be.
    pub required: bool,
    /// What it means.
    pub doc: &'static str,
    /// Its type.
    pub schema: SchemaOf,
}

/// A body that a request may have.
#[derive(Clone)]
pub struct Request {
    /// Media types it comes as and the schema of each.
    pub content: Vec<(&'static str, SchemaOf)>,
    /// Whether it may be left out.
    pub optional: bool,
}

/// A success.
#[derive(Clone)]
pub struct Reply {
    /// Its HTTP status.
    pub status: u16,
    /// When it is given.
    pub doc: &'static str,
    /// Media types it comes as and the schema of each; empty for no body.
    pub content: Vec<(&'static str, SchemaOf)>,
    /// Its headers: name as people write it, and meaning.
    pub headers: Vec<(&'static str, &'static str)>,
}

/// One row of the table.
#[derive(Clone)]
pub struct Endpoint {
    /// What it does.
    pub operation: Operation,
    /// Who serves it.
    pub port: Port,
    /// Its method.
    pub method: Method,
    /// Its path with parameters in braces, from [`crate::paths`].
    pub path: &'static str,
    /// In a few words.
    pub summary: &'static str,
    /// What it takes outside its body.
    pub parameters: Vec<Parameter>,
    /// What it takes in its body.
    pub request: Option<Request>,
    /// How it succeeds.
    pub replies: Vec<Reply>,
    /// How it may fail, besides what every endpoint may.
    pub problems: Vec<Code>,
}

/// Makes the schema of a type, entering what it refers to into the generator.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The maker of a type's schema.
pub(super) fn of<T: JsonSchema>() -> SchemaOf {
    |generator| generator.subschema_for::<T>()
}

impl Endpoint {
    /// Every code that it may answer, sorted: its own and what befalls every endpoint of the port.
    #[must_use]
    pub fn codes(&self) -> Vec<Code> {
        let everywhere = [
            Code::NotFound,
            Code::MethodNotAllowed,
            Code::UnknownHost,
            Code::TooManyRequests,
            Code::Overloaded,
            Code::Internal,
        ];
        let admin: &[Code] = if self.port == Port::Admin { &[Code::Unauthorized] } else { &[] };
        let mut codes: Vec<Code> = self.problems.iter().chain(&everywhere).chain(admin).copied().collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}
