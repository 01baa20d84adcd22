//! The rate limits of accounts that have none of their own, and how they are counted.

use trellis_model::window::{AccountLimits, Smoothing, WindowLimit};

use super::{Section, setting::Setting};

/// Defaults of the limiter.
#[derive(Clone, Debug)]
pub struct LimiterConfig {
    /// Module instantiations a minute. Default as in [`AccountLimits::default`].
    pub burst_per_minute: u32,
    /// Module instantiations a day. Default as in [`AccountLimits::default`].
    pub long_per_day: u32,
    /// How a taken permit reaches the limiter's manager. Default `call`: whoever takes waits, which holds a flood back.
    pub mode: IncrementMode,
    /// Check and take in one step, so that no window ever admits more than its maximum. Default false: each permit then
    /// costs a round trip, and what a fixed window admits too much is carried into the next one anyway.
    pub exact: bool,
    /// What is done against the double burst at the edge of two windows. Default `fixed`, which is nothing; `sliding`
    /// counts what still lies within one period back, as if it had come evenly.
    pub smoothing: Smoothing,
}

/// How a taken permit is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncrementMode {
    /// Wait until it is counted.
    Call,
    /// Go on at once.
    Cast,
}

impl LimiterConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let standard = AccountLimits::default();
        let config = Self {
            burst_per_minute: section.setting_in("burst_per_minute", standard.burst.max, 1..=u32::MAX),
            long_per_day: section.setting_in("long_per_day", standard.long.max, 1..=u32::MAX),
            mode: section.setting("mode", IncrementMode::Call),
            exact: section.setting("exact", standard.exact),
            smoothing: section.setting("smoothing", standard.smoothing),
        };
        if config.exact && config.mode == IncrementMode::Cast {
            section.conflict("mode", "`cast` cannot be exact", "use `call`, or set `limiter.exact` to false");
        }
        config
    }

    /// The limits of an account that has none of its own.
    pub fn account_limits(&self) -> AccountLimits {
        AccountLimits {
            burst: WindowLimit::per_minute(self.burst_per_minute),
            long: WindowLimit::per_day(self.long_per_day),
            exact: self.exact,
            smoothing: self.smoothing,
            ..AccountLimits::default()
        }
    }
}

impl Setting for IncrementMode {
    const EXPECTED: &'static str = "\"call\" or \"cast\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "call" => Some(Self::Call),
            "cast" => Some(Self::Cast),
            _ => None,
        }
    }

    fn to_toml(&self) -> toml::Value {
        match self {
            Self::Call => "call".into(),
            Self::Cast => "cast".into(),
        }
    }
}

impl Setting for Smoothing {
    const EXPECTED: &'static str = "\"fixed\" or \"sliding\"";

    fn from_text(text: &str) -> Option<Self> {
        match text {
            "fixed" => Some(Self::Fixed),
            "sliding" => Some(Self::Sliding),
            _ => None,
        }
    }

    fn to_toml(&self) -> toml::Value {
        match self {
            Self::Fixed => "fixed".into(),
            Self::Sliding => "sliding".into(),
        }
    }
}
