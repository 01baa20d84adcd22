//! A mistake in the configuration: where it was written, what is wrong, how to mend it.

use std::fmt;

use super::sources::Origin;

/// One mistake. Never holds a secret's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigMistake {
    origin: Origin,
    problem: String,
    fix: String,
}

impl ConfigMistake {
    pub(super) fn new(origin: Origin, problem: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { origin, problem: problem.into(), fix: fix.into() }
    }
}

impl fmt::Display for ConfigMistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.origin, self.problem, self.fix)
    }
}

/// All mistakes of a configuration; at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.listed())]
pub struct ConfigMistakes(pub Vec<ConfigMistake>);

impl ConfigMistakes {
    fn listed(&self) -> String {
        let lines: Vec<String> = self.0.iter().map(|mistake| format!("\n  - {mistake}")).collect();
        let noun = if lines.len() == 1 { "mistake" } else { "mistakes" };
        format!("{} {noun} in the configuration:{}", lines.len(), lines.concat())
    }
}
