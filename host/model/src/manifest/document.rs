//! A manifest as a tree of values that know their place, read from TOML or JSON alike.
//!
//! Knows nothing of what a manifest means: that is the reader's part.

use std::{fmt, ops::Range, sync::Arc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use toml::de::{DeTable, DeValue};

mod insert;

use super::reader::{FAULTS_MAX, Faults};
use crate::fault::Fault;

/// Largest manifest text, in bytes: a thousand nodes written out generously.
pub const MANIFEST_BYTES_MAX: usize = 1024 * 1024;

/// A JSON Pointer (RFC 6901), kept as a chain of steps that all items below share: a long key is kept once, however many
/// items lie under it. Written out only where a fault names it.
#[derive(Clone, Debug, Default)]
pub struct Pointer(Option<Arc<Step>>);

#[derive(Debug)]
struct Step {
    above: Pointer,
    name: String,
}

impl Pointer {
    fn join(&self, name: impl Into<String>) -> Self {
        Self(Some(Arc::new(Step { above: self.clone(), name: name.into() })))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(step) = &self.0 else { return Ok(()) };
        step.above.fmt(f)?;
        write!(f, "/{}", escaped_step(&step.name))
    }
}

/// Where an item stands.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub pointer: Pointer,
    /// 1-based line and column, for text that has them.
    pub line_column: Option<(usize, usize)>,
}

impl Place {
    pub fn fault(&self, message: impl Into<String>) -> Fault {
        let mut fault = Fault::at(self.pointer.to_string(), message);
        if let Some((line, column)) = self.line_column {
            (fault.line, fault.column) = (Some(line), Some(column));
        }
        fault
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Item {
    pub place: Place,
    pub kind: ItemKind,
}

#[derive(Clone, Debug)]
pub enum ItemKind {
    Null,
    Bool(bool),
    Number(serde_json::Number),
    Text(String),
    List(Vec<Item>),
    Table(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    /// Where the key stands: the place for faults about the key itself.
    pub key_place: Place,
    pub item: Item,
}

impl Item {
    /// What a person would call this kind of value.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            ItemKind::Null => "null",
            ItemKind::Bool(_) => "a boolean",
            ItemKind::Number(_) => "a number",
            ItemKind::Text(_) => "a string",
            ItemKind::List(_) => "an array",
            ItemKind::Table(_) => "a table",
        }
    }

    /// The item at a JSON Pointer.
    pub fn find(&self, pointer: &str) -> Option<&Self> {
        match self.descend(pointer) {
            (item, "") => Some(item),
            _ => None,
        }
    }

    /// The place of the item at a JSON Pointer, with line and column of the nearest item above where there is none.
    pub fn place_of(&self, pointer: &str) -> Place {
        let (item, rest) = self.descend(pointer);
        let names = rest.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~"));
        Place {
            pointer: names.fold(item.place.pointer.clone(), |pointer, name| pointer.join(name)),
            line_column: item.place.line_column,
        }
    }

    /// The deepest item on the way to `pointer`, and what is left of the pointer there.
    fn descend<'p>(&self, pointer: &'p str) -> (&Self, &'p str) {
        let Some(rest) = pointer.strip_prefix('/') else {
            return (self, pointer);
        };
        let (step, deeper) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let name = step.replace("~1", "/").replace("~0", "~");
        let next = match &self.kind {
            ItemKind::Table(entries) => entries.iter().find(|entry| entry.name == name).map(|entry| &entry.item),
            ItemKind::List(items) => name.parse().ok().and_then(|index: usize| items.get(index)),
            _ => None,
        };
        next.map_or((self, pointer), |item| item.descend(deeper))
    }

    /// The plain JSON value, places dropped.
    pub fn to_json(&self) -> Value {
        match &self.kind {
            ItemKind::Null => Value::Null,
            ItemKind::Bool(value) => Value::Bool(*value),
            ItemKind::Number(value) => Value::Number(value.clone()),
            ItemKind::Text(value) => Value::String(value.clone()),
            ItemKind::List(items) => Value::Array(items.iter().map(Self::to_json).collect()),
            ItemKind::Table(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.name.clone(), entry.item.to_json())).collect())
            }
        }
    }
}

/// One step deeper in a JSON Pointer (RFC 6901).
pub fn pointer_join(pointer: &str, step: impl fmt::Display) -> String {
    format!("{pointer}/{}", escaped_step(&step.to_string()))
}

