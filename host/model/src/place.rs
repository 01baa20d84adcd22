//! Where a job stands among the others of its account: its shard, its lane, its concurrency key.
//!
//! Decided once, when the event is accepted. Who fetches what when is the scheduler's part.

use serde_json::{Value, value::RawValue};
use sha2::{Digest as _, Sha256};

use crate::{AccountId, ProjectId, RunId, Shard};

/// The lines that an account's jobs stand in. Within an account HIGH goes before all others and LOW behind all others, as
/// long as they have work; NORMAL and KEYED take turns. Between accounts a lane means nothing.
///
/// The numbers are part of stored keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Lane {
    High = 0,
    #[default]
    Normal = 1,
    /// Jobs with a [`ConcurrencyKey`], whatever key that is.
    Keyed = 2,
    Low = 3,
}

/// How many lanes there are.
pub const LANE_COUNT: usize = 4;

impl Lane {
    pub const ALL: [Self; LANE_COUNT] = [Self::High, Self::Normal, Self::Keyed, Self::Low];

    pub fn number(self) -> i16 {
        self as i16
    }

    /// None: no lane has this number.
    pub fn from_number(number: i16) -> Option<Self> {
        usize::try_from(number).ok().and_then(|index| Self::ALL.get(index).copied())
    }
}

/// How soon the runs of a grid are started, among those of the same account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    High,
    #[default]
    Normal,
    Low,
}

impl Priority {
    fn lane(self) -> Lane {
        match self {
            Self::High => Lane::High,
            Self::Normal => Lane::Normal,
            Self::Low => Lane::Low,
        }
    }
}

/// What runs of one kind have in common of which only so many may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConcurrencyKey {
    /// Of project, grid and value; never negative. Two values with one hash would wait for each other, and that is all.
    pub hash: i64,
    /// None: one run at a time, which holds the key from its start until its end, times of waiting included. Else this many
    /// in flight at once; those that wait for their time do not count.
    pub runs_max: Option<i32>,
}

impl ConcurrencyKey {
    /// How many runs may hold the key at once.
    pub fn holders_max(self) -> usize {
        self.runs_max.map_or(1, |most| usize::try_from(most).unwrap_or(1))
    }
}

/// A place in an account's queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub lane: Lane,
    /// Set in [`Lane::Keyed`], and there alone.
    pub key: Option<ConcurrencyKey>,
}

impl Place {
    fn keyed(hash: i64, runs_max: Option<u32>) -> Self {
        let runs_max = runs_max.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
        Self { lane: Lane::Keyed, key: Some(ConcurrencyKey { hash, runs_max }) }
    }

    /// On which shard the run of an account spread over `spread` shards stands. Jobs with a key stand on the home shard, so
    /// that one host knows who holds it.
    pub fn shard(self, account: AccountId, run: RunId, spread: u8) -> Shard {
        let part = if self.key.is_some() { 0 } else { run.part(spread) };
        Shard::of_part(account, part)
    }
}

/// What a grid says of the order of its runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GridOrder {
    pub priority: Priority,
    /// JSON Pointer into the event's data. Runs for which it finds the same value are run one at a time, in order of
    /// arrival; those for which it finds nothing, or null, have no key.
    pub concurrency_key: Option<String>,
    /// Modules of this grid that are instantiated at once.
    pub running_max: Option<u32>,
}

impl GridOrder {
    /// Where a run of this grid stands.
    pub fn place(&self, project: ProjectId, grid: &str, data: &RawValue) -> Place {
        let value = self.concurrency_key.as_deref().and_then(|pointer| value_at(data, pointer));
        match (value, self.running_max) {
            (Some(value), _) => Place::keyed(hash(project, grid, Some(&value)), None),
            // More runs than modules could only wait in the host's memory.
            (None, Some(running_max)) => Place::keyed(hash(project, grid, None), Some(running_max)),
            (None, None) => Place { lane: self.priority.lane(), key: None },
        }
    }
}

