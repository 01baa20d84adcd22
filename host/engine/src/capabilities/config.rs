//! `wasi:config`: the fields of the node's `config`, as text.
//!
//! For guests that read single values; a transformer is given its whole config as JSON anyway. Parsed when first asked for.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use wasmtime::component::{HasSelf, Linker};

use crate::{bindings::config as wit, guest_state::GuestState};

pub(crate) struct Config {
    json: Arc<str>,
    values: Option<BTreeMap<String, String>>,
}

impl Config {
    pub fn new(json: Arc<str>) -> Self {
        Self { json, values: None }
    }

    fn values(&mut self) -> &BTreeMap<String, String> {
        self.values.get_or_insert_with(|| fields(&self.json))
    }
}

/// Top-level fields of a JSON object: strings as they are, anything else as JSON text. No object, no fields.
fn fields(json: &str) -> BTreeMap<String, String> {
    let fields: BTreeMap<String, Value> = serde_json::from_str(json).unwrap_or_default();
    fields
        .into_iter()
        .map(|(key, value)| match value {
            Value::String(text) => (key, text),
            other => (key, other.to_string()),
        })
        .collect()
}

impl wit::Host for Config {
    fn get(&mut self, key: String) -> Result<Option<String>, wit::Error> {
        Ok(self.values().get(&key).cloned())
    }

    fn get_all(&mut self) -> Result<Vec<(String, String)>, wit::Error> {
        Ok(self.values().iter().map(|(key, value)| (key.clone(), value.clone())).collect())
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<Config>>(linker, |state| &mut state.capabilities.config)
}

#[cfg(test)]
mod tests {
    use super::{wit::Host, *};

    #[test]
    fn the_fields_of_the_config_are_values() {
        let mut config = Config::new(r#"{"url":"https://example.com","factor":2.5,"deep":{"a":1}}"#.into());
        assert_eq!(config.get("url".to_owned()).expect("no error").as_deref(), Some("https://example.com"));
        assert_eq!(config.get("factor".to_owned()).expect("no error").as_deref(), Some("2.5"));
        assert_eq!(config.get("deep".to_owned()).expect("no error").as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(config.get("other".to_owned()).expect("no error"), None);
        assert_eq!(config.get_all().expect("no error").len(), 3);
    }

    #[test]
    fn a_config_that_is_no_object_has_no_values() {
        for json in ["null", "[1]", "3"] {
            assert!(Config::new(json.into()).get_all().expect("no error").is_empty(), "{json}");
        }
    }
}
