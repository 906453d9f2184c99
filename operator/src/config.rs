//! What the operator is told when it starts.

use std::net::SocketAddr;

/// Command line and environment.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Image of peers whose resource names none
    #[arg(long, env = "HCUBE_NODE_IMAGE", value_name = "IMAGE")]
    pub node_image: String,
    /// The one namespace to look after; all of them where it is left out
    #[arg(long, env = "HCUBE_WATCH_NAMESPACE", value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,
    /// The DNS domain of the Kubernetes cluster
    #[arg(long, env = "HCUBE_CLUSTER_DOMAIN", value_name = "DOMAIN", default_value = "cluster.local")]
    pub cluster_domain: String,
    /// Where health and metrics are served
    #[arg(long, env = "HCUBE_HTTP_LISTEN", value_name = "IP:PORT", default_value = "0.0.0.0:8080")]
    pub http_listen: SocketAddr,
    /// The Lease that the acting replica of the operator holds
    #[arg(long, env = "HCUBE_LEASE", value_name = "NAME", default_value = "hcube-operator")]
    pub lease: String,
    /// The namespace that the operator runs in
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE", default_value = "default")]
    pub namespace: String,
    /// The operator's own pod
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod: Option<String>,
    /// Write logs as JSON; RUST_LOG says which
    #[arg(long, env = "HCUBE_LOG_JSON")]
    pub log_json: bool,
}

impl Args {
    /// What tells this operator, with all its replicas, from others.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.namespace, self.lease)
    }

    /// The namespace to look after; none for all.
    #[must_use]
    pub fn watched(&self) -> Option<&str> {
        // A chart sets the variable whether or not there is something to say.
        self.watch_namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }
}
