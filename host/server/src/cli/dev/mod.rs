//! `trellis dev`: a project folder on a host of its own, built, deployed and watched; with `--once`, one event through
//! all of it.

mod credentials;
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
    AccountId, TokenId,
    manifest::{
        Manifest, TriggerAuth,
        dev::{DevDefinition, DevEvent},
    },
    token::{Scope, TokenKind},
};
use trellis_store::{StoreError, tokens::TokenOwner};
use url::Url;

use self::{credentials::Credentials, services::Services, watch::Watch};
use super::{
    connection::SavedConnection,
    deploy::{Deployed, DeployedTrigger, deploy},
    failure::{CommandResult, Failure},
    output::{Exit, Output, pasted},
    progress::Progress,
    send::{self, Accepted},
    serve,
};
use crate::{
    api::generate_token,
    client::Client,
    config::{Config, ConfigArgs, LoadedConfig, variable_of},
    credentials::dev_key_file,
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
    let settings = settings::read(&args.dir)?;
    let loaded = configure(&args)?;
    if args.config.print_config {
        output.show(&loaded.to_toml(), Clone::clone)?;
        return Ok(());
    }
    super::logging::start(&loaded.config.log);
    let services = Services::start(&settings.services, &args.dir, progress).await?;
    let config = with_key(with_services(loaded.config, &services), &args.dir)?;
    let task = progress.task("starting the host");
    let mut server = Server::start(&config).await?;
    task.done(&server.base_url);
    let outcome = use_host(&args, &settings, &services, &mut server, output, progress).await;
    server.shutdown().await?;
    services.stop().await;
    outcome
}

/// What the host is used for once it serves.
async fn use_host(
    args: &DevArgs,
    settings: &DevDefinition,
    services: &Services,
    server: &mut Server,
    output: &mut Output,
    progress: &Progress,
) -> CommandResult {
    let (client, token) = sign_in(server).await?;
    let workshop = Workshop { dir: &args.dir, services, client: &client, progress };
    let outcome = if args.once {
        workshop.once(settings, output).await
    } else {
        let saved = SavedConnection { url: local_url(server.address), token: client.token().to_owned() };
        saved.save(&args.dir)?;
        let outcome = tokio::select! {
            outcome = workshop.watch(settings, output) => outcome,
            error = server.failed() => Err(error.into()),
            () = serve::stop_signal() => Ok(()),
        };
        SavedConnection::forget(&args.dir);
        outcome
    };
    token.revoke(server).await;
    outcome
}

/// The configuration as for `serve`, but for what no flag, variable or file says: the data are in the project's folder,
/// the log is quiet, compilations may take long, and `--once` listens on any free port.
fn configure(args: &DevArgs) -> Result<LoadedConfig, Failure> {
    let mut config_args = args.config.clone();
    let has_file = config_args.config.is_some() || std::env::var_os("TRELLIS_CONFIG").is_some();
    let is_open = |flag: &Option<String>, name: &str| !has_file && flag.is_none() && std::env::var_os(name).is_none();
    if is_open(&config_args.data_dir, "TRELLIS_DATA_DIR") {
        config_args.data_dir = Some(args.dir.join(".trellis").display().to_string());
    }
    if args.once && is_open(&config_args.listen, "TRELLIS_LISTEN") {
        config_args.listen = Some("127.0.0.1:0".to_owned());
    }
    if is_open(&config_args.log_filter, "TRELLIS_LOG_FILTER") {
        config_args.log_filter = Some("warn".to_owned());
    }
    if !has_file {
        // A machine on which somebody builds is busy. How much there is to compile, CPU time says.
        let patient = PATIENCE.iter().filter(|(key, _)| std::env::var_os(variable_of(key)).is_none());
        // Whatever is set by hand comes after it.
        config_args.set.splice(0..0, patient.map(|(key, value)| format!("{key}={value}")));
    }
    serve::load(&config_args)
}

/// Settings for a machine that does other things as well.
const PATIENCE: [(&str, &str); 2] = [("uploads.compile_wall", "100s"), ("http.request_timeout", "110s")];

/// The project's own services may be reached although they are on this machine.
fn with_services(mut config: Config, services: &Services) -> Config {
    config.egress.allow_private.extend(services.addresses());
    config
}

/// Credentials are sealed with a key of the project's own folder, where no other is configured.
fn with_key(mut config: Config, dir: &Path) -> Result<Config, Failure> {
    let credentials = &mut config.credentials;
    if credentials.master_key_file.is_none() && credentials.master_key.is_none() {
        let made = dev_key_file(&dir.join(".trellis")).map_err(|error| Failure::new(Exit::Failed, error))?;
        credentials.master_key_file = Some(made);
    }
    Ok(config)
}

/// The token of this start; good until it is revoked at the end.
struct DevToken {
    account: AccountId,
    id: TokenId,
}

impl DevToken {
    async fn revoke(&self, server: &Server) {
        if let Err(error) = server.host.database.revoke_token(TokenOwner::Account(self.account), self.id).await {
            tracing::warn!(%error, "the token of this start was not revoked; it expires by itself");
        }
    }
}

