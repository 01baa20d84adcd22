//! P11: runs that all add to one record, and runs that move money between a hundred records; against runs that only echo.
//! Afterwards every run has succeeded and the sums hold, or there is no measurement.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Map, Value, json};

use crate::{
    goal::least,
    load::{Load, LoadPlan, Pace, Target},
    measurement::Measurement,
    project::{PROJECT, Project},
    rig::Rig,
    subject::{Subject, SubjectOptions},
};

const RECORDS: u32 = 100;
const CONNECTIONS: usize = 64;
/// Events that wait for their start at most.
const BACKLOG_EVENTS_MAX: u64 = 500;
/// Turns of each kind.
const TURNS: u32 = 2;
const WARM_UP: Duration = Duration::from_secs(1);

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_grids(&rig.guest("ledger").await?, grids());
    let subject = Subject::start(rig, "storage", &project, SubjectOptions::default()).await?;
    let mut kinds = ["transfer", "add", "echo"].map(Kind::new);
    for turn in 1..=TURNS {
        for kind in &mut kinds {
            kind.take_turn(rig, &subject, seconds / TURNS).await?;
            eprintln!("storage {turn}/{TURNS} {}: {:.0} runs/s so far", kind.grid, kind.rate());
        }
    }
    let [transfers, additions, echoes] = kinds;
    check_sums(&subject, additions.accepted).await?;
    subject.stop().await?;
    Ok(Measurement::new("P11", "transfers/s", transfers.rate(), ("the same guest without storage", echoes.rate()))
        .taken(transfers.span, usize::try_from(transfers.runs)?)
        .with("additions_per_second", additions.rate())
        .with("records", RECORDS)
        .aiming_at(&[least("ours", 1_000.0), least("additions_per_second", 1_000.0)]))
}

fn grids() -> Map<String, Value> {
    let grid = |config: Value| {
        json!({ "node": {
            "plugin": "ledger",
            "inputs": { "in": "event" },
            "config": config,
            "grants": { "storage": ["ledger:rw"] },
        } })
    };
    Map::from_iter([
        ("transfer".to_owned(), grid(json!({ "does": "transfer", "records": RECORDS }))),
        ("add".to_owned(), grid(json!({ "does": "add" }))),
        ("echo".to_owned(), grid(json!({ "does": "nothing" }))),
    ])
}

/// Money is moved, and neither made nor lost; each addition was applied once.
async fn check_sums(subject: &Subject, additions: u64) -> anyhow::Result<()> {
    let sum = async |keys: &str| -> sqlx::Result<i64> {
        sqlx::query_scalar(
            "select coalesce(sum(convert_from(value, 'utf8')::bigint), 0)::bigint from keyvalue where key like $1",
        )
        .bind(keys)
        .fetch_one(&subject.tables.pool)
        .await
    };
    let (money, added) = (sum("record-%").await?, sum("sum").await?);
    ensure!(money == 0, "the records sum up to {money} after transfers, and to 0 before");
    ensure!(added.unsigned_abs() == additions, "{additions} were added, one by one, and the sum is {added}");
    Ok(())
}

/// What a grid has come to in all its turns.
struct Kind {
    grid: &'static str,
    runs: u64,
    span: Duration,
    accepted: u64,
}

impl Kind {
    fn new(grid: &'static str) -> Self {
        Self { grid, runs: 0, span: Duration::ZERO, accepted: 0 }
    }

    fn rate(&self) -> f64 {
        self.runs as f64 / self.span.as_secs_f64()
    }

    fn target(&self, subject: &Subject) -> Target {
        subject.tenants.all[0].target(subject.server.address, PROJECT, self.grid)
    }

    /// As much as the host can keep up with.
    async fn take_turn(&mut self, rig: &Rig, subject: &Subject, span: Duration) -> anyhow::Result<()> {
        let newest = subject.tables.newest_run().await?;
        let pace = Pace::Backlog { events_max: BACKLOG_EVENTS_MAX, started: subject.started() };
        let targets = [self.target(subject)];
        let plan = LoadPlan { targets: &targets, connections: CONNECTIONS, pace, keeps_runs: false };
        let load = Load::start(&rig.load, plan);
        tokio::time::sleep(WARM_UP).await;
        let begin = subject.tables.look(newest).await?;
        tokio::time::sleep(span).await;
        let end = subject.tables.look(newest).await?;
        let loaded = load.stop().await?;
        self.runs += end.ended - begin.ended;
        self.span += end.at - begin.at;
        self.accepted += loaded.accepted;
        subject.tables.drain(newest, loaded.accepted).await
    }
}
