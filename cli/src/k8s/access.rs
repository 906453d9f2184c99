//! The way to the API server of Kubernetes, and what its refusals mean.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use hcube_client::innermost;
use kube::config::{Config, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::core::Status;

use crate::args::KubeArgs;
use crate::exit::Coded;

/// How long a connection to the API server may take.
const CONNECT: Duration = Duration::from_secs(10);

/// A client of the API server, and the namespace that is meant.
pub struct Access {
    /// The client.
    pub client: kube::Client,
    /// The namespace.
    pub namespace: String,
}

impl Access {
    /// By the kubeconfig, or as a pod's service account where there is none.
    pub async fn open(args: &KubeArgs) -> anyhow::Result<Self> {
        let context = args.context.as_deref().filter(|name| !name.is_empty());
        let mut config = match Kubeconfig::read() {
            Ok(kubeconfig) => from_file(kubeconfig, context).await?,
            Err(error) => match (context, Config::incluster()) {
                (None, Ok(config)) => config,
                _ => return Err(no_file(&error)),
            },
        };
        config.connect_timeout = Some(CONNECT);
        // A subscription may be silent for longer than any answer takes; the client of the peers minds it.
        config.read_timeout = None;
        let named = args.namespace.as_deref().filter(|name| !name.is_empty());
        let namespace = named.unwrap_or(&config.default_namespace).to_owned();
        let client = kube::Client::try_from(config).context("no client of Kubernetes can be made")?;
        Ok(Self { client, namespace })
    }
}

async fn from_file(kubeconfig: Kubeconfig, context: Option<&str>) -> anyhow::Result<Config> {
    let known: Vec<&str> = kubeconfig.contexts.iter().map(|context| context.name.as_str()).collect();
    if let Some(context) = context {
        anyhow::ensure!(known.contains(&context), no_context(context, &known));
    }
    let options = KubeConfigOptions { context: context.map(str::to_owned), ..KubeConfigOptions::default() };
    Config::from_custom_kubeconfig(kubeconfig, &options).await.context("the kubeconfig cannot be used")
}

fn no_context(context: &str, known: &[&str]) -> Coded {
    let known = if known.is_empty() { "none".to_owned() } else { known.join(" ") };
    Coded::not_found(format!("the kubeconfig has no context {context}; it has {known}"))
}

fn no_file(error: &KubeconfigError) -> anyhow::Error {
    anyhow!("there is no kubeconfig to find Kubernetes by: {error}")
}

/// What a failed request means to whoever wanted to `act`, such as "list pods".
pub fn explained(error: kube::Error, act: &str, namespace: &str) -> anyhow::Error {
    match &error {
        kube::Error::Api(status) => refusal(status, act, namespace),
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(code)) => {
            let reason = code.canonical_reason().unwrap_or_default();
            refusal(&Status::failure(reason, reason).with_code(code.as_u16()), act, namespace)
        }
        kube::Error::HyperError(_) | kube::Error::Service(_) => Coded::unreachable(format!(
            "the API server of Kubernetes cannot be reached: {}",
            innermost(&error)
        ))
        .into(),
        _ => anyhow::Error::new(error).context(format!("Kubernetes does not let you {act} in {namespace}")),
    }
}

fn refusal(status: &Status, act: &str, namespace: &str) -> anyhow::Error {
    let told = &status.message;
    match status.code {
        401 => anyhow!("Kubernetes does not know who you are: {told}"),
        403 => anyhow!("forbidden: you may not {act} in namespace {namespace} ({told})"),
        code => anyhow!("Kubernetes refuses to {act} in namespace {namespace}: {told} ({code})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::{NOT_FOUND, code_of};

    #[test]
    fn a_context_that_is_not_there_is_told_with_those_that_are() {
        let error = anyhow::Error::new(no_context("prod", &["kind-a", "kind-b"]));
        assert_eq!(code_of(&error), NOT_FOUND);
        assert!(error.to_string().contains("no context prod; it has kind-a kind-b"));
    }

    #[test]
    fn what_is_forbidden_is_named() {
        let status = Status::failure("pods is forbidden", "Forbidden").with_code(403);
        let text = explained(kube::Error::Api(status.boxed()), "list pods", "shop").to_string();
        assert_eq!(text, "forbidden: you may not list pods in namespace shop (pods is forbidden)");
    }
}
