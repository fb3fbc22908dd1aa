//! The OpenAPI 3.1 document of the admin API, made of the route table and the types' own schemas.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::problem::{PROBLEM_JSON, Problem};
use super::route::{Access, Route};

/// The document.
#[must_use]
pub(super) fn document(routes: &[Route]) -> Value {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut requests = settings.clone().for_deserialize().into_generator();
    // What is sent has fields that are left out where empty; what is read is more forgiving.
    let mut answers = settings.for_serialize().into_generator();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut requests, &mut answers);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        if let Some(path) = path.as_object_mut() {
            path.insert(route.method.as_str().to_ascii_lowercase(), operation);
        }
    }
    let mut schemas = Map::new();
    let problem = answers.subschema_for::<Problem>();
    for (name, schema) in requests.take_definitions(true).into_iter().chain(answers.take_definitions(true)) {
        schemas.insert(name, schema);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Grants, approvals, sessions, revocations and break-glass of a Tidegate gateway.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "Why not, as RFC 9457 has it",
                "content": { PROBLEM_JSON: { "schema": problem } },
            }},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A token of one of the configured issuers, or the machine's operator token",
                },
                "signature": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "tidegate-signature",
                    "description": "HMAC-SHA256 over `tidegate v1\\ncallback NAME\\nTIMESTAMP\\nNONCE\\n` and the body, \
                                    as `v1=` and hexadecimal digits; TIMESTAMP and NONCE stand in \
                                    `tidegate-timestamp` and `tidegate-nonce`",
                },
            },
        },
    })
}

fn operation(route: &Route, requests: &mut SchemaGenerator, answers: &mut SchemaGenerator) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "tags": [route.tag],
        "summary": route.summary,
        "responses": responses(route, answers),
    });
    let Some(fields) = operation.as_object_mut() else { return operation };
    let mut parameters = path_parameters(route.path);
    if let Some(query) = route.query {
        parameters.extend(query_parameters(&query(requests), requests));
    }
    match route.access {
        Access::Open => drop(fields.insert("security".to_owned(), json!([]))),
        Access::Authenticated => drop(fields.insert("security".to_owned(), json!([{ "bearer": [] }]))),
        Access::Roles(roles) => {
            fields.insert("security".to_owned(), json!([{ "bearer": [] }]));
            let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
            fields.insert("description".to_owned(), json!(format!("For the roles {}.", names.join(", "))));
            fields.insert("x-tidegate-roles".to_owned(), json!(names));
        }
        Access::Signed => {
            fields.insert("security".to_owned(), json!([{ "signature": [] }]));
            parameters.extend(
                ["tidegate-timestamp", "tidegate-nonce"].map(
                    |name| json!({ "name": name, "in": "header", "required": true, "schema": { "type": "string" } }),
                ),
            );
        }
    }
    if !parameters.is_empty() {
        fields.insert("parameters".to_owned(), Value::Array(parameters));
    }
    if let Some(body) = route.body {
        let content = json!({ "application/json": { "schema": body(requests) } });
        fields.insert("requestBody".to_owned(), json!({ "required": true, "content": content }));
    }
    operation
}

fn responses(route: &Route, answers: &mut SchemaGenerator) -> Value {
    let mut responses = Map::new();
    for status in route.statuses() {
        let response = if status == route.answer.0 {
            let schema = (route.answer.1)(answers);
            json!({ "description": "Done", "content": { "application/json": { "schema": schema } } })
        } else {
            json!({ "$ref": "#/components/responses/Problem" })
        };
        responses.insert(status.to_string(), response);
    }
    Value::Object(responses)
}

/// A parameter for each `{name}` of the path.
fn path_parameters(path: &str) -> Vec<Value> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    names.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })).collect()
}

/// A parameter for each property of the query's type.
fn query_parameters(schema: &Schema, requests: &SchemaGenerator) -> Vec<Value> {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let schema = reference.and_then(|name| requests.definitions().get(name)).unwrap_or_else(|| schema.as_value());
    let required = |name: &str| {
        schema.get("required").and_then(Value::as_array).is_some_and(|all| all.iter().any(|one| one == name))
    };
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let mut property = property.clone();
            let description = property.as_object_mut().and_then(|fields| fields.remove("description"));
            json!({
                "name": name,
                "in": "query",
                "required": required(name),
                "description": description.unwrap_or_default(),
                "schema": property,
            })
        })
        .collect()
}
