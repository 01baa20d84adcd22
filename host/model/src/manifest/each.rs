//! `each`: a node that is called once for every element of an array.

use super::{
    document::{Item, ItemKind},
    reader::Faults,
};

/// Elements of one node that are called at the same time, where the manifest says nothing. 4: several requests under way, and
/// no account's whole share of a host.
pub const EACH_CONCURRENCY: u32 = 4;
/// Elements of one node that may be called at the same time. 64: each is an instance with its own memory.
pub const EACH_CONCURRENCY_MAX: u32 = 64;
/// The most elements that any host can be set to take. A hundred thousand calls are a grid of their own, fed by the outbox.
pub const ELEMENTS_HIGHEST: u32 = 100_000;

/// How a node is mapped over an array. Written `each = true`, or as a table of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Each {
    /// The port that gets one element after the other; none: the node has one input alone.
    pub input: Option<String>,
    /// Elements that are called at the same time.
    pub concurrency: u32,
    /// The node fails at an array of more elements; none: the host's limit alone counts, which this cannot raise.
    pub elements_max: Option<u32>,
}

impl Default for Each {
    fn default() -> Self {
        Self { input: None, concurrency: EACH_CONCURRENCY, elements_max: None }
    }
}

pub(super) fn read(faults: &mut Faults, item: &Item) -> Option<Each> {
    match &item.kind {
        ItemKind::Bool(is_each) => return is_each.then(Each::default),
        ItemKind::Table(_) => {}
        _ => {
            let fault = item.place.fault(format!("expected true, false or a table, found {}", item.kind_name()));
            faults.push(fault.fix("write `each = true`, or `each = { input = \"…\", concurrency = 4 }`"));
            return None;
        }
    }
    let fields = faults.fields(item, &["input", "concurrency", "elements_max"]);
    let mut number = |name: &str, most: u32| {
        let number = fields.optional(name).and_then(|item| faults.whole_number(item, 1, u64::from(most)));
        number.map(|number| u32::try_from(number).expect("checked range"))
    };
    let concurrency = number("concurrency", EACH_CONCURRENCY_MAX).unwrap_or(EACH_CONCURRENCY);
    let elements_max = number("elements_max", ELEMENTS_HIGHEST);
    Some(Each { input: fields.optional("input").and_then(|item| faults.text(item)), concurrency, elements_max })
}
