//! The keys by which a repeated event is recognised: the `Idempotency-Key` of its request, and what its trigger declares
//! under `dedupe`.
//!
//! A key is good within one trigger or one grid of a project: the same text sent elsewhere is another key.

use axum::response::Response;
use http::{HeaderMap, HeaderName};
use serde_json::{Value, value::RawValue};
use sha2::{Digest as _, Sha256};
use trellis_model::{AccountId, ProjectId, manifest::Dedupe};
use trellis_operator::ingest::{EventKey, EventKeys};
use trellis_store::dedup::Digest;

use super::{Api, Problem, events};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Says on an answer that the event had been accepted before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Longest key, in bytes. Only digests are kept, but whoever sends more has probably put something else there.
const KEY_BYTES_MAX: usize = 256;

/// Where a key is good.
#[derive(Clone, Copy)]
pub struct Place<'p> {
    pub project: ProjectId,
    /// `trigger` or `grid`.
    pub kind: &'static str,
    pub name: &'p str,
}

/// Whether an event with these headers may have a key, as far as can be said without its data.
pub fn may_have_keys(dedupe: Option<&Dedupe>, headers: &HeaderMap) -> bool {
    let is_declared = match dedupe {
        Some(Dedupe::Header(name)) => headers.contains_key(name),
        Some(Dedupe::Pointer(_)) => true,
        None => false,
    };
    is_declared || headers.contains_key(IDEMPOTENCY_KEY)
}

/// What is said to an event of an account that takes no new ones: the run that it repeats, which costs the account nothing,
/// or the refusal.
pub async fn repeated_or(
    api: &Api,
    account: AccountId,
    keys: &EventKeys,
    refusal: Problem,
) -> Result<Response, Problem> {
    let found = api.host.ingest.find_repeated(account, keys).await?;
    found.map(events::accepted).ok_or(refusal)
}

/// The keys of an event.
pub fn keys(
    place: Place<'_>,
    dedupe: Option<&Dedupe>,
    headers: &HeaderMap,
    data: &RawValue,
) -> Result<EventKeys, Problem> {
    let mut keys = Vec::new();
    if let Some(key) = header(headers, &IDEMPOTENCY_KEY)? {
        keys.push(EventKey { digest: digest(place, "idempotency-key", key), is_strict: true });
    }
    if let Some(dedupe) = dedupe {
        keys.extend(declared(place, dedupe, headers, data)?);
    }
    let payload = if keys.is_empty() { Digest::default() } else { Sha256::digest(data.get()).into() };
    Ok(EventKeys { keys, payload })
}

fn declared(
    place: Place<'_>,
    dedupe: &Dedupe,
    headers: &HeaderMap,
    data: &RawValue,
) -> Result<Option<EventKey>, Problem> {
    let digest = match dedupe {
        Dedupe::Header(name) => {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Problem::internal())?;
            header(headers, &name)?.map(|key| digest(place, "header", key))
        }
        Dedupe::Pointer(pointer) => {
            let unreadable = |error| Problem::bad_request(format!("the event's data cannot be read: {error}"));
            let data: Value = serde_json::from_str(data.get()).map_err(unreadable)?;
            let key = data.pointer(pointer).filter(|value| !value.is_null()).map(Value::to_string);
            if let Some(key) = &key {
                check_length(&format!("the key of the event, at `{pointer}`,"), key.len())?;
            }
            key.map(|key| digest(place, "pointer", key.as_bytes()))
        }
    };
    Ok(digest.map(|digest| EventKey { digest, is_strict: false }))
}

fn header<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request(format!("the header `{name}` is there twice; an event has one key")));
    }
    let key = value.as_bytes();
    if key.is_empty() {
        return Err(Problem::bad_request(format!("the header `{name}` is empty; leave it out, or send a key in it")));
    }
    check_length(&format!("the header `{name}`"), key.len())?;
    Ok(Some(key))
}

fn check_length(what: &str, bytes: usize) -> Result<(), Problem> {
    if bytes <= KEY_BYTES_MAX {
        return Ok(());
    }
    Err(Problem::bad_request(format!("{what} has {bytes} bytes; a key has at most {KEY_BYTES_MAX}, such as a UUID")))
}

