//! Puts values into a document that were written elsewhere, such as in a file that the manifest names.

use serde_json::Value;

use super::{Entry, Item, ItemKind, Place};

impl Item {
    /// The item at a JSON Pointer, to be changed.
    pub fn find_mut(&mut self, pointer: &str) -> Option<&mut Self> {
        let Some(rest) = pointer.strip_prefix('/') else {
            return pointer.is_empty().then_some(self);
        };
        let (step, deeper) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let name = step.replace("~1", "/").replace("~0", "~");
        let next = match &mut self.kind {
            ItemKind::Table(entries) => {
                entries.iter_mut().find(|entry| entry.name == name).map(|entry| &mut entry.item)
            }
            ItemKind::List(items) => name.parse().ok().and_then(|index: usize| items.get_mut(index)),
            _ => None,
        };
        next?.find_mut(deeper)
    }

    /// A value as if it stood at this place: all of it has the line of the place.
    pub fn of_value(value: &Value, place: &Place) -> Self {
        let below = |name: &str| Place { pointer: place.pointer.join(name), line_column: place.line_column };
        let kind = match value {
            Value::Null => ItemKind::Null,
            Value::Bool(value) => ItemKind::Bool(*value),
            Value::Number(value) => ItemKind::Number(value.clone()),
            Value::String(value) => ItemKind::Text(value.clone()),
            Value::Array(values) => {
                let items = values.iter().enumerate();
                ItemKind::List(items.map(|(index, value)| Self::of_value(value, &below(&index.to_string()))).collect())
            }
            Value::Object(fields) => {
                let entry = |(name, value): (&String, &Value)| {
                    let place = below(name);
                    Entry { name: name.clone(), item: Self::of_value(value, &place), key_place: place }
                };
                ItemKind::Table(fields.iter().map(entry).collect())
            }
        };
        Self { place: place.clone(), kind }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::manifest::document;

    #[test]
    fn what_is_put_in_has_the_pointers_of_its_place_and_the_line_that_named_it() {
        let mut document = document::from_toml("[[triggers]]\nschema = \"order.json\"\n").expect("TOML");
        let item = document.find_mut("/triggers/0/schema").expect("there");
        *item = document::Item::of_value(&json!({ "properties": { "a": [true] } }), &item.place.clone());
        let place = document.place_of("/triggers/0/schema/properties/a/0");
        assert_eq!(place.fault("x").to_string(), "line 2, column 10 (/triggers/0/schema/properties/a/0): x");
        assert_eq!(document.find("/triggers/0/schema/properties/a/0").expect("there").to_json(), json!(true));
        assert!(document.find_mut("/triggers/1").is_none());
    }
}
