//! A newtype for every id, so that an account can never be passed where a project is meant.

use std::{borrow::Cow, fmt, num::ParseIntError, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

macro_rules! numeric_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(range(min = 0, max = i64::MAX))] pub i64);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                match i64::deserialize(deserializer)? {
                    id if id >= 0 => Ok(Self(id)),
                    id => Err(de::Error::custom(format_args!("{id} is no id: ids are never negative"))),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;
            fn from_str(text: &str) -> Result<Self, ParseIntError> {
                text.parse().map(Self)
            }
        }
    };
}

numeric_id!(
    /// The tenant: owner of projects, plugins and tokens; the unit of rate limiting and of fairness.
    AccountId
);
numeric_id!(
    /// A deployed manifest of one account.
    ProjectId
);
numeric_id!(
    /// One immutable deployment of a project.
    RevisionId
);
numeric_id!(
    /// One uploaded plugin version.
    PluginId
);
numeric_id!(
    /// An API access token.
    TokenId
);
numeric_id!(
    /// One fetched batch of jobs, for attributing attempts after a crash.
    ClaimId
);

/// A node's name within its grid.
pub type NodeName = String;

/// Number of slices that the accounts are shared out in. Fixed: it is part of stored keys.
pub const SHARD_COUNT: i16 = 256;

/// Most shards that one account can be spread over.
pub const SPREAD_MAX: u8 = 16;

/// Fibonacci hashing: consecutive numbers come out evenly spread, in the high bits above all.
fn mix(number: i64) -> u64 {
    number.cast_unsigned().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// One of [`SHARD_COUNT`] slices of the accounts; leased by one host at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(pub i16);

impl Shard {
    /// The home shard of an account.
    pub fn of(account: AccountId) -> Self {
        Self::of_part(account, 0)
    }

    /// The shard of one part of an account that is spread over several; part 0 is at home. A part lies where it lies,
    /// however many there are, and no two of an account on the same shard.
    pub fn of_part(account: AccountId, part: u8) -> Self {
        let mixed = mix(account.0);
        // An odd step comes through all 256 shards before it comes round.
        let (home, step) = ((mixed >> 56) as u8, (mixed >> 48) as u8 | 1);
        Self(i16::from(home.wrapping_add(step.wrapping_mul(part))))
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..SHARD_COUNT).map(Self)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The jobs of one account on one shard: what a scheduler turns over, and what is held to the account's limits. An account
/// has one, on its home shard, unless it is spread over several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    pub shard: Shard,
    pub account: AccountId,
}

impl Queue {
    /// The account's queue on its home shard.
    pub fn home(account: AccountId) -> Self {
        Self { shard: Shard::of(account), account }
    }

    /// The account's queues when it is spread over this many shards, in the order of the parts.
    pub fn parts(account: AccountId, spread: u8) -> impl Iterator<Item = Self> {
        (0..spread).map(move |part| Self { shard: Shard::of_part(account, part), account })
    }

    /// Which part of its account this queue is. None: it lies on no shard that an account of its id can have.
    pub fn part(self) -> Option<u8> {
        (0..SPREAD_MAX).find(|part| Shard::of_part(self.account, *part) == self.shard)
    }

    /// This queue's part of a number that is divided among all parts of the account; at least 1, so that no part stands
    /// still for ever.
    pub fn share_of(self, whole: u32, spread: u8) -> u32 {
        let (spread, part) = (u32::from(spread.max(1)), u32::from(self.part().unwrap_or(0)));
        (whole / spread + u32::from(part < whole % spread)).max(1)
    }
}

/// One event going through one grid.
///
/// Layout, high to low: 1 bit zero, 42 bits milliseconds since [`RunId::EPOCH_MS`], 8 bits host number, 13 bits sequence.
/// Ids of one host rise; ids of several hosts interleave by time, so that a list by id is a list by arrival.
/// As text: `run_` and 13 lower-case Crockford base32 digits, which sort like the numbers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId(pub i64);

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_DIGITS: usize = 13;

impl RunId {
    /// 2025-01-01T00:00:00Z in Unix milliseconds.
    pub const EPOCH_MS: i64 = 1_735_689_600_000;
    const SEQUENCE_BITS: u32 = 13;
    const HOST_BITS: u32 = 8;

    /// When the event was accepted, in Unix milliseconds.
    pub fn accepted_at_ms(self) -> i64 {
        (self.0 >> (Self::SEQUENCE_BITS + Self::HOST_BITS)) + Self::EPOCH_MS
    }

    /// The smallest id that a run accepted at this Unix time, in milliseconds, or later can have.
    pub fn first_at(unix_ms: i64) -> Self {
        // 42 bits of time: an id of any later time would be no positive number.
        let ms = unix_ms.saturating_sub(Self::EPOCH_MS).clamp(0, (1 << 42) - 1);
        Self(ms << (Self::SEQUENCE_BITS + Self::HOST_BITS))
    }

    /// Which part of an account's queue the run belongs to, when there are `spread`.
    pub fn part(self, spread: u8) -> u8 {
        let spread = u64::from(spread.max(1));
        u8::try_from((mix(self.0) >> 32) % spread).expect("smaller than a u8")
    }
}

/// Hands out rising [`RunId`]s for one host.
#[derive(Debug)]
pub struct RunIdSequence {
    host_number: u8,
    last: i64,
}

impl RunIdSequence {
    /// `host_number` must be leased to this process alone.
    pub fn new(host_number: u8) -> Self {
        Self { host_number, last: 0 }
    }

    /// The next id at Unix time `now_ms`. A clock that stands or goes back does not make ids fall: the sequence runs on.
    pub fn next(&mut self, now_ms: i64) -> RunId {
        let low_bits = RunId::SEQUENCE_BITS + RunId::HOST_BITS;
        let host = i64::from(self.host_number) << RunId::SEQUENCE_BITS;
        let earliest = (((now_ms - RunId::EPOCH_MS).max(0)) << low_bits) | host;
        self.last = if earliest > self.last { earliest } else { self.successor(low_bits) };
        RunId(self.last)
    }

    fn successor(&self, low_bits: u32) -> i64 {
        let sequence_max = (1 << RunId::SEQUENCE_BITS) - 1;
        if self.last & sequence_max < sequence_max {
            return self.last + 1;
        }
        // This millisecond's sequence is used up: borrow from the next one.
        let next_ms = (self.last >> low_bits) + 1;
        (next_ms << low_bits) | (i64::from(self.host_number) << RunId::SEQUENCE_BITS)
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; TEXT_DIGITS];
        for (place, digit) in text.iter_mut().rev().enumerate() {
            *digit = DIGITS[(self.0 >> (5 * place) & 31) as usize];
        }
        f.write_str("run_")?;
        f.write_str(std::str::from_utf8(&text).expect("base32 digits are ASCII"))
    }
}

