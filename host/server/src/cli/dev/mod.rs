//! `trellis dev`: a project folder on a host of its own, built, deployed and watched; with `--once`, one event through
//! all of it.

mod services;
mod settings;
mod watch;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use reqwest::Method;
use trellis_model::{
    AccountId,
    token::{Scope, TokenKind},
};

use self::{
    services::Services,
    settings::{DevEvent, DevSettings},
    watch::Watch,
};
use super::{
    connection::SavedConnection,
    deploy::{Deployed, DeployedTrigger, deploy},
    failure::{CommandResult, Failure},
    output::{Exit, Output},
    progress::Progress,
    runs,
    send::Accepted,
    serve,
};
use crate::{
    api::generate_token,
    client::Client,
    config::{Config, ConfigArgs},
    project::Project,
    server::Server,
};

#[derive(Debug, clap::Args)]
pub struct DevArgs {
    /// The project's folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Send the sample event, print its run, and leave
    #[arg(long)]
    pub once: bool,
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// The account that a project under development belongs to.
const ACCOUNT: &str = "dev";
const TOKEN_SECONDS: i64 = 30 * 86_400;
/// The sample event's run is waited for this long.
const RUN_TIMEOUT: Duration = Duration::from_secs(120);

pub async fn run(args: DevArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let settings = DevSettings::read(&args.dir)?;
    let config = configure(&args)?;
    if args.config.print_config {
        output.note(&serve::load(&args.config)?.to_toml())?;
        return Ok(());
    }
    super::logging::start(&config.log);
    let services = Services::start(&settings.services, &args.dir, progress).await?;
    let config = with_services(config, &services);
    let task = progress.task("starting the host");
    let mut server = Server::start(&config).await?;
    task.done(&server.base_url);
    let outcome = use_host(&args, &settings, &services, &mut server, output, progress).await;
    SavedConnection::forget(&args.dir);
    server.shutdown().await?;
    services.stop().await;
    outcome
}

/// What the host is used for once it serves.
async fn use_host(
    args: &DevArgs,
    settings: &DevSettings,
    services: &Services,
    server: &mut Server,
    output: &mut Output,
    progress: &Progress,
) -> CommandResult {
    let client = sign_in(server).await?;
    let workshop = Workshop { dir: &args.dir, services, client: &client, progress };
    if args.once {
        let deployed = workshop.deploy().await?;
        return workshop.send_sample(settings, &deployed, output).await;
    }
    let saved = SavedConnection { url: server.base_url.clone(), token: client.token().to_owned() };
    saved.save(&args.dir)?;
    tokio::select! {
        outcome = workshop.watch(settings, output) => outcome,
        error = server.failed() => Err(error.into()),
        () = serve::stop_signal() => Ok(()),
    }
}

/// The configuration as for `serve`, with the data in the project's folder, and any free port for `--once`.
fn configure(args: &DevArgs) -> Result<Config, Failure> {
    let mut config_args = args.config.clone();
    let is_set = |flag: &Option<String>, name: &str| flag.is_some() || std::env::var_os(name).is_some();
    if !is_set(&config_args.data_dir, "TRELLIS_DATA_DIR") {
        config_args.data_dir = Some(args.dir.join(".trellis").display().to_string());
    }
    if args.once && !is_set(&config_args.listen, "TRELLIS_LISTEN") {
        config_args.listen = Some("127.0.0.1:0".to_owned());
    }
    if !is_set(&config_args.log_filter, "TRELLIS_LOG_FILTER") {
        config_args.log_filter = Some("warn".to_owned());
    }
    Ok(serve::load(&config_args)?.config)
}

/// The project's own services may be reached although they are on this machine.
fn with_services(mut config: Config, services: &Services) -> Config {
    config.egress.allow_private.extend(services.addresses());
    config
}

/// Makes the account and a token of it.
async fn sign_in(server: &Server) -> Result<Client, Failure> {
    let database = &server.host.database;
    let token = generate_token(TokenKind::Account)?;
    let create = async {
        let account: AccountId = database.ensure_account(ACCOUNT).await?;
        database
            .create_token(Some(account), None, "trellis dev", token.digest(), &Scope::of_account(), Some(TOKEN_SECONDS))
            .await
    };
    create.await.context("cannot make a token").map_err(Failure::from)?;
    Ok(Client::new(&local_url(server.address), token.reveal(), None)?)
}

/// `base_url` may be a public name that this machine cannot reach.
fn local_url(address: SocketAddr) -> String {
    if address.ip().is_unspecified() {
        format!("http://127.0.0.1:{}", address.port())
    } else {
        format!("http://{address}")
    }
}

/// A project folder and the host it is tried on.
struct Workshop<'w> {
    dir: &'w Path,
    services: &'w Services,
    client: &'w Client,
    progress: &'w Progress,
}

