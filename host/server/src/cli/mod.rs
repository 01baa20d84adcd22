//! The command line: what a person or a script types, and what it is answered.

mod account;
mod call_limits;
mod cancel;
mod credential;
mod deploy;
mod dev;
mod diff;
mod doctor;
mod exit_codes;
mod export;
mod limits;
mod logs;
pub mod new;
mod plugin;
mod records;
mod replay;
mod revisions;
mod runs;
mod send;
mod serve;
mod stores;
mod token;
mod watch;

mod connection;
mod failure;
mod logging;
pub mod output;
pub mod progress;

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, Parser, Subcommand};

use self::{
    failure::{CommandResult, Failure},
    output::{Exit, Output, OutputArgs, printable},
    progress::Progress,
};

/// Runs automations as sandboxed WebAssembly
///
/// `trellis new NAME` makes a project, `trellis dev` runs it on this machine, `trellis deploy` brings it to a server.
#[derive(Debug, Parser)]
#[command(
    name = "trellis",
    version,
    after_help = "Exit codes of all commands: 0 done, 1 failed, 2 usage, 3 not found, 4 refused, 5 unavailable; `trellis exit-codes` explains them."
)]
struct Cli {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a project on this machine: build, deploy, watch
    Dev(dev::DevArgs),
    /// Run a host
    Serve(serve::ServeArgs),
    /// Make a project with one plugin and its test
    New(new::NewArgs),
    /// Build, inspect and upload plugins
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Build and upload a project's plugins and deploy its manifest
    Deploy(deploy::DeployArgs),
    /// List what was deployed of a project, newest first
    Revisions(revisions::RevisionsArgs),
    /// Go back to an earlier revision of a project
    Rollback(revisions::RollbackArgs),
    /// Start a run of a grid
    #[command(
        after_help = "Examples:\n  trellis send order order.json --wait\n  echo '{\"id\":\"order-7\"}' | trellis send order\n  trellis send order order.json --key order-7"
    )]
    Send(send::SendArgs),
    /// List runs, newest first
    Runs(runs::RunsArgs),
    /// Show what the nodes of runs have logged
    Logs(logs::LogsArgs),
    /// Look at a run, watch it, cancel it, replay it, try a candidate on it
    #[command(subcommand)]
    Run(runs::RunCommand),
    /// Look into the collections of a project, and mend their records
    #[command(subcommand)]
    Records(records::RecordsCommand),
    /// Look into the stores of a project, and mend them
    #[command(subcommand)]
    Stores(stores::StoresCommand),
    /// Make accounts, and set what they get of the hosts
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Show what an account may use, and lower what its calls may
    Limits(limits::LimitsArgs),
    /// Make, list, rotate and revoke access tokens
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Set, list and delete a project's credentials
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Master keys that credentials are sealed with
    #[command(subcommand)]
    Credentials(credential::CredentialsCommand),
    /// Bring the database's schema up to date
    Migrate(serve::ServeArgs),
    /// Check that this machine has what Trellis needs
    Doctor(serve::ServeArgs),
    /// Print what makes a shell complete commands and flags
    #[command(
        after_help = "Examples:\n  trellis completions bash > ~/.local/share/bash-completion/completions/trellis\n  trellis completions fish > ~/.config/fish/completions/trellis.fish"
    )]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// What the exit codes of all commands mean
    #[command(after_help = exit_codes::help())]
    ExitCodes,
}

/// The whole program.
pub async fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let mut output = Output::of_process(cli.output);
    let progress = Progress::of_process(cli.output);
    match run(cli.command, &mut output, &progress).await {
        Ok(()) => Exit::Ok.into(),
        // A reader that has seen enough is no failure.
        Err(Failure { exit: Exit::Ok, .. }) => Exit::Ok.into(),
        Err(failure) => output.failure(failure.exit, failure.error.as_ref(), &failure.faults).into(),
    }
}

/// Help and versions, which were asked for, and mistakes in the command line: to programs like every other failure.
fn misused(error: &clap::Error) -> ExitCode {
    let wants_json = std::env::args_os().skip(1).take_while(|word| word != "--").any(|word| word == "--json");
    if !error.use_stderr() || !wants_json {
        error.exit();
    }
    let text = error.render().to_string();
    let message = text.trim().trim_start_matches("error: ").to_owned();
    let mut output = Output::of_process(OutputArgs { json: true, quiet: true });
    output.failure(Exit::Usage, &io::Error::other(message), &[]).into()
}

async fn run(command: Command, output: &mut Output, progress: &Progress) -> CommandResult {
    match command {
        Command::Dev(args) => Box::pin(dev::run(args, output, progress)).await,
        Command::Serve(args) => Box::pin(serve::run(args, output)).await,
        Command::New(args) => create(&args, output),
        Command::Plugin(command) => plugin::run(command, output, progress).await,
        Command::Deploy(args) => deploy::run(args, output, progress).await,
        Command::Revisions(args) => revisions::list(args, output).await,
        Command::Rollback(args) => revisions::roll_back(args, output).await,
        Command::Send(args) => send::run(args, output, progress).await,
        Command::Runs(args) => runs::list(args, output).await,
        Command::Logs(args) => logs::run(args, output).await,
        Command::Run(command) => runs::run(command, output, progress).await,
        Command::Account(command) => account::run(command, output).await,
        Command::Limits(args) => limits::run(args, output).await,
        Command::Token(command) => token::run(command, output).await,
        Command::Credential(command) => credential::run(command, output).await,
        Command::Credentials(command) => credential::run_keys(command, output).await,
        Command::Migrate(args) => serve::migrate(args, output).await,
        Command::Doctor(args) => doctor::run(args, output).await,
        Command::Records(command) => records::run(command, output).await,
        Command::Stores(command) => stores::run(command, output).await,
        Command::Completions { shell } => completions(shell),
        Command::ExitCodes => exit_codes::run(output),
    }
}

/// All commands with their flags, as they are parsed.
pub fn command() -> clap::Command {
    Cli::command()
}

/// For a shell to read: the same with and without `--json`.
fn completions(shell: clap_complete::Shell) -> CommandResult {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut command(), "trellis", &mut text);
    io::stdout().write_all(&text)?;
    Ok(())
}

fn create(args: &new::NewArgs, output: &mut Output) -> CommandResult {
    let created = new::create(args).map_err(|error| Failure::new(error.exit(), error))?;
    let directory = created.directory.display().to_string();
    output.show(&created, |created| {
        let directory = printable(&directory);
        let files: String = created.files.iter().map(|file| format!("  {}\n", file.display())).collect();
        format!(
            "made {directory}\n{files}\nnext:\n  cd {directory}\n  {}\n  trellis dev --once   # builds, deploys and sends the sample event, then ends\n  trellis dev          # stays up, and deploys every change",
            created.test
        )
    })?;
    Ok(())
}
