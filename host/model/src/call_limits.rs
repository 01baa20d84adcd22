//! What one call of a transformer may use. Each limit has a name, a unit, a default, a ceiling and a reason, in one list: the
//! settings of a host, an account's limits and those of a node are all read by it.
//!
//! Effective is the smallest of three: what the operator gives (to all accounts, or to this one, up to the ceiling), what the
//! account has lowered itself to, and what the node asks for. Who holds a guest to them is the engine.

mod schema;

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::fault::did_you_mean;

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;

/// The longest key that any host can be set to accept, in bytes: with its store's name it must fit the index of the
/// database, which takes 2,704.
pub const STORAGE_KEY_BYTES_HIGHEST: u32 = 2_048;

/// The longest time to live that any host can be set to accept, in milliseconds: 3,650 days.
pub const STORAGE_TTL_MS_HIGHEST: u64 = 3_650 * DAY_MS;

/// Makes the struct and the list from one table: field, type, default, ceiling, then the key in settings and manifests, the
/// unit, and the bounds of any setting of it.
macro_rules! call_limits {
    ($(
        $(#[$doc:meta])*
        $field:ident: $type:ty = $default:expr, ceiling $ceiling:expr, $key:literal $unit:ident $least:expr, $highest:expr;
    )*) => {
        /// The budget of one call.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct CallLimits {
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for CallLimits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl CallLimits {
            /// What an operator can raise the limits of an account to, unless the host is set otherwise: what a call of a
            /// trusted account can sensibly use, and a host still hold for several at once.
            pub fn ceilings() -> Self {
                Self { $($field: $ceiling,)* }
            }

            /// The smaller of two budgets, limit by limit.
            #[must_use]
            pub fn min(self, other: Self) -> Self {
                Self { $($field: self.$field.min(other.$field),)* }
            }
        }

        /// All limits of a call, in the order in which they are shown.
        pub const CALL_LIMITS: &[CallLimit] = &[$(CallLimit {
            key: $key,
            name: stringify!($field),
            unit: Unit::$unit,
            least: $least,
            highest: $highest as u64,
            get: |limits| u64::from(limits.$field),
            set: |limits, value| limits.$field = <$type>::try_from(value).unwrap_or(<$type>::MAX),
        },)*];
    };
}

call_limits! {
    /// Linear memory over all memories of the component, in bytes. 64 MiB: interpreted languages need 16, with room for data.
    memory_bytes: u64 = 64 * MIB, ceiling 512 * MIB, "memory" Bytes 64 * KIB, 4 * GIB;
    /// Time the guest runs on a CPU, in milliseconds. 2 s: real work, but a spinning guest is soon gone.
    cpu_ms: u64 = 2_000, ceiling MINUTE_MS, "cpu" Milliseconds 1, DAY_MS;
    /// Time from call to answer, in milliseconds, waiting included. 30 s: longer than any sane HTTP deadline.
    wall_ms: u64 = 30_000, ceiling 10 * MINUTE_MS, "wall" Milliseconds 10, DAY_MS;
    /// Outgoing HTTP requests. 50: paging through an API, not crawling it.
    requests: u32 = 50, ceiling 1_000, "requests" Count 0, 100_000;
    /// Outgoing HTTP requests at the same time. 6: what browsers allow themselves per host.
    requests_at_once: u32 = 6, ceiling 64, "requests_at_once" Count 1, 1_000;
    /// The body of one outgoing HTTP request, in bytes. 8 MiB: as much as one response may have.
    request_bytes: u64 = 8 * MIB, ceiling 64 * MIB, "request_max" Bytes 0, GIB;
    /// One decoded HTTP response body, in bytes. 8 MiB: a large page of an API several times over; a guest holds it in memory.
    response_bytes: u64 = 8 * MIB, ceiling 64 * MIB, "response_max" Bytes KIB, GIB;
    /// Log messages, standard output and standard error together, in bytes. 256 KiB: what a person could still read.
    log_bytes: u64 = 256 * KIB, ceiling 4 * MIB, "log_max" Bytes 0, 64 * MIB;
    /// All emissions together, in bytes. 1 MiB: outputs are stored with the run.
    output_bytes: u64 = MIB, ceiling 16 * MIB, "output_max" Bytes KIB, 256 * MIB;
    /// Storage operations. 1,000: bounds one commit.
    storage_operations: u32 = 1_000, ceiling 10_000, "storage_operations" Count 0, 1_000_000;
    /// Bytes of storage writes that wait for their commit. 4 MiB: bounds one commit.
    storage_write_bytes: u64 = 4 * MIB, ceiling 64 * MIB, "storage_write_max" Bytes KIB, 256 * MIB;
    /// Keys written. 1,000: bounds one commit.
    storage_writes: u32 = 1_000, ceiling 10_000, "storage_writes" Count 0, 100_000;
    /// Keys read, those of lists included: the versions that the commit has to compare. 10,000: ten full pages.
    storage_reads: u32 = 10_000, ceiling 100_000, "storage_reads" Count 0, 100_000;
    /// One key of a store or a collection, or the prefix of a list, in bytes. 512: fits an index page of the database several times over.
    storage_key_bytes: u32 = 512, ceiling STORAGE_KEY_BYTES_HIGHEST, "storage_key_max" Bytes 1, STORAGE_KEY_BYTES_HIGHEST;
    /// Keys in one page of a list. 1,000: half a mebibyte of the longest ones.
    storage_page_keys: u32 = 1_000, ceiling 10_000, "storage_page_keys" Count 1, 100_000;
    /// Values that one request for many of them answers with, in bytes. 8 MiB: the host's memory holds them all at once.
    storage_batch_bytes: u64 = 8 * MIB, ceiling 64 * MIB, "storage_batch_max" Bytes KIB, 256 * MIB;
    /// The longest time to live of a key, in milliseconds. 3,650 days: longer than an entry with an end is good for, and a
    /// time that the database can still tell.
    storage_ttl_ms: u64 = STORAGE_TTL_MS_HIGHEST, ceiling STORAGE_TTL_MS_HIGHEST,
        "storage_ttl_max" Milliseconds 1, STORAGE_TTL_MS_HIGHEST;
    /// Operations on records. 1,000: bounds one commit.
    record_operations: u32 = 1_000, ceiling 10_000, "record_operations" Count 0, 1_000_000;
    /// One record, JSON text, in bytes. 256 KiB: an issue with a long text several times over.
    record_bytes: u64 = 256 * KIB, ceiling 4 * MIB, "record_max" Bytes KIB, 64 * MIB;
    /// Bytes of records that wait for their commit. 4 MiB: bounds one commit.
    record_write_bytes: u64 = 4 * MIB, ceiling 64 * MIB, "record_write_max" Bytes KIB, 256 * MIB;
    /// Records written. 1,000: bounds one commit, which writes every index of each.
    record_writes: u32 = 1_000, ceiling 10_000, "record_writes" Count 0, 100_000;
    /// Records read, those that queries have found included: the versions that the commit has to compare. 10,000: ten full
    /// pages.
    record_reads: u32 = 10_000, ceiling 100_000, "record_reads" Count 0, 100_000;
    /// Records in one page of a query. 1,000: as many as a call may write.
    record_page: u32 = 1_000, ceiling 10_000, "record_page" Count 1, 100_000;
    /// One page of a query, in bytes. 8 MiB: the host's memory holds all of it at once.
    record_page_bytes: u64 = 8 * MIB, ceiling 64 * MIB, "record_page_max" Bytes KIB, 256 * MIB;
    /// Events emitted to grids of the project. 100: fanning out a page of results, not a table.
    outbox_events: u32 = 100, ceiling 1_000, "outbox_events" Count 0, 10_000;
    /// Emitted events together, in bytes. 1 MiB: as much as one event from outside may have.
    outbox_bytes: u64 = MIB, ceiling 16 * MIB, "outbox_max" Bytes KIB, 64 * MIB;
    /// How many emissions, or requests to a trigger of this host, may lie between an event from outside and another. 16: more
    /// than a sane project chains, and an end for grids that start each other for ever.
    outbox_hops: u32 = 16, ceiling 64, "outbox_hops" Count 0, 1_000;
    /// Resources and handles that a guest holds at one time: streams, requests, pollables. 1,024: far more than a guest with a
    /// few requests needs.
    handles: u32 = 1_024, ceiling 16_384, "handles" Count 64, 100_000;
    /// Random bytes that a guest asks for at once. 64 KiB: any key and any seed.
    random_bytes: u64 = 64 * KIB, ceiling MIB, "random_max" Bytes 64, 16 * MIB;
    /// Elements of all tables together. 100,000: large interpreters have some ten thousand functions in theirs.
    table_elements: u32 = 100_000, ceiling 1_000_000, "table_elements" Count 1_000, 10_000_000;
}

impl CallLimits {
    /// The budget of `describe` at upload: no I/O is linked to anything, and a description is small.
    pub fn for_describe() -> Self {
        Self {
            cpu_ms: 1_000,
            wall_ms: 5_000,
            requests: 0,
            storage_operations: 0,
            record_operations: 0,
            outbox_events: 0,
            ..Self::default()
        }
    }
}

/// What a limit's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Bytes,
    Milliseconds,
    Count,
}

