//! The OpenAPI 3.1 document, built from the table of endpoints.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::endpoint::{Endpoint, Operation, Parameter, Place, Port, SchemaOf};
use super::table::endpoints;
use crate::error::{self, Code, Problem};

/// The document of one port. The same bytes each time: nothing in it depends on the peer.
#[must_use]
pub fn document(port: Port) -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.into_generator();
    generator.subschema_for::<Problem>();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for endpoint in endpoints().iter().filter(|endpoint| endpoint.port == port) {
        let operation = operation(endpoint, &mut generator);
        let method = endpoint.method.as_str().to_ascii_lowercase();
        paths.entry(endpoint.path).or_default().insert(method, operation);
    }
    let mut components = json!({
        "schemas": generator.take_definitions(true),
    });
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": title(port),
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
    });
    if port == Port::Admin {
        components["securitySchemes"] = json!({ "token": { "type": "http", "scheme": "bearer" } });
        document["security"] = json!([{ "token": [] }]);
    }
    document["components"] = components;
    document
}

fn title(port: Port) -> &'static str {
    match port {
        Port::Client => "hcube",
        Port::Admin => "hcube administration",
    }
}

fn operation(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": operation_id(endpoint.operation),
        "summary": endpoint.summary,
        "responses": responses(endpoint, generator),
    });
    if !endpoint.parameters.is_empty() {
        operation["parameters"] = endpoint.parameters.iter().map(|one| parameter(one, generator)).collect();
    }
    if let Some(request) = &endpoint.request {
        operation["requestBody"] =
            json!({ "content": content(&request.content, generator), "required": !request.optional });
    }
    operation
}

/// `CreateTopic` becomes `createTopic`, as generators of clients like it.
fn operation_id(operation: Operation) -> String {
    let name = format!("{operation:?}");
    name[..1].to_ascii_lowercase() + &name[1..]
}