impl JsonSchema for RunId {
    fn schema_name() -> Cow<'static, str> {
        "RunId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "One event going through one grid.",
            "pattern": format!("^run_[0-7][0-9a-hjkmnp-tv-z]{{{}}}$", TEXT_DIGITS - 1),
        })
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is no run id.
#[derive(Debug, thiserror::Error)]
#[error("not a run id: expected `run_` and 13 base32 digits")]
pub struct InvalidRunId;

impl FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let digits = text.strip_prefix("run_").ok_or(InvalidRunId)?.as_bytes();
        if digits.len() != TEXT_DIGITS {
            return Err(InvalidRunId);
        }
        let mut number: i128 = 0;
        for digit in digits {
            let value = DIGITS.iter().position(|known| known == digit).ok_or(InvalidRunId)?;
            number = number << 5 | value as i128;
        }
        i64::try_from(number).map(Self).map_err(|_| InvalidRunId)
    }
}

impl Serialize for RunId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_rise_even_when_the_clock_goes_back() {
        let mut sequence = RunIdSequence::new(7);
        let times = [10, 10, 11, 5, 5, 12].map(|ms| RunId::EPOCH_MS + ms);
        let ids: Vec<RunId> = times.into_iter().map(|now| sequence.next(now)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    }

    #[test]
    fn a_used_up_millisecond_borrows_from_the_next_and_keeps_the_host_number() {
        let mut sequence = RunIdSequence::new(255);
        let ids: Vec<RunId> = (0..20_000).map(|_| sequence.next(RunId::EPOCH_MS + 1)).collect();
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(ids.iter().all(|id| id.0 >> 13 & 255 == 255));
    }

    #[test]
    fn text_and_number_name_the_same_run_and_sort_alike() {
        let mut sequence = RunIdSequence::new(3);
        let early = sequence.next(RunId::EPOCH_MS + 1_000);
        let late = sequence.next(RunId::EPOCH_MS + 99_000_000);
        assert_eq!(early.to_string().parse::<RunId>().expect("own text"), early);
        assert!(early.to_string() < late.to_string());
        assert_eq!(late.accepted_at_ms(), RunId::EPOCH_MS + 99_000_000);
    }

    #[test]
    fn the_first_id_of_a_time_parts_the_runs_before_it_from_those_of_it() {
        let mut sequence = RunIdSequence::new(255);
        let (before, at) = (sequence.next(RunId::EPOCH_MS + 9), sequence.next(RunId::EPOCH_MS + 10));
        let first = RunId::first_at(RunId::EPOCH_MS + 10);
        assert!(before < first && first <= at);
        assert_eq!(RunId::first_at(-1), RunId(0));
        assert!(RunId::first_at(i64::MAX).0 > 0);
    }

    #[test]
    fn other_text_is_no_run_id() {
        for text in ["", "run_", "run_zzzzzzzzzzzzz", "run_00000000000u0", "00000000000000000", "run_0000000000000 "] {
            assert!(text.parse::<RunId>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn accounts_spread_over_all_shards() {
        let mut counts = [0_u32; SHARD_COUNT as usize];
        for account in 1..=25_600 {
            counts[Shard::of(AccountId(account)).0 as usize] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }

    #[test]
    fn the_parts_of_an_account_lie_on_shards_of_their_own_and_share_a_number_without_a_rest() {
        for account in (1..1_000).map(AccountId) {
            let parts: Vec<Queue> = Queue::parts(account, SPREAD_MAX).collect();
            let shards: std::collections::HashSet<Shard> = parts.iter().map(|queue| queue.shard).collect();
            assert_eq!(shards.len(), usize::from(SPREAD_MAX));
            assert_eq!(parts[0], Queue::home(account));
            assert!(parts.iter().enumerate().all(|(part, queue)| queue.part() == u8::try_from(part).ok()));
            let shares: u32 = Queue::parts(account, 3).map(|queue| queue.share_of(100, 3)).sum();
            assert_eq!(shares, 100);
            assert!(parts.iter().all(|queue| queue.share_of(1, SPREAD_MAX) == 1), "no part stands still");
        }
    }

    #[test]
    fn runs_spread_evenly_over_the_parts() {
        let mut sequence = RunIdSequence::new(3);
        let mut counts = [0_u32; 3];
        for ms in 0..3_000 {
            counts[usize::from(sequence.next(RunId::EPOCH_MS + ms).part(3))] += 1;
        }
        assert!(counts.iter().all(|count| (800..1_200).contains(count)), "{counts:?}");
    }
}
