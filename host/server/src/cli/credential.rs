//! `trellis credential`: the secrets of a project. `trellis credentials`: the master keys that seal those of all projects.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output},
    send::project_here,
};
use crate::credentials::new_key;

#[derive(Debug, clap::Subcommand)]
pub enum CredentialCommand {
    /// Set a credential; its value is never told again
    Set(SetArgs),
    /// List a project's credentials by name
    #[command(visible_alias = "ls")]
    List(ProjectArgs),
    /// Delete a credential that nothing deployed needs
    #[command(visible_alias = "rm")]
    Delete(DeleteArgs),
}

#[derive(Debug, clap::Args)]
pub struct SetArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// A file with the value; `-` is standard input. A line break at its end is left out
    // Never the value itself: other users of the machine see the arguments of a command, and shells remember them.
    #[arg(default_value = "-")]
    pub file: PathBuf,
}

#[derive(Debug, clap::Args)]
pub struct DeleteArgs {
    #[command(flatten)]
    pub named: NamedArgs,
    /// Even if the current revision of the project needs it
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, clap::Args)]
pub struct NamedArgs {
    /// What manifests call it
    pub name: String,
    #[command(flatten)]
    pub project: ProjectArgs,
}

#[derive(Debug, clap::Args)]
pub struct ProjectArgs {
    /// The project [default: that of trellis.toml in this folder]
    #[arg(long)]
    pub project: Option<String>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

impl ProjectArgs {
    /// The project that is meant.
    ///
    /// # Errors
    /// None is given, and none lies here.
    pub fn name(&self) -> Result<String, Failure> {
        self.project.clone().map_or_else(|| project_here(Path::new(".")), Ok)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Credential {
    name: String,
    key_version: i32,
    updated_at: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Credentials {
    items: Vec<Credential>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub async fn run(command: CredentialCommand, output: &mut Output) -> CommandResult {
    match command {
        CredentialCommand::Set(args) => set(&args, output).await,
        CredentialCommand::List(args) => list(&args, output).await,
        CredentialCommand::Delete(args) => delete(&args, output).await,
    }
}

/// What is told of a credential that is new.
#[derive(Deserialize)]
struct Told {
    awaits_deployment: bool,
    similar_project: Option<String>,
}

/// A credential that was set.
#[derive(Serialize)]
struct Set<'s> {
    project: &'s str,
    name: &'s str,
    awaits_deployment: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    similar_project: Option<String>,
}

/// What was done with a credential.
#[derive(Serialize)]
struct Done<'d> {
    project: &'d str,
    name: &'d str,
}

async fn set(SetArgs { named, file }: &SetArgs, output: &mut Output) -> CommandResult {
    let project = named.project.name()?;
    let client = named.project.connection.client(Path::new("."))?;
    let value = read(file)?;
    let body = json!({ "value": value.as_str() });
    let path = ["v1", "projects", &project, "credentials", &named.name];
    let told: Option<Told> = client.put_optional(&path, &body).await?;
    let set = Set {
        project: &project,
        name: &named.name,
        awaits_deployment: told.as_ref().is_some_and(|told| told.awaits_deployment),
        similar_project: told.and_then(|told| told.similar_project),
    };
    output.show(&set, |set| {
        let mut text = format!("credential {} of project {} is set", set.name, set.project);
        if set.awaits_deployment {
            text.push_str(&format!("\nnothing is deployed as {} yet: it waits for the first deployment", set.project));
        }
        if let Some(similar) = &set.similar_project {
            text.push_str(&format!("; did you mean --project {similar}?"));
        }
        text
    })?;
    Ok(())
}

fn read(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let mut text = Zeroizing::new(String::new());
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(file).and_then(|mut file| file.read_to_string(&mut text))
    };
    read.map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("cannot read {}: {error}", file.display()))
    })?;
    // As `echo` and editors leave one.
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Zeroizing::new(line.strip_suffix('\r').unwrap_or(line).to_owned()))
}

async fn list(args: &ProjectArgs, output: &mut Output) -> CommandResult {
    let project = args.name()?;
    let client = args.connection.client(Path::new("."))?;
    let path = ["v1", "projects", &project, "credentials"];
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let query: Vec<(&str, String)> = after.take().map(|after| ("after", after)).into_iter().collect();
        let page: Credentials = client.get(&path, &query).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    output.show(&Credentials { items, next: None }, |list| {
        let line = |one: &Credential| format!("{}  set {}  master key {}\n", one.name, one.updated_at, one.key_version);
        list.items.iter().map(line).collect::<String>().trim_end().to_owned()
    })?;
    Ok(())
}

async fn delete(DeleteArgs { named, force }: &DeleteArgs, output: &mut Output) -> CommandResult {
    let project = named.project.name()?;
    let client = named.project.connection.client(Path::new("."))?;
    let query: &[(&str, String)] = if *force { &[("force", "true".to_owned())] } else { &[] };
    client.delete_with(&["v1", "projects", &project, "credentials", &named.name], query).await?;
    output.show(&Done { project: &project, name: &named.name }, |done| {
        format!("credential {} of project {} is deleted", done.name, done.project)
    })?;
    Ok(())
}

#[derive(Debug, clap::Subcommand)]
pub enum CredentialsCommand {
    /// Print a line for the file of master keys
    NewKey {
        /// One more than the highest in the file
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..))]
        version: i32,
    },
    /// Seal all credentials anew with the master key in use; takes an operator token. Broken off, it goes on where it was
    RotateKey {
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

/// How far sealing anew has come.
#[derive(Debug, Serialize, Deserialize)]
struct Resealed {
    key_version: i32,
    resealed: u64,
    remaining: u64,
}

pub async fn run_keys(command: CredentialsCommand, output: &mut Output) -> CommandResult {
    match command {
        CredentialsCommand::NewKey { version } => {
            let line = new_key(version).map_err(|error| Failure::new(Exit::Failed, error))?;
            output.show(&line.trim_end(), ToString::to_string)?;
            Ok(())
        }
        CredentialsCommand::RotateKey { connection } => rotate_key(connection, output).await,
    }
}

async fn rotate_key(mut connection: ConnectionArgs, output: &mut Output) -> CommandResult {
    // It is about all accounts.
    connection.account = None;
    let client = connection.client(Path::new("."))?;
    let mut total = 0;
    loop {
        let step: Resealed = client.post_json(&["v1", "credentials", "reseal"], &json!({})).await?;
        total += step.resealed;
        if step.remaining > 0 && step.resealed > 0 {
            continue;
        }
        let all = Resealed { resealed: total, ..step };
        output.show(&all, |all| {
            format!("{} credentials were sealed anew with master key {}", all.resealed, all.key_version)
        })?;
        return match all.remaining {
            0 => Ok(()),
            left => Err(Failure::new(
                Exit::Failed,
                format!("{left} credentials are sealed with other keys still; the host's log says why"),
            )),
        };
    }
}
