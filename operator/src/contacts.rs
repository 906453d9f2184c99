//! Peers to talk to about topics: pods that serve, with the tokens of their Secret.

use k8s_openapi::api::core::v1::Secret;
use kube::Api;

use crate::context::Context;
use crate::error::Error;
use crate::fetch;
use crate::names::Names;
use crate::peers::Peer;
use crate::secrets::Secrets;

/// The ready pods of a hypercube, by ordinal; none where there is no Secret yet.
///
/// # Errors
/// What Kubernetes refuses.
pub async fn contacts(context: &Context, names: &Names) -> Result<Vec<Peer>, Error> {
    let mut pods: Vec<(u16, String)> = context
        .world
        .pods_of(names)
        .iter()
        .filter_map(|object| {
            let ordinal = names.ordinal(object.metadata.name.as_deref()?)?;
            let pod = fetch::pod(object, String::new());
            (pod.ready && !pod.terminating).then_some((ordinal, pod.ip?))
        })
        .collect();
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    pods.sort();
    let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &names.namespace);
    let Some(found) = secrets.get_opt(&names.secret()).await? else { return Ok(Vec::new()) };
    let Some(secrets) = Secrets::of(&found) else { return Ok(Vec::new()) };
    Ok(pods.into_iter().map(|(_, ip)| Peer { ip, tokens: secrets.tokens.clone() }).collect())
}
