//! Options of whoever works on Kubernetes, and when they count.

use clap::parser::ValueSource;
use clap::{Args, Subcommand};

/// Which hypercube on Kubernetes is meant.
#[derive(Debug, Clone, Default, Args)]
pub struct KubeArgs {
    /// Reach a hypercube on Kubernetes by this context of the kubeconfig; the current one where left out
    #[arg(long, global = true, env = "HCUBE_CONTEXT", value_name = "NAME", help_heading = HEADING)]
    pub context: Option<String>,
    /// The namespace on Kubernetes; that of the context where left out
    #[arg(short, long, global = true, env = "HCUBE_NAMESPACE", value_name = "NAME", help_heading = HEADING)]
    pub namespace: Option<String>,
    /// The Hypercube on Kubernetes; the only one of the namespace where left out
    #[arg(long, global = true, env = "HCUBE_HYPERCUBE", value_name = "NAME", help_heading = HEADING)]
    pub hypercube: Option<String>,
}

const HEADING: &str = "Options on Kubernetes (any of them reaches it through a port-forward)";

/// `k8s ...`.
#[derive(Debug, Subcommand)]
pub enum K8sCommand {
    /// Show a Hypercube with its conditions, and its pods with vertices, nodes and zones
    Status,
    /// Show what would happen to slots, pods and volumes if it had other replicas; changes nothing
    Plan {
        /// Replicas that there would be
        #[arg(long, value_name = "M", value_parser = clap::value_parser!(u16).range(1..=1024))]
        replicas: u16,
    },
}

/// Where a hypercube is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// At `--endpoint`, or on this machine.
    Endpoints,
    /// On Kubernetes.
    Kubernetes,
}

/// What was said of the place, and where.
#[derive(Debug, Clone, Copy)]
pub struct Said {
    /// Of `--endpoint`.
    pub endpoint: Option<ValueSource>,
    /// Of any of [`KubeArgs`], the strongest.
    pub kube: Option<ValueSource>,
    /// Whether it was started as `kubectl hcube`.
    pub is_plugin: bool,
}

impl Said {
    /// The place. What is typed counts more than what the environment says.
    ///
    /// # Errors
    /// With a sentence, where both places are named with the same weight.
    pub fn place(self) -> Result<Place, &'static str> {
        use ValueSource::{CommandLine, EnvVariable};
        match (self.endpoint, self.kube) {
            (Some(CommandLine), Some(CommandLine)) => Err(
                "--endpoint names peers, and --context, --namespace and --hypercube name others on Kubernetes",
            ),
            (Some(CommandLine), _) if self.is_plugin => {
                Err("`kubectl hcube` works on Kubernetes; `hcube --endpoint` goes elsewhere")
            }
            (Some(CommandLine), _) => Ok(Place::Endpoints),
            (_, Some(CommandLine)) => Ok(Place::Kubernetes),
            _ if self.is_plugin => Ok(Place::Kubernetes),
            (Some(EnvVariable), Some(EnvVariable)) => Err(
                "HCUBE_ENDPOINT names peers, and HCUBE_CONTEXT, HCUBE_NAMESPACE or HCUBE_HYPERCUBE others on Kubernetes",
            ),
            (_, Some(EnvVariable)) => Ok(Place::Kubernetes),
            _ => Ok(Place::Endpoints),
        }
    }
}

/// Whether a program of this name is the plugin of kubectl.
pub fn is_plugin(program: &str) -> bool {
    std::path::Path::new(program).file_name().is_some_and(|name| name == "kubectl-hcube")
}

#[cfg(test)]
mod tests {
    use ValueSource::{CommandLine, DefaultValue, EnvVariable};

    use super::*;

    fn place(endpoint: ValueSource, kube: Option<ValueSource>, is_plugin: bool) -> Option<Place> {
        Said { endpoint: Some(endpoint), kube, is_plugin }.place().ok()
    }

    #[test]
    fn kubernetes_is_reached_when_it_is_named_and_only_then() {
        assert_eq!(place(DefaultValue, None, false), Some(Place::Endpoints));
        for source in [CommandLine, EnvVariable] {
            assert_eq!(place(DefaultValue, Some(source), false), Some(Place::Kubernetes));
        }
        assert_eq!(place(EnvVariable, None, false), Some(Place::Endpoints));
    }

    #[test]
    fn what_is_typed_counts_more_than_the_environment() {
        assert_eq!(place(CommandLine, Some(EnvVariable), false), Some(Place::Endpoints));
        assert_eq!(place(EnvVariable, Some(CommandLine), false), Some(Place::Kubernetes));
        assert_eq!(place(CommandLine, Some(CommandLine), false), None);
        assert_eq!(place(EnvVariable, Some(EnvVariable), false), None);
    }

    #[test]
    fn the_plugin_always_works_on_kubernetes() {
        assert!(is_plugin("/usr/local/bin/kubectl-hcube") && is_plugin("kubectl-hcube"));
        assert!(!is_plugin("/usr/bin/hcube") && !is_plugin("/kubectl-hcube/hcube"));
        assert_eq!(place(DefaultValue, None, true), Some(Place::Kubernetes));
        assert_eq!(place(EnvVariable, None, true), Some(Place::Kubernetes));
        assert_eq!(place(CommandLine, None, true), None);
    }
}
