//! Queries: which records, in which order, page by page.

use std::{collections::VecDeque, fmt};

use serde::{Serialize, de::DeserializeOwned};

use super::{Collection, Entry, Error, RawEntry};
use crate::host;

/// Records that are asked for at a time, unless the query says otherwise. The host may give fewer.
const PAGE_RECORDS: u32 = 100;

/// A query being put together; see [`Collection::query`].
///
/// Only indexes that the manifest declares for the collection can be asked for and ordered by; another one is
/// [`Error::Invalid`]. Conditions add up: all of them must hold.
///
/// ```
/// use trellis_sdk::*;
///
/// fn stale(before: &str) -> Result<Vec<String>> {
///     let issues = records::collection::<Value>("issues");
///     let query = issues.query().one_of("state", ["open", "reopened"]).less("updated", before).order_by("updated");
///     query.iter().map(|found| Ok(found?.key)).collect()
/// }
///
/// let issues = fake::collection("issues").index("state", "/state").index("updated", "/updated_at");
/// issues.put("7", &json!({ "state": "open", "updated_at": "2020-01-05" }));
/// issues.put("8", &json!({ "state": "open", "updated_at": "2020-03-01" }));
/// issues.put("9", &json!({ "state": "closed", "updated_at": "2020-01-01" }));
/// assert_eq!(stale("2020-02-01").unwrap(), ["7"]);
/// ```
#[must_use = "a query is asked with `iter`, `first` or `page`"]
pub struct Query<T> {
    collection: Collection<T>,
    selection: Selection,
    /// A condition's value that is no JSON.
    fault: Option<Error>,
}

/// What is asked for, as the host takes it.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) filter: Vec<Condition>,
    /// Index, and whether it is turned round.
    pub(crate) order: Option<(String, bool)>,
    pub(crate) limit: u32,
    pub(crate) after: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Condition {
    pub(crate) index: String,
    pub(crate) operator: Operator,
    /// JSON text.
    pub(crate) value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    OneOf,
    StartsWith,
}

pub(crate) struct RawPage {
    pub(crate) records: Vec<RawEntry>,
    pub(crate) next: Option<String>,
}

impl<T> Query<T> {
    pub(super) fn new(collection: Collection<T>) -> Self {
        let selection = Selection { filter: Vec::new(), order: None, limit: PAGE_RECORDS, after: None };
        Self { collection, selection, fault: None }
    }

    /// The value is this one. Null finds records that have none, too.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().equal("state", "open").order_by("n").first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn equal(self, index: &str, value: impl Serialize) -> Self {
        self.condition(index, Operator::Equal, &value)
    }

    /// The value is any of these.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().one_of("n", [2, 3]).order_by("n").first()?.expect("there is one").key, "b");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn one_of<V: Serialize>(self, index: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values: Vec<V> = values.into_iter().collect();
        self.condition(index, Operator::OneOf, &values)
    }

    /// The value is of the same JSON type, and less.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().less("n", 2).order_by("n").first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn less(self, index: &str, value: impl Serialize) -> Self {
        self.condition(index, Operator::Less, &value)
    }

    /// The value is of the same JSON type, and less or equal.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().less_or_equal("n", 2).order_by("n").first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn less_or_equal(self, index: &str, value: impl Serialize) -> Self {
        self.condition(index, Operator::LessOrEqual, &value)
    }

    /// The value is of the same JSON type, and greater.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().greater("n", 1).order_by("n").first()?.expect("there is one").key, "b");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn greater(self, index: &str, value: impl Serialize) -> Self {
        self.condition(index, Operator::Greater, &value)
    }

    /// The value is of the same JSON type, and greater or equal.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().greater_or_equal("n", 1).order_by("n").first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn greater_or_equal(self, index: &str, value: impl Serialize) -> Self {
        self.condition(index, Operator::GreaterOrEqual, &value)
    }

    /// The value is a text that begins with this one.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().starts_with("state", "opened").order_by("n").first()?.expect("there is one").key, "b");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn starts_with(self, index: &str, text: &str) -> Self {
        self.condition(index, Operator::StartsWith, &text)
    }

    /// In the order of an index: null, false, true, numbers, texts by their bytes, arrays and objects; equal ones by key.
    /// Without it records come by key.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().order_by("n").first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn order_by(mut self, index: &str) -> Self {
        self.selection.order = Some((index.into(), false));
        self
    }

    /// Turns the order of [`Query::order_by`] round, that of the keys of equal ones included.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().order_by("n").descending().first()?.expect("there is one").key, "b");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn descending(mut self) -> Self {
        if let Some((_, descending)) = &mut self.selection.order {
            *descending = true;
        }
        self
    }

    /// How many records a page has at most; 100 unless said, and no more than the host allows.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// assert_eq!(tasks.query().order_by("n").page_size(1).first()?.expect("there is one").key, "a");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn page_size(mut self, records: u32) -> Self {
        self.selection.limit = records;
        self
    }

    /// Goes on behind a page: with its [`Page::next`].
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// let first = tasks.query().order_by("n").page_size(1).page()?;
    /// let second = tasks.query().order_by("n").page_size(1).after(first.next.expect("there is more")).page()?;
    /// assert_eq!(second.records[0].key, "b");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn after(mut self, cursor: impl Into<String>) -> Self {
        self.selection.after = Some(cursor.into());
        self
    }

    // Apart from the conditions, so that it is compiled once and not for every type of value.
    fn condition(mut self, index: &str, operator: Operator, value: &dyn ToJson) -> Self {
        match value.to_json() {
            Ok(value) => self.selection.filter.push(Condition { index: index.into(), operator, value }),
            Err(reason) => self.fault = Some(Error::Invalid(format!("the value for index `{index}`: {reason}"))),
        }
        self
    }
}

