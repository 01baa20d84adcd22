//! `GET /openapi.json`: the routes as an OpenAPI 3.1 document, written from their declarations and from nothing else.
//!
//! Types of answers are named components; what is taken in is described in place, because the same type may be looser on
//! its way in (fields with defaults) than on its way out.

mod examples;

use std::sync::OnceLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, header};
use schemars::{SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};
use trellis_model::{call_limits::STORAGE_KEY_BYTES_HIGHEST, description::NAME_BYTES_MAX, token::Scope};

use super::{
    Problem,
    problem::CONTENT_TYPE,
    route::{Access, Body, Describe, JSON, Media, Route},
    routes,
};

pub fn declared() -> Vec<Route> {
    let summary = "This document: every route, what it takes and what it answers";
    let route = Route::get("/openapi.json", Access::Public, summary, show);
    vec![route.answers::<Value>(200, "An OpenAPI 3.1 document")]
}

/// `GET /openapi.json`
async fn show() -> Response {
    static TEXT: OnceLock<Bytes> = OnceLock::new();
    let text = TEXT.get_or_init(|| document(&routes()).to_string().into());
    ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], text.clone()).into_response()
}

/// The document of these routes.
pub fn document(routes: &[Route]) -> Value {
    let mut writer = Writer::new();
    let mut paths = Map::new();
    for route in routes {
        let path = route.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        for method in &route.methods {
            item[method.as_str().to_lowercase()] = writer.operation(route, method.as_str());
        }
    }
    let problem = writer.answer(SchemaGenerator::subschema_for::<Problem>);
    let schemas = Value::Object(writer.answers.take_definitions(true));
    for item in paths.values_mut() {
        add_examples_of_answers(item, &schemas);
    }
    let of_problem = examples::of("problem", &schemas["Problem"], &schemas);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Trellis",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            "description": "Runs automations as sandboxed WebAssembly. An operator's token acts for the account that the header `trellis-account` names.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": { "Problem": {
                "description": "What is wrong, and how to mend it (RFC 9457)",
                "content": { CONTENT_TYPE: { "schema": problem, "example": of_problem } },
            } },
            "securitySchemes": { "token": {
                "type": "http",
                "scheme": "bearer",
                "bearerFormat": "trl_…",
                "description": "An access token of an account, a project or an operator, with the scope that the operation names. Never in the query.",
            } },
        },
    })
}

/// Every JSON answer of a path's operations gets an example, once all types are known.
fn add_examples_of_answers(item: &mut Value, schemas: &Value) {
    let operations = item.as_object_mut().into_iter().flat_map(Map::values_mut);
    for responses in operations.filter_map(|operation| operation["responses"].as_object_mut()) {
        for content in responses.values_mut().filter_map(|response| response.get_mut("content")?.as_object_mut()) {
            for (kind, body) in content.iter_mut().filter(|(kind, _)| *kind == JSON) {
                let example = examples::of(kind, &body["schema"], schemas);
                body["example"] = example;
            }
        }
    }
}

/// Remembers the types that it has met.
struct Writer {
    /// Of what is sent out.
    answers: SchemaGenerator,
    /// Of what is taken in.
    requests: SchemaGenerator,
}

impl Writer {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let requests = settings.clone().with(|settings| settings.inline_subschemas = true);
        Self {
            answers: settings.for_serialize().into_generator(),
            requests: requests.for_deserialize().into_generator(),
        }
    }

    fn answer(&mut self, describe: Describe) -> Value {
        describe(&mut self.answers).to_value()
    }

    fn operation(&mut self, route: &Route, method: &str) -> Value {
        let mut operation = json!({
            "operationId": operation_id(method, route.path),
            "tags": [tag(route.path)],
            "summary": route.summary,
            "parameters": self.parameters(route),
            "responses": self.responses(route),
        });
        match route.access {
            Access::Scope(scope) => {
                // Only OAuth has scopes in this list, by the specification before 3.1; since then any scheme's roles.
                let scopes: Vec<&str> = [Some(scope), route.also].into_iter().flatten().map(Scope::name).collect();
                operation["x-trellis-scope"] = json!(scopes.join(" "));
                operation["security"] = json!([{ "token": scopes }]);
            }
            Access::Trigger => operation["security"] = json!([{}, { "token": ["events:write"] }]),
            Access::Public => operation["security"] = json!([]),
        }
        if let Some(body) = route.body.as_ref().filter(|_| method != "GET" && method != "DELETE") {
            operation["requestBody"] = self.body(body, route.example);
        }
        operation
    }

    fn body(&mut self, body: &Body, example: Option<fn() -> Value>) -> Value {
        let mut content = Map::new();
        for (media, describe) in &body.kinds {
            let schema = describe(&mut self.requests).to_value();
            for name in media.names() {
                let mut kind = json!({ "schema": schema });
                if *media == Media::Json {
                    kind["example"] = example.map_or_else(|| examples::of_body(&schema, &Value::Null), |made| made());
                }
                content.insert((*name).to_owned(), kind);
            }
        }
        json!({ "required": body.is_required, "content": content })
    }

    fn parameters(&mut self, route: &Route) -> Vec<Value> {
        let mut parameters: Vec<Value> = route
            .path_parameters()
            .map(|name| {
                let schema = path_schema(name);
                let example = examples::of(name, &schema, &Value::Null);
                json!({ "name": name, "in": "path", "required": true, "schema": schema, "example": example })
            })
            .collect();
        if let Some(describe) = route.query {
            parameters.extend(query_parameters(&describe(&mut self.requests).to_value()));
        }
        parameters.extend(route.headers.iter().map(|(name, summary)| {
            json!({ "name": name, "in": "header", "required": false, "description": summary, "schema": { "type": "string" } })
        }));
        parameters
    }

    fn responses(&mut self, route: &Route) -> Value {
        let mut responses = Map::new();
        for answer in &route.answers {
            // Answered in two kinds, a status has the words of the later one.
            let response = responses.entry(answer.status.to_string()).or_insert_with(|| json!({}));
            response["description"] = answer.summary.into();
            if let Some(describe) = answer.body {
                response["content"][answer.media] = json!({ "schema": self.answer(describe) });
            }
        }
        for status in problem_statuses(route) {
            responses.insert(status.to_string(), json!({ "$ref": "#/components/responses/Problem" }));
        }
        // Said before it is known which route is meant.
        let too_long = "The head of the request is longer than this host takes. Without a body.";
        responses.insert("431".to_owned(), json!({ "description": too_long }));
        Value::Object(responses)
    }
}

