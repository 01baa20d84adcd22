//! What one call has read and written of records so far, under its grants, schemas and limits.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use trellis_model::{
    call_limits::CallLimits,
    description::check_name,
    grant::{Grants, StorageMode},
    records::{Collection, Condition, Operator, Order, Query, Selection},
};

use super::{ManagedData, PageSize, Record, RecordVersion, RecordWrite, RecordsFailed, laid_over};
use crate::{
    bindings::records::{self as wit, Misfit, Page, RecordsError},
    report::parse_json,
};

/// Collection and key.
pub(crate) type At = (String, String);

pub(crate) struct RecordsAccess {
    data: ManagedData,
    grants: Arc<Grants>,
    limits: CallLimits,
    operations: u32,
    write_bytes: u64,
    reads: BTreeMap<At, u64>,
    /// JSON text; none: deleted.
    writes: BTreeMap<At, Option<String>>,
}

impl RecordsAccess {
    pub fn new(data: ManagedData, grants: Arc<Grants>, limits: &CallLimits) -> Self {
        Self {
            data,
            grants,
            limits: *limits,
            operations: 0,
            write_bytes: 0,
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
        }
    }

    pub fn operations(&self) -> u32 {
        self.operations
    }

    /// What the call read and wrote, each sorted by collection and key.
    pub fn into_effects(self) -> (Vec<RecordVersion>, Vec<RecordWrite>) {
        let version = |((collection, key), revision)| RecordVersion { collection, key, revision };
        let write = |((collection, key), json)| RecordWrite { collection, key, json };
        (self.reads.into_iter().map(version).collect(), self.writes.into_iter().map(write).collect())
    }

    /// Grant, operation count and key, before anything else is looked at.
    pub fn begin(&mut self, collection: String, key: String, needed: StorageMode) -> Result<At, RecordsError> {
        self.check_grant(&collection, needed)?;
        self.count_operation()?;
        match self.key_fault(&key) {
            Some(fault) => Err(RecordsError::Invalid(format!("the key {fault}"))),
            None => Ok((collection, key)),
        }
    }

    fn check_grant(&self, collection: &str, needed: StorageMode) -> Result<(), RecordsError> {
        match self.grants.records_mode(collection) {
            None => Err(RecordsError::Denied(not_granted(collection, needed))),
            Some(granted) if granted < needed => Err(RecordsError::Denied(format!(
                "collection `{collection}` is granted for reading only; use \"{collection}:rw\" in `grants.records` of this node"
            ))),
            Some(_) => Ok(()),
        }
    }

    fn count_operation(&mut self) -> Result<(), RecordsError> {
        let most = self.limits.record_operations;
        if self.operations >= most {
            return Err(RecordsError::Limit(format!("used up its limit of {most} record operations a call")));
        }
        self.operations += 1;
        Ok(())
    }

    fn key_fault(&self, key: &str) -> Option<String> {
        let longest = self.limits.storage_key_bytes;
        if key.is_empty() {
            return Some("is empty".to_owned());
        }
        if key.len() > longest as usize {
            return Some(format!("is {} bytes long, at most {longest} are allowed", key.len()));
        }
        key.contains('\0').then(|| "has a NUL character".to_owned())
    }

    /// Manifests are refused whose grants name what they do not declare.
    fn collection(&self, name: &str) -> Result<&Collection, RecordsError> {
        let found = self.data.collections.get(name);
        found.ok_or_else(|| RecordsError::Other(format!("collection `{name}` is not declared by this revision")))
    }

    /// Size, JSON and schema.
    pub fn check_record(&self, collection: &str, json: String) -> Result<String, RecordsError> {
        let (size, most) = (json.len() as u64, self.limits.record_bytes);
        if size > most {
            return Err(RecordsError::Limit(format!("a record of {size} bytes, at most {most} bytes are allowed")));
        }
        let invalid = |reason: String| RecordsError::Invalid(format!("the record is {reason}"));
        let json: String = Box::<str>::from(parse_json(json).map_err(invalid)?).into();
        let data: Value = serde_json::from_str(&json).map_err(|error| invalid(format!("no JSON: {error}")))?;
        let misfits = self.collection(collection)?.misfits(&data);
        if misfits.is_empty() { Ok(json) } else { Err(RecordsError::Unfit(misfits.into_iter().map(misfit).collect())) }
    }

    /// Refuses the write if the committed revision is not the one that the guest expects.
    pub async fn expect_revision(&mut self, at: &At, expected: Option<u64>) -> Result<(), RecordsError> {
        let Some(expected) = expected else { return Ok(()) };
        // With this run's own writes: a record that it has made is not absent any more.
        let is_expected = match self.read(at).await? {
            Some(record) => record.revision == expected && expected != 0,
            None => expected == 0,
        };
        if is_expected { Ok(()) } else { Err(RecordsError::Conflict) }
    }

    pub async fn read(&mut self, at: &At) -> Result<Option<Record>, RecordsError> {
        if let Some(written) = self.writes.get(at) {
            return Ok(written.as_ref().map(|json| Record { json: json.clone(), revision: 0 }));
        }
        let record = self.data.records.get(&at.0, &at.1).await.map_err(failed)?;
        match &record {
            // A write of an earlier node of this run: nobody else can change it before the commit.
            Some(record) if record.revision == 0 => {}
            Some(record) => self.note_read(at.clone(), record.revision)?,
            None => self.note_read(at.clone(), 0)?,
        }
        Ok(record)
    }

