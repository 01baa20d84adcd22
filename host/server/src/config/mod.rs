//! The host's configuration: flags over `TRELLIS_*` variables over a TOML file over defaults, one small struct per
//! concern. Every mistake is reported, at once, with where it was written and how to mend it.
//!
//! Says what the operator of a host wants. Deliberately does not know how it is done: the parts of the host take their
//! own struct and nothing else. What a project wants is in its manifest, not here.

mod args;
mod mistake;
mod networks;
mod sources;

mod credentials;
mod database;
mod egress;
mod history;
mod http;
mod limiter;
mod log;
mod machine;
mod queue;
mod run;
mod sandbox;
mod shadow;
mod tokens;
mod uploads;
mod watch;

mod print;
mod reader;
mod setting;
mod units;

#[cfg(test)]
mod tests;

use std::{net::SocketAddr, path::PathBuf};

use url::Url;

pub use args::ConfigArgs;
pub use credentials::{CredentialsConfig, MasterKeyText};
pub use database::{DatabaseConfig, DatabaseUrl, PostgresConfig};
pub use egress::EgressConfig;
pub use history::HistoryConfig;
pub use http::HttpConfig;
pub use limiter::{IncrementMode, LimiterConfig};
pub use log::{LogConfig, LogFilter, LogFormat};
pub use mistake::{ConfigMistake, ConfigMistakes};
pub use queue::QueueConfig;
pub use run::RunConfig;
pub use sandbox::SandboxConfig;
pub use shadow::ShadowConfig;
pub use sources::variable_of;
pub use tokens::{OperatorToken, TokensConfig};
pub use units::{ByteSize, parse_duration, show_duration, show_limit};
pub use uploads::UploadsConfig;
pub use watch::WatchConfig;

use self::{
    print::EffectiveSetting,
    reader::{Reader, Section},
};

/// All that an operator can set.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the HTTP server listens. Default `127.0.0.1:7800`: nothing is open to a network before someone says so.
    pub listen: SocketAddr,
    /// How this host is reached from outside, for links and hook addresses. Default: made from `listen`.
    pub public_url: Option<Url>,
    /// Compiled artefacts, and the private Postgres if there is no other. Default `.trellis`, below the working
    /// directory: two checkouts do not get into each other's way.
    pub data_dir: PathBuf,
    /// Start even on a Postgres that may forget commits (`fsync = off`, `synchronous_commit = off`). Default false: a
    /// 2xx promises that an event is on disk. For tests of throughput only.
    pub allow_unsafe_durability: bool,
    pub database: DatabaseConfig,
    pub postgres: PostgresConfig,
    pub http: HttpConfig,
    pub tokens: TokensConfig,
    pub queue: QueueConfig,
    pub history: HistoryConfig,
    pub watch: WatchConfig,
    pub run: RunConfig,
    pub limiter: LimiterConfig,
    pub sandbox: SandboxConfig,
    pub shadow: ShadowConfig,
    pub uploads: UploadsConfig,
    pub egress: EgressConfig,
    pub credentials: CredentialsConfig,
    pub log: LogConfig,
}

/// A configuration together with where each of its values came from.
#[derive(Clone, Debug)]
pub struct LoadedConfig {
    pub config: Config,
    settings: Vec<EffectiveSetting>,
}

impl Config {
    /// Reads all sources. `environment` is the process's, as pairs; anything but `TRELLIS_*` and `DATABASE_URL` in it is
    /// passed over.
    ///
    /// # Errors
    /// All mistakes in all sources, in the order of the settings.
    pub fn load(
        args: &ConfigArgs,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<LoadedConfig, ConfigMistakes> {
        Self::load_with(args, environment, |_| Vec::new())
    }

    /// The same, with a further look at what was read: settings, what is wrong with what they lead to, and how to mend it.
    ///
    /// # Errors
    /// All mistakes, those of the further look included.
    pub fn load_with(
        args: &ConfigArgs,
        environment: impl IntoIterator<Item = (String, String)>,
        look: impl FnOnce(&Self) -> Vec<(&'static str, String, &'static str)>,
    ) -> Result<LoadedConfig, ConfigMistakes> {
        let mut reader = Reader::new(sources::collect(args, environment));
        let config = Self::read(&mut reader);
        for (key, problem, fix) in look(&config) {
            reader.blame_setting(key, problem, fix);
        }
        let settings = reader.finish()?;
        Ok(LoadedConfig { config, settings })
    }

    fn read(reader: &mut Reader) -> Self {
        let mut top = reader.section("");
        Self {
            listen: top.setting("listen", SocketAddr::from(([127, 0, 0, 1], 7800))),
            public_url: top.optional("public_url"),
            data_dir: top.setting("data_dir", PathBuf::from(".trellis")),
            allow_unsafe_durability: top.setting("allow_unsafe_durability", false),
            database: DatabaseConfig::read(&mut reader.section("database")),
            postgres: PostgresConfig::read(&mut reader.section("postgres")),
            http: HttpConfig::read(&mut reader.section("http")),
            tokens: TokensConfig::read(&mut reader.section("tokens")),
            queue: QueueConfig::read(&mut reader.section("queue")),
            history: HistoryConfig::read(&mut reader.section("history")),
            watch: WatchConfig::read(&mut reader.section("watch")),
            run: RunConfig::read(&mut reader.section("run")),
            limiter: LimiterConfig::read(&mut reader.section("limiter")),
            sandbox: SandboxConfig::read(reader),
            shadow: ShadowConfig::read(&mut reader.section("shadow")),
            uploads: UploadsConfig::read(&mut reader.section("uploads")),
            egress: EgressConfig::read(&mut reader.section("egress")),
            credentials: CredentialsConfig::read(&mut reader.section("credentials")),
            log: LogConfig::read(&mut reader.section("log")),
        }
    }

    /// Where this host is reached: `public_url`, or an address of this machine made from `listen`. No slash at the end.
    pub fn base_url(&self) -> String {
        match &self.public_url {
            Some(url) => url.as_str().trim_end_matches('/').to_owned(),
            // An address that means "all of them" is none to connect to.
            None if self.listen.ip().is_unspecified() => format!("http://localhost:{}", self.listen.port()),
            None => format!("http://{}", self.listen),
        }
    }
}

impl LoadedConfig {
    /// The effective configuration as a TOML file that would give the same, each value with its source; passwords are
    /// masked.
    pub fn to_toml(&self) -> String {
        print::to_toml(&self.settings)
    }
}
