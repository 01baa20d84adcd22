//! The nodes of a grid: plugin, inputs, config, grants, limits, retry.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    Each, NODES_MAX, check_count,
    document::{Item, ItemKind},
    each, empty_config, grants,
    origin::Origin,
    reader::Faults,
};
use crate::{
    backoff::RetryPolicy,
    call_limits::{CALL_LIMITS, OwnCallLimits, Unit},
    grant::Grants,
};

/// One use of a plugin in a grid.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeDefinition {
    /// A name under `[plugins]`.
    pub plugin: String,
    /// Port → where its value comes from.
    pub inputs: BTreeMap<String, Origin>,
    pub config: Value,
    pub grants: Grants,
    /// They can only lower the account's.
    pub limits: OwnCallLimits,
    pub retry: RetryPolicy,
    /// How long to wait before the first call, in milliseconds; 0: not at all.
    pub delay_ms: u64,
    /// Some: it is called once for every element of an array.
    pub each: Option<Each>,
}

const DAY_MS: u64 = 86_400_000;
/// Whoever wants to wait for longer wants a schedule.
const DELAY_MAX_MS: u64 = 30 * DAY_MS;

pub(super) fn read(faults: &mut Faults, item: &Item) -> BTreeMap<String, NodeDefinition> {
    let entries = faults.named_entries(item, "node");
    check_count(faults, item, entries.len(), NODES_MAX, "nodes in one grid");
    let mut nodes = BTreeMap::new();
    for entry in entries.iter().take(NODES_MAX) {
        if entry.name == "event" {
            let fault =
                entry.key_place.fault("a node cannot be named `event`: that is what origins call the event itself");
            faults.push(fault.fix("choose another name"));
        }
        nodes.insert(entry.name.clone(), read_node(faults, &entry.item));
    }
    nodes
}

fn read_node(faults: &mut Faults, item: &Item) -> NodeDefinition {
    let fields = faults.fields(item, &["plugin", "inputs", "config", "grants", "limits", "retry", "delay", "each"]);
    let plugin = fields.required(faults, "plugin", "add `plugin = \"…\"`, a name under `[plugins]`");
    NodeDefinition {
        plugin: plugin.and_then(|item| faults.text(item)).unwrap_or_default(),
        inputs: fields.optional("inputs").map(|item| read_inputs(faults, item)).unwrap_or_default(),
        config: fields.optional("config").map_or_else(empty_config, Item::to_json),
        grants: fields.optional("grants").map(|item| grants::read(faults, item)).unwrap_or_default(),
        limits: fields.optional("limits").map(|item| read_limits(faults, item)).unwrap_or_default(),
        retry: fields.optional("retry").map(|item| read_retry(faults, item)).unwrap_or_default(),
        delay_ms: fields.optional("delay").and_then(|item| faults.duration_ms(item, 1, DELAY_MAX_MS)).unwrap_or(0),
        each: fields.optional("each").and_then(|item| each::read(faults, item)),
    }
}

fn read_inputs(faults: &mut Faults, item: &Item) -> BTreeMap<String, Origin> {
    let mut inputs = BTreeMap::new();
    for entry in faults.named_entries(item, "input port") {
        if let Some(origin) = read_origin(faults, &entry.item) {
            inputs.insert(entry.name.clone(), origin);
        }
    }
    inputs
}

fn read_origin(faults: &mut Faults, item: &Item) -> Option<Origin> {
    if !matches!(item.kind, ItemKind::Table(_)) {
        return faults.parsed(item);
    }
    let fields = faults.fields(item, &["literal"]);
    let literal = fields.required(faults, "literal", "write `{ literal = … }`, or an origin such as \"event\"")?;
    Some(Origin::Literal(literal.to_json()))
}

fn read_limits(faults: &mut Faults, item: &Item) -> OwnCallLimits {
    let keys: Vec<&str> = CALL_LIMITS.iter().map(|limit| limit.key).collect();
    let fields = faults.fields(item, &keys);
    let mut own = OwnCallLimits::default();
    for limit in CALL_LIMITS {
        let (least, highest) = (limit.least, limit.highest);
        let value = fields.optional(limit.key).and_then(|item| match limit.unit {
            Unit::Bytes => faults.bytes(item, least, highest),
            Unit::Milliseconds => faults.duration_ms(item, least, highest),
            Unit::Count => faults.whole_number(item, least, highest),
        });
        own.set(limit, value);
    }
    own
}

fn read_retry(faults: &mut Faults, item: &Item) -> RetryPolicy {
    let fields = faults.fields(item, &["attempts", "first", "factor", "max"]);
    let default = RetryPolicy::default();
    let attempts =
        fields.optional("attempts").and_then(|item| faults.whole_number(item, 1, u64::from(RetryPolicy::ATTEMPTS_MAX)));
    RetryPolicy {
        attempts_max: attempts.map_or(default.attempts_max, |number| u32::try_from(number).expect("checked range")),
        first_ms: fields
            .optional("first")
            .and_then(|item| faults.duration_ms(item, 1, RetryPolicy::WAIT_MAX_MS))
            .unwrap_or(default.first_ms),
        factor: fields.optional("factor").and_then(|item| faults.number(item, 1.0, 100.0)).unwrap_or(default.factor),
        longest_ms: fields
            .optional("max")
            .and_then(|item| faults.duration_ms(item, 1, RetryPolicy::WAIT_MAX_MS))
            .unwrap_or(default.longest_ms),
    }
}