/// Every status that a problem of this route can have: its own, and those that follow from what it takes.
pub fn problem_statuses(route: &Route) -> Vec<u16> {
    // 400 for what cannot be read, 415 for a packed body, 500 and 503 for a host that has failed or cannot now.
    let mut statuses = vec![400, 415, 500, 503];
    statuses.extend_from_slice(&route.problems);
    if let Access::Scope(_) | Access::Trigger = route.access {
        // Without the right, and where a header names an account that is not there for this token.
        statuses.extend([401, 403, 404]);
    }
    if route.path_parameters().next().is_some() {
        statuses.push(404);
    }
    if route.body.is_some() {
        statuses.extend([408, 413]);
    }
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

/// The fields of a query's type, each a parameter.
fn query_parameters(schema: &Value) -> Vec<Value> {
    let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fields = schema["properties"].as_object().into_iter().flatten();
    fields
        .map(|(name, schema)| {
            let schema = without_null(schema.clone());
            json!({
                "name": name,
                "in": "query",
                "required": required.contains(&name.as_str()),
                "description": schema["description"].as_str().unwrap_or_default(),
                "example": examples::of(name, &schema, &Value::Null),
                "schema": schema,
            })
        })
        .collect()
}

/// A parameter is there or not; it is never null.
fn without_null(mut schema: Value) -> Value {
    let kinds = schema["type"].as_array().map(|kinds| kinds.iter().filter(|kind| *kind != "null").cloned().collect());
    if let Some(kinds) = kinds {
        let kinds: Vec<Value> = kinds;
        schema["type"] = if let [one] = kinds.as_slice() { one.clone() } else { kinds.into() };
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice["type"] != "null");
    }
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        words.retain(|word| !word.is_null());
    }
    schema
}

/// Semantic Versioning 2.0.0, with prereleases and builds.
const VERSION_PATTERN: &str =
    r"^\d{1,9}\.\d{1,9}\.\d{1,9}(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?(\+[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?$";

/// What a name in a path may be.
fn path_schema(name: &str) -> Value {
    match name {
        "run" => json!({ "type": "string", "pattern": "^run_[0-7][0-9a-hjkmnp-tv-z]{12}$" }),
        "token" | "revision" => json!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX }),
        "version" => json!({ "type": "string", "maxLength": 64, "pattern": VERSION_PATTERN }),
        "path" => json!({ "type": "string", "minLength": 1, "maxLength": 512 }),
        // Two names that every program on the way takes out of an address.
        "key" => {
            json!({ "type": "string", "minLength": 1, "maxLength": STORAGE_KEY_BYTES_HIGHEST, "pattern": r"^(?!\.\.?$)" })
        }
        "problem" => json!({ "type": "string", "maxLength": NAME_BYTES_MAX, "pattern": "^[a-z-]+$" }),
        _ => json!({ "type": "string", "maxLength": NAME_BYTES_MAX, "pattern": "^[A-Za-z][A-Za-z0-9_-]*$" }),
    }
}

fn operation_id(method: &str, path: &str) -> String {
    let steps = path.split('/').filter(|step| !step.is_empty()).map(|step| step.trim_matches(['{', '}', '*']));
    let words: Vec<String> =
        std::iter::once(method.to_lowercase()).chain(steps.map(|step| step.replace('.', "_"))).collect();
    words.join("_")
}

/// The noun that a path is about.
fn tag(path: &str) -> &str {
    let mut steps = path.split('/').filter(|step| !step.is_empty() && *step != "v1");
    steps.next().unwrap_or("trellis")
}

#[cfg(test)]
mod tests;
