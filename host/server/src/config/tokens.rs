//! Access tokens: how long a host takes them without looking, how many there may be, and the operator's first one.

use std::{fmt, path::PathBuf, time::Duration};

use figment::value::Value;
use trellis_model::token::{TokenKind, TokenText};

use super::{Section, setting::Setting};

/// How this host treats access tokens.
#[derive(Clone, Debug)]
pub struct TokensConfig {
    /// How long a valid token is taken without another look at the database; a revoked one may still be good so long.
    /// Default 4 s: with the time of a query, a revocation holds everywhere within five seconds.
    pub cached_for: Duration,
    /// Valid tokens that are remembered. Default 100,000: some 40 MiB at the most.
    pub cached_max: u32,
    /// Valid tokens of one account, and of all operators. Default 1,000: one for every machine of a large fleet, and a
    /// list that a person can still look through.
    pub account_max: u32,
    /// An operator token that is good from the first start on; made with `trellis token generate`. Default: none, and the
    /// first start prints one. Better in a file, or in the environment, than on the command line.
    pub operator: Option<OperatorToken>,
    /// A file with that token, such as a mounted secret. Default: none.
    pub operator_file: Option<PathBuf>,
}

impl TokensConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        let config = Self {
            cached_for: section.setting_in("cached_for", 4 * second, Duration::ZERO..=5 * second),
            cached_max: section.setting_in("cached_max", 100_000, 1..=10_000_000),
            account_max: section.setting_in("account_max", 1_000, 1..=1_000_000),
            operator: section.optional("operator"),
            operator_file: section.optional("operator_file"),
        };
        if config.operator.is_some() && config.operator_file.is_some() {
            section.conflict("operator", "`tokens.operator_file` is set too", "leave out one of them");
        }
        config
    }
}

/// The text of an operator token, which never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorToken(TokenText);

impl OperatorToken {
    /// None: this is no operator token, or is mistyped.
    pub fn parse(text: &str) -> Option<Self> {
        let token: TokenText = text.trim().parse().ok()?;
        (token.kind() == Some(TokenKind::Operator)).then_some(Self(token))
    }

    pub fn text(&self) -> &TokenText {
        &self.0
    }
}

impl fmt::Debug for OperatorToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OperatorToken(…)")
    }
}

impl Setting for OperatorToken {
    const EXPECTED: &'static str = "an operator token as `trellis token generate` makes it; it begins with `trl_o`";

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }

    fn to_toml(&self) -> toml::Value {
        "***".into()
    }

    fn quoted(_: &Value) -> String {
        "the token".to_owned()
    }
}
