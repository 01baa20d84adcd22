//! A transaction that stays open for long keeps dead rows from being vacuumed. The queue must not walk over them.

use serde_json::json;
use sqlx::{Connection, PgConnection};

use crate::support::{Account, Database, Host, HostPlan, action, eventually, project};

/// As many as fifty jobs a second leave in ten minutes.
const DEAD_ROWS: i64 = 30_000;
const RUNS: i64 = 200;

/// Runs some events one after the other on a host of their own, and stops it, so that what it read is counted; answers
/// with the pages of the queue's table and its indexes that were read meanwhile.
async fn pages_of_runs(database: &Database, host: Host, account: &Account) -> i64 {
    let before = pages(database).await;
    for number in 0..RUNS {
        account.run("quick", &json!(number)).await;
    }
    host.terminate().await;
    assert!(host.ended().await.success());
    eventually("only this test is connected", async || {
        let others =
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'trellis'";
        (database.number(others).await == 0).then_some(())
    })
    .await;
    pages(database).await - before
}

async fn pages(database: &Database) -> i64 {
    let pages = "select (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint
                 from pg_statio_user_tables where relname = 'job'";
    database.number(pages).await
}

/// Jobs of the account that came and went before, while somebody could still see them.
async fn leave_dead_rows(database: &Database, account: &Account) {
    sqlx::query(
        "insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select $1, $2, run_id_at(now() - interval '1 hour') + n, 1, 1, 'main', '{}' from generate_series(1, $3) as n",
    )
    .bind(account.shard().0)
    .bind(account.id.0)
    .bind(DEAD_ROWS)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
    sqlx::query("delete from job").execute(&database.pool).await.expect("the schema is there");
    sqlx::query("vacuum job").execute(&database.pool).await.expect("no transaction is open here");
}

/// What a walk over all of the account's rows costs, in pages.
async fn pages_of_a_walk(database: &Database, account: &Account) -> i64 {
    let plan: serde_json::Value = sqlx::query_scalar(
        "explain (analyze, buffers, format json) select id from job where shard = $1 and account_id = $2 order by id limit 1",
    )
    .bind(account.shard().0)
    .bind(account.id.0)
    .fetch_one(&database.pool)
    .await
    .expect("a plan");
    let plan = &plan[0]["Plan"];
    plan["Shared Hit Blocks"].as_i64().unwrap_or(0) + plan["Shared Read Blocks"].as_i64().unwrap_or(0)
}

#[tokio::test]
async fn an_old_transaction_does_not_make_the_queue_slow() {
    let database = Database::fresh().await;
    let plan = HostPlan::on(&database.url);
    let host = plan.start().await;
    let account = Account::new(&host.operator(), "acme").await;
    account.deploy(&project("quick", &json!({ "echo": action(&json!({ "do": "echo" })) }))).await;
    let without = pages_of_runs(&database, host, &account).await;

    let mut old = PgConnection::connect(&database.url).await.expect("the server is up");
    sqlx::raw_sql("begin isolation level repeatable read; select count(*) from job")
        .execute(&mut old)
        .await
        .expect("a snapshot");
    leave_dead_rows(&database, &account).await;
    let walk = pages_of_a_walk(&database, &account).await;
    assert!(walk > 300, "the rows are dead and still there: {walk} pages");

    let host = plan.start().await;
    let account = account.at(&host);
    let with = pages_of_runs(&database, host, &account).await;
    old.close().await.expect("it is open");
    let walks = (with - without) / walk;
    eprintln!(
        "{without} pages for {RUNS} runs without dead rows, {with} with {DEAD_ROWS}: {walks} walks of {walk} pages"
    );
    assert!(walks <= RUNS / 10, "{walks} walks over all dead rows for {RUNS} runs");
}
