//! Managed data: what a collection of records is, what its indexes find, in which order records come, and which of them a
//! query asks for.
//!
//! Everything here is worked out from records as they are given: the database, the test harness and what lies over committed
//! state in a run ask the same functions, so that all of them find the same. Does not know where records are kept.

mod collection;
mod cursor;
mod index_value;
mod published;
mod query;
mod range;

pub use collection::{Collection, CollectionDefinition, CollectionSchema, Collections, Misfit, collections_of};
pub use cursor::{InvalidCursor, Position};
pub use index_value::{INDEX_TEXT_BYTES_MAX, IndexValue};
pub use published::{PUBLISHED, PUBLISHED_PREFIX, PublishedSchema, published};
pub use query::{Condition, InvalidQuery, Operator, Order, Query, Selection, Test};
pub use range::ValueRange;

/// Indexes of one collection: each is written with every record.
pub const INDEXES_MAX: usize = 16;
/// The longest JSON Pointer of an index, in bytes.
pub const POINTER_BYTES_MAX: usize = 256;
/// Conditions of one query: more than there are indexes would say something twice.
pub const CONDITIONS_MAX: usize = INDEXES_MAX;
/// Values that one condition offers for choice: each is a look at the index by itself.
pub const CHOICES_MAX: usize = 100;
