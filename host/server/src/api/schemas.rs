//! The schemas that come with Trellis, for records that plugins of many hands share.

use axum::Json;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use trellis_model::{
    fault::did_you_mean,
    records::{PUBLISHED, PUBLISHED_PREFIX, PublishedSchema, published},
    token::Scope,
};

use super::{Problem, page::Page, request::PathOf, route::Route};

pub fn declared() -> Vec<Route> {
    vec![
        Route::get("/v1/schemas", Scope::RunsRead, "List the schemas that come with Trellis", list)
            .answers::<Page<SchemaView>>(200, "All of them"),
        Route::get("/v1/schemas/{schema}", Scope::RunsRead, "A schema that comes with Trellis", show)
            .answers::<Value>(200, "The JSON Schema"),
    ]
}

#[derive(Debug, Serialize, JsonSchema)]
struct SchemaView {
    /// In the address, and behind `trellis:` in a manifest.
    name: &'static str,
    /// What a manifest writes: `schema = "trellis:issue"`.
    manifest_name: String,
}

/// `GET /v1/schemas`
async fn list() -> Json<Page<SchemaView>> {
    let view = |schema: &PublishedSchema| SchemaView {
        name: schema.name,
        manifest_name: format!("{PUBLISHED_PREFIX}{}", schema.name),
    };
    Json(Page { items: PUBLISHED.iter().map(view).collect(), next: None })
}

/// `GET /v1/schemas/{schema}`
async fn show(PathOf(name): PathOf<String>) -> Result<Json<Value>, Problem> {
    match published(&name) {
        Some(schema) => Ok(Json(schema.schema())),
        None => {
            let near = did_you_mean(&name, PUBLISHED.iter().map(|schema| schema.name));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            Err(Problem::not_found(format!("there is no schema `{name}`{hint}")))
        }
    }
}
