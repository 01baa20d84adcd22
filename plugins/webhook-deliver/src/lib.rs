//! Delivers a signed webhook, as [Standard Webhooks](https://www.standardwebhooks.com) has it.
//!
//! Does not know who receives it, nor how often it is tried: that is in the node's grants and its retry policy. The id stays the
//! same for every attempt, so that the receiver can tell a repeated delivery.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod signature;

use std::{collections::BTreeMap, time::Duration};

use service::{time, unwelcome};
use signature::SigningKey;
use trellis_sdk::*;

/// Characters of the receiver's answer that are emitted.
const ANSWER_CHARACTERS: usize = 1_000;

/// Longest `webhook-id`, in bytes: receivers keep it as a key.
const ID_BYTES_MAX: usize = 256;

/// Headers that the delivery sets itself.
const OWN_HEADERS: [&str; 5] =
    ["content-type", "idempotency-key", "webhook-id", "webhook-signature", "webhook-timestamp"];

/// To whom, and signed with what.
#[data]
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Where the webhook goes, unless the input `url` says.
    #[serde(default)]
    pub url: Option<String>,
    /// Names of credentials to sign with: `whsec_` and base64. While a secret is changed, the old and the new one.
    pub secrets: Vec<String>,
    /// Wrap the input: `{ type, timestamp, data }`, with this type.
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    /// A JSON Pointer to what tells this message from all others, for a `webhook-id` that is the same in other runs, too. Otherwise
    /// each run of the node has its own.
    #[serde(default)]
    pub id: Option<String>,
    /// Names and values of further header fields.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The longest time to wait for the answer, in milliseconds.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u32,
}

/// What receivers are commonly given before a delivery counts as failed.
fn timeout_ms() -> u32 {
    15_000
}

/// What is delivered.
#[inputs]
pub struct Message {
    /// The payload.
    #[port(name = "in")]
    payload: Value,
    /// Where it goes, if not to the `url` of the config.
    url: Option<String>,
}

/// What came of it.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// The receiver has accepted it.
    Delivered(Delivery),
}

/// A delivery that was accepted.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The `webhook-id`.
    pub id: String,
    /// The status of the answer.
    pub status: u16,
    /// Which attempt it was.
    pub attempt: u32,
    /// The beginning of the answer, if it is text.
    pub answer: String,
}

/// Delivers a signed webhook.
#[transformer]
pub fn webhook_deliver(input: Message, config: Config) -> Result<Outcome> {
    let Message { payload, url } = input;
    let current = event::current();
    let id = webhook_id(&payload, config.id.as_deref(), &current)?;
    let now = time::now();
    let body = body(payload, config.kind.as_deref(), &current, now).to_string();
    let signature =
        signatures(&config.secrets)?.iter().map(|key| key.sign(&id, now, &body)).collect::<Vec<_>>().join(" ");
    let url = url
        .or(config.url)
        .ok_or_else(|| Error::invalid_config("there is no address; set `url`, or wire a text to the input `url`"))?;
    let mut request = http::post(url)
        .header("content-type", "application/json")
        .header("webhook-id", id.as_str())
        .header("webhook-timestamp", now.to_string())
        .header("webhook-signature", signature)
        .header("idempotency-key", id.as_str())
        .timeout(Duration::from_millis(config.timeout_ms.into()))
        .body(body);
    for (name, value) in config.headers {
        check_header(&name)?;
        request = request.header(name, value);
    }
    let response = request.send()?;
    if response.status == 410 {
        let refusal = response.status_error();
        return Err(Error::permanent(format_args!("{refusal}; the receiver is gone for good: stop delivering there")));
    }
    if !response.is_success() {
        return Err(unwelcome(&response));
    }
    let answer = response.text().unwrap_or_default().chars().take(ANSWER_CHARACTERS).collect();
    Ok(Outcome::Delivered(Delivery { id, status: response.status, attempt: current.attempt, answer }))
}

