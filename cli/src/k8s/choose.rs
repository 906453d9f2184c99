//! Which Hypercube is meant.

use hcube_crd::Hypercube;
use kube::Api;
use kube::api::ListParams;

use super::access::{Access, explained};
use crate::exit::Coded;

/// The one of this name, or the only one of the namespace.
pub async fn find(access: &Access, name: Option<&str>) -> anyhow::Result<Hypercube> {
    let api: Api<Hypercube> = Api::namespaced(access.client.clone(), &access.namespace);
    let name = name.filter(|name| !name.is_empty());
    if let Some(name) = name {
        // Whoever may read this one need not be allowed to list all.
        match api.get_opt(name).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => {}
            // Not this one is missing, but the whole kind.
            Err(kube::Error::Api(status)) if status.code == 404 => return Err(not_installed().into()),
            Err(error) => return Err(explained(error, "get hypercubes", &access.namespace)),
        }
    }
    let listed = match api.list(&ListParams::default()).await {
        Ok(listed) => listed.items,
        Err(kube::Error::Api(status)) if status.code == 404 => return Err(not_installed().into()),
        Err(kube::Error::Api(status)) if status.code == 403 && name.is_some() => Vec::new(),
        Err(error) => return Err(explained(error, "list hypercubes", &access.namespace)),
    };
    let names: Vec<String> = listed.iter().filter_map(|one| one.metadata.name.clone()).collect();
    let chosen = choose(name, &names, &access.namespace)?.to_owned();
    Ok(listed.into_iter().find(|one| one.metadata.name.as_ref() == Some(&chosen)).expect("it is one of them"))
}

fn not_installed() -> Coded {
    Coded::not_found("Kubernetes knows no Hypercube resources: the operator of hcube is not installed there")
}

/// The name among those that there are.
fn choose<'n>(name: Option<&'n str>, names: &'n [String], namespace: &str) -> Result<&'n str, Coded> {
    let all = names.join(" ");
    match (name, names) {
        (Some(name), names) if names.iter().any(|known| known == name) => Ok(name),
        (Some(name), []) => {
            Err(Coded::not_found(format!("there is no Hypercube {name} in namespace {namespace}")))
        }
        (Some(name), _) => Err(Coded::not_found(format!(
            "there is no Hypercube {name} in namespace {namespace}; there are {all}"
        ))),
        (None, [only]) => Ok(only),
        (None, []) => Err(Coded::not_found(format!(
            "there is no Hypercube in namespace {namespace}; --namespace names another one"
        ))),
        (None, _) => Err(Coded::not_found(format!(
            "namespace {namespace} has several Hypercubes; --hypercube says which: {all}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_one_need_not_be_named() {
        let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(choose(None, &names(&["demo"]), "shop").unwrap(), "demo");
        assert_eq!(choose(Some("b"), &names(&["a", "b"]), "shop").unwrap(), "b");
        let told = |name, known: &[&str]| choose(name, &names(known), "shop").unwrap_err().to_string();
        assert!(told(None, &["a", "b"]).ends_with("says which: a b"));
        assert!(told(Some("c"), &["a", "b"]).ends_with("no Hypercube c in namespace shop; there are a b"));
        assert!(told(None, &[]).contains("--namespace"));
    }
}
