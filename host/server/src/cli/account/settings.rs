//! What can be set of an account on the command line, as the API takes it.
//!
//! Pure: flags in, JSON out.

use clap::ValueEnum;
use serde_json::{Map, Value, json};
use trellis_model::{
    retention::{DAYS_MAX, History, RetentionChange},
    window::WindowLimit,
};

use super::super::call_limits::CallLimitArgs;

/// What an account gets of the hosts, and what is kept of its runs; what is not given stays as it is.
#[derive(Debug, Default, clap::Args)]
pub struct AccountSettings {
    /// Modules that may be instantiated in a minute
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    burst_per_minute: Option<u32>,
    /// Modules that may be instantiated in a day
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    long_per_day: Option<u32>,
    /// No window ever admits more than its maximum, at the price of a little time for each module
    #[arg(long, value_name = "BOOL")]
    exact: Option<bool>,
    /// What is done against two bursts at the edge of two windows
    #[arg(long, value_parser = ["fixed", "sliding"])]
    smoothing: Option<String>,
    /// How much of a busy host it gets, against other accounts: 1 to 100
    #[arg(long, value_name = "N")]
    weight: Option<u32>,
    /// Modules of it that are instantiated at once; 0: as many as there is room for
    #[arg(long, value_name = "N")]
    running_max: Option<u32>,
    /// Over how many shards, and so hosts, its jobs are spread: 1 to 16
    #[arg(long, value_name = "N")]
    spread: Option<u8>,
    #[command(flatten)]
    calls: CallLimitArgs,
    /// Which runs are kept when they end: every one, those that failed, or dead letters alone
    #[arg(long, value_parser = ["full", "failed", "none"])]
    history: Option<String>,
    /// For how many days
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=i64::from(DAYS_MAX)))]
    days: Option<u16>,
}

/// A limit that can be given back to the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Limit {
    Burst,
    Long,
    Exact,
    Smoothing,
    Weight,
    RunningMax,
    All,
}

impl Limit {
    /// As the API names it; none: all of them.
    fn field(self) -> Option<&'static str> {
        match self {
            Self::Burst => Some("burst"),
            Self::Long => Some("long"),
            Self::Exact => Some("exact"),
            Self::Smoothing => Some("smoothing"),
            Self::Weight => Some("weight"),
            Self::RunningMax => Some("running_max"),
            Self::All => None,
        }
    }
}

/// Settings to be changed or given back.
#[derive(Debug, Default, clap::Args)]
pub struct SetArgs {
    #[command(flatten)]
    settings: AccountSettings,
    /// As the host has it for every account; several with commas
    #[arg(long = "default", value_name = "LIMIT", value_delimiter = ',')]
    defaults: Vec<Limit>,
}

impl AccountSettings {
    /// The limits that are given, each by itself.
    pub fn limits(&self) -> Map<String, Value> {
        let given = [
            ("burst", self.burst_per_minute.map(|max| json!(WindowLimit::per_minute(max)))),
            ("long", self.long_per_day.map(|max| json!(WindowLimit::per_day(max)))),
            ("exact", self.exact.map(Value::from)),
            ("smoothing", self.smoothing.clone().map(Value::from)),
            ("weight", self.weight.map(Value::from)),
            ("running_max", self.running_max.map(|most| if most == 0 { Value::Null } else { most.into() })),
        ];
        given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
    }

    /// Everything but the limits.
    pub fn of_new(&self) -> Map<String, Value> {
        let mut settings = Map::new();
        if let Some(spread) = self.spread {
            settings.insert("spread".to_owned(), spread.into());
        }
        if !self.calls.is_empty() {
            settings.insert("calls".to_owned(), json!(self.calls));
        }
        let named = |name: &String| History::ALL.into_iter().find(|history| history.name() == name);
        let retention = RetentionChange { history: self.history.as_ref().and_then(named), days: self.days };
        if retention.history.is_some() || retention.days.is_some() {
            settings.insert("retention".to_owned(), json!(retention));
        }
        settings
    }
}

impl SetArgs {
    /// The whole change.
    ///
    /// # Errors
    /// Nothing is to be changed, or something is both set and given back.
    pub fn change(&self) -> Result<Value, String> {
        let (mut settings, mut limits) = (self.settings.of_new(), self.settings.limits());
        if self.defaults.contains(&Limit::All) {
            if !limits.is_empty() || self.defaults.len() > 1 {
                return Err("`--default all` gives every limit back; leave out what sets one of them".to_owned());
            }
            settings.insert("limits".to_owned(), Value::Null);
            return Ok(settings.into());
        }
        for field in self.defaults.iter().filter_map(|limit| limit.field()) {
            if limits.get(field).is_some_and(|value| !value.is_null()) {
                return Err(format!("`{field}` is both set and given back; leave out one of them"));
            }
            limits.insert(field.to_owned(), Value::Null);
        }
        if !limits.is_empty() {
            settings.insert("limits".to_owned(), limits.into());
        }
        if settings.is_empty() {
            return Err("nothing is to be changed; `trellis account set --help` lists what can be".to_owned());
        }
        Ok(settings.into())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: SetArgs,
    }

    fn change(flags: &[&str]) -> Result<Value, String> {
        Command::try_parse_from(["set"].iter().chain(flags)).expect("flags").args.change()
    }

    #[test]
    fn only_what_is_given_is_changed_and_defaults_are_null() {
        let cases: [(&[&str], Value); 5] = [
            (
                &["--burst-per-minute", "600", "--weight", "3"],
                json!({ "limits": { "burst": { "max": 600, "period_ms": 60_000 }, "weight": 3 } }),
            ),
            (&["--default", "burst,running-max"], json!({ "limits": { "burst": null, "running_max": null } })),
            (&["--running-max", "0", "--exact", "true"], json!({ "limits": { "running_max": null, "exact": true } })),
            (&["--default", "all", "--days", "9"], json!({ "limits": null, "retention": { "days": 9 } })),
            (&["--spread", "2", "--call-limit", "cpu=1s"], json!({ "spread": 2, "calls": { "cpu_ms": 1_000 } })),
        ];
        for (flags, expected) in cases {
            assert_eq!(change(flags), Ok(expected), "{flags:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases: [(&[&str], &str); 3] = [
            (&[], "nothing is to be changed"),
            (&["--weight", "2", "--default", "weight"], "both set and given back"),
            (&["--weight", "2", "--default", "all"], "every limit back"),
        ];
        for (flags, message) in cases {
            assert!(change(flags).expect_err("refused").contains(message), "{flags:?}");
        }
    }
}
