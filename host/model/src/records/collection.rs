//! A collection: as a manifest declares it, and ready to be used.

use std::{collections::BTreeMap, fmt};

use serde_json::Value;

use super::PublishedSchema;
use crate::{
    fault::Fault,
    manifest::{Manifest, document::pointer_join},
    schema::{PatternBudget, Validator},
};

pub use crate::schema::Misfit;

/// A collection as a manifest declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectionDefinition {
    pub schema: CollectionSchema,
    /// Name and JSON Pointer.
    pub indexes: BTreeMap<String, String>,
}

/// What records of a collection have to fit.
#[derive(Clone, Debug)]
pub enum CollectionSchema {
    /// Any JSON is a record.
    Any,
    Inline(Value),
    /// One that comes with Trellis.
    Published(&'static PublishedSchema),
    /// A file beside the manifest, which `trellis deploy` puts in its place. Means nothing to a server.
    File(String),
}

impl PartialEq for CollectionSchema {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, Self::Any) => true,
            (Self::Inline(one), Self::Inline(other)) => one == other,
            (Self::Published(one), Self::Published(other)) => one.name == other.name,
            (Self::File(one), Self::File(other)) => one == other,
            _ => false,
        }
    }
}

/// A collection, ready to be used.
pub struct Collection {
    validator: Option<Validator>,
    /// Name and JSON Pointer.
    pub indexes: BTreeMap<String, String>,
}

/// The collections of a project by their names.
pub type Collections = BTreeMap<String, Collection>;

impl fmt::Debug for Collection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collection").field("indexes", &self.indexes).finish_non_exhaustive()
    }
}

impl Collection {
    /// # Errors
    /// The schema is none that records can be checked with, or is in a file: with its pointer below the collection's entry.
    pub fn new(definition: &CollectionDefinition) -> Result<Self, Fault> {
        let validator = |schema: &Value| {
            Validator::new(schema).map(Some).map_err(|error| {
                Fault::at(format!("/schema{}", error.pointer()), format!("the schema is not accepted: {error}"))
            })
        };
        let validator = match &definition.schema {
            CollectionSchema::Any => None,
            CollectionSchema::Inline(schema) => validator(schema)?,
            CollectionSchema::Published(published) => validator(&published.schema())?,
            CollectionSchema::File(path) => {
                let fault = Fault::at("/schema", format!("`{path}` is a file, which means nothing to a server"));
                return Err(fault
                    .fix("deploy with `trellis deploy`, which puts the file in its place, or write the schema here"));
            }
        };
        Ok(Self { validator, indexes: definition.indexes.clone() })
    }

    /// Whether [`Self::misfits`] takes no longer than reading the record did.
    pub fn is_quick(&self, record: &Value) -> bool {
        self.validator.as_ref().is_none_or(|validator| validator.is_quick(record))
    }

    /// What of a record does not fit the schema; nothing if all of it does.
    pub fn misfits(&self, record: &Value) -> Vec<Misfit> {
        self.validator.as_ref().map(|validator| validator.misfits(record)).unwrap_or_default()
    }
}

/// The collections of a manifest, ready to be used.
///
/// # Errors
/// Every schema that is not accepted, with its pointer in the manifest.
pub fn collections_of(manifest: &Manifest) -> Result<Collections, Vec<Fault>> {
    let (mut collections, mut faults) = (Collections::new(), Vec::new());
    let mut patterns = PatternBudget::new(PatternBudget::MANIFEST);
    for (name, definition) in &manifest.collections {
        match within(&mut patterns, definition).and_then(|()| Collection::new(definition)) {
            Ok(collection) => drop(collections.insert(name.clone(), collection)),
            Err(fault) => {
                let pointer = format!("{}{}", pointer_join("/collections", name), fault.pointer);
                faults.push(Fault { pointer, ..fault });
            }
        }
    }
    if faults.is_empty() { Ok(collections) } else { Err(faults) }
}

fn within(patterns: &mut PatternBudget, definition: &CollectionDefinition) -> Result<(), Fault> {
    match &definition.schema {
        CollectionSchema::Inline(schema) if !patterns.takes(schema) => {
            let most = PatternBudget::MANIFEST;
            let fault = Fault::at("/schema", format!("the schemas of all collections have more than {most} patterns"));
            Err(fault.fix("leave some of them out"))
        }
        _ => Ok(()),
    }
}