impl Workshop<'_> {
    async fn deploy(&self) -> Result<Deployed, Failure> {
        let variable = |name: &str| self.services.variable(name).or_else(|| std::env::var(name).ok());
        let project = Project::open(self.dir, &variable)?;
        deploy(self.client, &project, false, self.progress).await
    }

    /// One event, over HTTP as anybody would send it.
    async fn send_sample(&self, settings: &DevSettings, deployed: &Deployed, output: &mut Output) -> CommandResult {
        let event = settings.event.as_ref().ok_or_else(|| {
            let fix = "name one under `[dev]`: event = { trigger = \"…\", file = \"event.json\" }";
            Failure::new(Exit::Refused, format!("the project has no sample event; {fix}"))
        })?;
        let trigger = find_trigger(deployed, event)?;
        let path = self.dir.join(&event.file);
        let body = std::fs::read(&path)
            .map_err(|error| Failure::new(Exit::NotFound, format!("cannot read {}: {error}", path.display())))?;
        let method = Method::from_bytes(trigger.methods.first().map_or("POST", String::as_str).as_bytes())
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let url =
            trigger.url.parse().map_err(|error| Failure::new(Exit::Failed, format!("{}: {error}", trigger.url)))?;
        output.note(&format!("{method} {}", trigger.url))?;
        let accepted: Accepted = self.client.send_raw(method, url, Bytes::from(body)).await?;
        output.note(&format!("202 {}", accepted.run))?;
        let run = runs::wait(self.client, &accepted.run, RUN_TIMEOUT, self.progress).await?;
        output.show(&run, runs::human)?;
        match &run.error {
            Some(error) => Err(Failure::new(Exit::Failed, format!("the run is a dead letter: {error}"))),
            None => Ok(()),
        }
    }

    /// Deploys at the start and after every change; a mistake is told and waited out.
    async fn watch(&self, settings: &DevSettings, output: &mut Output) -> CommandResult {
        let mut watch = Watch::new(self.dir);
        loop {
            match self.deploy().await {
                Ok(deployed) => output.note(&self.greeting(settings, &deployed))?,
                Err(failure) => {
                    output.failure(failure.exit, failure.error.as_ref());
                    output.note("waiting for a change …")?;
                }
            }
            watch.changed().await;
        }
    }

    /// What to do next, ready to paste.
    fn greeting(&self, settings: &DevSettings, deployed: &Deployed) -> String {
        let mut text = format!("\nproject {} is deployed; the API is at {}v1\n", deployed.project, self.client.base());
        for trigger in &deployed.triggers {
            let file = settings
                .event
                .as_ref()
                .filter(|event| event.trigger == trigger.name)
                .map(|event| self.dir.join(&event.file).display().to_string());
            let method = trigger.methods.first().map_or("POST", String::as_str);
            let body = file.map_or_else(|| "'{}'".to_owned(), |file| format!("@{file}"));
            text.push_str(&format!(
                "\ncurl -X {method} {} \\\n  -H 'Authorization: Bearer {}' \\\n  -H 'Content-Type: application/json' -d {body}\n",
                trigger.url,
                self.client.token(),
            ));
        }
        text.push_str("\nwatching for changes; Ctrl-C stops\n");
        text
    }
}

fn find_trigger<'d>(deployed: &'d Deployed, event: &DevEvent) -> Result<&'d DeployedTrigger, Failure> {
    deployed.triggers.iter().find(|trigger| trigger.name == event.trigger).ok_or_else(|| {
        let known: Vec<&str> = deployed.triggers.iter().map(|trigger| trigger.name.as_str()).collect();
        let message = format!(
            "`[dev]` names the trigger `{}`, which does not exist; there are: {}",
            event.trigger,
            known.join(", ")
        );
        Failure::new(Exit::Refused, message)
    })
}
