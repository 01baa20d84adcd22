//! How each kind of value is read from what was written, and how it is written again.

use std::{
    fmt::Display,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use figment::value::Value;
use url::Url;

use super::units::{ByteSize, parse_duration, show_duration};

/// A kind of value. Flags and variables are always text, so every kind can be read from text.
pub(super) trait Setting: Sized {
    /// What to write, with an example: completes "write …".
    const EXPECTED: &'static str;

    fn from_text(text: &str) -> Option<Self>;

    /// From a value of the file that is no text. Most kinds have none.
    fn from_other(_value: &Value) -> Option<Self> {
        None
    }

    /// As it would stand in the file; without its secret part.
    fn to_toml(&self) -> toml::Value;

    /// What was written instead, for a message. A kind that may hold a secret says less.
    fn quoted(value: &Value) -> String {
        quoted(value)
    }
}

/// Reads a value however it was written.
pub(super) fn parse<T: Setting>(value: &Value) -> Option<T> {
    match value.as_str() {
        Some(text) => T::from_text(text.trim()),
        None => T::from_other(value),
    }
}

/// A value as a person would say it: text without its quotes.
pub(super) fn shown<T: Setting>(value: &T) -> String {
    match value.to_toml() {
        toml::Value::String(text) => text,
        other => other.to_string(),
    }
}

/// A whole number that is not negative. TOML's integers are signed, so a positive one may come in either form.
fn natural(value: &Value) -> Option<u64> {
    let number = value.to_num()?;
    number.to_u128().or_else(|| number.to_i128()?.try_into().ok())?.try_into().ok()
}

fn quoted(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("`{}`", text.escape_debug()),
        Value::Bool(_, value) => format!("`{value}`"),
        Value::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(integer), _) => format!("`{integer}`"),
            (None, Some(real)) => format!("`{real}`"),
            (None, None) => natural(value).map_or_else(|| "the number".to_owned(), |number| format!("`{number}`")),
        },
        Value::Array(..) => "the list".to_owned(),
        _ => "the value".to_owned(),
    }
}

impl Setting for bool {
    const EXPECTED: &'static str = "true or false";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_other(value: &Value) -> Option<Self> {
        value.to_bool_lossy()
    }

    fn to_toml(&self) -> toml::Value {
        (*self).into()
    }
}

impl Setting for u32 {
    const EXPECTED: &'static str = "a whole number";

    fn from_text(text: &str) -> Option<Self> {
        text.replace('_', "").parse().ok()
    }

    fn from_other(value: &Value) -> Option<Self> {
        natural(value)?.try_into().ok()
    }

    fn to_toml(&self) -> toml::Value {
        (*self).into()
    }
}

impl Setting for ByteSize {
    const EXPECTED: &'static str = "a size in bytes, such as \"512KiB\" or \"64MiB\"";

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }

    fn from_other(value: &Value) -> Option<Self> {
        natural(value).map(Self)
    }

    fn to_toml(&self) -> toml::Value {
        self.to_string().into()
    }
}

impl Setting for Duration {
    const EXPECTED: &'static str = "a time with its unit, such as \"500ms\", \"30s\" or \"5m\"";

    fn from_text(text: &str) -> Option<Self> {
        parse_duration(text)
    }

    fn to_toml(&self) -> toml::Value {
        show_duration(*self).into()
    }
}

impl Setting for PathBuf {
    const EXPECTED: &'static str = "a path";

    fn from_text(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.into())
    }

    fn to_toml(&self) -> toml::Value {
        Path::to_string_lossy(self).into_owned().into()
    }
}

impl Setting for SocketAddr {
    const EXPECTED: &'static str = "an IP address and a port, such as \"0.0.0.0:7800\" or \"[::]:7800\"";

    fn from_text(text: &str) -> Option<Self> {
        match text.strip_prefix("localhost:") {
            // A name, but one that can only mean this.
            Some(port) => Some((Ipv4Addr::LOCALHOST, port.parse().ok()?).into()),
            None => text.parse().ok(),
        }
    }

    fn to_toml(&self) -> toml::Value {
        self.to_string().into()
    }
}

/// What can stand in a list.
pub(super) trait Listed: FromStr + Display {
    /// What to write, with an example: completes "write …".
    const EXPECTED: &'static str;

    fn item(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Listed for SocketAddr {
    const EXPECTED: &'static str = "IP addresses with ports, in the file as [\"127.0.0.1:9000\", \"[::1]:9000\"], elsewhere as 127.0.0.1:9000,[::1]:9000";

    fn item(text: &str) -> Option<Self> {
        Self::from_text(text)
    }
}

/// The items of a list in a flag or a variable: separated by commas, or as a file would have them.
fn items_of_text(text: &str) -> Vec<String> {
    let as_in_a_file = format!("list = {text}").parse::<toml::Table>().ok();
    let listed = as_in_a_file.as_ref().and_then(|table| table.get("list")?.as_array());
    match listed {
        Some(items) => items.iter().map(|item| item.as_str().map_or_else(|| item.to_string(), str::to_owned)).collect(),
        None => text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
    }
}

impl<T: Listed> Setting for Vec<T> {
    const EXPECTED: &'static str = T::EXPECTED;

    fn from_text(text: &str) -> Option<Self> {
        items_of_text(text).iter().map(|item| T::item(item)).collect()
    }

    fn from_other(value: &Value) -> Option<Self> {
        value.as_array()?.iter().map(|item| T::item(item.as_str()?)).collect()
    }

    fn to_toml(&self) -> toml::Value {
        self.iter().map(ToString::to_string).collect::<Vec<_>>().into()
    }

    /// The first item that is none.
    fn quoted(value: &Value) -> String {
        let items: Vec<String> = match value {
            Value::String(_, text) => items_of_text(text),
            Value::Array(_, items) => items.iter().map(|item| item.as_str().unwrap_or("").to_owned()).collect(),
            other => return quoted(other),
        };
        let wrong = items.iter().find(|item| T::item(item).is_none());
        wrong.map_or_else(|| quoted(value), |item| format!("`{}` in the list", item.escape_debug()))
    }
}

impl Setting for Url {
    const EXPECTED: &'static str = "an http or https address without a query, such as \"https://hooks.example.com\"";

    fn from_text(text: &str) -> Option<Self> {
        let url = Self::parse(text).ok()?;
        let is_plain = url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
        (matches!(url.scheme(), "http" | "https") && is_plain && url.password().is_none()).then_some(url)
    }

    fn to_toml(&self) -> toml::Value {
        self.as_str().into()
    }
}
