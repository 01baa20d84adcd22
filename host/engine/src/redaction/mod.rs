//! Keeps a call's secrets out of what is kept of the call: log, outputs, emitted events, failures.
//!
//! Against accidents, not against a guest that is bent on telling what it may read: that one can write a secret backwards.
//! What a guest does with a secret otherwise (requests, storage) is its own affair.

mod forms;
mod json;
mod search;

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use trellis_model::grant::{Grants, SECRET_TEXT_BYTES_MAX};

use self::search::Search;
use crate::{EmittedEvent, bindings::trellis::plugin::events, secrets::Secrets};

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";

/// Outputs up to so many bytes are looked through where the call runs; longer ones on a thread for work that blocks, so
/// that no other call waits for them.
const AT_ONCE_BYTES: usize = 64 * 1024;
/// Host memory for all forms of the secrets of a call: while they are made, a form takes up to eight times the secret's
/// bytes, and all of them together eighty times.
const REDACTION_BYTES: u64 = 80 * SECRET_TEXT_BYTES_MAX as u64;

/// The host memory that keeping the secrets of a call out of its report may take, in bytes.
pub(crate) fn redaction_bytes(grants: &Grants) -> u64 {
    if grants.credential.is_empty() && grants.secret.is_empty() { 0 } else { REDACTION_BYTES }
}

/// Knows the secrets of one call in all their forms.
#[derive(Default)]
pub(crate) struct Redactor {
    secrets: Arc<Secrets>,
    /// Made when the first text comes, and once: that takes as long as looking through a long text.
    search: OnceLock<Search>,
}

impl Redactor {
    pub fn new(secrets: Arc<Secrets>) -> Self {
        Self { secrets, search: OnceLock::new() }
    }

    /// None if there is nothing to keep out.
    fn search(&self) -> Option<&Search> {
        (!self.is_empty()).then(|| self.search.get_or_init(|| Search::new(self.secrets.all())))
    }

    /// Whether there is nothing to keep out.
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// Bytes that may belong to a secret that began before them.
    pub fn longest(&self) -> usize {
        self.search().map_or(0, Search::longest)
    }

    /// A text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.part(text, 0, text.len())
    }

    /// The part of a text that lies between two places, without secrets, those included that lie there in part alone.
    pub fn part<'t>(&self, text: &'t str, from: usize, to: usize) -> Cow<'t, str> {
        let (mut at, to) = (text.ceil_char_boundary(from), text.floor_char_boundary(to));
        let found = self.search().map(|search| search.places(text.as_bytes())).unwrap_or_default();
        if found.is_empty() {
            return Cow::Borrowed(text.get(at..to).unwrap_or_default());
        }
        let mut clean = String::new();
        for (begin, end) in found {
            if begin >= to {
                break;
            }
            if end <= at {
                continue;
            }
            clean.push_str(text.get(at..begin).unwrap_or_default());
            clean.push_str(REDACTED);
            at = end;
        }
        clean.push_str(text.get(at..to).unwrap_or_default());
        Cow::Owned(clean)
    }

    fn is_in(&self, text: &str) -> bool {
        self.search().is_some_and(|search| search.is_in(text.as_bytes()))
    }

    /// What a guest returned and what it emitted, without secrets. To be awaited within the limits of the call.
    ///
    /// # Errors
    /// The thread that looked through it has panicked.
    pub async fn outputs(
        self: &Arc<Self>,
        emissions: Vec<events::Emission>,
        emitted: Vec<EmittedEvent>,
    ) -> wasmtime::Result<(Vec<events::Emission>, Vec<EmittedEvent>)> {
        if self.is_empty() {
            return Ok((emissions, emitted));
        }
        let bytes = emissions.iter().map(|emission| emission.data.len()).sum::<usize>()
            + emitted.iter().map(|event| event.data.get().len()).sum::<usize>();
        let redactor = Arc::clone(self);
        let clean = move || (redactor.emissions(emissions), redactor.events(emitted));
        if bytes <= AT_ONCE_BYTES {
            return Ok(clean());
        }
        tokio::task::spawn_blocking(clean).await.map_err(wasmtime::Error::new)
    }

    fn emissions(&self, emissions: Vec<events::Emission>) -> Vec<events::Emission> {
        let clean = |events::Emission { port, data }| {
            let port = self.text(&port).into_owned();
            events::Emission { port, data: self.json(&data).unwrap_or(data) }
        };
        emissions.into_iter().map(clean).collect()
    }

    fn events(&self, events: Vec<EmittedEvent>) -> Vec<EmittedEvent> {
        let clean = |EmittedEvent { grid, data, attributes }| {
            let clean_text = |text: String| self.text(&text).into_owned();
            let attributes = attributes.into_iter().map(|(name, value)| (clean_text(name), clean_text(value)));
            let replaced = self.json(data.get()).and_then(|json| serde_json::value::RawValue::from_string(json).ok());
            EmittedEvent { grid, data: replaced.unwrap_or(data), attributes: attributes.collect() }
        };
        events.into_iter().map(clean).collect()
    }
}

