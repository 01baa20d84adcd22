//! `trellis serve` and `trellis migrate`: a host as an operator runs it.

use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    failure::{CommandResult, Failure},
    output::{Exit, Output},
};
use crate::{
    config::{Config, ConfigArgs, LoadedConfig},
    preflight,
    server::{Server, open_database},
};

#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// Reads the configuration, all mistakes at once.
///
/// # Errors
/// The mistakes.
pub fn load(args: &ConfigArgs) -> Result<LoadedConfig, Failure> {
    Config::load(args, environment()).map_err(|mistakes| Failure::new(Exit::Usage, mistakes))
}

fn environment() -> impl Iterator<Item = (String, String)> {
    // A variable that is not UTF-8 cannot be one of ours.
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The same, with a look into the files that are named: what is wrong with them is told before anything is started, and
/// together with all else.
fn load_for_start(args: &ConfigArgs) -> Result<LoadedConfig, Failure> {
    let look = |config: &Config| {
        let wrong = preflight::files(config).into_iter();
        wrong.filter_map(|one| Some((one.setting, one.found.err()?, one.fix))).collect()
    };
    Config::load_with(args, environment(), look).map_err(|mistakes| Failure::new(Exit::Usage, mistakes))
}

pub async fn run(args: ServeArgs, output: &mut Output) -> CommandResult {
    if args.config.print_config {
        let text = load(&args.config)?.to_toml();
        let settings: toml::Table = text.parse().map_err(anyhow::Error::from)?;
        output.show(&settings, |_| text)?;
        return Ok(());
    }
    let loaded = load_for_start(&args.config)?;
    super::logging::start(&loaded.config.log);
    let mut server = Server::start(&loaded.config).await?;
    let outcome = match greet(&server, &loaded.config, output).await {
        Ok(()) => tokio::select! {
            () = stop_signal() => Ok(()),
            error = server.failed() => Err(error.into()),
        },
        Err(failure) => Err(failure),
    };
    tracing::info!("stopping");
    server.shutdown().await?;
    outcome
}

/// What an operator is told once the host serves.
#[derive(Serialize)]
struct Greeting {
    url: String,
    /// At the first start alone, and then never again.
    #[serde(skip_serializing_if = "Option::is_none")]
    operator_token: Option<String>,
}

async fn greet(server: &Server, config: &Config, output: &mut Output) -> CommandResult {
    let operator_token = server.bootstrap_operator(&config.tokens).await?;
    let greeting = Greeting { url: server.base_url.clone(), operator_token };
    output.show(&greeting, |greeting| {
        let token = greeting.operator_token.as_ref();
        let token = token.map(|token| format!("operator token, shown this one time: {token}\n")).unwrap_or_default();
        format!("{token}trellis serves {}", greeting.url)
    })?;
    Ok(())
}

/// Waits for SIGINT or SIGTERM. A second one ends the process at once.
pub async fn stop_signal() {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without handlers the signals end the process by themselves.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
}

pub async fn migrate(args: ServeArgs, output: &mut Output) -> CommandResult {
    let loaded = load(&args.config)?;
    let (database, postgres) = open_database(&loaded.config).await?;
    let applied = database.migrate().await.map_err(anyhow::Error::from)?;
    database.close().await;
    if let Some(postgres) = postgres {
        postgres.stop().await.map_err(anyhow::Error::from)?;
    }
    output.show(&applied, |applied| match applied.as_slice() {
        [] => "the schema is up to date".to_owned(),
        applied => format!("applied: {}", applied.join(", ")),
    })?;
    Ok(())
}