fn escaped_step(step: &str) -> String {
    step.replace('~', "~0").replace('/', "~1")
}

/// Reads TOML.
///
/// # Errors
/// All syntax errors that the parser can recover from, with line and column.
pub fn from_toml(text: &str) -> Result<Item, Vec<Fault>> {
    check_size(text)?;
    let lines = LineIndex::new(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let fault = |error: &toml::de::Error| {
            let mut fault = Fault::at("", format!("not valid TOML: {}", error.message()));
            if let Some(span) = error.span() {
                let (line, column) = lines.line_column(span.start);
                (fault.line, fault.column) = (Some(line), Some(column));
            }
            fault
        };
        return Err(errors.iter().take(FAULTS_MAX).map(fault).collect());
    }
    let mut faults = Faults::default();
    let kind = toml_table(table.get_ref(), &Pointer::default(), &lines, &mut faults);
    let item = Item { place: Place { pointer: Pointer::default(), line_column: Some((1, 1)) }, kind };
    check_text(&item, &mut faults);
    faults.into_result(item)
}

/// The one character that the database cannot hold.
fn check_text(item: &Item, faults: &mut Faults) {
    let fault = |place: &Place| place.fault("text with a NUL character").fix("take the character out");
    match &item.kind {
        ItemKind::Text(text) if text.contains('\0') => faults.push(fault(&item.place)),
        ItemKind::List(items) => items.iter().for_each(|item| check_text(item, faults)),
        ItemKind::Table(entries) => {
            for entry in entries {
                if entry.name.contains('\0') {
                    faults.push(fault(&entry.key_place));
                }
                check_text(&entry.item, faults);
            }
        }
        _ => {}
    }
}

fn check_size(text: &str) -> Result<(), Vec<Fault>> {
    if text.len() <= MANIFEST_BYTES_MAX {
        return Ok(());
    }
    Err(vec![
        Fault::at("", format!("the manifest has {} bytes, at most {MANIFEST_BYTES_MAX} are read", text.len()))
            .fix("split the project, or keep large literals in a store"),
    ])
}

fn toml_table(table: &DeTable<'_>, pointer: &Pointer, lines: &LineIndex<'_>, faults: &mut Faults) -> ItemKind {
    let mut entries = Vec::with_capacity(table.len());
    for (key, value) in table {
        let name: &str = key.get_ref();
        let pointer = pointer.join(name);
        let item = toml_item(value.get_ref(), &value.span(), pointer.clone(), lines, faults);
        entries.push(Entry { name: name.to_owned(), key_place: lines.place(pointer, key.span().start), item });
    }
    ItemKind::Table(entries)
}

fn toml_item(
    value: &DeValue<'_>,
    span: &Range<usize>,
    pointer: Pointer,
    lines: &LineIndex<'_>,
    faults: &mut Faults,
) -> Item {
    let place = lines.place(pointer, span.start);
    let kind = match value {
        DeValue::String(text) => ItemKind::Text(text.clone().into_owned()),
        DeValue::Boolean(value) => ItemKind::Bool(*value),
        DeValue::Datetime(value) => ItemKind::Text(value.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => ItemKind::Number(number.into()),
            Err(_) => {
                faults.push(place.fault(format!("`{number}` does not fit into 64 bits")));
                ItemKind::Null
            }
        },
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => ItemKind::Number(number),
            None => {
                faults.push(place.fault(format!("`{number}` is no number that JSON can hold")));
                ItemKind::Null
            }
        },
        DeValue::Array(array) => ItemKind::List(
            array
                .iter()
                .enumerate()
                .map(|(i, value)| {
                    toml_item(value.get_ref(), &value.span(), place.pointer.join(i.to_string()), lines, faults)
                })
                .collect(),
        ),
        DeValue::Table(table) => toml_table(table, &place.pointer, lines, faults),
    };
    Item { place, kind }
}

/// Byte offset → line and column, without walking the line: all of a manifest can be one line, and every value in it has a
/// place.
struct LineIndex<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// Characters before each block of the text.
    blocks: Vec<usize>,
}

/// What is walked at most, in bytes.
const BLOCK_BYTES: usize = 256;

