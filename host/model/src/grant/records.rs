//! Grants of collections of managed data.

use std::{fmt, str::FromStr};

use super::{InvalidGrant, StorageMode};

/// `issues:rw` or `issues:r`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsGrant {
    pub collection: String,
    pub mode: StorageMode,
}

impl FromStr for RecordsGrant {
    type Err = InvalidGrant;

    fn from_str(text: &str) -> Result<Self, InvalidGrant> {
        let invalid = || InvalidGrant::Records(text.to_owned());
        let (collection, mode) = text.split_once(':').ok_or_else(invalid)?;
        crate::description::check_name(collection).map_err(|_| invalid())?;
        let mode = match mode {
            "r" => StorageMode::Read,
            "rw" => StorageMode::ReadWrite,
            _ => return Err(invalid()),
        };
        Ok(Self { collection: collection.to_owned(), mode })
    }
}

impl fmt::Display for RecordsGrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = if self.mode == StorageMode::Read { "r" } else { "rw" };
        write!(f, "{}:{mode}", self.collection)
    }
}
