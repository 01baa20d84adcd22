//! Durable named stores of the project.
//!
//! ```
//! use trellis_sdk::{storage, Result};
//!
//! fn visits(user: &str) -> Result<u64> {
//!     let store = storage::store("visits");
//!     let before: u64 = store.get_json(user)?.unwrap_or(0);
//!     store.set_json(user, &(before + 1))?;
//!     Ok(before + 1)
//! }
//! # trellis_sdk::fake::reset();
//! # assert_eq!(visits("ann").unwrap(), 1);
//! # assert_eq!(visits("ann").unwrap(), 2);
//! ```
//!
//! A node is a transaction: reads see committed state and this run's own writes, and the writes are committed together with
//! the completion of the node, or not at all. When what was read has changed meanwhile, the host runs the node again.
//!
//! Does not know where the values are kept, nor what the node was granted: the host answers [`Error::Denied`].

mod error;

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use crate::host;

pub use error::Error;

/// Keys that [`Store::list`] asks for at a time. The host may give fewer.
const PAGE_KEYS: u32 = 500;

/// A value with its revision.
///
/// ```
/// use trellis_sdk::storage;
///
/// let store = storage::store("visits");
/// store.set("ann", "1")?;
/// let entry = store.entry("ann")?.expect("it was just written");
/// assert_eq!((entry.value.as_slice(), entry.revision), (&b"1"[..], 0));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stored bytes.
    pub value: Vec<u8>,
    /// Changes with every committed write of the key; 0 while this run's own write is uncommitted.
    pub revision: u64,
}

/// One store of the project; get it from [`store`].
///
/// ```
/// use trellis_sdk::storage;
///
/// let store = storage::store("visits");
/// store.set("ann", "1")?;
/// assert_eq!(store.get("ann")?.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Store {
    name: String,
}

/// The store of this name. Nothing is asked of the host yet; the node's grants must name the store.
///
/// ```
/// use trellis_sdk::storage;
///
/// let store = storage::store("visits");
/// assert_eq!(store.get("ann")?, None);
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
pub fn store(name: impl Into<String>) -> Store {
    Store { name: name.into() }
}

impl Store {
    /// The value of a key; `None` when there is none.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.set("ann", [1, 2])?;
    /// assert_eq!(store.get("ann")?, Some(vec![1, 2]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.entry(key)?.map(|entry| entry.value))
    }

    /// The value of a key with its revision, for a later [`Write::if_revision`].
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// # trellis_sdk::fake::storage("visits").put("ann", "1");
    /// if let Some(entry) = store.entry("ann")? {
    ///     store.write("ann").if_revision(entry.revision).bytes("2")?;
    /// }
    /// # assert_eq!(store.get("ann")?.as_deref(), Some(&b"2"[..]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        host::storage_get(&self.name, key)
    }

    /// The value of a key, decoded from JSON.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.set_json("ann", &7)?;
    /// assert_eq!(store.get_json("ann")?, Some(7));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`] when the value does not fit `T`, and see [`Error`].
    pub fn get_json<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.get(key)? else { return Ok(None) };
        serde_json::from_slice(&value).map(Some).map_err(|error| self.json_error(key, &error))
    }

    /// Sets a key to bytes, whatever was there.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.set("ann", "1")?;
    /// assert_eq!(store.get("ann")?.as_deref(), Some(&b"1"[..]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write(key).bytes(value)
    }

    /// Sets a key to a JSON text, whatever was there.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.set_json("ann", &[1, 2])?;
    /// assert_eq!(store.get_json::<Vec<u8>>("ann")?, Some(vec![1, 2]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn set_json(&self, key: &str, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        self.write(key).json(value)
    }

    /// A write with conditions or a time to live; ends with [`Write::bytes`] or [`Write::json`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use trellis_sdk::{storage, Result};
    /// # fn example() -> Result<()> {
    /// storage::store("locks").write("nightly").if_absent().ttl(Duration::from_secs(3600)).bytes("taken")?;
    /// # Ok(())
    /// # }
    /// # trellis_sdk::fake::reset();
    /// # example().unwrap();
    /// ```
    pub fn write<'a>(&'a self, key: &'a str) -> Write<'a> {
        Write { store: self, key, options: WriteOptions::default() }
    }

    /// Removes a key. One that is absent is no error.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.set("ann", "1")?;
    /// store.delete("ann")?;
    /// store.delete("ann")?;
    /// assert_eq!(store.get("ann")?, None);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn delete(&self, key: &str) -> Result<(), Error> {
        host::storage_delete(&self.name, key)
    }

    /// Adds to a decimal integer; an absent key counts as 0. Commutes: additions of several runs never conflict, which is
    /// why the sum is not returned.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.add("all", 1)?;
    /// store.add("all", 2)?;
    /// assert_eq!(store.get_json("all")?, Some(3));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] when the value is no integer, and see [`Error`].
    pub fn add(&self, key: &str, delta: i64) -> Result<(), Error> {
        host::storage_add(&self.name, key, delta)
    }

    /// The keys with a prefix, in byte order. Pages are fetched as the iterator is turned; each page is one storage
    /// operation. The iterator ends after its first error.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// for user in ["ann", "anton", "bea"] {
    ///     store.set(user, "1")?;
    /// }
    /// let found: Vec<String> = store.list("an").collect::<Result<_, _>>()?;
    /// assert_eq!(found, ["ann", "anton"]);
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn list(&self, prefix: impl Into<String>) -> Keys {
        Keys { store: self.name.clone(), prefix: prefix.into(), page: Vec::new().into_iter(), next: Next::First }
    }

    fn json_error(&self, key: &str, reason: &serde_json::Error) -> Error {
        Error::Json { store: self.name.clone(), key: key.into(), reason: reason.to_string() }
    }
}