trait ToJson {
    fn to_json(&self) -> Result<String, serde_json::Error>;
}

impl<V: Serialize> ToJson for V {
    fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// All records, in order. Pages are fetched as the iterator is turned; each page is one operation. It ends after its
    /// first error.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// let mut sum = 0;
    /// for found in tasks.query().iter() {
    ///     sum += found?.data["n"].as_u64().unwrap_or_default();
    /// }
    /// assert_eq!(sum, 3);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn iter(&self) -> Records<T> {
        let next = match &self.fault {
            Some(fault) => Next::Failed(fault.clone()),
            None => Next::Page(self.selection.clone()),
        };
        Records { collection: self.collection.clone(), page: VecDeque::new(), next }
    }

    /// The first record; `None` when there is none.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// let last = tasks.query().order_by("n").descending().first()?;
    /// assert_eq!(last.map(|found| found.key).as_deref(), Some("b"));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn first(&self) -> Result<Option<Entry<T>>, Error> {
        let mut records = self.iter();
        if let Next::Page(selection) = &mut records.next {
            selection.limit = 1;
        }
        records.next().transpose()
    }

    /// One page: for a run that does a part and leaves the rest to another one.
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    /// fake::collection("tasks").index("state", "/state").index("n", "/n");
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
    /// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
    /// let page = tasks.query().page()?;
    /// assert_eq!((page.records.len(), page.next), (2, None));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn page(&self) -> Result<Page<T>, Error> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let RawPage { records, next } = host::record_query(&self.collection.name, &self.selection)?;
        let records = records.into_iter().map(|entry| self.collection.read(entry)).collect::<Result<_, _>>()?;
        Ok(Page { records, next })
    }
}

impl<T> fmt::Debug for Query<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("collection", &self.collection).field("selection", &self.selection).finish()
    }
}

/// A page of records; see [`Query::page`].
///
/// ```
/// use trellis_sdk::{fake, json, records, Value};
/// fake::collection("tasks").index("state", "/state").index("n", "/n");
/// let tasks = records::collection::<Value>("tasks");
/// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
/// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
/// let page = tasks.query().order_by("n").page_size(1).page()?;
/// assert!(page.records[0].key == "a" && page.next.is_some());
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// May be fewer than asked for, even none, though there are more.
    pub records: Vec<Entry<T>>,
    /// For [`Query::after`]; `None`: this was the last page.
    pub next: Option<String>,
}

/// The records of a query; see [`Query::iter`].
///
/// ```
/// use trellis_sdk::{fake, json, records, Value};
/// fake::collection("tasks").index("state", "/state").index("n", "/n");
/// let tasks = records::collection::<Value>("tasks");
/// tasks.put("a", &json!({ "state": "open", "n": 1 }))?;
/// tasks.put("b", &json!({ "state": "opened again", "n": 2 }))?;
/// let mut found = tasks.query().order_by("n").iter();
/// assert_eq!(found.next().expect("the first")?.key, "a");
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub struct Records<T> {
    collection: Collection<T>,
    page: VecDeque<RawEntry>,
    next: Next,
}

enum Next {
    Page(Selection),
    Failed(Error),
    End,
}

impl<T: DeserializeOwned> Iterator for Records<T> {
    type Item = Result<Entry<T>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(entry) = self.page.pop_front() {
                let read = self.collection.read(entry);
                if read.is_err() {
                    self.page.clear();
                    self.next = Next::End;
                }
                return Some(read);
            }
            let selection = match std::mem::replace(&mut self.next, Next::End) {
                Next::Page(selection) => selection,
                Next::Failed(fault) => return Some(Err(fault)),
                Next::End => return None,
            };
            match host::record_query(&self.collection.name, &selection) {
                Ok(page) => {
                    self.page = page.records.into();
                    self.next = match page.next {
                        Some(next) => Next::Page(Selection { after: Some(next), ..selection }),
                        None => Next::End,
                    };
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl<T> fmt::Debug for Records<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records").field("collection", &self.collection).finish_non_exhaustive()
    }
}
