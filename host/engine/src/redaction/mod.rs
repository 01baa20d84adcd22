//! Keeps a call's secrets out of what is kept of the call: log, outputs, emitted events, failures.
//!
//! Against accidents, not against a guest that is bent on telling what it may read: that one can write a secret backwards.
//! What a guest does with a secret otherwise (requests, storage) is its own affair.

mod forms;
mod json;

use std::borrow::Cow;

use memchr::memmem;

use self::forms::Form;
use crate::{EmittedEvent, Failure, bindings::trellis::plugin::events, secrets::Secrets};

/// What stands where a secret was.
const REDACTED: &str = "[redacted]";

/// Knows the secrets of one call in all their forms.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    forms: Vec<Form>,
    /// Of the longest form, in bytes.
    longest: usize,
}

impl Redactor {
    pub fn new(secrets: &Secrets) -> Self {
        let forms: Vec<Form> = secrets.all().flat_map(forms::of).collect();
        let longest = forms.iter().map(|form| form.len()).max().unwrap_or_default();
        Self { forms, longest }
    }

    /// Whether there is nothing to keep out.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Bytes that may belong to a secret that began before them.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// A text without secrets.
    pub fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.part(text, 0, text.len())
    }

    /// The part of a text that lies between two places, without secrets, those included that lie there in part alone.
    pub fn part<'t>(&self, text: &'t str, from: usize, to: usize) -> Cow<'t, str> {
        let (mut at, to) = (text.ceil_char_boundary(from), text.floor_char_boundary(to));
        let found = self.places(text.as_bytes());
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
        self.forms.iter().any(|form| memmem::find(text.as_bytes(), form).is_some())
    }

    /// Where secrets lie, in order; those that overlap as one.
    fn places(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut places: Vec<(usize, usize)> = Vec::new();
        for form in &self.forms {
            places.extend(memmem::find_iter(text, form.as_slice()).map(|begin| (begin, begin + form.len())));
        }
        places.sort_unstable();
        places.dedup_by(|next, kept| {
            let is_joined = next.0 <= kept.1;
            if is_joined {
                kept.1 = kept.1.max(next.1);
            }
            is_joined
        });
        places
    }

    pub fn failure(&self, failure: Failure) -> Failure {
        if self.forms.is_empty() {
            return failure;
        }
        Failure { message: self.text(&failure.message).into_owned(), ..failure }
    }

    pub fn emissions(&self, emissions: Vec<events::Emission>) -> Vec<events::Emission> {
        if self.forms.is_empty() {
            return emissions;
        }
        let clean = |events::Emission { port, data }| {
            let port = self.text(&port).into_owned();
            events::Emission { port, data: self.json(&data).unwrap_or(data) }
        };
        emissions.into_iter().map(clean).collect()
    }

    pub fn events(&self, events: Vec<EmittedEvent>) -> Vec<EmittedEvent> {
        if self.forms.is_empty() {
            return events;
        }
        let clean = |EmittedEvent { grid, data, attributes }| {
            let clean_text = |text: String| self.text(&text).into_owned();
            let attributes = attributes.into_iter().map(|(name, value)| (clean_text(name), clean_text(value)));
            let replaced = self.json(data.get()).and_then(|json| serde_json::value::RawValue::from_string(json).ok());
            EmittedEvent { grid, data: replaced.unwrap_or(data), attributes: attributes.collect() }
        };
        events.into_iter().map(clean).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use trellis_model::credential::Secret;

    use super::*;

    pub(super) fn redactor(secrets: &[&str]) -> Redactor {
        let named = |(number, secret): (usize, &&str)| (number.to_string(), Secret::from((*secret).to_owned()));
        Redactor::new(&Secrets::new(secrets.iter().enumerate().map(named).collect::<BTreeMap<_, _>>()))
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
    fn a_call_without_secrets_is_left_alone() {
        let redactor = Redactor::default();
        assert!(matches!(redactor.text("anything"), Cow::Borrowed("anything")));
        assert_eq!(redactor.json(r#"{"a":"b\u0063"}"#), None);
    }
}
