//! What a grid says of the order of its runs: `priority`, `concurrency_key`, `running_max`.

use super::{
    document::Item,
    origin::is_pointer,
    reader::{Faults, Fields},
};
use crate::place::{GridOrder, Priority};

/// Most modules of a grid at once that can be asked for: more than any host runs.
const RUNNING_MAX: u64 = 100_000;
/// Longest JSON Pointer, in bytes.
const POINTER_BYTES_MAX: usize = 256;

pub(super) fn read(faults: &mut Faults, fields: Fields<'_>) -> GridOrder {
    let priority = fields.optional("priority");
    if let Some(item) = priority {
        for other in ["concurrency_key", "running_max"].into_iter().filter(|name| fields.optional(name).is_some()) {
            let fault = item.place.fault(format!("a grid with a `{other}` takes no priority"));
            faults.push(fault.fix("leave one of the two out"));
        }
    }
    let words = [("high", Priority::High), ("normal", Priority::Normal), ("low", Priority::Low)];
    GridOrder {
        priority: priority.and_then(|item| faults.word(item, &words)).unwrap_or_default(),
        concurrency_key: fields.optional("concurrency_key").and_then(|item| read_pointer(faults, item)),
        running_max: fields
            .optional("running_max")
            .and_then(|item| faults.whole_number(item, 1, RUNNING_MAX))
            .map(|number| u32::try_from(number).expect("checked range")),
    }
}

fn read_pointer(faults: &mut Faults, item: &Item) -> Option<String> {
    let text = faults.text(item)?;
    if text.is_empty() || text.len() > POINTER_BYTES_MAX || !is_pointer(&text) {
        let fault = item.place.fault(format!("`{text}` is no JSON Pointer to a value in the event"));
        faults.push(fault.fix("write it like \"/user\" or \"/order/customer\", at most 256 bytes"));
        return None;
    }
    Some(text)
}