/// The same for every attempt.
fn webhook_id(payload: &Value, pointer: Option<&str>, current: &event::Event) -> Result<String> {
    let Some(pointer) = pointer else {
        // Elements of an array have a full stop in theirs, which has another meaning here.
        return Ok(current.idempotency_key.replace('.', "~"));
    };
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Error::invalid_config(format_args!(
            "`id`: `{pointer}` is no JSON Pointer; write it like `/{pointer}`"
        )));
    }
    let id = match payload.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.to_string(),
        _ => {
            return Err(Error::invalid_input(format_args!(
                "the input has no text or number at `{pointer}`, where `id` points to"
            )));
        }
    };
    // A full stop joins what is signed: with one inside, the same signature would be good for another id and time.
    let is_sound = |byte: u8| byte.is_ascii_graphic() && byte != b'.';
    if id.is_empty() || id.len() > ID_BYTES_MAX || !id.bytes().all(is_sound) {
        return Err(Error::invalid_input(format_args!(
            "`{id}` cannot be a webhook-id; it takes 1 to {ID_BYTES_MAX} visible characters of ASCII without a full stop"
        )));
    }
    Ok(id)
}

fn body(payload: Value, kind: Option<&str>, current: &event::Event, now: i64) -> Value {
    let Some(kind) = kind else { return payload };
    // When it happened, not when it is delivered: the same in every attempt.
    let received = current.attribute("received-at").and_then(time::normal);
    json!({ "type": kind, "timestamp": received.unwrap_or_else(|| time::rfc3339(now)), "data": payload })
}

fn signatures(secrets: &[String]) -> Result<Vec<SigningKey>> {
    if secrets.is_empty() {
        return Err(Error::invalid_config(
            "`secrets` is empty; name a credential to sign with, and grant it in `grants.secret`",
        ));
    }
    secrets.iter().map(|name| SigningKey::of(name)).collect()
}

