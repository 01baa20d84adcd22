//! The part of Slack's Web API that is needed, and what its refusals mean.
//!
//! Slack answers most refusals with the status 200 and `{ "ok": false, "error": "…" }`.

use service::{publication::Place, unwelcome};
use trellis_sdk::*;

use crate::Message;

/// Errors that pass.
const PASSING: [&str; 6] =
    ["fatal_error", "internal_error", "rate_limited", "ratelimited", "request_timeout", "service_unavailable"];

/// Errors that are about the message.
const OF_THE_MESSAGE: [&str; 6] =
    ["blocks_too_many", "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_too_long", "no_text"];

/// Errors that say that a message is gone.
const GONE: [&str; 3] = ["channel_not_found", "message_not_found", "thread_not_found"];

/// Slack, at an address.
pub(crate) struct Slack {
    api_url: String,
}

/// What Slack knows a message by.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Posted {
    pub(crate) channel: String,
    pub(crate) ts: String,
}

/// Any answer of the API.
#[data]
struct Answer {
    ok: bool,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    channel: Option<String>,
    #[serde(default)]
    ts: Option<String>,
}

/// What a method has answered: the message, or the error's name.
type Told = std::result::Result<Posted, String>;

impl Slack {
    pub(crate) fn at(api_url: String) -> Self {
        Self { api_url }
    }

    /// Posts a message.
    ///
    /// # Errors
    /// Invalid input: there is nothing to post, or no channel; and what Slack says.
    pub(crate) fn post(&self, message: &Message) -> Result<Posted> {
        let channel = message.channel.as_deref().ok_or_else(|| {
            Error::invalid_input("the message has no channel; put `channel` into the message or the config")
        })?;
        let mut body = content(message)?;
        body["channel"] = channel.into();
        if let Some(thread) = &message.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        self.call("chat.postMessage", &body)?.map_err(|error| refusal("chat.postMessage", &error))
    }

    /// Changes a message. None: it is gone.
    ///
    /// # Errors
    /// Invalid input: there is nothing to say; and what Slack says.
    pub(crate) fn update(&self, posted: &Posted, message: &Message) -> Result<Option<Posted>> {
        let mut body = content(message)?;
        body["channel"] = posted.channel.as_str().into();
        body["ts"] = posted.ts.as_str().into();
        match self.call("chat.update", &body)? {
            Ok(posted) => Ok(Some(posted)),
            Err(error) if GONE.contains(&error.as_str()) => Ok(None),
            Err(error) => Err(refusal("chat.update", &error)),
        }
    }

    fn call(&self, method: &str, body: &Value) -> Result<Told> {
        let url = format!("{}/{method}", self.api_url.trim_end_matches('/'));
        let response = http::post(url).header("content-type", "application/json; charset=utf-8").json(body)?.send()?;
        if !response.is_success() {
            return Err(unwelcome(&response));
        }
        let Answer { ok, error, channel, ts } = response.json()?;
        Ok(match (ok, channel, ts) {
            (true, Some(channel), Some(ts)) => Ok(Posted { channel, ts }),
            (true, ..) => {
                return Err(Error::permanent(format_args!("{method} answered `ok`, but neither channel nor ts")));
            }
            (false, ..) => Err(error.unwrap_or_else(|| "no reason given".into())),
        })
    }
}

impl Place for Slack {
    type Reference = Posted;

    fn remove(&self, posted: &Posted) -> Result<()> {
        match self.call("chat.delete", &json!({ "channel": posted.channel, "ts": posted.ts }))? {
            Ok(_) => Ok(()),
            Err(error) if GONE.contains(&error.as_str()) => Ok(()),
            Err(error) => Err(refusal("chat.delete", &error)),
        }
    }
}

fn content(message: &Message) -> Result<Value> {
    let mut body = json!({});
    if let Some(text) = message.text.as_deref().filter(|text| !text.is_empty()) {
        body["text"] = text.into();
    }
    if let Some(blocks) = &message.blocks {
        body["blocks"] = blocks.clone().into();
    }
    if body == json!({}) {
        return Err(Error::invalid_input(
            "the message is empty; give it a `text` or `blocks`, or wire the input `text`",
        ));
    }
    Ok(body)
}

fn refusal(method: &str, error: &str) -> Error {
    let message = format!("slack refuses {method}: {error}");
    if PASSING.contains(&error) {
        Error::retryable(message)
    } else if OF_THE_MESSAGE.contains(&error) {
        Error::invalid_input(message)
    } else {
        Error::permanent(message)
    }
}