/// Of where it is good, where it came from and what it says, each with its length, so that no two of them run together.
fn digest(place: Place<'_>, source: &str, key: &[u8]) -> Digest {
    let mut digest = Sha256::new();
    digest.update(place.project.0.to_be_bytes());
    for part in [place.kind.as_bytes(), place.name.as_bytes(), source.as_bytes(), key] {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PLACE: Place<'static> = Place { project: ProjectId(1), kind: "trigger", name: "orders" };

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    fn with_header(name: &'static str, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).expect("a plain value");
        HeaderMap::from_iter([(HeaderName::from_static(name), value)])
    }

    fn pointer() -> Dedupe {
        Dedupe::Pointer("/id".to_owned())
    }

    #[test]
    fn the_same_key_elsewhere_is_another_one() {
        let headers = with_header("idempotency-key", "k");
        let key = |place| keys(place, None, &headers, &raw("1")).expect("a good key").keys[0].digest;
        let places = [
            PLACE,
            Place { project: ProjectId(2), ..PLACE },
            Place { kind: "grid", ..PLACE },
            Place { name: "order", ..PLACE },
        ];
        for (index, place) in places.iter().enumerate() {
            assert_eq!(key(*place), key(*place));
            assert!(places[..index].iter().all(|other| key(*other) != key(*place)), "place {index}");
        }
    }

    #[test]
    fn an_event_may_have_two_keys_or_none() {
        let both = keys(PLACE, Some(&pointer()), &with_header("idempotency-key", "k"), &raw(r#"{"id":7}"#));
        let strict: Vec<bool> = both.expect("good keys").keys.iter().map(|key| key.is_strict).collect();
        assert_eq!(strict, [true, false], "other data under a declared key is no mistake");
        for data in [r#"{"id":null}"#, "{}", "5", "[]"] {
            let keys = keys(PLACE, Some(&pointer()), &HeaderMap::new(), &raw(data)).expect("no key is no mistake");
            assert!(keys.keys.is_empty(), "{data}");
        }
        let by_header = Dedupe::Header("x-delivery".to_owned());
        let keys = keys(PLACE, Some(&by_header), &with_header("x-delivery", "1"), &raw("5")).expect("a good key");
        assert_eq!(keys.keys.len(), 1);
    }

    #[test]
    fn keys_of_different_kinds_of_values_differ() {
        let key =
            |data: &str| keys(PLACE, Some(&pointer()), &HeaderMap::new(), &raw(data)).expect("good").keys[0].digest;
        assert_ne!(key(r#"{"id":7}"#), key(r#"{"id":"7"}"#));
        assert_eq!(key(r#"{"id":"7","at":1}"#), key(r#"{"id":"7","at":2}"#));
    }

    #[test]
    fn bad_keys_are_refused_with_a_reason() {
        let refused = |dedupe: Option<&Dedupe>, headers: &HeaderMap, data: &str| {
            keys(PLACE, dedupe, headers, &raw(data)).expect_err("a bad key").detail
        };
        let long = "k".repeat(KEY_BYTES_MAX + 1);
        let detail = refused(None, &with_header("idempotency-key", &long), "1");
        assert_eq!(detail, "the header `idempotency-key` has 257 bytes; a key has at most 256, such as a UUID");
        assert!(keys(PLACE, None, &with_header("idempotency-key", &long[1..]), &raw("1")).is_ok());
        let detail = refused(Some(&pointer()), &HeaderMap::new(), &format!("{{\"id\":\"{long}\"}}"));
        assert!(detail.starts_with("the key of the event, at `/id`, has 259 bytes"), "{detail}");
        assert!(refused(None, &with_header("idempotency-key", ""), "1").contains("is empty"));
        let mut twice = with_header("idempotency-key", "a");
        twice.append(IDEMPOTENCY_KEY, HeaderValue::from_static("b"));
        assert!(refused(None, &twice, "1").contains("is there twice"));
    }
}
