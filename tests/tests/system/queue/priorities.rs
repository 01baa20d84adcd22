//! Priorities: within an account the higher goes first, and other accounts do not notice.

use serde_json::json;

use super::{ask, quick, start};
use crate::support::{Database, Outside, Stage, eventually, project};

/// Grids of the runs that have ended, in the order of their ends.
async fn ended_grids(database: &Database) -> Vec<String> {
    sqlx::query_scalar("select grid from run where grid <> 'main' order by ended_at")
        .fetch_all(&database.pool)
        .await
        .expect("the schema is there")
}

#[tokio::test]
async fn runs_of_higher_priority_are_started_first() {
    let outside = Outside::start().await;
    // A quarter of four: one run of an account at a time.
    let stage = Stage::with(|plan| plan.allow(&outside).set("queue.runs_max", "4")).await;
    let (account, neighbour) = (stage.account("acme").await, stage.account("neighbour").await);
    let mut manifest = project("shop", &json!({ "ask": ask(&outside), "quick": quick() }));
    manifest["grids"]["main"]["nodes"].as_object_mut().expect("nodes by name").remove("quick");
    for priority in ["low", "normal", "high"] {
        manifest["grids"][priority] = json!({ "priority": priority, "nodes": { "same": quick() } });
    }
    account.deploy(&manifest).await;
    neighbour.deploy(&project("small", &json!({ "same": quick() }))).await;

    start(&account, "shop", "main", &json!({ "path": "/hold/it" })).await;
    outside.asked("/hold/it").await;
    for priority in ["low", "normal", "high"] {
        for number in 0..3 {
            start(&account, "shop", priority, &json!(number)).await;
        }
    }
    neighbour.run("small", &json!("a neighbour's run waits for none of them")).await;
    assert_eq!(stage.database.unfinished_count().await, 10);
    outside.release("/hold/it");
    eventually("every run has ended", async || (stage.database.unfinished_count().await == 0).then_some(())).await;
    let expected: Vec<&str> = ["high", "normal", "low"].iter().flat_map(|grid| [*grid; 3]).collect();
    assert_eq!(ended_grids(&stage.database).await, expected);
    stage.database.settled().await;
}
