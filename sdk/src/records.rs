//! Managed data: collections of JSON records that the project declares, with a schema and with indexes to find them by.
//!
//! ```
//! use trellis_sdk::*;
//!
//! #[data]
//! #[derive(Debug, PartialEq)]
//! struct Task { title: String, state: String, priority: u32 }
//!
//! /// Closes the most urgent task that is open.
//! #[transformer]
//! fn close_one(_input: Value) -> Result<Option<Out<String>>> {
//!     let tasks = records::collection::<Task>("tasks");
//!     let Some(found) = tasks.query().equal("state", "open").order_by("priority").descending().first()? else {
//!         return Ok(None);
//!     };
//!     let closed = Task { state: "closed".into(), ..found.data };
//!     tasks.put(&found.key, &closed)?;
//!     Ok(Some(Out(closed.title)))
//! }
//!
//! # fn main() {
//! let tasks = fake::collection("tasks").index("state", "/state").index("priority", "/priority");
//! tasks.put("a", &json!({ "title": "sweep", "state": "open", "priority": 1 }));
//! tasks.put("b", &json!({ "title": "repair", "state": "open", "priority": 5 }));
//! assert_eq!(close_one(json!(null)).unwrap(), Some(Out("repair".into())));
//! assert_eq!(tasks.get::<Task>("b").unwrap().state, "closed");
//! # }
//! ```
//!
//! The manifest declares the collection, and the node's grant allows it:
//!
//! ```toml
//! [collections.tasks]
//! schema = "schemas/task.json"
//! indexes = { state = "/state", priority = "/priority" }
//!
//! [grids.sweep.nodes.close]
//! grants = { records = ["tasks:rw"] }
//! ```
//!
//! A node is a transaction: reads see committed state and this run's own writes, and the writes are committed together with
//! the completion of the node, or not at all. When a record that was read has changed meanwhile, the host runs the node
//! again. That another record has come to match a query meanwhile is not noticed: where that matters, give the record a key
//! that both would choose, and write it with [`Write::if_absent`].
//!
//! Records that several plugins share have types here: [`issue::Issue`], [`commit::Commit`] and [`changelog::Changelog`].
//!
//! Does not know what the collection's schema says, nor what the node was granted: the host answers [`Error::Unfit`] and
//! [`Error::Denied`].

pub mod changelog;
pub mod commit;
pub mod issue;

mod error;
mod query;

use std::{fmt, marker::PhantomData};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::host;

pub use error::{Error, Misfit};
pub(crate) use query::{Condition, Operator, RawPage, Selection};
pub use query::{Page, Query, Records};

/// A record with its key and its revision.
///
/// ```
/// use trellis_sdk::{json, records, Value};
///
/// let tasks = records::collection::<Value>("tasks");
/// tasks.put("a", &json!({ "n": 1 }))?;
/// let entry = tasks.entry("a")?.expect("it was just written");
/// assert_eq!((entry.key.as_str(), &entry.data["n"], entry.revision), ("a", &json!(1), 0));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T = Value> {
    /// The key within the collection.
    pub key: String,
    /// The record itself.
    pub data: T,
    /// Changes with every committed write of the record; 0 while this run's own write is uncommitted.
    pub revision: u64,
}

/// One collection of the project, of records of one type; get it from [`collection`].
///
/// ```
/// use trellis_sdk::{json, records, Value};
///
/// let tasks = records::collection::<Value>("tasks");
/// tasks.put("a", &json!(1))?;
/// assert_eq!(tasks.get("a")?, Some(json!(1)));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub struct Collection<T = Value> {
    name: String,
    records: PhantomData<fn() -> T>,
}

/// The collection of this name. Nothing is asked of the host yet; the manifest must declare the collection, and the node's
/// grants must name it.
///
/// ```
/// use trellis_sdk::{records, records::issue::Issue, Value};
///
/// let issues = records::collection::<Issue>("issues");
/// let anything = records::collection::<Value>("issues");
/// ```
pub fn collection<T>(name: impl Into<String>) -> Collection<T> {
    Collection { name: name.into(), records: PhantomData }
}

impl<T> Collection<T> {
    /// A write with a condition, or a conditional deletion; ends with [`Write::put`] or [`Write::delete`].
    ///
    /// ```
    /// # use trellis_sdk::{records, json, Result, Value};
    /// # fn example() -> Result<()> {
    /// records::collection::<Value>("tasks").write("nightly").if_absent().put(&json!({ "state": "open" }))?;
    /// # Ok(())
    /// # }
    /// # trellis_sdk::fake::reset();
    /// # example().unwrap();
    /// ```
    pub fn write<'a>(&'a self, key: &'a str) -> Write<'a, T> {
        Write { collection: self, key, if_revision: None }
    }