/// One limit of the list.
#[derive(Clone, Copy)]
pub struct CallLimit {
    /// In settings, in manifests and on the command line: the value there has its unit with it.
    pub key: &'static str,
    /// In JSON, where it is a plain number: with the unit.
    pub name: &'static str,
    pub unit: Unit,
    /// The least and the highest value that anyone may set.
    pub least: u64,
    pub highest: u64,
    get: fn(&CallLimits) -> u64,
    set: fn(&mut CallLimits, u64),
}

impl CallLimit {
    pub fn of(&self, limits: &CallLimits) -> u64 {
        (self.get)(limits)
    }

    pub fn set(&self, limits: &mut CallLimits, value: u64) {
        (self.set)(limits, value);
    }

    /// Looks one up by its name in JSON.
    pub fn named(name: &str) -> Option<&'static Self> {
        CALL_LIMITS.iter().find(|limit| limit.name == name)
    }

    /// Looks one up by its key.
    pub fn with_key(key: &str) -> Option<&'static Self> {
        CALL_LIMITS.iter().find(|limit| limit.key == key)
    }

    fn place(&self) -> usize {
        let is_this = |limit: &Self| limit.name == self.name;
        CALL_LIMITS.iter().position(is_this).expect("every limit is in the list")
    }
}

impl fmt::Debug for CallLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Some of the limits: what an operator set for an account, what the account lowered, or what a node asks for. In JSON an
/// object of names and numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCallLimits([Option<u64>; CALL_LIMITS.len()]);

