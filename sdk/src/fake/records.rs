//! Collections in memory, with the host's semantics: writes wait for [`super::commit`], and revisions belong to what is
//! committed. Knows no schemas: a record of any shape is taken.

mod index_value;

use std::{cmp::Ordering, collections::BTreeMap};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::records::{Condition, Error, Operator, RawEntry, RawPage, Selection};

use super::with_state;
use index_value::{IndexValue, TEXT_BYTES_MAX};

/// As in the host.
const KEY_BYTES_MAX: usize = 512;
/// As in the host.
const PAGE_RECORDS_MAX: u32 = 1_000;

#[derive(Debug, Default)]
pub(super) struct RecordsState {
    /// Name and JSON Pointer, by collection.
    indexes: BTreeMap<String, BTreeMap<String, String>>,
    committed: BTreeMap<(String, String), (String, u64)>,
    pending: BTreeMap<(String, String), Option<String>>,
    last_revision: u64,
}

impl RecordsState {
    pub(super) fn get(&self, collection: &str, key: &str) -> Result<Option<RawEntry>, Error> {
        let at = address(collection, key)?;
        let entry = |data: &String, revision| RawEntry { key: key.into(), data: data.clone(), revision };
        Ok(match self.pending.get(&at) {
            Some(pending) => pending.as_ref().map(|data| entry(data, 0)),
            None => self.committed.get(&at).map(|(data, revision)| entry(data, *revision)),
        })
    }

    pub(super) fn put(
        &mut self,
        collection: &str,
        key: &str,
        json: &str,
        if_revision: Option<u64>,
    ) -> Result<(), Error> {
        let at = address(collection, key)?;
        let no_json = |error: serde_json::Error| Error::Invalid(format!("the data is no JSON: {error}"));
        serde_json::from_str::<Value>(json).map_err(no_json)?;
        self.expect_revision(collection, key, if_revision)?;
        self.pending.insert(at, Some(json.into()));
        Ok(())
    }

    pub(super) fn delete(&mut self, collection: &str, key: &str, if_revision: Option<u64>) -> Result<(), Error> {
        let at = address(collection, key)?;
        self.expect_revision(collection, key, if_revision)?;
        self.pending.insert(at, None);
        Ok(())
    }

    fn expect_revision(&self, collection: &str, key: &str, expected: Option<u64>) -> Result<(), Error> {
        let Some(expected) = expected else { return Ok(()) };
        // With own writes: a record that was made here is not absent any more.
        let is_expected = match self.get(collection, key)? {
            Some(entry) => entry.revision == expected && expected != 0,
            None => expected == 0,
        };
        if is_expected { Ok(()) } else { Err(Error::Conflict) }
    }

    pub(super) fn query(&self, collection: &str, selection: &Selection) -> Result<RawPage, Error> {
        let filter: Vec<(&str, Test)> = selection
            .filter
            .iter()
            .map(|condition| Ok((self.pointer(collection, &condition.index)?, Test::of(condition)?)))
            .collect::<Result<_, Error>>()?;
        let order = match &selection.order {
            Some((index, descending)) => {
                Order { pointer: Some(self.pointer(collection, index)?), descending: *descending }
            }
            None => Order { pointer: None, descending: false },
        };
        let after = selection.after.as_deref().map(|cursor| order.position(cursor)).transpose()?;
        let mut found: Vec<(Position, RawEntry)> = self
            .entries(collection)
            .map(|entry| (serde_json::from_str(&entry.data).expect("only JSON is kept"), entry))
            .filter(|(data, _)| filter.iter().all(|(pointer, test)| test.holds(&IndexValue::at(data, pointer))))
            .map(|(data, entry)| (Position::of(&data, &entry.key, order.pointer), entry))
            .filter(|(position, _)| after.as_ref().is_none_or(|after| order.compare(position, after).is_gt()))
            .collect();
        found.sort_by(|(one, _), (other, _)| order.compare(one, other));
        let limit = selection.limit.clamp(1, PAGE_RECORDS_MAX) as usize;
        let next = if found.len() > limit { Some(found[limit - 1].0.cursor()) } else { None };
        found.truncate(limit);
        Ok(RawPage { records: found.into_iter().map(|(_, entry)| entry).collect(), next })
    }