/// Makes the account and a token of it.
async fn sign_in(server: &Server) -> Result<(Client, DevToken), Failure> {
    let database = &server.host.database;
    let token = generate_token(TokenKind::Account)?;
    let create = async {
        let account = database.ensure_account(ACCOUNT).await?;
        let scopes = Scope::of_account();
        let id = database
            .create_token(Some(account), None, "trellis dev", token.digest(), &scopes, Some(TOKEN_SECONDS))
            .await?;
        Ok::<_, StoreError>(DevToken { account, id })
    };
    let made = create.await.context("cannot make a token").map_err(Failure::from)?;
    Ok((Client::new(&local_url(server.address), token.reveal(), None)?, made))
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
    async fn once(&self, settings: &DevDefinition, output: &mut Output) -> CommandResult {
        let project = self.open()?;
        let deployed = deploy(self.client, &project, false, self.progress).await?;
        self.send_sample(settings, &deployed, output).await
    }

    fn open(&self) -> Result<Project, Failure> {
        let variable = |name: &str| self.services.variable(name).or_else(|| std::env::var(name).ok());
        Ok(Project::open(self.dir, &variable)?)
    }

    /// Where a trigger is reached from this machine: its published address may be one for others.
    fn hook(&self, deployed: &Deployed, trigger: &DeployedTrigger) -> Url {
        let path = trigger.url.find("/hooks/").map_or("", |at| &trigger.url[at + 1..]);
        let steps: Vec<&str> =
            if path.is_empty() { vec!["hooks", ACCOUNT, &deployed.project] } else { path.split('/').collect() };
        self.client.url(&steps)
    }

    /// One event, over HTTP as anybody would send it.
    async fn send_sample(&self, settings: &DevDefinition, deployed: &Deployed, output: &mut Output) -> CommandResult {
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
        let accepted: Accepted = self.client.send_event(method, url, Bytes::from(body), None).await?;
        output.note(&format!("202 {}", accepted.run))?;
        send::wait_and_show(self.client, &accepted.run, RUN_TIMEOUT, output, self.progress).await
    }

    /// Deploys at the start and after every change; a mistake is told and waited out.
    async fn watch(&self, settings: &DevDefinition, output: &mut Output) -> CommandResult {
        let mut watch = Watch::new(vec![self.dir.to_owned()]);
        loop {
            let mut missing = None;
            let outcome = match self.open() {
                Ok(project) => {
                    // Plugins may lie outside the project's folder.
                    watch.set_folders(project.folders());
                    missing = self.credentials_before(&project).await?;
                    let deployed = deploy(self.client, &project, false, self.progress).await;
                    deployed.map(|deployed| (project, deployed))
                }
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok((project, deployed)) => {
                    output.show(&deployed, |deployed| self.greeting(settings, deployed, &project.manifest))?;
                    missing = None;
                }
                Err(failure) => {
                    output.failure(failure.exit, failure.error.as_ref(), &failure.faults);
                    output.note("waiting for a change …")?;
                }
            }
            match missing {
                None => watch.changed().await,
                Some((project, before)) => tokio::select! {
                    () = watch.changed() => {}
                    () = credentials::changed(self.client, &project, &before) => {}
                },
            }
        }
    }

    /// The credentials of a project that needs some, as they are before it is deployed: one that is set while that fails is
    /// not missed.
    async fn credentials_before(&self, project: &Project) -> Result<Option<(String, Credentials)>, Failure> {
        if project.manifest.credential_uses().is_empty() {
            return Ok(None);
        }
        let name = project.manifest.project.clone();
        let before = credentials::list(self.client, &name).await?;
        Ok(Some((name, before)))
    }

    /// What to do next, ready to paste.
    fn greeting(&self, settings: &DevDefinition, deployed: &Deployed, manifest: &Manifest) -> String {
        let mut text = format!("\nproject {} is deployed at {}\n", deployed.project, self.client.base());
        for trigger in &deployed.triggers {
            let file = settings
                .event
                .as_ref()
                .filter(|event| event.trigger == trigger.name)
                .map(|event| self.dir.join(&event.file).display().to_string());
            let method = trigger.methods.first().map_or("POST", String::as_str);
            let body = file.map_or_else(|| "{}".to_owned(), |file| format!("@{file}"));
            let hook = self.hook(deployed, trigger);
            let hook = pasted(hook.as_str());
            let declared = manifest.triggers.iter().find(|declared| declared.name == trigger.name);
            let token = match declared.map(|declared| &declared.http.auth) {
                Some(TriggerAuth::None) => String::new(),
                Some(TriggerAuth::Signature(_)) => {
                    text.push_str(&format!("\n{method} {hook} takes what its sender has signed; to start a run yourself: trellis send {} FILE\n", trigger.grid));
                    continue;
                }
                Some(TriggerAuth::Token) | None => format!("  -H 'Authorization: Bearer {}' \\\n", self.client.token()),
            };
            text.push_str(&format!(
                "\ncurl -X {method} {hook} \\\n{token}  -H 'Content-Type: application/json' -d {}\n",
                pasted(&body),
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