impl<'t> LineIndex<'t> {
    fn new(text: &'t str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        let count = |before: &mut usize, block: &[u8]| {
            let found = *before;
            *before += characters(block);
            Some(found)
        };
        // One more block, empty perhaps, so that the end of the text has a place, too.
        let blocks = text.as_bytes().chunks(BLOCK_BYTES).chain([&[][..]]).scan(0, count).collect();
        Self { text, starts, blocks }
    }

    fn line_column(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        (line, self.characters_before(offset) - self.characters_before(self.starts[line - 1]) + 1)
    }

    fn characters_before(&self, offset: usize) -> usize {
        let offset = offset.min(self.text.len());
        let block = offset / BLOCK_BYTES;
        self.blocks[block] + characters(&self.text.as_bytes()[block * BLOCK_BYTES..offset])
    }

    fn place(&self, pointer: Pointer, offset: usize) -> Place {
        Place { pointer, line_column: Some(self.line_column(offset)) }
    }
}

/// The characters that begin in some bytes of UTF-8 text.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0b1100_0000 != 0b1000_0000).count()
}

/// Reads JSON. Duplicate keys are faults: the second would silently win otherwise.
///
/// # Errors
/// The syntax error, or every duplicate key.
pub fn from_json(text: &str) -> Result<Item, Vec<Fault>> {
    check_size(text)?;
    from_stored_json(text)
}

/// Reads JSON that was accepted before. Its size was checked as it was written then, which was another notation perhaps.
///
/// # Errors
/// As [`from_json`].
pub fn from_stored_json(text: &str) -> Result<Item, Vec<Fault>> {
    let tree: JsonTree = serde_json::from_str(text).map_err(|error| {
        let mut fault = Fault::at("", format!("not valid JSON: {error}"));
        (fault.line, fault.column) = (Some(error.line()), Some(error.column()));
        vec![fault]
    })?;
    let mut faults = Faults::default();
    let item = json_item(tree, Pointer::default(), &mut faults);
    check_text(&item, &mut faults);
    faults.into_result(item)
}

/// JSON with its keys in order and duplicates kept.
enum JsonTree {
    Leaf(ItemKind),
    List(Vec<JsonTree>),
    Table(Vec<(String, JsonTree)>),
}

fn json_item(tree: JsonTree, pointer: Pointer, faults: &mut Faults) -> Item {
    let place = Place { pointer, line_column: None };
    let kind = match tree {
        JsonTree::Leaf(kind) => kind,
        JsonTree::List(trees) => ItemKind::List(
            trees
                .into_iter()
                .enumerate()
                .map(|(i, tree)| json_item(tree, place.pointer.join(i.to_string()), faults))
                .collect(),
        ),
        JsonTree::Table(fields) => {
            let mut seen = std::collections::HashSet::new();
            let mut entries = Vec::with_capacity(fields.len());
            for (name, tree) in fields {
                let pointer = place.pointer.join(name.clone());
                let key_place = Place { pointer: pointer.clone(), line_column: None };
                if !seen.insert(name.clone()) && !faults.is_full() {
                    faults.push(key_place.fault(format!("`{name}` is given twice")).fix("keep one of them"));
                }
                entries.push(Entry { name, key_place, item: json_item(tree, pointer, faults) });
            }
            ItemKind::Table(entries)
        }
    };
    Item { place, kind }
}

impl<'de> Deserialize<'de> for JsonTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonTreeVisitor)
    }
}

struct JsonTreeVisitor;

impl<'de> Visitor<'de> for JsonTreeVisitor {
    type Value = JsonTree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<JsonTree, E> {
        Ok(JsonTree::Leaf(ItemKind::Null))
    }

    fn visit_bool<E>(self, value: bool) -> Result<JsonTree, E> {
        Ok(JsonTree::Leaf(ItemKind::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<JsonTree, E> {
        Ok(JsonTree::Leaf(ItemKind::Number(value.into())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<JsonTree, E> {
        Ok(JsonTree::Leaf(ItemKind::Number(value.into())))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<JsonTree, E> {
        let number = serde_json::Number::from_f64(value).ok_or_else(|| E::custom("a number out of range"))?;
        Ok(JsonTree::Leaf(ItemKind::Number(number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<JsonTree, E> {
        Ok(JsonTree::Leaf(ItemKind::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<JsonTree, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(JsonTree::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<JsonTree, A::Error> {
        let mut table = Vec::new();
        while let Some(field) = fields.next_entry()? {
            table.push(field);
        }
        Ok(JsonTree::Table(table))
    }
}
