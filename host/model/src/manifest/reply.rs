//! What the sender of an event is answered: that it was accepted, or what its run has come to.

use super::{
    document::{Item, ItemKind},
    reader::Faults,
};

/// The longest that a manifest may let a sender wait, in milliseconds. Hosts are set to less.
const TIMEOUT_MAX_MS: u64 = 3_600_000;

/// The answer of an http trigger.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// 202, as soon as the event is committed.
    #[default]
    Accepted,
    /// What a node of the run has emitted, when the run is over.
    Result(ReplyFrom),
}

/// Whose output is the answer. Written `reply = "result"` where only one can be meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplyFrom {
    /// None: the one node that no other takes an input from.
    pub node: Option<String>,
    /// None: the one output of the node.
    pub port: Option<String>,
    /// How long the sender waits, in milliseconds; none: as long as the host lets it.
    pub timeout_ms: Option<u64>,
}

pub(super) fn read(faults: &mut Faults, item: &Item) -> Reply {
    if !matches!(item.kind, ItemKind::Table(_)) {
        let words = [("accepted", false), ("result", true)];
        let is_result = faults.word(item, &words).unwrap_or_default();
        return if is_result { Reply::Result(ReplyFrom::default()) } else { Reply::Accepted };
    }
    let fields = faults.fields(item, &["node", "port", "timeout"]);
    let node =
        fields.required(faults, "node", "name the node whose output is the answer, or write `reply = \"result\"`");
    Reply::Result(ReplyFrom {
        node: node.and_then(|item| faults.text(item)),
        port: fields.optional("port").and_then(|item| faults.text(item)),
        timeout_ms: fields.optional("timeout").and_then(|item| faults.duration_ms(item, 1, TIMEOUT_MAX_MS)),
    })
}
