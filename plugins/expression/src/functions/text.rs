//! Functions on text: regular expressions and the escapes of formats.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jaq_core::native::{bome, v};
use jaq_json::{Error, Val};
use regex_lite::{Captures, Match, Regex, RegexBuilder};
use trellis_sdk::http::percent_encode;

use super::{Function, as_text};

pub(super) fn all() -> Vec<Function> {
    vec![
        ("pieces", v(2), |mut cv| {
            let (flags, pattern) = (cv.0.pop_var(), cv.0.pop_var());
            bome(pieces(&cv.1, &pattern, &flags))
        }),
        ("escape_html", v(0), |cv| bome(as_text(&cv.1).map(|text| escape_html(&text).into()))),
        ("encode_uri", v(0), |cv| bome(as_text(&cv.1).map(|text| percent_encode(&text).into()))),
        ("encode_base64", v(0), |cv| bome(as_text(&cv.1).map(|text| STANDARD.encode(text.as_bytes()).into()))),
        ("decode_base64", v(0), |cv| bome(decode_base64(&cv.1))),
    ]
}

fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn decode_base64(value: &Val) -> Result<Val, Error> {
    let text = as_text(value)?;
    let bytes =
        STANDARD.decode(text.as_bytes()).map_err(|_| Error::str(format_args!("{value} cannot be read as base64")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned().into())
}

/// The text cut up by the matches of a regular expression: text, match, text, …, match, text. A match is the object that
/// jq's `match` yields.
fn pieces(value: &Val, pattern: &Val, flags: &Val) -> Result<Val, Error> {
    let text = as_text(value)?;
    let flags = if matches!(flags, Val::Null) { "".into() } else { as_text(flags)? };
    let regex = regex(&as_text(pattern)?, &flags)?;
    let (all, skip_empty) = (flags.contains('g'), flags.contains('n'));
    let mut place = Place { byte: 0, character: 0 };
    let mut pieces = Vec::new();
    for captures in regex.captures_iter(&text) {
        let Some(whole) = captures.get(0) else { continue };
        if skip_empty && whole.range().is_empty() {
            continue;
        }
        pieces.push(Val::from(text[place.byte..whole.start()].to_owned()));
        let start = place.advanced(&text, whole.start());
        pieces.push(match_object(&text, &regex, &captures, &whole, start));
        place = start.advanced(&text, whole.end());
        if !all {
            break;
        }
    }
    pieces.push(Val::from(text[place.byte..].to_owned()));
    Ok(pieces.into_iter().collect())
}

fn regex(pattern: &str, flags: &str) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(pattern);
    for flag in flags.chars() {
        match flag {
            'g' | 'n' => {}
            'i' => _ = builder.case_insensitive(true),
            's' => _ = builder.dot_matches_new_line(true),
            'x' => _ = builder.ignore_whitespace(true),
            other => {
                return Err(Error::str(format_args!(
                    "there is no regex flag `{other}`; the flags are g, i, n, s and x"
                )));
            }
        }
    }
    builder.build().map_err(|error| Error::str(format_args!("the regex `{pattern}` cannot be read: {error}")))
}

/// A place in a text, counted in both ways: jq counts characters.
#[derive(Clone, Copy)]
struct Place {
    byte: usize,
    character: usize,
}

impl Place {
    fn advanced(self, text: &str, byte: usize) -> Self {
        Self { byte, character: self.character + text[self.byte..byte].chars().count() }
    }
}

fn match_object(text: &str, regex: &Regex, captures: &Captures<'_>, whole: &Match<'_>, start: Place) -> Val {
    let groups = regex.capture_names().enumerate().skip(1).map(|(group, name)| {
        let mut members = match captures.get(group) {
            Some(part) => span(&part, start.advanced(text, part.start())),
            None => vec![("offset", Val::from(-1_isize)), ("length", Val::from(0_isize)), ("string", Val::Null)],
        };
        members.push(("name", name.map_or(Val::Null, |name| name.to_owned().into())));
        object(members)
    });
    let mut members = span(whole, start);
    members.push(("captures", groups.collect()));
    object(members)
}

fn span(part: &Match<'_>, place: Place) -> Vec<(&'static str, Val)> {
    let length = part.as_str().chars().count();
    vec![("offset", place.character.into()), ("length", length.into()), ("string", part.as_str().to_owned().into())]
}

fn object(members: Vec<(&'static str, Val)>) -> Val {
    Val::obj(members.into_iter().map(|(key, value)| (Val::from(key.to_owned()), value)).collect())
}