    /// Notes the committed version that the outcome now rests on. The first one seen counts.
    fn note_read(&mut self, at: At, revision: u64) -> Result<(), RecordsError> {
        let most = self.limits.record_reads;
        if self.reads.len() >= most as usize && !self.reads.contains_key(&at) {
            return Err(RecordsError::Limit(format!("used up its limit of {most} records read a call")));
        }
        self.reads.entry(at).or_insert(revision);
        Ok(())
    }

    pub fn hold(&mut self, at: At, json: Option<String>) -> Result<(), RecordsError> {
        let before = self.writes.get(&at);
        let most = self.limits.record_writes;
        if before.is_none() && self.writes.len() >= most as usize {
            return Err(RecordsError::Limit(format!("used up its limit of {most} records written a call")));
        }
        let freed = before.map_or(0, |before| write_bytes(&at, before.as_ref()));
        let total = self.write_bytes - freed + write_bytes(&at, json.as_ref());
        let most = self.limits.record_write_bytes;
        if total > most {
            return Err(RecordsError::Limit(format!(
                "record writes of {total} bytes, at most {most} bytes a call are allowed"
            )));
        }
        self.write_bytes = total;
        self.writes.insert(at, json);
        Ok(())
    }

    /// The grant, the operation count and what is asked, checked.
    pub fn begin_query(&mut self, collection: &str, selection: &wit::Selection) -> Result<Query, RecordsError> {
        self.check_grant(collection, StorageMode::Read)?;
        self.count_operation()?;
        let selection = asked(selection).map_err(RecordsError::Invalid)?;
        let indexes = &self.collection(collection)?.indexes;
        Query::new(collection, indexes, selection).map_err(|error| RecordsError::Invalid(error.to_string()))
    }

    /// A page of at most `limit` records, fewer if the host's limit is lower, with this call's own writes laid over it.
    pub async fn page(&mut self, collection: &str, query: &Query, limit: u32) -> Result<Page, RecordsError> {
        let records = limit.clamp(1, self.limits.record_page.max(1));
        let most = PageSize { records, bytes: self.limits.record_page_bytes };
        let below = self.data.records.query(collection, query, most).await.map_err(failed)?;
        let own = self.writes.range((collection.to_owned(), String::new())..);
        let own = own
            .take_while(|((written, _), _)| written == collection)
            .map(|((_, key), json)| (key.as_str(), json.as_deref()));
        let page = laid_over(below, query, own, most);
        for found in page.records.iter().filter(|found| found.record.revision != 0) {
            self.note_read((collection.to_owned(), found.position.key.clone()), found.record.revision)?;
        }
        let entry = |found: super::FoundRecord| {
            let Record { json, revision } = found.record;
            wit::Entry { key: found.position.key, data: json, revision }
        };
        let next = page.next.map(|next| next.to_string());
        Ok(Page { records: page.records.into_iter().map(entry).collect(), next })
    }
}

fn asked(selection: &wit::Selection) -> Result<Selection, String> {
    let condition = |condition: &wit::Condition| {
        let wit::Condition { index, operator, value } = condition;
        let no_json =
            |error: serde_json::Error| format!("the condition on index `{index}`: its value is no JSON: {error}");
        let value = serde_json::from_str(value).map_err(no_json)?;
        let operator = match operator {
            wit::Operator::Equal => Operator::Equal,
            wit::Operator::Less => Operator::Less,
            wit::Operator::LessOrEqual => Operator::LessOrEqual,
            wit::Operator::Greater => Operator::Greater,
            wit::Operator::GreaterOrEqual => Operator::GreaterOrEqual,
            wit::Operator::OneOf => Operator::OneOf,
            wit::Operator::StartsWith => Operator::StartsWith,
        };
        Ok(Condition { index: index.clone(), operator, value })
    };
    let filter = selection.filter.iter().map(condition).collect::<Result<_, String>>()?;
    let order =
        selection.order.as_ref().map(|order| Order { index: order.index.clone(), descending: order.descending });
    Ok(Selection { filter, order, after: selection.after.clone() })
}

fn write_bytes(at: &At, json: Option<&String>) -> u64 {
    (at.0.len() + at.1.len() + json.map_or(8, String::len)) as u64
}

fn misfit(misfit: trellis_model::records::Misfit) -> Misfit {
    let trellis_model::records::Misfit { pointer, message, fix } = misfit;
    let message = fix.map_or(message.clone(), |fix| format!("{message}; {fix}"));
    Misfit { pointer, message }
}

fn failed(failed: RecordsFailed) -> RecordsError {
    match failed {
        RecordsFailed::Unavailable(_) => RecordsError::Other(failed.to_string()),
        RecordsFailed::NotReady(reason) => RecordsError::NotReady(reason),
    }
}

fn not_granted(collection: &str, needed: StorageMode) -> String {
    if let Err(reason) = check_name(collection) {
        return format!("collection name {reason}");
    }
    let mode = if needed == StorageMode::Read { "r" } else { "rw" };
    format!("collection `{collection}` is not granted; add \"{collection}:{mode}\" to `grants.records` of this node")
}