fn parameter(parameter: &Parameter, generator: &mut SchemaGenerator) -> Value {
    let place = match parameter.place {
        Place::Path => "path",
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({
        "name": parameter.name,
        "in": place,
        "required": parameter.required,
        "description": parameter.doc,
        "schema": (parameter.schema)(generator),
    })
}

fn content(content: &[(&'static str, SchemaOf)], generator: &mut SchemaGenerator) -> Value {
    let entry = |(media_type, schema): &(&str, SchemaOf)| {
        ((*media_type).to_owned(), json!({ "schema": schema(generator) }))
    };
    Value::Object(content.iter().map(entry).collect())
}

/// Successes, then one entry for each status of its problems, with their codes.
fn responses(endpoint: &Endpoint, generator: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for reply in &endpoint.replies {
        let mut response = json!({ "description": reply.doc });
        if !reply.content.is_empty() {
            response["content"] = content(&reply.content, generator);
        }
        if !reply.headers.is_empty() {
            let header = |(name, doc): &(&str, &str)| {
                ((*name).to_owned(), json!({ "description": doc, "schema": { "type": "string" } }))
            };
            response["headers"] = Value::Object(reply.headers.iter().map(header).collect());
        }
        responses.insert(reply.status.to_string(), response);
    }
    let mut by_status: BTreeMap<u16, Vec<Code>> = BTreeMap::new();
    for code in endpoint.codes() {
        by_status.entry(code.status().as_u16()).or_default().push(code);
    }
    for (status, codes) in by_status {
        responses.insert(status.to_string(), refusal(&codes));
    }
    Value::Object(responses)
}

fn refusal(codes: &[Code]) -> Value {
    let names: Vec<&str> = codes.iter().map(|code| code.as_str()).collect();
    let lines: Vec<String> = codes.iter().map(|code| format!("`{code}`: {}", code.doc())).collect();
    json!({
        "description": lines.join("\n\n"),
        "content": { error::MEDIA_TYPE: { "schema": {
            "allOf": [
                { "$ref": "#/components/schemas/Problem" },
                { "properties": { "code": { "enum": names } } },
            ],
        } } },
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member {
                        Value::String(target) if name == "$ref" => found.push(target.clone()),
                        other => references(other, found),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        for port in [Port::Client, Port::Admin] {
            let document = document(port);
            let mut found = Vec::new();
            references(&document, &mut found);
            assert!(!found.is_empty());
            for target in found {
                let pointer = target.strip_prefix('#').unwrap();
                assert!(document.pointer(pointer).is_some(), "{target}");
            }
        }
    }

    #[test]
    fn every_code_is_documented_and_some_endpoint_gives_it() {
        let given: BTreeSet<Code> = endpoints().iter().flat_map(Endpoint::codes).collect();
        assert_eq!(given, Code::ALL.iter().copied().collect());
        let document = document(Port::Client);
        let schema = document.pointer("/components/schemas/Code/enum").unwrap();
        assert_eq!(schema.as_array().unwrap().len(), Code::ALL.len());
    }

    #[test]
    fn operations_are_distinct_and_path_parameters_declared() {
        let mut operations = BTreeSet::new();
        for endpoint in endpoints() {
            assert!(operations.insert(endpoint.operation), "{:?} stands twice", endpoint.operation);
            assert!(!endpoint.replies.is_empty());
            let declared: String = endpoint
                .parameters
                .iter()
                .filter(|parameter| parameter.place == Place::Path)
                .map(|parameter| format!("{{{}}}", parameter.name))
                .collect();
            let in_path: String =
                endpoint.path.split('/').filter(|segment| segment.starts_with('{')).collect();
            assert_eq!(declared, in_path, "{}", endpoint.path);
            let path = |parameter: &&Parameter| parameter.place == Place::Path;
            assert!(endpoint.parameters.iter().filter(path).all(|parameter| parameter.required));
        }
    }

    #[test]
    fn the_query_of_a_pull_is_documented_whole() {
        let pull = endpoints().into_iter().find(|endpoint| endpoint.operation == Operation::Pull).unwrap();
        for parameter in pull.parameters.iter().filter(|parameter| parameter.place == Place::Query) {
            let refused = crate::messages::PullQuery::parse(&format!("{}=%00", parameter.name)).unwrap_err();
            assert!(!refused.detail.contains("no parameter"), "{}", parameter.name);
        }
    }

    #[test]
    fn documents_are_the_same_each_time_and_ask_for_the_token_only_where_it_is_needed() {
        assert_eq!(document(Port::Client).to_string(), document(Port::Client).to_string());
        assert!(document(Port::Client).get("security").is_none());
        assert!(document(Port::Admin).get("security").is_some());
    }

    #[test]
    fn descriptions_are_for_people_who_do_not_read_rust() {
        for port in [Port::Client, Port::Admin] {
            let text = document(port).to_string();
            for rust in ["[`", "::", "Some("] {
                assert!(!text.contains(rust), "{rust:?} stands in the document");
            }
        }
    }

    #[test]
    fn the_query_of_a_plan_is_documented_whole() {
        let mut endpoints = endpoints().into_iter();
        let plan = endpoints.find(|endpoint| endpoint.operation == Operation::PlanCluster).unwrap();
        for parameter in &plan.parameters {
            let refused = crate::cluster::PlanQuery::parse(&format!("{}=x", parameter.name)).unwrap_err();
            assert!(!refused.detail.contains("no parameter"), "{}", parameter.name);
        }
    }

    #[test]
    fn requests_refuse_unknown_members_in_the_schema_too() {
        let client =
            ["CreateTopic", "PatchTopic", "IncomingMessage", "RegisterPublisher", "RegisterSubscriber"];
        let admin = ["Bootstrap", "AddMember", "OfCluster", "PatchCluster", "SetReadReplicas"];
        for (port, names) in [(Port::Client, client), (Port::Admin, admin)] {
            let document = document(port);
            for name in names {
                let pointer = format!("/components/schemas/{name}/additionalProperties");
                assert_eq!(document.pointer(&pointer), Some(&Value::Bool(false)), "{name}");
            }
        }
    }
}
