//! What those who watch a run are told of it while it goes on: small, complete in itself, and replaced by what comes later.
//!
//! Outputs and logs are not part of it: they are read from the run when a node, or the run, has come to its end. Knows nothing
//! of how news travel.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    AccountId, RunId,
    run::{NodeResult, NodeState, RunState},
};

/// Longest reason in news, in bytes; the run itself has all of it.
const REASON_BYTES_MAX: usize = 300;

/// Where a node stands, seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NodePhase {
    /// It is being called.
    Running,
    /// It waits for its time: for its delay, for another attempt, or for room at a target.
    Waiting,
    Succeeded,
    Skipped,
    Failed,
}

impl NodePhase {
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }

    /// Whether the node will not be called any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Skipped | Self::Failed)
    }
}

impl From<NodeState> for NodePhase {
    fn from(state: NodeState) -> Self {
        match state {
            NodeState::Pending => Self::Waiting,
            NodeState::Succeeded => Self::Succeeded,
            NodeState::Skipped => Self::Skipped,
            NodeState::Failed => Self::Failed,
        }
    }
}

/// How far a call has come, as its guest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CallProgress {
    /// From 0 to 1.
    pub fraction: f64,
    pub text: String,
}

/// Where one node stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeNews {
    pub node: String,
    pub state: NodePhase,
    /// Of the call that is or was made last; 0: none was.
    #[serde(default)]
    pub attempt: u32,
    /// When it came to this, in Unix milliseconds.
    pub at_ms: i64,
    /// Of a node that waits: not before this, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at_ms: Option<i64>,
    /// Why it failed, waits or was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Of a node with `each`: how many of its elements have succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_done: Option<u32>,
    /// Of a node with `each`: how many there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub elements_total: Option<u32>,
    /// What a running call said last of how far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<CallProgress>,
}

impl NodeNews {
    /// What a node has come to.
    pub fn of(result: &NodeResult) -> Self {
        let elements = result.elements_total;
        Self {
            node: result.node.clone(),
            state: result.state.into(),
            attempt: result.attempts,
            at_ms: result.at_ms.unwrap_or_default(),
            due_at_ms: result.due_at_ms.filter(|_| result.state == NodeState::Pending),
            reason: result.reason.as_ref().map(|reason| cut(&reason.message)),
            elements_done: elements.map(|total| match result.state {
                NodeState::Succeeded => total,
                _ => u32::try_from(result.elements_done()).unwrap_or(u32::MAX),
            }),
            elements_total: elements,
            progress: None,
        }
    }

    /// A call of a node, which begins now. `before`: what the node had come to by then.
    pub fn running(node: &str, attempt: u32, at_ms: i64, before: Option<&NodeResult>) -> Self {
        let before = before.map(Self::of);
        Self {
            node: node.to_owned(),
            state: NodePhase::Running,
            attempt,
            at_ms,
            due_at_ms: None,
            reason: None,
            elements_done: before.as_ref().and_then(|before| before.elements_done),
            elements_total: before.as_ref().and_then(|before| before.elements_total),
            progress: None,
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(REASON_BYTES_MAX)].to_owned()
}

/// Where a run stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunNews {
    pub state: RunState,
    /// When it came to this, in Unix milliseconds.
    pub at_ms: i64,
    /// Why it is a dead letter, or waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When a waiting run goes on, in Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at_ms: Option<i64>,
}

impl RunNews {
    pub fn new(state: RunState, at_ms: i64) -> Self {
        Self { state, at_ms, error: None, run_at_ms: None }
    }

    #[must_use]
    pub fn because(self, error: Option<&str>) -> Self {
        Self { error: error.map(cut), ..self }
    }
}

/// What one host tells the others of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Which host tells it: a number of its own choice, by which it knows its own words again.
    pub from: u32,
    pub account: AccountId,
    pub run: RunId,
    pub what: ToldWhat,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ToldWhat {
    /// Somebody watches: whoever runs it says where it stands, and goes on to.
    Watched,
    /// Whoever owns the run's shard has heard that somebody watches. What happened before is in the database.
    Heard,
    Nodes(Vec<NodeNews>),
    Run(RunNews),
    /// It is over; with what its nodes came to (JSON), if that is short.
    Ended(RunNews, Option<String>),
}

/// What fits into one notice of the database, in bytes.
pub const TOLD_BYTES_MAX: usize = 7_000;

impl Told {
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("news are plain data with text keys")
    }

    /// None: of another version, or no news at all.
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

/// News of nodes in parts that each fit into a notice.
pub fn in_parts(news: Vec<NodeNews>) -> Vec<Vec<NodeNews>> {
    let mut parts: Vec<Vec<NodeNews>> = Vec::new();
    let mut bytes = TOLD_BYTES_MAX;
    for one in news {
        let own = serde_json::to_vec(&one).map_or(TOLD_BYTES_MAX, |json| json.len() + 1);
        if bytes + own > TOLD_BYTES_MAX {
            parts.push(Vec::new());
            bytes = 0;
        }
        bytes += own;
        parts.last_mut().expect("there is a part by now").push(one);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Reason, ReasonKind};

    fn failed(message: &str) -> NodeResult {
        let reason = Some(Reason { kind: ReasonKind::Permanent, message: message.to_owned() });
        NodeResult { attempts: 2, at_ms: Some(7), reason, ..NodeResult::new("fetch", NodeState::Failed) }
    }

    #[test]
    fn news_are_told_and_understood() {
        let news = NodeNews::of(&failed("no"));
        assert_eq!(
            (news.state, news.attempt, news.at_ms, news.reason.as_deref()),
            (NodePhase::Failed, 2, 7, Some("no"))
        );
        for what in [
            ToldWhat::Watched,
            ToldWhat::Heard,
            ToldWhat::Nodes(vec![news]),
            ToldWhat::Ended(RunNews::new(RunState::Dead, 9).because(Some("no")), Some("[]".to_owned())),
        ] {
            let told = Told { from: 3, account: AccountId(1), run: RunId(2), what };
            assert_eq!(Told::parse(&told.to_text()), Some(told));
        }
        assert_eq!(Told::parse("{}"), None);
    }

    #[test]
    fn the_longest_news_of_the_largest_grid_fit_into_notices() {
        let news: Vec<NodeNews> = (0..500).map(|_| NodeNews::of(&failed(&"ü\n".repeat(10_000)))).collect();
        let parts = in_parts(news.clone());
        assert!(parts.len() > 1);
        for nodes in &parts {
            let told = Told {
                from: u32::MAX,
                account: AccountId(i64::MAX),
                run: RunId(i64::MAX),
                what: ToldWhat::Nodes(nodes.clone()),
            };
            // The database takes 8,000 bytes.
            assert!(told.to_text().len() < 7_800, "{}", told.to_text().len());
        }
        assert_eq!(parts.concat(), news);
    }

    #[test]
    fn a_node_that_is_mapped_says_how_many_elements_are_done() {
        let element = |element, state| NodeResult { element: Some(element), ..NodeResult::new("map", state) };
        let elements = vec![element(0, NodeState::Succeeded), element(1, NodeState::Pending)];
        let map = NodeResult { elements_total: Some(5), elements, ..NodeResult::new("map", NodeState::Pending) };
        let news = NodeNews::running("map", 1, 9, Some(&map));
        assert_eq!((news.elements_done, news.elements_total), (Some(1), Some(5)));
    }
}
