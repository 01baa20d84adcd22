//! `trellis plugin ls`, `show`, `yank`, `unyank` and `wit`: plugins that were uploaded.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use trellis_model::description::Description;

use super::{
    super::{
        connection::ConnectionArgs,
        failure::{CommandResult, Failure},
        output::{Exit, Output, Table, more, printable, printable_lines},
    },
    component,
};
use crate::cli::progress::Progress;

#[derive(Debug, clap::Args)]
pub struct LsArgs {
    /// Versions of this plugin alone
    pub name: Option<String>,
    /// Plugins behind this one: the `next` of the page before
    #[arg(long, value_name = "ID")]
    pub after: Option<i64>,
    /// How many
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    pub limit: u16,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct NamedArgs {
    /// The plugin and its version, such as split@1.2.0
    #[arg(value_name = "NAME@VERSION")]
    pub plugin: PluginName,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, clap::Args)]
pub struct WitArgs {
    /// An uploaded plugin as NAME@VERSION, or a component's file [default: the package that plugins are written for]
    #[arg(value_name = "NAME@VERSION|FILE")]
    pub of: Option<String>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// One version of one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginName {
    name: String,
    version: String,
}

impl std::str::FromStr for PluginName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, version) = text.split_once('@').ok_or("name a version, too, such as split@1.2.0")?;
        if version.parse::<semver::Version>().is_err() {
            return Err(format!("`{version}` is no version such as 1.2.0; `trellis plugin ls {name}` lists all"));
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned() })
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Plugin {
    id: i64,
    name: String,
    version: String,
    digest: String,
    size_bytes: u64,
    imports: Vec<String>,
    description: Description,
    created_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    yanked_at: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct PluginPage {
    items: Vec<Plugin>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

pub async fn list(args: &LsArgs, output: &mut Output) -> CommandResult {
    let mut query = vec![("limit", args.limit.to_string())];
    query.extend(args.name.clone().map(|name| ("name", name)));
    query.extend(args.after.map(|after| ("after", after.to_string())));
    let page: PluginPage = args.connection.client(Path::new("."))?.get(&["v1", "plugins"], &query).await?;
    output.show(&page, |page| {
        let mut table = Table::new(["NAME", "VERSION", "SIZE", "UPLOADED", "", "SUMMARY"]);
        for plugin in &page.items {
            let size = format!("{} KiB", plugin.size_bytes.div_ceil(1_024));
            let yanked = if plugin.yanked_at.is_some() { "yanked" } else { "" };
            let summary = plugin.description.summary.lines().next().unwrap_or_default();
            table.row([&plugin.name, &plugin.version, &size, &plugin.created_at, yanked, summary]);
        }
        format!("{table}{}", more(page.next.as_deref()))
    })?;
    Ok(())
}

pub async fn show(args: &NamedArgs, output: &mut Output) -> CommandResult {
    let PluginName { name, version } = &args.plugin;
    let plugin: Plugin = args.connection.client(Path::new("."))?.get(&["v1", "plugins", name, version], &[]).await?;
    output.show(&plugin, |plugin| {
        let yanked = plugin.yanked_at.as_ref().map(|at| format!(", yanked {at}")).unwrap_or_default();
        format!(
            "{} {}  uploaded {}{yanked}\n{} KiB, sha256 {}\n{}",
            plugin.name,
            plugin.version,
            plugin.created_at,
            plugin.size_bytes.div_ceil(1_024),
            plugin.digest,
            described(&plugin.description, &plugin.imports)
        )
    })?;
    Ok(())
}

/// What a plugin says of itself, and what it imports.
pub fn described(description: &Description, imports: &[String]) -> String {
    let mut text = String::new();
    if !description.summary.is_empty() {
        text.push_str(&format!("{}\n", printable_lines(&description.summary)));
    }
    let mut ports = Table::new(["PORT", "SIDE", "SCHEMA"]);
    for (name, port) in &description.inputs {
        ports.row([name.as_str(), if port.required { "input" } else { "input, optional" }, &port.schema.to_string()]);
    }
    for (name, port) in &description.outputs {
        ports.row([name.as_str(), "output", &port.schema.to_string()]);
    }
    let config = description.config.to_string();
    format!("{text}{ports}config: {}\nimports: {}\n", printable(&config), imports.join(", "))
}

pub async fn set_yanked(args: &NamedArgs, is_yanked: bool, output: &mut Output) -> CommandResult {
    let PluginName { name, version } = &args.plugin;
    let what = if is_yanked { "yank" } else { "unyank" };
    let client = args.connection.client(Path::new("."))?;
    let plugin: Plugin = client.post_json(&["v1", "plugins", name, version, what], &json!({})).await?;
    output.show(&plugin, |plugin| match plugin.yanked_at {
        Some(_) => format!("{name} {version} is yanked: new deployments do not find it, revisions that have it go on"),
        None => format!("{name} {version} is found by new deployments"),
    })?;
    Ok(())
}

/// What WIT was asked for.
#[derive(Serialize)]
struct Wit {
    wit: String,
}

pub async fn wit(args: &WitArgs, output: &mut Output, progress: &Progress) -> CommandResult {
    let wit = match args.of.as_deref() {
        None => trellis_engine::plugin_wit().text.clone(),
        Some(file) if Path::new(file).exists() => {
            let (bytes, _) = component(Path::new(file), progress)?;
            trellis_engine::wit_of(&bytes).map_err(|error| Failure::new(Exit::Refused, error))?
        }
        Some(text) => {
            let PluginName { name, version } = text.parse().map_err(|reason| {
                Failure::new(Exit::NotFound, format!("there is no file `{text}`, and it is no plugin: {reason}"))
            })?;
            args.connection.client(Path::new("."))?.get_text(&["v1", "plugins", &name, &version, "wit"]).await?
        }
    };
    output.show(&Wit { wit }, |wit| printable_lines(&wit.wit).into_owned())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_named_with_its_version() {
        let named: PluginName = "split@1.2.0-local.h0123".parse().expect("a plugin");
        assert_eq!((named.name.as_str(), named.version.as_str()), ("split", "1.2.0-local.h0123"));
        assert!("split".parse::<PluginName>().expect_err("no version").contains("split@1.2.0"));
        assert!("split@^1".parse::<PluginName>().expect_err("a range").contains("plugin ls split"));
    }
}
