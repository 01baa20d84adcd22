//! `trellis serve` and `trellis migrate`: a host as an operator runs it.

use tokio::signal::unix::{SignalKind, signal};

use super::{
    failure::{CommandResult, Failure},
    output::{Exit, Output},
};
use crate::{
    config::{Config, ConfigArgs, LoadedConfig},
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
    Config::load(args, std::env::vars()).map_err(|mistakes| Failure::new(Exit::Usage, mistakes))
}

pub async fn run(args: ServeArgs, output: &mut Output) -> CommandResult {
    let loaded = load(&args.config)?;
    if args.config.print_config {
        output.note(&loaded.to_toml())?;
        return Ok(());
    }
    super::logging::start(&loaded.config.log);
    let mut server = Server::start(&loaded.config).await?;
    if let Some(token) = server.bootstrap_operator().await? {
        output.note(&format!("operator token, shown this one time: {token}"))?;
    }
    output.note(&format!("trellis serves {}", server.base_url))?;
    let outcome = tokio::select! {
        () = stop_signal() => Ok(()),
        error = server.failed() => Err(error),
    };
    tracing::info!("stopping");
    server.shutdown().await?;
    outcome.map_err(Failure::from)
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
