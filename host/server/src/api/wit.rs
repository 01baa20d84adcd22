//! WIT: the package that plugins are written for, and what an uploaded plugin imports and exports.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::runtime::Handle;
use trellis_engine::{plugin_wit, wit_of};
use trellis_model::token::Scope;
use trellis_store::StoreError;

use super::{
    Api, Problem,
    auth::Caller,
    plugins::{find, parse_version},
    request::{PathOf, QueryOf},
    route::Route,
};

const TEXT: &str = "text/plain";
const WASM: &str = "application/wasm";

pub fn declared() -> Vec<Route> {
    vec![
        Route::get(
            "/v1/wit",
            Scope::RunsRead,
            "The WIT package that plugins are written for, with all it refers to",
            show,
        )
        .query::<WitQuery>()
        .answers_bytes(200, WASM, "As tools read it from one file")
        .answers_text(200, TEXT, "As tools read it from one file, or as text with `format=text`"),
        Route::get(
            "/v1/plugins/{name}/{version}/wit",
            Scope::RunsRead,
            "What a plugin imports and exports, as WIT",
            of_plugin,
        )
        .answers_text(200, TEXT, "Read from the component itself"),
    ]
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// An encoded package.
    #[default]
    Wasm,
    Text,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WitQuery {
    #[serde(default)]
    format: Format,
}

/// `GET /v1/wit`
async fn show(QueryOf(query): QueryOf<WitQuery>) -> Response {
    let wit = plugin_wit();
    match query.format {
        Format::Wasm => typed(WASM, wit.wasm.as_slice()),
        Format::Text => typed(TEXT, wit.text.as_str()),
    }
}

fn typed(kind: &'static str, body: impl IntoResponse) -> Response {
    let kind = if kind == TEXT { "text/plain; charset=utf-8" } else { kind };
    ([(header::CONTENT_TYPE, HeaderValue::from_static(kind))], body).into_response()
}

/// `GET /v1/plugins/{name}/{version}/wit`
async fn of_plugin(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((name, version)): PathOf<(String, String)>,
) -> Result<Response, Problem> {
    let plugin = find(&api, &caller, &name, &parse_version(&version)?).await?;
    let (database, runtime) = (api.host.database.clone(), Handle::current());
    // Fetched in its turn, too: those who wait hold no bytes.
    let read = move || {
        let component = runtime.block_on(database.component(&plugin.digest))?;
        Ok::<_, StoreError>(component.map(|component| wit_of(&component)))
    };
    match api.wit_turns.work(caller.account()?, read).await?? {
        Some(Ok(text)) => Ok(typed(TEXT, text)),
        Some(Err(error)) => {
            tracing::error!(plugin = name, %version, %error, "the WIT of an accepted component cannot be read");
            Err(Problem::internal())
        }
        None => Err(Problem::internal()),
    }
}