    /// Removes a record. One that is absent is no error.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!(1))?;
    /// tasks.delete("a")?;
    /// assert_eq!(tasks.get("a")?, None);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        self.write(key).delete()
    }

    /// Begins a query; the records come with [`Query::iter`], [`Query::first`] or [`Query::page`].
    ///
    /// ```
    /// use trellis_sdk::{fake, json, records, Value};
    ///
    /// fake::collection("tasks").index("state", "/state").put("a", &json!({ "state": "open" }));
    /// assert!(records::collection::<Value>("tasks").query().equal("state", "closed").first()?.is_none());
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn query(&self) -> Query<T> {
        Query::new(self.clone())
    }
}

impl<T: DeserializeOwned> Collection<T> {
    /// The record with this key; `None` when there is none.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// assert_eq!(tasks.get("a")?, None);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`] when the record does not fit `T`, and see [`Error`].
    pub fn get(&self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.entry(key)?.map(|entry| entry.data))
    }

    /// The record with this key and its revision, for a later [`Write::if_revision`].
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// # trellis_sdk::fake::collection("tasks").put("a", &1);
    /// if let Some(entry) = tasks.entry("a")? {
    ///     tasks.write("a").if_revision(entry.revision).put(&json!(2))?;
    /// }
    /// # assert_eq!(tasks.get("a")?, Some(json!(2)));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`] when the record does not fit `T`, and see [`Error`].
    pub fn entry(&self, key: &str) -> Result<Option<Entry<T>>, Error> {
        host::record_get(&self.name, key)?.map(|entry| self.read(entry)).transpose()
    }

    fn read(&self, entry: RawEntry) -> Result<Entry<T>, Error> {
        let RawEntry { key, data, revision } = entry;
        match serde_json::from_str(&data) {
            Ok(data) => Ok(Entry { key, data, revision }),
            Err(reason) => Err(Error::json(&self.name, &key, &reason)),
        }
    }
}

impl<T: Serialize> Collection<T> {
    /// Sets a record, whatever was there.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.put("a", &json!({ "state": "open" }))?;
    /// assert_eq!(tasks.get("a")?.unwrap()["state"], "open");
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unfit`] when the record does not fit the collection's schema, and see [`Error`].
    pub fn put(&self, key: &str, data: &T) -> Result<(), Error> {
        self.write(key).put(data)
    }
}

impl<T> Clone for Collection<T> {
    fn clone(&self) -> Self {
        collection(self.name.clone())
    }
}

impl<T> fmt::Debug for Collection<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("name", &self.name).finish()
    }
}

/// A write being put together; see [`Collection::write`].
///
/// ```
/// use trellis_sdk::{json, records, Value};
///
/// let tasks = records::collection::<Value>("tasks");
/// let write = tasks.write("a").if_absent();
/// write.put(&json!(1))?;
/// # assert_eq!(tasks.get("a")?, Some(json!(1)));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a write happens with `put` or `delete`"]
pub struct Write<'a, T> {
    collection: &'a Collection<T>,
    key: &'a str,
    if_revision: Option<u64>,
}

impl<T> Write<'_, T> {
    /// Refuses the write with [`Error::Conflict`] unless the committed revision is this one.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// assert!(matches!(tasks.write("a").if_revision(7).put(&json!(1)), Err(records::Error::Conflict)));
    /// ```
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.if_revision = Some(revision);
        self
    }

    /// Refuses the write with [`Error::Conflict`] unless there is no record with this key.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// # trellis_sdk::fake::collection("tasks").put("a", &1);
    /// assert!(matches!(tasks.write("a").if_absent().put(&json!(2)), Err(records::Error::Conflict)));
    /// ```
    pub fn if_absent(self) -> Self {
        self.if_revision(0)
    }

    /// Removes the record. One that is absent is no error, unless a revision is expected.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// # trellis_sdk::fake::collection("tasks").put("a", &1);
    /// if let Some(entry) = tasks.entry("a")? {
    ///     tasks.write("a").if_revision(entry.revision).delete()?;
    /// }
    /// # assert_eq!(tasks.get("a")?, None);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(self) -> Result<(), Error> {
        host::record_delete(&self.collection.name, self.key, self.if_revision)
    }
}

impl<T: Serialize> Write<'_, T> {
    /// Sets the record.
    ///
    /// ```
    /// use trellis_sdk::{json, records, Value};
    ///
    /// let tasks = records::collection::<Value>("tasks");
    /// tasks.write("a").if_absent().put(&json!(1))?;
    /// assert_eq!(tasks.get("a")?, Some(json!(1)));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Unfit`] when the record does not fit the collection's schema, and see [`Error`].
    pub fn put(self, data: &T) -> Result<(), Error> {
        let name = &self.collection.name;
        let json = serde_json::to_string(data).map_err(|reason| Error::json(name, self.key, &reason))?;
        host::record_put(name, self.key, &json, self.if_revision)
    }
}

/// A record as the host tells it.
pub(crate) struct RawEntry {
    pub(crate) key: String,
    pub(crate) data: String,
    pub(crate) revision: u64,
}
