//! The third promise: no account's flood delays another's runs. Counted in runs that were let in between, not in time: that
//! is what a delay is made of, and it is the same on a slow machine.

use futures_util::{StreamExt, stream};
use serde_json::json;
use trellis_model::RunId;

use crate::support::{Account, Stage, action, eventually, project};

const FLOOD: usize = 300;
const QUIET: usize = 8;
const RUNS_MAX: usize = 8;

/// How many runs of the flood were begun between a quiet run's acceptance and its own beginning, the worst of them.
async fn overtaken(stage: &Stage, flooding: &Account, quiet: &Account) -> i64 {
    let slow = json!({ "wait": action(&json!({ "do": "sleep", "ms": 20 })) });
    flooding.deploy(&project("flood", &slow)).await;
    quiet.deploy(&project("quiet", &slow)).await;
    let flood = stream::iter(0..FLOOD).map(|number| async move { flooding.start("flood", &json!(number)).await });
    flood.buffer_unordered(16).collect::<Vec<_>>().await;

    let mut runs: Vec<i64> = Vec::new();
    for number in 0..QUIET {
        let run = quiet.start("quiet", &json!(number)).await;
        runs.push(run.parse::<RunId>().expect("a run id").0);
    }
    assert!(stage.database.unfinished_count().await > 100, "the flood was over too soon");
    eventually("all runs end", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    sqlx::query_scalar(
        "select max((
             select count(*) from run as other
             where other.id <> all ($1) and other.started_at < quiet.started_at
               and extract(epoch from other.started_at) * 1000 >= quiet.id >> 21
         )) from run as quiet where quiet.id = any ($1)",
    )
    .bind(runs)
    .fetch_one(&stage.database.pool)
    .await
    .expect("the schema is there")
}

async fn stage() -> Stage {
    Stage::with(|plan| plan.set("queue.runs_max", &RUNS_MAX.to_string())).await
}

#[tokio::test]
async fn the_flood_of_one_account_is_not_let_in_before_the_runs_of_another() {
    let stage = stage().await;
    let (flooding, quiet) = (stage.account("flooding").await, stage.account("quiet").await);
    let overtaken = overtaken(&stage, &flooding, &quiet).await;
    assert!(overtaken <= 4 * RUNS_MAX as i64, "{overtaken} runs of the flood were begun first");
}

#[tokio::test]
async fn within_one_account_the_flood_is_let_in_first() {
    let stage = stage().await;
    let account = stage.account("flooding").await;
    let overtaken = overtaken(&stage, &account, &account).await;
    assert!(overtaken > 100, "only {overtaken} runs of the flood were begun first: there is nothing to be fair about");
}