impl Default for OwnCallLimits {
    fn default() -> Self {
        Self([None; CALL_LIMITS.len()])
    }
}

impl OwnCallLimits {
    /// Those that were stored, perhaps by another version: what is out of bounds is brought into them, and what is no limit
    /// or no number is left out. What had to be changed is said in one line each.
    pub fn from_stored(stored: &serde_json::Value) -> (Self, Vec<String>) {
        let (mut own, mut changed) = (Self::default(), Vec::new());
        let Some(stored) = stored.as_object() else {
            return (own, vec![format!("{stored} is no object of call limits")]);
        };
        for (name, value) in stored {
            let (Some(limit), Some(number)) = (CallLimit::named(name), value.as_u64()) else {
                changed.push(format!("`{name}` with the value {value} is no call limit, and was left out"));
                continue;
            };
            let within = number.clamp(limit.least, limit.highest);
            if within != number {
                changed.push(format!("call limit `{name}` is {number}, and {within} was taken"));
            }
            own.set(limit, Some(within));
        }
        (own, changed)
    }

    pub fn get(&self, limit: &CallLimit) -> Option<u64> {
        self.0[limit.place()]
    }

    pub fn set(&mut self, limit: &CallLimit, value: Option<u64>) {
        self.0[limit.place()] = value;
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// The limits that are set, with their values.
    pub fn iter(&self) -> impl Iterator<Item = (&'static CallLimit, u64)> {
        CALL_LIMITS.iter().zip(self.0).filter_map(|(limit, own)| Some((limit, own?)))
    }

    /// These where they are smaller than `limits`.
    #[must_use]
    pub fn lower(&self, mut limits: CallLimits) -> CallLimits {
        for (limit, own) in self.iter() {
            let lower = own.min(limit.of(&limits));
            limit.set(&mut limits, lower);
        }
        limits
    }

    /// These in place of `limits`, none over its ceiling.
    #[must_use]
    pub fn over(&self, mut limits: CallLimits, ceilings: &CallLimits) -> CallLimits {
        for (limit, own) in self.iter() {
            limit.set(&mut limits, own.min(limit.of(ceilings)));
        }
        limits
    }

    /// Those that are larger than in `limits`.
    pub fn exceeding(&self, limits: &CallLimits) -> impl Iterator<Item = (&'static CallLimit, u64)> {
        self.iter().filter(|(limit, own)| *own > limit.of(limits))
    }
}

/// A change of [`OwnCallLimits`]: a number sets a limit, null lifts it, and what is not named stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallLimitsChange([Option<Option<u64>>; CALL_LIMITS.len()]);

impl Default for CallLimitsChange {
    fn default() -> Self {
        Self([None; CALL_LIMITS.len()])
    }
}

impl CallLimitsChange {
    pub fn set(&mut self, limit: &CallLimit, value: Option<u64>) {
        self.0[limit.place()] = Some(value);
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    #[must_use]
    pub fn applied_to(&self, mut own: OwnCallLimits) -> OwnCallLimits {
        for (place, change) in self.0.iter().enumerate() {
            own.0[place] = change.unwrap_or(own.0[place]);
        }
        own
    }
}

/// What was set for the calls of one account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountCallLimits {
    /// By an operator: more or less than other accounts have.
    pub granted: OwnCallLimits,
    /// By the account: less than it was given.
    pub lowered: OwnCallLimits,
}

impl AccountCallLimits {
    /// What the account was given, on a host with these limits.
    pub fn given(&self, defaults: CallLimits, ceilings: &CallLimits) -> CallLimits {
        self.granted.over(defaults, ceilings)
    }

