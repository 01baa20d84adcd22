//! `trellis exit-codes`: what the codes of all commands mean, for those who write scripts.

use serde::Serialize;

use super::{
    failure::CommandResult,
    output::{Exit, Output, Table},
};

/// A code, its name, and what it is for.
#[derive(Serialize)]
struct Code {
    code: u8,
    name: &'static str,
    meaning: &'static str,
}

fn codes() -> Vec<Code> {
    Exit::ALL.iter().map(|exit| Code { code: *exit as u8, name: exit.name(), meaning: exit.meaning() }).collect()
}

fn table(codes: &[Code]) -> String {
    let mut table = Table::new(["CODE", "NAME", "MEANING"]);
    codes.iter().for_each(|code| table.row([&code.code.to_string(), code.name, code.meaning]));
    table.to_string()
}

/// What `trellis help exit-codes` says.
pub fn help() -> String {
    table(&codes())
}

pub fn run(output: &mut Output) -> CommandResult {
    output.show(&codes(), |codes| table(codes))?;
    Ok(())
}
