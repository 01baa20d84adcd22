//! `trellis run export`: a run that is over as a fixture, for a test that is kept with a plugin.

use std::path::Path;

use trellis_model::fixture::Fixture;

use super::{
    connection::ConnectionArgs,
    failure::{CommandResult, Failure},
    output::{Exit, Output, printable_json},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "Example: trellis run export run_01hzx5v9k3qaf > tests/order.json\n\
    A test replays it: Fixture::load(\"tests/order.json\").replay(&plugin).assert_same()")]
pub struct ExportArgs {
    /// A run that is over, such as run_01hzx5v9k3qaf
    run: String,
    /// This node alone; several times for several
    #[arg(long = "node", value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

pub async fn run(args: ExportArgs, output: &mut Output) -> CommandResult {
    let client = args.connection.client(Path::new("."))?;
    let mut fixture: Fixture = client.get(&["v1", "runs", &args.run, "fixture"], &[]).await?;
    keep(&mut fixture, &args.nodes)?;
    output.show(&fixture, |fixture| printable_json(&fixture.to_json()).into_owned())?;
    Ok(())
}

/// Keeps the nodes that are wanted; all of them if none is named.
fn keep(fixture: &mut Fixture, nodes: &[String]) -> CommandResult {
    for name in nodes {
        if fixture.nodes.iter().any(|node| node.node == *name) {
            continue;
        }
        let known: Vec<&str> = fixture.nodes.iter().map(|node| node.node.as_str()).collect();
        let message = match fixture.left_out.get(name) {
            Some(reason) => format!("node `{name}` cannot be exported: {reason}"),
            None => format!("the run has no node `{name}`; it has: {}", known.join(", ")),
        };
        return Err(Failure::new(Exit::NotFound, message));
    }
    if !nodes.is_empty() {
        fixture.nodes.retain(|node| nodes.contains(&node.node));
        fixture.left_out.retain(|name, _| nodes.contains(name));
    }
    Ok(())
}
