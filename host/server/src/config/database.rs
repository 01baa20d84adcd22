//! Which Postgres, and how many connections to it.

use std::{fmt, path::PathBuf};

use figment::value::Value;
use url::Url;

use super::{Section, setting::Setting};

/// The database of this host.
#[derive(Clone, Debug)]
pub struct DatabaseConfig {
    /// The Postgres to use. Default: none, and the host starts a private one in `data_dir`. `DATABASE_URL` counts too.
    pub url: Option<DatabaseUrl>,
    /// Connections held open at most. Default 16: batches make few and large transactions, and a hundred is all that a
    /// Postgres gives to all its hosts together.
    pub connections_max: u32,
}

impl DatabaseConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { url: section.optional("url"), connections_max: section.setting_in("connections_max", 16, 2..=1_000) }
    }
}

/// The private Postgres, used when there is no database.
#[derive(Clone, Debug)]
pub struct PostgresConfig {
    /// The directory of the programs to run. Default: searched for where packages install them.
    pub bin: Option<PathBuf>,
}

impl PostgresConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { bin: section.optional("bin") }
    }
}

/// An address of a Postgres, which may hold a password: it shows itself masked.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The whole of it, for connecting. Not for logs, messages or pages.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Without its password.
    pub fn masked(&self) -> String {
        let Ok(mut url) = Url::parse(&self.0) else { return "***".to_owned() };
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return "***".to_owned();
        }
        if url.query_pairs().any(|(key, _)| key == "password") {
            let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
            let masked =
                |(key, value): (String, String)| if key == "password" { (key, "***".to_owned()) } else { (key, value) };
            url.query_pairs_mut().clear().extend_pairs(pairs.into_iter().map(masked));
        }
        url.into()
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Setting for DatabaseUrl {
    const EXPECTED: &'static str = "an address such as \"postgres://user:password@host:5432/database\"";

    fn from_text(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        matches!(url.scheme(), "postgres" | "postgresql").then(|| Self(text.to_owned()))
    }

    fn to_toml(&self) -> toml::Value {
        self.masked().into()
    }

    fn quoted(_: &Value) -> String {
        "the address".to_owned()
    }
}