    /// What holds for each of its calls, before the node's own.
    pub fn effective(&self, defaults: CallLimits, ceilings: &CallLimits) -> CallLimits {
        self.lowered.lower(self.given(defaults, ceilings))
    }
}

/// The limit of a name in JSON, and whether a value is within its bounds.
fn checked(name: &str, value: Option<u64>) -> Result<&'static CallLimit, String> {
    let Some(limit) = CallLimit::named(name) else {
        let shown: String = name.escape_debug().take(60).collect();
        let known = CALL_LIMITS.iter().map(|limit| limit.name);
        let near = CallLimit::with_key(name).map(|limit| limit.name).or_else(|| did_you_mean(name, known.clone()));
        return Err(match near {
            Some(near) => format!("there is no call limit `{shown}`; did you mean `{near}`?"),
            None => format!("there is no call limit `{shown}`; known are {}", known.collect::<Vec<_>>().join(", ")),
        });
    };
    match value {
        Some(value) if !(limit.least..=limit.highest).contains(&value) => {
            Err(format!("call limit `{name}` is {value}; from {} to {} is allowed", limit.least, limit.highest))
        }
        _ => Ok(limit),
    }
}

impl Serialize for OwnCallLimits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter().map(|(limit, own)| (limit.name, own)))
    }
}

impl<'de> Deserialize<'de> for OwnCallLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut own = Self::default();
        for (name, value) in BTreeMap::<String, u64>::deserialize(deserializer)? {
            own.set(checked(&name, Some(value)).map_err(de::Error::custom)?, Some(value));
        }
        Ok(own)
    }
}

impl Serialize for CallLimitsChange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let changes = CALL_LIMITS.iter().zip(self.0);
        serializer.collect_map(changes.filter_map(|(limit, change)| Some((limit.name, change?))))
    }
}

impl<'de> Deserialize<'de> for CallLimitsChange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut change = Self::default();
        for (name, value) in BTreeMap::<String, Option<u64>>::deserialize(deserializer)? {
            change.set(checked(&name, value).map_err(de::Error::custom)?, value);
        }
        Ok(change)
    }
}

#[cfg(test)]
mod tests;
