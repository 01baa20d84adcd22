//! How much one statement reads and moves.

use trellis_model::{AccountId, ProjectId, RunId, Shard, run::RunState};
use trellis_store::{
    Database as Store,
    cancel_requests::{CancelFilter, CancelRequest},
    expiry::CheckpointKey,
};

use super::{ACCOUNT, execute, open, register, stage};
use crate::support::{Database, eventually};

/// Waits until nobody but the test is connected, so that all that was read is counted; answers with the pages of the queue
/// that were read so far.
async fn pages(database: &Database) -> i64 {
    eventually("only this test is connected", async || {
        let others =
            "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'trellis'";
        (database.number(others).await == 0).then_some(())
    })
    .await;
    let pages = "select (heap_blks_read + heap_blks_hit + idx_blks_read + idx_blks_hit)::bigint
                 from pg_statio_user_tables where relname = 'job'";
    database.number(pages).await
}

/// The pages of the queue that some statements read, on connections of their own.
async fn pages_of(database: &Database, statements: impl AsyncFnOnce(&Store)) -> i64 {
    let before = pages(database).await;
    let store = open(&database.url).await;
    statements(&store).await;
    store.close().await;
    pages(database).await - before
}

fn filter(state: Option<RunState>) -> CancelFilter {
    CancelFilter { project: ProjectId(1), grid: None, state, after: RunId(0), before: RunId(i64::MAX), limit: 100 }
}

#[tokio::test]
async fn a_request_to_cancel_reads_what_it_is_about_and_not_the_queue() {
    /// Some pages for each index probe.
    const PAGES_MAX: i64 = 200;
    let (database, store) = stage().await;
    let account = AccountId(1);
    let shard = Shard::of(account);
    sqlx::raw_sql("insert into account (name) values ('acme')").execute(&database.pool).await.expect("a new account");
    let host = register(&store).await;
    store.take_shards(host, &[], 256).await.expect("the server is up");
    sqlx::query(
        "insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select $1, 1, n, 1, 1, 'main', '{}' from generate_series(1, 30000) as n",
    )
    .bind(shard.0)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
    sqlx::query(
        "insert into job_later (shard, run_at, account_id, id, project_id, revision_id, grid, lost_hosts, payload)
         values ($1, now() + interval '1 hour', 1, 30001, 1, 1, 'main', 0, '{}')",
    )
    .bind(shard.0)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
    sqlx::query("insert into claim (shard, epoch, accounts, ids) select $1, epoch, '{1}', '{29000}' from shard where shard = $1")
        .bind(shard.0)
        .execute(&database.pool)
        .await
        .expect("the schema is there");
    store.close().await;

    for (state, expected) in [(RunState::Waiting, 30_001), (RunState::Running, 29_000)] {
        let read = pages_of(&database, async |store| {
            let requested = store.request_cancels(account, &filter(Some(state))).await.expect("the server is up");
            assert_eq!(requested, [(shard, RunId(expected))], "{state:?}");
        })
        .await;
        assert!(read <= PAGES_MAX, "{read} pages of the queue for those that are {state:?}");
    }
    let read = pages_of(&database, async |store| {
        let run = RunId(29_500);
        assert_eq!(store.request_cancel(account, run).await.expect("the server is up"), Some(shard));
        let requests = [CancelRequest { shard, account, run }];
        assert_eq!(store.runs_to_cancel(&requests).await.expect("the server is up").len(), 1);
    })
    .await;
    assert!(read <= PAGES_MAX, "{read} pages of the queue for one run");
    let store = open(&database.url).await;
    let first_two = async |state| {
        let filter = CancelFilter { after: RunId(28_998), ..filter(state) };
        let requested = store.request_cancels(account, &filter).await.expect("the server is up");
        requested.iter().map(|(_, run)| run.0).take(2).collect::<Vec<_>>()
    };
    assert_eq!(first_two(Some(RunState::Queued)).await, [28_999, 29_001]);
    assert_eq!(first_two(None).await, [28_999, 29_000]);
}

/// Jobs on three shards that were due some time ago, the one with the highest number for longest.
async fn due_jobs(database: &Database, payload_bytes: i32) {
    sqlx::query(
        "insert into job_later (shard, run_at, account_id, id, project_id, revision_id, grid, lost_hosts, payload)
         select n % 3, now() - make_interval(secs => n), $1, n, 1, 1, 'main', 0, convert_to(repeat('x', $2), 'UTF8')
         from generate_series(1, 300) as n",
    )
    .bind(ACCOUNT.0)
    .bind(payload_bytes)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
}

#[tokio::test]
async fn only_so_many_jobs_are_promoted_at_once_of_all_shards_together() {
    let (database, store) = stage().await;
    let host = register(&store).await;
    let held = store.take_shards(host, &[], 256).await.expect("the server is up");
    due_jobs(&database, 1_000).await;
    let queued = "select count(*) from job";
    assert_eq!(store.promote_due_jobs(host, &held, 10, i64::MAX).await.expect("the server is up").len(), 3);
    assert_eq!(database.number(queued).await, 10);
    assert_eq!(database.number("select min(id) from job").await, 291, "those that were due first");
    store.promote_due_jobs(host, &held, 100, 4_500).await.expect("the server is up");
    assert_eq!(database.number(queued).await, 15, "five payloads come to more than that");
    assert!(store.next_due(&[Shard(0)]).await.expect("the server is up").is_some_and(|after| after.is_zero()));
    store.promote_due_jobs(host, &held, 1_000, i64::MAX).await.expect("the server is up");
    assert_eq!(database.number(queued).await, 300, "and in the end all of them");
}

#[tokio::test]
async fn orphaned_checkpoints_are_looked_for_page_by_page() {
    let (database, store) = stage().await;
    execute(
        &database,
        "insert into checkpoint (shard, account_id, id, sequence, nodes) select n % 2, 7, n, 1, '[]' from generate_series(1, 7) as n;
         insert into job (shard, account_id, id, project_id, revision_id, grid, payload)
         select n % 2, 7, n, 1, 1, 'main', '{}' from generate_series(1, 5) as n;
         insert into job_later (shard, run_at, account_id, id, project_id, revision_id, grid, lost_hosts, payload)
         values (0, now(), 7, 6, 1, 1, 'main', 0, '{}')",
    )
    .await;
    let mut after = CheckpointKey::FIRST;
    let mut deleted = Vec::new();
    for _ in 0..3 {
        let looked_at = store.delete_orphaned_checkpoints(after, 2).await.expect("the server is up");
        deleted.push(looked_at.deleted);
        after = looked_at.last.expect("there are more");
    }
    // Of the keys (0, 2), (0, 4) | (0, 6), (1, 1) | (1, 3), (1, 5) | (1, 7) the last has no job.
    assert_eq!(
        (deleted, after),
        (vec![0, 0, 0], CheckpointKey { shard: Shard(1), account: AccountId(7), run: RunId(5) })
    );
    let last = store.delete_orphaned_checkpoints(after, 2).await.expect("the server is up");
    assert_eq!((last.deleted, last.last), (1, None));
    assert_eq!(database.number("select count(*) from checkpoint").await, 6);
}
