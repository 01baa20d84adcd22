//! Collections of managed data, as a manifest writes them.

use std::collections::BTreeMap;

use super::{
    SECTIONS_MAX, check_count,
    document::{Item, ItemKind},
    reader::Faults,
};
use crate::{
    fault::did_you_mean,
    records::{
        CollectionDefinition, CollectionSchema, INDEXES_MAX, POINTER_BYTES_MAX, PUBLISHED, PUBLISHED_PREFIX, published,
    },
};

pub(super) fn read(faults: &mut Faults, item: &Item) -> BTreeMap<String, CollectionDefinition> {
    let entries = faults.named_entries(item, "collection");
    check_count(faults, item, entries.len(), SECTIONS_MAX, "collections");
    let mut collections = BTreeMap::new();
    for entry in entries.iter().take(SECTIONS_MAX) {
        let fields = faults.fields(&entry.item, &["schema", "indexes"]);
        let schema = fields.optional("schema").and_then(|item| read_schema(faults, item));
        let indexes = fields.optional("indexes").map(|item| read_indexes(faults, item)).unwrap_or_default();
        let schema = schema.unwrap_or(CollectionSchema::Any);
        collections.insert(entry.name.clone(), CollectionDefinition { schema, indexes });
    }
    collections
}

/// A table is the schema itself; a text names one that is published, or a file.
fn read_schema(faults: &mut Faults, item: &Item) -> Option<CollectionSchema> {
    let text = match &item.kind {
        ItemKind::Table(_) | ItemKind::Bool(_) => return Some(CollectionSchema::Inline(item.to_json())),
        _ => faults.text(item)?,
    };
    let Some(name) = text.strip_prefix(PUBLISHED_PREFIX) else { return Some(CollectionSchema::File(text)) };
    let found = published(name).map(CollectionSchema::Published);
    if found.is_none() {
        let known = PUBLISHED.iter().map(|schema| schema.name);
        let fault = item.place.fault(format!("there is no published schema `{text}`"));
        faults.push(match did_you_mean(name, known.clone()) {
            Some(near) => fault.fix(format!("did you mean `{PUBLISHED_PREFIX}{near}`?")),
            None => {
                let known: Vec<String> = known.map(|name| format!("`{PUBLISHED_PREFIX}{name}`")).collect();
                fault.fix(format!("there are: {}", known.join(", ")))
            }
        });
    }
    found
}

fn read_indexes(faults: &mut Faults, item: &Item) -> BTreeMap<String, String> {
    let entries = faults.named_entries(item, "index");
    check_count(faults, item, entries.len(), INDEXES_MAX, "indexes");
    let mut indexes = BTreeMap::new();
    for entry in entries.iter().take(INDEXES_MAX) {
        let Some(pointer) = faults.text(&entry.item) else { continue };
        if let Err(reason) = check_pointer(&pointer) {
            let fault = entry.item.place.fault(format!("`{pointer}` is no JSON Pointer: {reason}"));
            faults.push(fault.fix("write where the value stands in a record, such as \"/author/name\""));
        }
        indexes.insert(entry.name.clone(), pointer);
    }
    indexes
}

/// RFC 6901. The empty one means the whole record, which no index has a use for.
fn check_pointer(pointer: &str) -> Result<(), &'static str> {
    if !pointer.starts_with('/') {
        return Err("it does not begin with `/`");
    }
    if pointer.len() > POINTER_BYTES_MAX {
        return Err("it is longer than 256 bytes");
    }
    if pointer.contains('\0') {
        return Err("it has a NUL character");
    }
    let is_escape = |rest: &str| rest.starts_with('0') || rest.starts_with('1');
    if !pointer.split('~').skip(1).all(is_escape) {
        return Err("`~` is written `~0`, and `/` within a name `~1`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::manifest::document;

    fn check(collections: &str, expected: Result<&CollectionDefinition, &str>) {
        let document = document::from_toml(collections).expect("TOML");
        let mut faults = Faults::default();
        let read = read(&mut faults, document.find("/collections").expect("there"));
        let faults = faults.into_vec();
        match expected {
            Ok(definition) => {
                assert!(faults.is_empty(), "{collections}: {faults:?}");
                assert_eq!(read.get("things"), Some(definition), "{collections}");
            }
            Err(text) => {
                let found = faults.iter().any(|fault| fault.to_string().contains(text));
                assert!(found, "{collections}: {faults:?}");
            }
        }
    }

    #[test]
    fn a_collection_has_a_schema_and_indexes_or_neither() {
        let plain = CollectionDefinition { schema: CollectionSchema::Any, indexes: BTreeMap::new() };
        check("[collections.things]", Ok(&plain));
        let indexes = BTreeMap::from([("by-name".to_owned(), "/a~1b/~0".to_owned())]);
        let issue = CollectionSchema::Published(published("issue").expect("it is published"));
        check(
            "[collections.things]\nschema = \"trellis:issue\"\nindexes = { by-name = \"/a~1b/~0\" }",
            Ok(&CollectionDefinition { schema: issue, indexes }),
        );
        let inline = CollectionSchema::Inline(json!({ "type": "object" }));
        check(
            "[collections.things]\nschema = { type = \"object\" }",
            Ok(&CollectionDefinition { schema: inline, ..plain.clone() }),
        );
        let file = CollectionSchema::File("schemas/thing.json".to_owned());
        check(
            "[collections.things]\nschema = \"schemas/thing.json\"",
            Ok(&CollectionDefinition { schema: file, ..plain }),
        );
    }

    #[test]
    fn what_no_collection_can_be_says_how_to_mend_it() {
        check("[collections.things]\nschema = \"trellis:isue\"", Err("did you mean `trellis:issue`?"));
        check("[collections.things]\nschema = \"trellis:x\"", Err("there are: `trellis:issue`"));
        check("[collections.things]\nschema = 5", Err("expected a string"));
        check("[collections.things]\nindexs = {}", Err("did you mean `indexes`?"));
        check("[collections.\"a b\"]", Err("collection name `a b`"));
        for (pointer, reason) in [("state", "begin with"), ("", "begin with"), ("/a~2", "written `~0`")] {
            check(&format!("[collections.things]\nindexes = {{ state = \"{pointer}\" }}"), Err(reason));
        }
        check(&format!("[collections.things]\nindexes = {{ a = \"/{}\" }}", "x".repeat(256)), Err("longer than 256"));
        let many: Vec<String> = (0..=INDEXES_MAX).map(|number| format!("i{number} = \"/a\"")).collect();
        check(&format!("[collections.things]\nindexes = {{ {} }}", many.join(", ")), Err("17 indexes, at most 16"));
    }
}
