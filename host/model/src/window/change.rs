//! A change of an account's limits, field by field: what is not named stays, and null is the host's default again.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use super::{AccountLimits, OwnLimits, Smoothing, WindowLimit};

/// Of each field: none leaves it, `Some(None)` gives it back to the host, `Some(Some(…))` sets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsChange {
    #[serde(deserialize_with = "named")]
    pub burst: Option<Option<WindowLimit>>,
    #[serde(deserialize_with = "named")]
    pub long: Option<Option<WindowLimit>>,
    #[serde(deserialize_with = "named")]
    pub exact: Option<Option<bool>>,
    #[serde(deserialize_with = "named")]
    pub smoothing: Option<Option<Smoothing>>,
    #[serde(deserialize_with = "named")]
    #[schemars(range(min = 1, max = AccountLimits::WEIGHT_MAX))]
    pub weight: Option<Option<u32>>,
    /// Null: as many as the host has room for.
    #[serde(deserialize_with = "named")]
    #[schemars(range(min = 1, max = u32::MAX))]
    pub running_max: Option<Option<u32>>,
}

/// A field that is there, be it null.
fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl LimitsChange {
    /// Everything as the host has it for every account.
    pub fn to_defaults() -> Self {
        let (burst, long, exact) = (Some(None), Some(None), Some(None));
        Self { burst, long, exact, smoothing: Some(None), weight: Some(None), running_max: Some(None) }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether owners may have told something of the account's windows that holds no more.
    pub fn concerns_windows(&self) -> bool {
        self.burst.is_some() || self.long.is_some() || self.exact.is_some() || self.smoothing.is_some()
    }

    /// What it sets.
    pub fn set(&self) -> OwnLimits {
        OwnLimits {
            burst: self.burst.flatten(),
            long: self.long.flatten(),
            exact: self.exact.flatten(),
            smoothing: self.smoothing.flatten(),
            weight: self.weight.flatten(),
            running_max: self.running_max.flatten(),
        }
    }

    /// The names of what it gives back, as they are stored.
    pub fn lifted(&self) -> Vec<&'static str> {
        let fields = [
            ("burst", self.burst == Some(None)),
            ("long", self.long == Some(None)),
            ("exact", self.exact == Some(None)),
            ("smoothing", self.smoothing == Some(None)),
            ("weight", self.weight == Some(None)),
            ("running_max", self.running_max == Some(None)),
        ];
        fields.into_iter().filter_map(|(name, is_lifted)| is_lifted.then_some(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays_and_null_is_given_back() {
        let change: LimitsChange = serde_json::from_str(r#"{"burst":null,"exact":true,"weight":3}"#).expect("a change");
        assert_eq!((change.burst, change.long, change.exact), (Some(None), None, Some(Some(true))));
        assert_eq!((change.lifted(), change.set().weight), (vec!["burst"], Some(3)));
        assert!(!change.is_empty() && change.concerns_windows());
        assert!(LimitsChange::default().is_empty());
        assert!(serde_json::from_str::<LimitsChange>(r#"{"brust":null}"#).is_err());
    }

    #[test]
    fn back_to_the_defaults_means_every_field_that_is_stored() {
        let stored = serde_json::to_value(AccountLimits { running_max: Some(1), ..AccountLimits::default() });
        let stored = stored.expect("plain");
        let mut names: Vec<&str> = stored.as_object().expect("an object").keys().map(String::as_str).collect();
        let mut lifted = LimitsChange::to_defaults().lifted();
        names.sort_unstable();
        lifted.sort_unstable();
        assert_eq!(lifted, names);
        assert_eq!(LimitsChange::to_defaults().set(), OwnLimits::default());
    }
}
