//! Hypercubes on Kubernetes: which one is meant, the way to its peers, and `hcube k8s`.
//!
//! No client of Kubernetes is made unless one of its options is given.

use std::sync::Arc;

use hcube_crd::Hypercube;
use hcube_crd::names::Names;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::ListParams;

use crate::args::{K8sCommand, KubeArgs};
use crate::connect::Reach;
use crate::output::Output;

mod access;
mod choose;
mod forward;
mod plan;
mod pods;
mod status;
mod wish;

use access::{Access, explained};
pub use forward::Forward;

/// The way to the peers of the Hypercube that is meant.
pub async fn reach(args: &KubeArgs) -> anyhow::Result<Reach> {
    let access = Access::open(args).await?;
    let (_, names, reach) = found(&access, args).await?;
    let forward = reach.forward.as_ref().expect("it goes through Kubernetes");
    forward.is_there(&names.name).await?;
    Ok(reach)
}

/// Carries out `hcube k8s ...`.
pub async fn run(command: K8sCommand, args: &KubeArgs, output: &Output) -> anyhow::Result<()> {
    let access = Access::open(args).await?;
    match command {
        K8sCommand::Status => {
            let hypercube = choose::find(&access, args.hypercube.as_deref()).await?;
            let pods = pods(&access, &names(&hypercube, &access)).await?;
            status::show(&hypercube, &pods, output)
        }
        K8sCommand::Plan { replicas } => {
            let (hypercube, names, reach) = found(&access, args).await?;
            let claims: Api<PersistentVolumeClaim> =
                Api::namespaced(access.client.clone(), &access.namespace);
            let claims = claims
                .list(&ListParams::default().labels(&names.selector_text()))
                .await
                .map_err(|error| explained(error, "list persistentvolumeclaims", &access.namespace))?;
            let forward = reach.forward.as_ref().expect("it goes through Kubernetes");
            forward.is_there(&names.name).await?;
            plan::run(replicas, &hypercube, &names, &claims.items, &reach, output).await
        }
    }
}

/// The Hypercube that is meant, and the way there.
async fn found(access: &Access, args: &KubeArgs) -> anyhow::Result<(Hypercube, Names, Reach)> {
    let hypercube = choose::find(access, args.hypercube.as_deref()).await?;
    let names = names(&hypercube, access);
    let forward = Forward::open(access.client.clone(), names.clone()).await?;
    let endpoints = vec![forward.endpoint()];
    Ok((hypercube, names, Reach { endpoints, forward: Some(Arc::new(forward)) }))
}

fn names(hypercube: &Hypercube, access: &Access) -> Names {
    Names {
        name: hypercube.metadata.name.clone().unwrap_or_default(),
        namespace: access.namespace.clone(),
        // Peers tell their names themselves; whatever the domain, they begin in the same way.
        domain: "cluster.local".into(),
    }
}

async fn pods(access: &Access, names: &Names) -> anyhow::Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(access.client.clone(), &names.namespace);
    let listed = pods.list(&ListParams::default().labels(&names.selector_text())).await;
    Ok(listed.map_err(|error| explained(error, "list pods", &names.namespace))?.items)
}
