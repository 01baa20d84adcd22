//! Lists of runs over a long history: how long the first page of each filter takes, and how Postgres finds it. No row of the
//! table of goals but the bound that every list has.

use std::time::{Duration, Instant};

use anyhow::ensure;
use trellis_model::{AccountId, ProjectId, RunId, run::RunState};
use trellis_store::{Database, run_list::RunFilter};

use crate::{
    goal::below, history::History, measurement::Measurement, plans::Plans, rig::Rig, samples::Samples, tables::now,
    tenants,
};

const DATABASE: &str = "lists";
const PAGE: i64 = 50;
/// A page that takes longer is felt by whoever waits for it.
const PAGE_MS_MAX: f64 = 100.0;

pub async fn measure(rig: &Rig, seconds: Duration, runs: u64) -> anyhow::Result<Measurement> {
    let url = rig.database(DATABASE).await?;
    let database = tenants::open(&url).await?;
    database.migrate().await?;
    let history = History::write(&url, runs).await?;
    let plans = Plans::of(rig, DATABASE).await?;
    let lists = lists(&history);
    let each = seconds / u32::try_from(lists.len())?;
    let (mut slowest, mut taken) = (0.0_f64, 0);
    let mut times = Vec::new();
    for list in &lists {
        let mut samples = list.time(&database, each).await?;
        let ms = samples.percentile_ms(99);
        slowest = slowest.max(ms);
        taken += samples.len();
        times.push((list.name, ms));
        eprintln!("\nlists: {}, p99 {ms:.2} ms", list.name);
        list.explain(&url, &plans).await?;
    }
    database.close().await;
    let measurement = Measurement::alone("lists", "ms", slowest).taken(seconds, taken).with("runs", runs);
    let measurement = times.into_iter().fold(measurement, |sum, (name, ms)| sum.with(&format!("{name}_p99_ms"), ms));
    Ok(measurement.aiming_at(&[below("ours", PAGE_MS_MAX)]))
}

/// One filter, as somebody looks for it.
struct List {
    name: &'static str,
    account: AccountId,
    filter: RunFilter,
    /// Whether there must be runs.
    finds: bool,
}

fn lists(history: &History) -> Vec<List> {
    let List { account, filter: page, .. } = list("", history.large, None);
    let with = |name, filter| List { name, account, filter, finds: true };
    let dead = Some(RunState::Dead);
    let earlier_ms = history.earlier.accepted_at_ms();
    vec![
        with("newest", page.clone()),
        with("earlier", RunFilter { before: Some(history.earlier), ..page.clone() }),
        with("of_a_time", RunFilter { accepted_until_ms: Some(earlier_ms), ..page.clone() }),
        list("of_a_project", account, Some(history.project)),
        with("of_a_grid", RunFilter { grid: Some(History::COMMON.to_owned()), ..page.clone() }),
        with("of_a_rare_grid", RunFilter { grid: Some(History::RARE.to_owned()), ..page.clone() }),
        with("succeeded", RunFilter { state: Some(RunState::Succeeded), ..page.clone() }),
        with("dead", RunFilter { state: dead, ..page.clone() }),
        with("dead_letters", RunFilter { state: dead, replayed: Some(false), ..page.clone() }),
        list("of_a_small_account", history.small, None),
        List { finds: false, ..list("of_an_empty_account", history.empty, None) },
    ]
}

fn list(name: &'static str, account: AccountId, project: Option<ProjectId>) -> List {
    List { name, account, filter: RunFilter { project, limit: PAGE, ..RunFilter::default() }, finds: true }
}

impl List {
    async fn take(&self, database: &Database) -> anyhow::Result<()> {
        let now_ms = i64::try_from(now().as_millis())?;
        let found = database.runs(self.account, &self.filter, now_ms).await?;
        ensure!(found.is_empty() != self.finds, "the list `{}` has {} runs", self.name, found.len());
        Ok(())
    }

    /// After one that has warmed up what it reads.
    async fn time(&self, database: &Database, span: Duration) -> anyhow::Result<Samples> {
        self.take(database).await?;
        let (mut samples, until) = (Samples::default(), Instant::now() + span);
        while samples.len() == 0 || Instant::now() < until {
            let begun = Instant::now();
            self.take(database).await?;
            samples.push(begun.elapsed());
        }
        Ok(samples)
    }

    /// Prints how it is found, on a connection whose statements are explained.
    async fn explain(&self, url: &str, plans: &Plans) -> anyhow::Result<()> {
        plans.switch(true).await?;
        let database = tenants::open(url).await?;
        let begun = plans.mark()?;
        self.take(&database).await?;
        database.close().await;
        plans.switch(false).await?;
        for plan in plans.since(begun).await? {
            eprintln!("{plan}");
        }
        Ok(())
    }
}

/// The first run that was accepted so long ago.
pub fn accepted_before(ago: Duration) -> anyhow::Result<RunId> {
    Ok(RunId::first_at(i64::try_from(now().saturating_sub(ago).as_millis())?))
}