fn value_at(data: &RawValue, pointer: &str) -> Option<String> {
    let data: Value = serde_json::from_str(data.get()).ok()?;
    data.pointer(pointer).filter(|value| !value.is_null()).map(ToString::to_string)
}

fn hash(project: ProjectId, grid: &str, value: Option<&str>) -> i64 {
    let mut hasher = Sha256::new();
    hasher.update(project.0.to_le_bytes());
    hasher.update((grid.len() as u64).to_le_bytes());
    hasher.update(grid);
    hasher.update([u8::from(value.is_some())]);
    hasher.update(value.unwrap_or_default());
    let digest = hasher.finalize();
    let first: [u8; 8] = digest[..8].try_into().expect("a digest has 32 bytes");
    i64::from_le_bytes(first) & i64::MAX
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        serde_json::from_str(json).expect("valid JSON")
    }

    fn by_user() -> GridOrder {
        GridOrder { concurrency_key: Some("/user".to_owned()), ..GridOrder::default() }
    }

    fn key(order: &GridOrder, json: &str) -> Option<ConcurrencyKey> {
        order.place(ProjectId(1), "g", &raw(json)).key
    }

    #[test]
    fn equal_values_of_one_grid_have_one_key_and_all_others_have_their_own() {
        let ada = key(&by_user(), r#"{"user":"ada","n":1}"#).expect("a key");
        assert_eq!(key(&by_user(), r#"{"n":2, "user": "ada"}"#), Some(ada));
        assert_eq!((ada.runs_max, ada.holders_max()), (None, 1));
        assert_ne!(key(&by_user(), r#"{"user":"bob"}"#), Some(ada));
        assert_ne!(key(&by_user(), r#"{"user":["ada"]}"#), Some(ada));
        assert_ne!(by_user().place(ProjectId(1), "h", &raw(r#"{"user":"ada"}"#)).key, Some(ada));
        assert_ne!(by_user().place(ProjectId(2), "g", &raw(r#"{"user":"ada"}"#)).key, Some(ada));
    }

    #[test]
    fn a_missing_value_is_no_key() {
        for json in ["{}", "null", r#"{"user":null}"#, "[1]"] {
            assert_eq!(by_user().place(ProjectId(1), "g", &raw(json)), Place::default(), "{json}");
        }
    }

    #[test]
    fn a_grid_with_a_maximum_is_a_key_of_its_own_that_several_may_hold() {
        let few = GridOrder { running_max: Some(3), ..GridOrder::default() };
        let (one, other) = (key(&few, "1").expect("a key"), key(&few, "2").expect("a key"));
        assert_eq!(one, other);
        assert_eq!(one.holders_max(), 3);
        let both = GridOrder { running_max: Some(3), ..by_user() };
        assert_eq!(key(&both, r#"{"user":"ada"}"#), key(&by_user(), r#"{"user":"ada"}"#));
        assert_eq!(key(&both, "{}"), Some(one));
    }

    #[test]
    fn keyed_jobs_stand_on_the_home_shard_and_others_on_all_parts() {
        let account = AccountId(7);
        let keyed = by_user().place(ProjectId(1), "g", &raw(r#"{"user":1}"#));
        let home = Shard::of(account);
        assert!((0..100).all(|run| keyed.shard(account, RunId(run), 3) == home));
        let mut used: Vec<Shard> = (0..100).map(|run| Place::default().shard(account, RunId(run << 13), 3)).collect();
        used.sort_unstable();
        used.dedup();
        assert_eq!(used.len(), 3);
        assert!((0..100).all(|run| Place::default().shard(account, RunId(run), 1) == home));
    }

    #[test]
    fn lanes_are_stored_as_they_are_read() {
        assert!(Lane::ALL.iter().all(|lane| Lane::from_number(lane.number()) == Some(*lane)));
        assert_eq!((Lane::from_number(-1), Lane::from_number(4)), (None, None));
    }
}