fn check_header(name: &str) -> Result<()> {
    match OWN_HEADERS.iter().find(|own| own.eq_ignore_ascii_case(name)) {
        Some(own) => {
            Err(Error::invalid_config(format_args!("`headers`: `{own}` is set by the delivery itself; leave it out")))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    const URL: &str = "https://hooks.example.com/in";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn deliver(inputs: Value, more: Value) -> Result<Value> {
        fake::secret("key", SECRET);
        let mut config = json!({ "url": URL, "secrets": ["key"] });
        config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        Ok(fake::call(webhook_deliver, inputs, config)?.remove("delivered").expect("the port `delivered`"))
    }

    fn header(name: &str) -> String {
        let request = &fake::requests()[0];
        let found = request.headers.iter().find(|(known, _)| known == name);
        found.unwrap_or_else(|| panic!("no header {name}")).1.clone()
    }

    #[test]
    fn a_delivery_is_signed_over_its_id_its_time_and_its_body() {
        fake::http("POST", URL).reply_text(202, "thanks");
        let delivery = deliver(json!({ "in": { "n": 1 } }), json!({})).expect("delivered");
        let id = event::Event::default().idempotency_key;
        assert_eq!(delivery, json!({ "id": id, "status": 202, "attempt": 1, "answer": "thanks" }));
        assert_eq!((header("webhook-id"), header("idempotency-key")), (id.clone(), id.clone()));
        let time = header("webhook-timestamp").parse().expect("Unix seconds");
        let key = SigningKey::of("key").expect("a key");
        assert_eq!(header("webhook-signature"), key.sign(&id, time, "{\"n\":1}"));
        assert_eq!(fake::requests()[0].body.as_deref(), Some(&b"{\"n\":1}"[..]));
    }

    #[test]
    fn the_id_of_an_element_of_an_array_has_no_full_stop() {
        fake::event(event::Event { idempotency_key: "run_1-deliver.3".into(), ..event::Event::default() });
        fake::http("POST", URL).reply(fake::answer(200));
        assert_eq!(deliver(json!({ "in": 1 }), json!({})).expect("delivered")["id"], json!("run_1-deliver~3"));
    }

    #[test]
    fn while_a_secret_is_changed_both_sign() {
        fake::http("POST", URL).reply(fake::answer(200));
        fake::secret("new", "whsec_bmV3LXNlY3JldC1vZi10ZXN0cw==");
        deliver(json!({ "in": 1 }), json!({ "secrets": ["new", "key"] })).expect("delivered");
        let signature = header("webhook-signature");
        assert_eq!(signature.split(' ').filter(|one| one.starts_with("v1,")).count(), 2, "{signature}");
    }

    #[test]
    fn the_payload_is_wrapped_when_it_has_a_type() {
        let attributes = vec![("received-at".to_owned(), "2026-05-01T14:00:00.5+02:00".to_owned())];
        fake::event(event::Event { attributes, ..event::Event::default() });
        fake::http("POST", URL).reply(fake::answer(200));
        deliver(json!({ "in": { "n": 1 } }), json!({ "type": "order.paid" })).expect("delivered");
        let body: Value = serde_json_of(&fake::requests()[0].body);
        assert_eq!(body, json!({ "type": "order.paid", "timestamp": "2026-05-01T12:00:00Z", "data": { "n": 1 } }));
    }

    fn serde_json_of(body: &Option<Vec<u8>>) -> Value {
        std::str::from_utf8(body.as_deref().expect("a body")).expect("text").parse().expect("JSON")
    }

    #[test]
    fn the_id_can_come_from_the_payload_and_the_address_from_an_input() {
        let elsewhere = "https://other.example.com/";
        fake::http("POST", elsewhere).reply(fake::answer(204));
        let inputs = json!({ "in": { "id": "evt_7" }, "url": elsewhere });
        assert_eq!(deliver(inputs, json!({ "id": "/id" })).expect("delivered")["id"], json!("evt_7"));
        for id in [json!("a.b"), json!(""), json!("a b"), json!(null), json!("x".repeat(257))] {
            let error = deliver(json!({ "in": { "id": id } }), json!({ "id": "/id" })).expect_err("no id");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }

    #[test]
    fn failures_have_their_classes() {
        for (status, kind) in [
            (302, ErrorKind::Permanent),
            (400, ErrorKind::Permanent),
            (410, ErrorKind::Permanent),
            (429, ErrorKind::Retryable),
            (500, ErrorKind::Retryable),
        ] {
            fake::reset();
            fake::http("POST", URL).reply(fake::answer(status).header("retry-after", "9"));
            let error = deliver(json!({ "in": 1 }), json!({})).expect_err("unwelcome");
            assert_eq!(error.kind(), kind, "{status}");
            if kind == ErrorKind::Retryable {
                assert_eq!(error.retry_after(), Some(Duration::from_secs(9)), "{status}");
            }
        }
        fake::reset();
        fake::http("POST", URL).fail(http::Error::Timeout);
        assert_eq!(deliver(json!({ "in": 1 }), json!({})).expect_err("no answer").kind(), ErrorKind::Retryable);
    }

    #[test]
    fn a_bad_config_is_named_before_anything_is_sent() {
        for (more, message) in [
            (json!({ "secrets": [] }), "`secrets` is empty"),
            (json!({ "headers": { "Webhook-Id": "x" } }), "`webhook-id` is set by the delivery itself"),
            (json!({ "url": null }), "there is no address"),
            (json!({ "id": "id" }), "write it like `/id`"),
        ] {
            let error = deliver(json!({ "in": 1 }), more).expect_err("a bad config");
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
            assert!(error.message().contains(message), "{error}");
        }
        fake::secret("plain", "whsec_not base64!");
        let error = deliver(json!({ "in": 1 }), json!({ "secrets": ["plain"] })).expect_err("no base64");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig);
        assert!(error.message().contains("`plain`") && !error.message().contains("not base64!"), "{error}");
        assert!(fake::requests().is_empty());
    }
}