    /// All records of a collection as they are seen now.
    fn entries(&self, collection: &str) -> impl Iterator<Item = RawEntry> {
        let here = move |at: &&(String, String)| at.0 == collection;
        let committed = self.committed.keys().filter(here).filter(|at| !self.pending.contains_key(*at));
        committed.chain(self.pending.keys().filter(here)).filter_map(|(name, key)| self.get(name, key).ok().flatten())
    }

    fn pointer(&self, collection: &str, index: &str) -> Result<&str, Error> {
        let found = self.indexes.get(collection).and_then(|indexes| indexes.get(index));
        found.map(String::as_str).ok_or_else(|| {
            Error::Invalid(format!(
                "collection `{collection}` has no index `{index}`; declare it with \
                 `fake::collection(\"{collection}\").index(\"{index}\", \"/…\")`"
            ))
        })
    }

    pub(super) fn rollback(&mut self) {
        self.pending.clear();
    }

    pub(super) fn commit(&mut self) {
        for (at, write) in std::mem::take(&mut self.pending) {
            match write {
                Some(data) => self.set_committed(at, data),
                None => drop(self.committed.remove(&at)),
            }
        }
    }

    fn set_committed(&mut self, at: (String, String), data: String) {
        self.last_revision += 1;
        self.committed.insert(at, (data, self.last_revision));
    }
}

/// In which order records come.
#[derive(Clone, Copy)]
struct Order<'a> {
    pointer: Option<&'a str>,
    descending: bool,
}

/// Where a record stands in an order.
struct Position {
    /// What the index finds; null where the order is by key.
    value: Value,
    key: String,
}

impl Position {
    fn of(data: &Value, key: &str, pointer: Option<&str>) -> Self {
        let value = pointer.and_then(|pointer| data.pointer(pointer)).cloned().unwrap_or_default();
        Self { value, key: key.into() }
    }

    fn cursor(&self) -> String {
        serde_json::json!([self.value, self.key]).to_string()
    }
}

impl Order<'_> {
    fn position(&self, cursor: &str) -> Result<Position, Error> {
        let (value, key) = serde_json::from_str(cursor)
            .map_err(|_| Error::Invalid(format!("`{cursor}` is no cursor; pass `next` of the page before as it is")))?;
        Ok(Position { value, key })
    }

    fn compare(&self, one: &Position, other: &Position) -> Ordering {
        let values = IndexValue::of(&one.value).cmp(&IndexValue::of(&other.value));
        let order = values.then_with(|| one.key.cmp(&other.key));
        if self.descending { order.reverse() } else { order }
    }
}

/// A condition that values can be held against.
struct Test {
    operator: Operator,
    values: Vec<IndexValue>,
}

impl Test {
    fn of(condition: &Condition) -> Result<Self, Error> {
        let Condition { index, operator, value } = condition;
        let invalid = |reason: &str| Error::Invalid(format!("the condition on index `{index}`: {reason}"));
        let value: Value =
            serde_json::from_str(value).map_err(|error| invalid(&format!("its value is no JSON: {error}")))?;
        let values = match (operator, value) {
            (Operator::OneOf, Value::Array(items)) => items,
            (Operator::OneOf, _) => return Err(invalid("`one-of` needs an array")),
            (Operator::StartsWith, value) if !value.is_string() => return Err(invalid("`starts-with` needs a text")),
            (_, value) => vec![value],
        };
        for value in &values {
            match value {
                Value::Array(_) | Value::Object(_) => {
                    return Err(invalid("compare with a text, a number, true, false or null"));
                }
                Value::String(text) if text.len() > TEXT_BYTES_MAX => {
                    let reason = format!("the text is {} bytes long, at most {TEXT_BYTES_MAX} are allowed", text.len());
                    return Err(invalid(&reason));
                }
                _ => {}
            }
        }
        Ok(Self { operator: *operator, values: values.iter().map(IndexValue::of).collect() })
    }

