//! Limits of calls on the command line: `cpu=5s`, `memory=128MiB`, `requests=10`, written as in a manifest.

use serde::{Deserialize, Serialize, Serializer};
use trellis_model::{
    call_limits::{CALL_LIMITS, CallLimit, CallLimits, CallLimitsChange, OwnCallLimits, Unit},
    fault::did_you_mean,
};

use crate::config::{ByteSize, parse_duration, show_limit};

/// Limits to be changed.
#[derive(Debug, Default, clap::Args)]
pub struct CallLimitArgs {
    /// What one call may use, such as memory=128MiB, cpu=5s or requests=10; `none` takes a change back; may be repeated
    #[arg(long = "call-limit", value_name = "KEY=VALUE", value_parser = one)]
    changes: Vec<(&'static CallLimit, Option<u64>)>,
}

impl CallLimitArgs {
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn change(&self) -> CallLimitsChange {
        let mut change = CallLimitsChange::default();
        for (limit, value) in &self.changes {
            change.set(limit, *value);
        }
        change
    }
}

/// As the API takes them.
impl Serialize for CallLimitArgs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.change().serialize(serializer)
    }
}

fn one(text: &str) -> Result<(&'static CallLimit, Option<u64>), String> {
    let (key, value) = text.split_once('=').ok_or("write it like cpu=5s")?;
    let limit = CallLimit::with_key(key).ok_or_else(|| {
        let known = CALL_LIMITS.iter().map(|limit| limit.key);
        match did_you_mean(key, known.clone()) {
            Some(near) => format!("there is no call limit `{key}`; did you mean `{near}`?"),
            None => format!("there is no call limit `{key}`; known are {}", known.collect::<Vec<_>>().join(", ")),
        }
    })?;
    if value == "none" {
        return Ok((limit, None));
    }
    let parsed = match limit.unit {
        Unit::Bytes => value.parse::<ByteSize>().ok().map(|size| size.0),
        Unit::Milliseconds => parse_duration(value).and_then(|time| u64::try_from(time.as_millis()).ok()),
        Unit::Count => value.replace('_', "").parse().ok(),
    };
    match parsed.filter(|value| (limit.least..=limit.highest).contains(value)) {
        Some(value) => Ok((limit, Some(value))),
        None => {
            Err(format!("from {} to {} is allowed", show_limit(limit, limit.least), show_limit(limit, limit.highest)))
        }
    }
}

/// What holds for the calls of an account, as the API answers it.
#[derive(Debug, Serialize, Deserialize)]
pub struct Calls {
    effective: CallLimits,
    granted: OwnCallLimits,
    lowered: OwnCallLimits,
}

impl Calls {
    /// One a line; marked is what differs from what every account has.
    pub fn lines(&self) -> String {
        let width = CALL_LIMITS.iter().map(|limit| limit.key.len()).max().unwrap_or_default();
        let limits: Vec<String> = CALL_LIMITS
            .iter()
            .map(|limit| {
                let mark = match (self.granted.get(limit), self.lowered.get(limit)) {
                    (_, Some(_)) => " (lowered)",
                    (Some(_), None) => " (granted)",
                    (None, None) => "",
                };
                format!("  {:width$}  {}{mark}\n", limit.key, show_limit(limit, limit.of(&self.effective)))
            })
            .collect();
        format!("a call may use\n{}", limits.concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_as_in_a_manifest() {
        for (text, name, value) in [
            ("memory=128MiB", "memory_bytes", Some(128 << 20)),
            ("cpu=1m 30s", "cpu_ms", Some(90_000)),
            ("requests=1_000", "requests", Some(1_000)),
            ("requests=none", "requests", None),
        ] {
            let (limit, parsed) = one(text).expect(text);
            assert_eq!((limit.name, parsed), (name, value), "{text}");
        }
        for (text, message) in [
            ("memory", "write it like"),
            ("memroy=1MiB", "did you mean `memory`?"),
            ("memory=1KiB", "from 64KiB to 4GiB is allowed"),
            ("cpu=5", "from 1ms to"),
        ] {
            let refused = one(text).expect_err(text);
            assert!(refused.contains(message), "{text}: {refused}");
        }
    }
}
