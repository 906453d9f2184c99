//! Routing: from method and path to an operation.

use std::sync::LazyLock;

use hcube_core::ids::NodeId;
use hcube_core::topic::Name;
use http::Method;

use super::endpoint::{Operation, Port};
use super::table::endpoints;
use crate::error::{Code, Problem};
use crate::headers::decimal;
use crate::{paths, percent};

/// What a request line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// What to do.
    pub operation: Operation,
    /// The names in the path, in the template's order.
    pub names: Vec<Name>,
    /// The node in the path. Every path parameter of hcube is a name or a node.
    pub node: Option<NodeId>,
}

/// How a node stands in a template.
const NODE: &str = "{node_id}";

struct Row {
    operation: Operation,
    port: Port,
    method: Method,
    path: &'static str,
}

/// The table's columns that routing needs, without building schemas for each request.
static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let row = |endpoint: super::Endpoint| {
        let super::Endpoint { operation, port, method, path, .. } = endpoint;
        Row { operation, port, method, path }
    };
    endpoints().into_iter().map(row).collect()
});

/// Finds the operation of a method and a path (without query). `HEAD` is taken for `GET`.
///
/// # Errors
/// `not-found`; `method-not-allowed` with the member `allow`, the value of the header `Allow`; `invalid-name`
/// for a name in the path, `invalid-argument` for a node id.
pub fn resolve(port: Port, method: &Method, path: &str) -> Result<Resolved, Problem> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed: Vec<&str> = Vec::new();
    for row in ROWS.iter().filter(|row| row.port == port) {
        let Some(raw) = paths::fit(row.path, path) else { continue };
        if row.method == *method {
            return parse(row, &raw);
        }
        allowed.push(row.method.as_str());
        if row.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    if allowed.is_empty() {
        return Err(Problem::new(Code::NotFound, format!("nothing is served at {:?}", shorten(path))));
    }
    let allowed = allowed.join(", ");
    Err(Problem::new(Code::MethodNotAllowed, format!("this path has {allowed}")).with("allow", allowed))
}

/// The parameters of a path that fits a row.
fn parse(row: &Row, raw: &[&str]) -> Result<Resolved, Problem> {
    let mut resolved = Resolved { operation: row.operation, names: Vec::new(), node: None };
    let parameters = row.path.split('/').filter(|segment| segment.starts_with('{'));
    for (parameter, raw) in parameters.zip(raw) {
        if parameter == NODE {
            let node = decimal(raw).map(NodeId);
            let refused =
                || Problem::invalid(format!("{:?} is not a node id, which is a number", shorten(raw)));
            resolved.node = Some(node.ok_or_else(refused)?);
        } else {
            resolved.names.push(name(raw)?);
        }
    }
    Ok(resolved)
}

fn name(raw: &str) -> Result<Name, Problem> {
    let decoded = percent::decode(raw.as_bytes()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text =
        decoded.ok_or_else(|| Problem::new(Code::InvalidName, "a name in the path is not UTF-8 text"))?;
    Ok(text.parse::<Name>()?)
}

/// An answer does not repeat a kilometre of path.
fn shorten(path: &str) -> String {
    path.chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resolved(method: Method, path: &str) -> Result<Resolved, Code> {
        resolve(Port::Client, &method, path).map_err(|problem| problem.code)
    }

    #[test]
    fn every_endpoint_is_found_by_its_own_path() {
        for endpoint in endpoints() {
            let path = endpoint.path.replace("{topic}", "a-b").replace("{subscriber}", "c.d");
            let path = path.replace(NODE, "7");
            let found = resolve(endpoint.port, &endpoint.method, &path).unwrap();
            assert_eq!(found.operation, endpoint.operation);
            let parameters = found.names.len() + usize::from(found.node == Some(NodeId(7)));
            assert_eq!(parameters, endpoint.path.matches('{').count());
        }
    }

    #[test]
    fn names_in_paths_are_decoded_and_checked() {
        let found = resolved(Method::GET, "/v1/topics/a%2Db").unwrap();
        assert_eq!(found.names[0].as_str(), "a-b");
        assert_eq!(resolved(Method::GET, "/v1/topics/a%2Fb"), Err(Code::InvalidName));
        assert_eq!(resolved(Method::GET, "/v1/topics/%ff"), Err(Code::InvalidName));
        assert_eq!(resolved(Method::GET, "/v1/topics/.."), Err(Code::InvalidName));
        assert_eq!(resolved(Method::GET, "/v1/topics/a/b"), Err(Code::NotFound));
    }

    #[test]
    fn a_node_in_a_path_is_a_number() {
        let code = |path: &str| resolve(Port::Admin, &Method::DELETE, path).map_err(|problem| problem.code);
        assert_eq!(code("/v1/members/18446744073709551615").unwrap().node, Some(NodeId(u64::MAX)));
        for wrong in ["x", "-1", "+1", "1.5", "18446744073709551616", "%31"] {
            assert_eq!(code(&format!("/v1/members/{wrong}")), Err(Code::InvalidArgument), "{wrong}");
        }
        assert_eq!(code("/v1/members/"), Err(Code::NotFound));
    }

    #[test]
    fn wrong_methods_learn_the_right_ones() {
        let refused = resolve(Port::Client, &Method::POST, "/v1/topics/a").unwrap_err();
        assert_eq!(refused.code, Code::MethodNotAllowed);
        assert_eq!(refused.extra["allow"], "PUT, GET, HEAD, PATCH, DELETE");
        assert_eq!(resolved(Method::HEAD, "/healthz").unwrap().operation, Operation::Health);
    }

    #[test]
    fn ports_do_not_serve_each_other() {
        assert_eq!(resolved(Method::GET, "/v1/identity"), Err(Code::NotFound));
        let admin = resolve(Port::Admin, &Method::GET, "/v1/topics").unwrap_err();
        assert_eq!(admin.code, Code::NotFound);
    }

    proptest! {
        #[test]
        fn random_paths_never_panic(path in ".{0,40}", shaped in "(/|v1|topics|messages|%2|cursors|[a-z]){0,10}") {
            let _ = (resolved(Method::GET, &path), resolved(Method::PUT, &shaped));
        }
    }
}
