//! Managed data, operation by operation.

use std::{thread, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bindings::trellis::plugin::records::{
    self, Condition, Operator, Order, RecordsError, Selection, WriteOptions,
};

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    Get(String, String),
    Put(String, String, Value),
    /// The last is JSON text, perhaps none.
    PutText(String, String, String),
    PutIf(String, String, Value, u64),
    PutBytes(String, String, usize),
    Delete(String, String),
    DeleteIf(String, String, u64),
    Query(Query),
    /// Reads the number in a record, waits for some milliseconds and writes the next one.
    Increment(String, String, u64),
}

#[derive(Deserialize)]
pub struct Query {
    collection: String,
    /// Index, operator, value.
    #[serde(default)]
    filter: Vec<(String, String, Value)>,
    /// Index, and whether it is turned round.
    order: Option<(String, bool)>,
    #[serde(default = "some")]
    limit: u32,
    after: Option<String>,
    /// Goes on until the last page, and answers with all of them.
    #[serde(default)]
    all: bool,
}

fn some() -> u32 {
    100
}

/// The results, in order: values, or `{"error": …}`.
pub fn perform(operations: Vec<Operation>) -> Value {
    operations.into_iter().map(|operation| operation.perform().unwrap_or_else(|error| shown(&error))).collect()
}

impl Operation {
    fn perform(self) -> Result<Value, RecordsError> {
        let any = WriteOptions { if_revision: None };
        match self {
            Self::Get(collection, key) => {
                let entry = records::get(&collection, &key)?;
                return Ok(entry.map_or(Value::Null, |entry| json!([parsed(&entry.data), entry.revision])));
            }
            Self::Put(collection, key, data) => records::put(&collection, &key, &data.to_string(), any)?,
            Self::PutText(collection, key, data) => records::put(&collection, &key, &data, any)?,
            Self::PutIf(collection, key, data, revision) => {
                let options = WriteOptions { if_revision: Some(revision) };
                records::put(&collection, &key, &data.to_string(), options)?;
            }
            Self::PutBytes(collection, key, bytes) => {
                records::put(&collection, &key, &format!("\"{}\"", "x".repeat(bytes)), any)?;
            }
            Self::Delete(collection, key) => records::delete(&collection, &key, any)?,
            Self::DeleteIf(collection, key, revision) => {
                records::delete(&collection, &key, WriteOptions { if_revision: Some(revision) })?;
            }
            Self::Query(query) => return query.perform(),
            Self::Increment(collection, key, wait_ms) => {
                let entry = records::get(&collection, &key)?;
                let number = entry.and_then(|entry| parsed(&entry.data).as_i64()).unwrap_or(0);
                thread::sleep(Duration::from_millis(wait_ms));
                records::put(&collection, &key, &(number + 1).to_string(), any)?;
                return Ok(json!(number + 1));
            }
        }
        Ok(json!("ok"))
    }
}

impl Query {
    /// Keys with revisions, and the cursor.
    fn perform(self) -> Result<Value, RecordsError> {
        let condition = |(index, operator, value): (String, String, Value)| Condition {
            index,
            operator: operator_of(&operator),
            value: value.to_string(),
        };
        let order = self.order.map(|(index, descending)| Order { index, descending });
        let filter = self.filter.into_iter().map(condition).collect();
        let mut selection = Selection { filter, order, limit: self.limit, after: self.after };
        let mut found = Vec::new();
        loop {
            let page = records::query(&self.collection, &selection)?;
            found.extend(page.records.into_iter().map(|entry| json!([entry.key, entry.revision])));
            if !self.all || page.next.is_none() {
                return Ok(json!([found, page.next]));
            }
            selection.after = page.next;
        }
    }
}

fn operator_of(name: &str) -> Operator {
    match name {
        "less" => Operator::Less,
        "less-or-equal" => Operator::LessOrEqual,
        "greater" => Operator::Greater,
        "greater-or-equal" => Operator::GreaterOrEqual,
        "one-of" => Operator::OneOf,
        "starts-with" => Operator::StartsWith,
        _ => Operator::Equal,
    }
}

fn parsed(json: &str) -> Value {
    serde_json::from_str(json).expect("the host gives JSON")
}

fn shown(error: &RecordsError) -> Value {
    let text = match error {
        RecordsError::Denied(text) => format!("denied: {text}"),
        RecordsError::Invalid(text) => format!("invalid: {text}"),
        RecordsError::Unfit(misfits) => {
            let told: Vec<String> =
                misfits.iter().map(|misfit| format!("{}: {}", misfit.pointer, misfit.message)).collect();
            format!("unfit: {}", told.join("; "))
        }
        RecordsError::Conflict => "conflict".to_owned(),
        RecordsError::Limit(text) => format!("limit: {text}"),
        RecordsError::NotReady(text) => format!("not ready: {text}"),
        RecordsError::Other(text) => format!("other: {text}"),
    };
    json!({ "error": text })
}