    fn holds(&self, found: &IndexValue) -> bool {
        self.values.iter().any(|value| match self.operator {
            Operator::Equal | Operator::OneOf => found == value,
            Operator::Less => found.is_like(value) && found < value,
            Operator::LessOrEqual => found.is_like(value) && found <= value,
            Operator::Greater => found.is_like(value) && found > value,
            Operator::GreaterOrEqual => found.is_like(value) && found >= value,
            Operator::StartsWith => found.begins_with(value),
        })
    }
}

fn address(collection: &str, key: &str) -> Result<(String, String), Error> {
    let refused = if key.is_empty() {
        "is empty".to_owned()
    } else if key.len() > KEY_BYTES_MAX {
        format!("is {} bytes long, at most {KEY_BYTES_MAX} are allowed", key.len())
    } else if key.contains('\0') {
        "has a NUL character".to_owned()
    } else {
        return Ok((collection.into(), key.into()));
    };
    Err(Error::Invalid(format!("the key {refused}")))
}

/// A collection as the test sees it: to fill it beforehand and to look into it afterwards.
///
/// ```
/// use trellis_sdk::{fake, json, records, Value};
///
/// fake::collection("tasks").index("state", "/state").put("a", &json!({ "state": "open" }));
/// let open = records::collection::<Value>("tasks").query().equal("state", "open").first().unwrap();
/// assert_eq!(open.unwrap().key, "a");
/// ```
pub fn collection(name: impl Into<String>) -> CollectionFake {
    CollectionFake { name: name.into() }
}

/// A collection of this thread; see [`collection()`].
///
/// ```
/// use trellis_sdk::{fake, json, records, Value};
///
/// let tasks = fake::collection("tasks");
/// tasks.put("a", &json!({ "state": "open" }));
/// assert_eq!(tasks.keys(), ["a"]);
/// ```
#[derive(Clone, Debug)]
pub struct CollectionFake {
    name: String,
}

impl CollectionFake {
    /// Declares an index, as the manifest does: its name, and the JSON Pointer of its values.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    ///
    /// fake::collection("tasks").index("state", "/state").put("a", &json!({ "state": "open" }));
    /// assert!(records::collection::<Value>("tasks").query().equal("state", "open").first()?.is_some());
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    #[expect(clippy::return_self_not_must_use, reason = "a declaration may be all that a test wants")]
    pub fn index(self, name: &str, pointer: &str) -> Self {
        with_state(|state| {
            let indexes = state.records.indexes.entry(self.name.clone()).or_default();
            indexes.insert(name.into(), pointer.into());
        });
        self
    }

    /// Puts a committed record there.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    ///
    /// fake::collection("tasks").put("a", &json!(1));
    /// assert_ne!(records::collection::<Value>("tasks").entry("a")?.unwrap().revision, 0, "it is committed");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the record cannot be written as JSON.
    pub fn put(&self, key: &str, data: &(impl Serialize + ?Sized)) {
        let json = serde_json::to_string(data).expect("a test's record can be written as JSON");
        with_state(|state| state.records.set_committed((self.name.clone(), key.into()), json));
    }

    /// What a transformer would read there now, its own uncommitted writes included.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    ///
    /// records::collection::<Value>("tasks").put("a", &json!(7))?;
    /// assert_eq!(fake::collection("tasks").get("a"), Some(7));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Panics
    /// When the record does not fit `T`.
    pub fn get<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        let entry = with_state(|state| state.records.get(&self.name, key)).ok().flatten()?;
        Some(serde_json::from_str(&entry.data).expect("the record has the type that the test expects"))
    }

    /// The keys of all records that a transformer would find there now, in order.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    ///
    /// records::collection::<Value>("tasks").put("a", &json!(7))?;
    /// assert_eq!(fake::collection("tasks").keys(), ["a"]);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> =
            with_state(|state| state.records.entries(&self.name).map(|entry| entry.key).collect());
        keys.sort();
        keys
    }
}
