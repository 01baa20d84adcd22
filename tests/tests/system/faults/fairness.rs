//! The third promise: no account's flood delays another's runs. Counted in runs that were let in between: that is what a
//! delay is made of, and it is the same on a slow machine. Times are printed, and held to their goal by the load program alone.

use futures_util::{StreamExt, stream};
use serde_json::json;
use trellis_model::RunId;

use crate::support::{Account, HostPlan, Stage, action, eventually, project};

const FLOOD: usize = 300;
const QUIET: usize = 8;
const RUNS_MAX: usize = 8;
/// So many runs of a flood may be begun between the acceptance of another account's run and its beginning.
const OVERTAKEN_MAX: i64 = 4 * RUNS_MAX as i64;
/// How long a run takes, in milliseconds.
const RUN_MS: u32 = 20;

async fn stage(settings: impl FnOnce(HostPlan) -> HostPlan) -> Stage {
    Stage::with(|plan| settings(plan.set("queue.runs_max", &RUNS_MAX.to_string()))).await
}

/// Deploys a project whose runs take their time.
async fn deploy_slow(account: &Account, name: &str) {
    let slow = json!({ "wait": action(&json!({ "do": "sleep", "ms": RUN_MS })) });
    account.deploy(&project(name, &slow)).await;
}

/// A few runs of the quiet account.
async fn start_quiet(quiet: &Account) -> Vec<i64> {
    let mut runs = Vec::new();
    for number in 0..QUIET {
        let run = quiet.start("quiet", &json!(number)).await;
        runs.push(run.parse::<RunId>().expect("a run id").0);
    }
    runs
}

async fn all_end(stage: &Stage) {
    eventually("all runs end", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
}

/// A flood, and the quiet account's runs behind it, when all have ended.
async fn flooded(stage: &Stage, flooding: &Account, quiet: &Account) -> Vec<i64> {
    deploy_slow(flooding, "flood").await;
    deploy_slow(quiet, "quiet").await;
    let flood = stream::iter(0..FLOOD).map(|number| async move { flooding.start("flood", &json!(number)).await });
    flood.buffer_unordered(16).collect::<Vec<_>>().await;
    let runs = start_quiet(quiet).await;
    assert!(stage.database.unfinished_count().await > 100, "the flood was over too soon");
    all_end(stage).await;
    runs
}

/// How many other runs were begun between the acceptance of one of these and its own beginning, of the worst of them.
async fn overtaken(stage: &Stage, runs: &[i64]) -> i64 {
    sqlx::query_scalar(
        "select max((
             select count(*) from run as other
             where other.id <> all ($1) and other.started_at < quiet.started_at
               and extract(epoch from other.started_at) * 1000 >= (quiet.id >> 21) + $2
         )) from run as quiet where quiet.id = any ($1)",
    )
    .bind(runs)
    .bind(RunId::EPOCH_MS)
    .fetch_one(&stage.database.pool)
    .await
    .expect("the schema is there")
}

/// How long half of these runs waited at most between acceptance and beginning, in milliseconds.
async fn start_latency_ms(stage: &Stage, runs: &[i64]) -> f64 {
    sqlx::query_scalar(
        "select percentile_cont(0.5) within group (
             order by (extract(epoch from started_at) * 1000 - (id >> 21) - $2)::float8
         ) from run where id = any ($1)",
    )
    .bind(runs)
    .bind(RunId::EPOCH_MS)
    .fetch_one(&stage.database.pool)
    .await
    .expect("the schema is there")
}

#[tokio::test]
async fn the_flood_of_one_account_is_not_let_in_before_the_runs_of_another() {
    let stage = stage(|plan| plan).await;
    let (flooding, quiet) = (stage.account("flooding").await, stage.account("quiet").await);
    deploy_slow(&quiet, "quiet").await;
    // The first run of a plugin on a host waits for its code.
    quiet.run("quiet", &json!(null)).await;
    let alone = start_quiet(&quiet).await;
    all_end(&stage).await;
    let behind = flooded(&stage, &flooding, &quiet).await;

    let overtaken = overtaken(&stage, &behind).await;
    assert!(overtaken <= OVERTAKEN_MAX, "{overtaken} runs of the flood were begun first");
    let (alone, behind) = (start_latency_ms(&stage, &alone).await, start_latency_ms(&stage, &behind).await);
    eprintln!("begun after {alone:.1} ms alone, after {behind:.1} ms behind a flood, overtaken by {overtaken}");
}

#[tokio::test]
async fn without_turns_and_shares_a_flood_is_let_in_before_the_runs_of_others() {
    let stage = stage(|plan| plan.fault("fair-turns-off=off")).await;
    let (flooding, quiet) = (stage.account("flooding").await, stage.account("quiet").await);
    let behind = flooded(&stage, &flooding, &quiet).await;
    let overtaken = overtaken(&stage, &behind).await;
    eprintln!("overtaken by {overtaken}, begun after {:.1} ms", start_latency_ms(&stage, &behind).await);
    assert!(overtaken > 2 * OVERTAKEN_MAX, "only {overtaken} runs of the flood were begun first");
}

#[tokio::test]
async fn within_one_account_the_flood_is_let_in_first() {
    let stage = stage(|plan| plan).await;
    let account = stage.account("flooding").await;
    let behind = flooded(&stage, &account, &account).await;
    let overtaken = overtaken(&stage, &behind).await;
    assert!(overtaken > 100, "only {overtaken} runs of the flood were begun first: there is nothing to be fair about");
}