/// A write being put together; see [`Store::write`].
///
/// ```
/// use trellis_sdk::storage;
///
/// let store = storage::store("visits");
/// let write = store.write("ann").if_absent();
/// write.json(&1)?;
/// # assert_eq!(store.get_json("ann")?, Some(1));
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "a write happens with `bytes` or `json`"]
pub struct Write<'a> {
    store: &'a Store,
    key: &'a str,
    options: WriteOptions,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WriteOptions {
    pub(crate) if_revision: Option<u64>,
    pub(crate) ttl_ms: Option<u64>,
}

impl Write<'_> {
    /// Refuses the write with [`Error::Conflict`] unless the committed revision is this one. A key that this run has written
    /// itself has none until the commit, so that a second conditional write of it is refused.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// # trellis_sdk::fake::storage("visits").put("ann", "1");
    /// let seen = store.entry("ann")?.map_or(0, |entry| entry.revision);
    /// store.write("ann").if_revision(seen).bytes("2")?;
    /// assert_eq!(store.write("bea").if_revision(99).bytes("2"), Err(storage::Error::Conflict));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn if_revision(mut self, revision: u64) -> Self {
        self.options.if_revision = Some(revision);
        self
    }

    /// Refuses the write with [`Error::Conflict`] unless the key is absent: nobody has written it, this run neither.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// # trellis_sdk::fake::storage("visits").put("ann", "1");
    /// assert_eq!(store.write("ann").if_absent().bytes("2"), Err(storage::Error::Conflict));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn if_absent(self) -> Self {
        self.if_revision(0)
    }

    /// Lets the key vanish this long after the commit; rounded down to milliseconds. At least 1 ms, and at most what the host
    /// allows, which is 3,650 days by default; else the write is [`Error::Invalid`]. An expired key is absent in every way:
    /// a node that has read it before it expired, and commits after, is run again.
    ///
    /// ```
    /// use std::time::Duration;
    /// use trellis_sdk::storage;
    ///
    /// storage::store("cache").write("page").ttl(Duration::from_secs(300)).bytes("…")?;
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.options.ttl_ms = Some(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        self
    }

    /// Writes bytes.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.write("ann").bytes([1])?;
    /// assert_eq!(store.get("ann")?, Some(vec![1]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// See [`Error`].
    pub fn bytes(self, value: impl AsRef<[u8]>) -> Result<(), Error> {
        host::storage_set(&self.store.name, self.key, value.as_ref(), self.options)
    }

    /// Writes a JSON text.
    ///
    /// ```
    /// use trellis_sdk::storage;
    ///
    /// let store = storage::store("visits");
    /// store.write("ann").json(&[1])?;
    /// assert_eq!(store.get_json::<Vec<u8>>("ann")?, Some(vec![1]));
    /// # Ok::<(), trellis_sdk::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Json`] when the value cannot be written as JSON, and see [`Error`].
    pub fn json(self, value: &(impl Serialize + ?Sized)) -> Result<(), Error> {
        let json = serde_json::to_vec(value).map_err(|error| self.store.json_error(self.key, &error))?;
        self.bytes(json)
    }
}

/// The keys of a store; see [`Store::list`].
///
/// ```
/// use trellis_sdk::storage;
///
/// let store = storage::store("visits");
/// store.set("ann", "1")?;
/// for key in store.list("") {
///     assert_eq!(key?, "ann");
/// }
/// # Ok::<(), trellis_sdk::Error>(())
/// ```
#[derive(Debug)]
pub struct Keys {
    store: String,
    prefix: String,
    page: std::vec::IntoIter<String>,
    next: Next,
}

#[derive(Debug)]
enum Next {
    First,
    After(String),
    End,
}

impl Iterator for Keys {
    type Item = Result<String, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(key) = self.page.next() {
                return Some(Ok(key));
            }
            let after = match std::mem::replace(&mut self.next, Next::End) {
                Next::First => None,
                Next::After(key) => Some(key),
                Next::End => return None,
            };
            match host::storage_list(&self.store, &self.prefix, after.as_deref(), PAGE_KEYS) {
                Ok(page) => {
                    self.page = page.keys.into_iter();
                    self.next = page.next.map_or(Next::End, Next::After);
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

pub(crate) struct Page {
    pub(crate) keys: Vec<String>,
    pub(crate) next: Option<String>,
}
