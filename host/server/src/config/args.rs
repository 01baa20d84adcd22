//! The flags that configure a host. Few of their own; `--set` reaches every setting.

use std::path::PathBuf;

/// Taken in by every command that runs a host.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigArgs {
    /// Read settings from this TOML file [env: TRELLIS_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Listen here, such as 0.0.0.0:7800
    // Text, like the others: a mistake in it is to be reported together with all the rest.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,
    /// How this host is reached from outside
    #[arg(long, value_name = "URL")]
    pub public_url: Option<String>,
    /// Where compiled artefacts and the private Postgres live
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// The Postgres to use; better in the environment as DATABASE_URL, where other users of the machine cannot see it
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// How log lines look: text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// What is logged, such as info or warn,trellis=debug
    #[arg(long, value_name = "FILTER")]
    pub log_filter: Option<String>,
    /// Start even on a Postgres that may forget commits
    #[arg(long)]
    pub allow_unsafe_durability: bool,
    /// Set anything else, such as http.body_max=2MiB; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Print the effective configuration and leave
    #[arg(long)]
    pub print_config: bool,
}
