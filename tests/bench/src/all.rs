//! All measurements, each in a process of its own with a Postgres of its own: what one leaves behind, or its failure, is
//! no other's burden. One that does not end is ended.

use std::{process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::{process::Command, time::timeout};

use crate::measure::Measure;

/// What a measurement may take beyond its measuring: starting, deploying a thousand projects, draining.
const TAKEN_BESIDES_MAX: Duration = Duration::from_secs(150);
/// Times that the measuring is done over: sides and parts.
const SIDES_MAX: u32 = 4;

/// What every measurement is told.
pub struct Passed<'a> {
    pub seconds: Option<u64>,
    pub peers: bool,
    pub postgres: &'a [(String, String)],
}

impl Passed<'_> {
    fn arguments(&self, measure: Measure) -> Vec<String> {
        let mut arguments = vec![measure.name()];
        arguments.extend(self.seconds.map(|seconds| format!("--seconds={seconds}")));
        arguments.extend(self.peers.then(|| "--peers".to_owned()));
        arguments.extend(self.postgres.iter().map(|(name, value)| format!("--postgres={name}={value}")));
        arguments
    }
}

/// Prints a line for each, and a table of them for people.
///
/// # Errors
/// Some could not be taken; the others were.
pub async fn run(passed: &Passed<'_>) -> anyhow::Result<()> {
    let mut lines = Vec::new();
    for (number, measure) in Measure::EACH.into_iter().enumerate() {
        eprintln!("── P{} {} ──", number + 1, measure.name());
        let line = match take(measure, passed).await {
            Ok(line) => line,
            Err(error) => {
                eprintln!("{}: {error:#}", measure.name());
                json!({ "id": format!("P{}", number + 1), "error": format!("{error:#}") }).to_string()
            }
        };
        println!("{line}");
        lines.push((measure.name(), line));
    }
    let rows: Vec<Row> = lines.iter().map(|(name, line)| Row::read(name, line)).collect::<anyhow::Result<_>>()?;
    eprint!("{}", table(&rows));
    let failed: Vec<&str> = rows.iter().filter(|row| row.failed).map(|row| row.name.as_str()).collect();
    if !failed.is_empty() {
        bail!("not measured: {}", failed.join(", "));
    }
    Ok(())
}

/// The line that the measurement prints.
async fn take(measure: Measure, passed: &Passed<'_>) -> anyhow::Result<String> {
    let seconds = passed.seconds.unwrap_or(measure.seconds_default());
    let limit = Duration::from_secs(seconds) * SIDES_MAX + TAKEN_BESIDES_MAX;
    let mut command = Command::new(std::env::current_exe().context("this program does not know where it lies")?);
    command.args(passed.arguments(measure)).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let ended = timeout(limit, command.output()).await;
    let output = ended.with_context(|| format!("not done after {} s", limit.as_secs()))??;
    if !output.status.success() {
        bail!("ended with {}", output.status);
    }
    let text = String::from_utf8(output.stdout).context("what it printed is no text")?;
    text.lines().last().map(str::to_owned).context("it printed nothing")
}

struct Row {
    name: String,
    failed: bool,
    cells: [String; 7],
}

impl Row {
    fn read(name: &str, line: &str) -> anyhow::Result<Self> {
        let line: Value = serde_json::from_str(line).with_context(|| format!("`{name}` printed no JSON: {line}"))?;
        let figure = |name: &str| line[name].as_f64().map_or_else(|| "-".to_owned(), |figure| figure.to_string());
        let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
        let failed = line.get("error").is_some();
        let met = match line["met"].as_bool() {
            Some(true) => "met",
            Some(false) => "missed",
            None if failed => "failed",
            None => "-",
        };
        let cells = [
            text("id"),
            name.to_owned(),
            figure("ours"),
            figure("other"),
            figure("ratio"),
            met.to_owned(),
            text("goal"),
        ];
        Ok(Self { name: name.to_owned(), failed, cells })
    }
}

const HEADINGS: [&str; 7] = ["", "measured", "ours", "other", "ratio", "", "goal"];

/// Columns as wide as their widest cell.
fn table(rows: &[Row]) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let lines: Vec<&[String; 7]> = std::iter::once(&headings).chain(rows.iter().map(|row| &row.cells)).collect();
    let widths: [usize; 7] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_a_line_and_a_failure_shows() {
        let rows: Vec<Row> = [
            ("ingest", r#"{"id":"P2","ours":12345.0,"other":5000.0,"ratio":2.469,"met":true,"goal":"ratio ≥ 1.5"}"#),
            ("queue", r#"{"id":"P13","ours":9.5,"other":null,"ratio":null,"met":null,"goal":""}"#),
            ("idle", r#"{"id":"P9","error":"no room"}"#),
        ]
        .into_iter()
        .map(|(name, line)| Row::read(name, line).expect("JSON"))
        .collect();
        assert_eq!(
            table(&rows),
            "     measured  ours   other  ratio          goal\n\
             P2   ingest    12345  5000   2.469  met     ratio ≥ 1.5\n\
             P13  queue     9.5    -      -      -\n\
             P9   idle      -      -      -      failed\n"
        );
        assert_eq!(rows.iter().map(|row| row.failed).collect::<Vec<_>>(), [false, false, true]);
    }

    #[test]
    fn what_is_no_measurement_is_not_taken_for_one() {
        assert!(Row::read("idle", "Segmentation fault").is_err());
    }

    #[test]
    fn each_measurement_is_told_what_the_caller_was() {
        let postgres = [("fsync".to_owned(), "on".to_owned())];
        let passed = Passed { seconds: Some(3), peers: true, postgres: &postgres };
        assert_eq!(passed.arguments(Measure::TwoHosts), ["two-hosts", "--seconds=3", "--peers", "--postgres=fsync=on"]);
    }
}