/// Keeps secrets out of what is told later of a call.
pub struct Redaction(Vec<Redactor>);

impl Redaction {
    /// Knows all of these in all their forms. As many at once as of one call, so that no more memory is taken.
    pub fn new(secrets: Secrets) -> Self {
        Self(secrets.in_parts().into_iter().map(|part| Redactor::new(Arc::new(part))).collect())
    }

    /// Puts a mark in place of every secret in a value. For large values not to be done where others wait.
    pub fn clean(&self, value: &mut serde_json::Value) {
        for redactor in self.0.iter().filter(|redactor| !redactor.is_empty()) {
            let clean = redactor.json(&value.to_string()).and_then(|json| serde_json::from_str(&json).ok());
            *value = clean.unwrap_or_else(|| value.take());
        }
    }

    /// The same of a text.
    pub fn clean_text(&self, text: &mut String) {
        for redactor in &self.0 {
            if let Cow::Owned(clean) = redactor.text(text) {
                *text = clean;
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use trellis_model::credential::Secret;

    use super::*;

    pub(crate) fn redactor(secrets: &[&str]) -> Redactor {
        let named = |(number, secret): (usize, &&str)| (number.to_string(), Secret::from((*secret).to_owned()));
        Redactor::new(Arc::new(Secrets::new(secrets.iter().enumerate().map(named).collect::<BTreeMap<_, _>>())))
    }

    #[test]
    fn a_text_loses_its_secrets_and_nothing_else() {
        let redactor = redactor(&["s3cret-text", "text-and-more"]);
        for (text, expected) in [
            ("nothing to hide", "nothing to hide"),
            ("a s3cret-text b s3cret-text", "a [redacted] b [redacted]"),
            ("s3cret-text-and-more", "[redacted]"),
            ("ü7333637265742d74657874ü", "ü[redacted]ü"),
            ("", ""),
        ] {
            assert_eq!(redactor.text(text), expected);
        }
    }

    #[test]
    fn a_part_of_a_text_shows_no_part_of_a_secret() {
        let redactor = redactor(&["s3cret-text"]);
        let text = "before s3cret-text after";
        for (from, to, expected) in [
            (0, text.len(), "before [redacted] after"),
            (0, 10, "before [redacted]"),
            (9, text.len(), "[redacted] after"),
            (18, text.len(), " after"),
            (0, 7, "before "),
            (9, 12, "[redacted]"),
        ] {
            assert_eq!(redactor.part(text, from, to), expected, "{from}..{to}");
        }
    }

    #[test]
    fn values_are_cleaned_of_more_secrets_than_a_call_may_have() {
        let long = |letter: &str| letter.repeat(SECRET_TEXT_BYTES_MAX - 20);
        let secrets = BTreeMap::from([("a", long("x")), ("b", long("y")), ("c", "s3cret-text".to_owned())]);
        let secrets = secrets.into_iter().map(|(name, text)| (name.to_owned(), Secret::from(text))).collect();
        let redaction = Redaction::new(Secrets::new(secrets));
        assert_eq!(redaction.0.len(), 2, "each part is one that a call could have");
        let mut value = serde_json::json!({ "in": [long("y"), "a s3cret-text", 7], "kept": long("z") });
        redaction.clean(&mut value);
        assert_eq!(value, serde_json::json!({ "in": ["[redacted]", "a [redacted]", 7], "kept": long("z") }));
        let mut text = "s3cret-text!".to_owned();
        redaction.clean_text(&mut text);
        assert_eq!(text, "[redacted]!");
    }

    #[test]
    fn a_call_without_secrets_is_left_alone() {
        let redactor = Redactor::default();
        assert!(matches!(redactor.text("anything"), Cow::Borrowed("anything")));
        assert_eq!(redactor.json(r#"{"a":"b\u0063"}"#), None);
    }
}
