//! Reading requests: bodies within their limit, JSON with the place of a mistake, paths and queries as problems.

use std::error::Error;

use axum::{
    body::Body,
    extract::{FromRequestParts, Path, Query},
};
use bytes::Bytes;
use http::request::Parts;
use http_body_util::LengthLimitError;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::Value;
use trellis_model::description::NAME_BYTES_MAX;

use super::{Problem, pace::TooSlow};

/// A body of at most `limit` bytes.
pub async fn read_body(body: Body, limit: usize) -> Result<Bytes, Problem> {
    axum::body::to_bytes(body, limit).await.map_err(|error| body_problem(&error, limit))
}

/// Why a body could not be read to its end.
pub fn body_problem(error: &(dyn Error + 'static), limit: usize) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::too_large(format!("at most {limit} bytes are taken here"));
        }
        if let Some(slow) = error.downcast_ref::<TooSlow>() {
            return Problem::too_slow(slow.to_string());
        }
        cause = error.source();
    }
    Problem::bad_request("the body ended before its announced length")
}

/// UTF-8 text.
pub fn text(body: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(body)
        .map_err(|error| Problem::bad_request(format!("the body is not UTF-8 from byte {} on", error.valid_up_to())))
}

/// JSON that fits a type.
pub fn json<T: DeserializeOwned + JsonSchema>(body: &[u8]) -> Result<T, Problem> {
    if text(body)?.contains("\\u0000") {
        return Err(Problem::bad_request("text with a NUL character is not taken here"));
    }
    parse(body).map_err(|unfit| Problem::bad_request(unfit.to_string()))
}

/// JSON that does not fit a type.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    #[error("the body is not the JSON that is expected here: {0}")]
    Json(#[from] serde_json::Error),
    #[error("there is a list at `{place}` of the body, where an object is expected")]
    List { place: String },
}

/// The same for those who must not say what they have read: [`Unfit`] may quote it.
pub fn parse<T: DeserializeOwned + JsonSchema>(body: &[u8]) -> Result<T, Unfit> {
    let value: Value = serde_json::from_slice(body)?;
    let schema = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let schema = schema.into_generator().into_root_schema_for::<T>().to_value();
    if let Some(place) = list_for_object(&schema, &value, String::new()) {
        return Err(Unfit::List { place });
    }
    Ok(serde_json::from_slice(body)?)
}

/// Where a list stands in the place of an object, as a JSON Pointer. The types would take its items for their fields, in the
/// order in which they happen to be declared.
fn list_for_object(schema: &Value, value: &Value, place: String) -> Option<String> {
    if let Some(choices) = schema["anyOf"].as_array() {
        return choices.iter().find_map(|choice| list_for_object(choice, value, place.clone()));
    }
    let fields = schema["properties"].as_object()?;
    match value {
        Value::Array(_) => Some(place),
        Value::Object(members) => members.iter().find_map(|(name, member)| {
            fields.get(name).and_then(|schema| list_for_object(schema, member, format!("{place}/{name}")))
        }),
        _ => None,
    }
}

/// The same of a body that may be left out.
pub fn optional_json<T: DeserializeOwned + Default + JsonSchema>(body: &[u8]) -> Result<T, Problem> {
    if body.is_empty() { Ok(T::default()) } else { json(body) }
}

/// The name of a grid to look for: longer than any name, it is refused.
pub fn grid_name(grid: Option<&str>) -> Result<(), Problem> {
    at_most("grid", grid, NAME_BYTES_MAX)
}

/// Text to look for, of at most `bytes_max` bytes.
pub fn at_most(name: &str, text: Option<&str>, bytes_max: usize) -> Result<(), Problem> {
    match text.map(str::len) {
        Some(bytes) if bytes > bytes_max => {
            Err(Problem::bad_request(format!("{name} has {bytes} bytes; at most {bytes_max} are allowed")))
        }
        _ => Ok(()),
    }
}

/// Path parameters, refused as a problem.
pub struct PathOf<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for PathOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if has_nul(parts.uri.path()) {
            return Err(Problem::not_found("nothing has an address with a NUL character"));
        }
        let Path(value) = Path::from_request_parts(parts, state)
            .await
            .map_err(|error| Problem::not_found(format!("nothing has this address: {}", error.body_text())))?;
        Ok(Self(value))
    }
}

/// Query parameters, refused as a problem.
pub struct QueryOf<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for QueryOf<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if parts.uri.query().is_some_and(has_nul) {
            return Err(Problem::bad_request("the query has a NUL character"));
        }
        let Query(value) = Query::from_request_parts(parts, state).await.map_err(|error| {
            Problem::bad_request(format!("the query is not understood: {}", of_query(&error.body_text())))
        })?;
        Ok(Self(value))
    }
}

/// What is wrong, without the name of the step that found it.
fn of_query(text: &str) -> &str {
    text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text)
}

/// The database holds no NUL, and nothing is named with one.
fn has_nul(encoded: &str) -> bool {
    encoded.contains("%00")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        inner: Option<Inner>,
        many: Vec<u8>,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        number: u8,
    }

    #[test]
    fn a_list_is_not_taken_for_an_object_wherever_it_stands() {
        let taken = json::<Outer>(br#"{"inner":{"number":1},"many":[1]}"#).expect("as it is meant");
        assert_eq!((taken.inner.map(|inner| inner.number), taken.many), (Some(1), vec![1]));
        for (body, place) in [("[null,[1]]", "``"), (r#"{"inner":[1],"many":[1]}"#, "`/inner`")] {
            let problem = json::<Outer>(body.as_bytes()).expect_err(body);
            assert!(problem.detail.contains(&format!("a list at {place}")), "{}", problem.detail);
        }
    }
}
