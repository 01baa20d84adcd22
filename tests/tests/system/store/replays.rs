//! Replays as they are written: in which order they are run, and several of one run.

use trellis_model::{ConcurrencyKey, Lane, Place, Queue, RunId, Shard};
use trellis_store::{
    Database as Store,
    fetch::{FetchKey, FetchTerms},
    jobs::NewJob,
    replays::NewReplay,
};

use super::{ACCOUNT, execute, job, register, stage};

const SHARD: Shard = Shard(3);
const KEY: ConcurrencyKey = ConcurrencyKey { hash: 5, runs_max: None };

/// A run that is over.
const OVER: &str = "insert into run (account_id, id, project_id, revision_id, grid, state, started_at, event, nodes)
                    values (7, 1, 1, 1, 'main', 'dead', now(), '{}', '[]')";

fn keyed(run: i64) -> NewJob {
    NewJob { place: Place { lane: Lane::Keyed, key: Some(KEY) }, ..job(SHARD, run) }
}

fn replay(run: i64, again: bool) -> NewReplay {
    NewReplay { job: keyed(run), of: RunId(1), again, nodes: Some(b"[]".to_vec()) }
}

async fn made(store: &Store, replays: &[NewReplay]) -> Vec<i64> {
    store.insert_replays(replays).await.expect("the server is up").into_iter().map(|run| run.0).collect()
}

#[tokio::test]
async fn a_replay_that_keeps_results_stands_behind_older_runs_of_its_key() {
    let (database, store) = stage().await;
    execute(&database, OVER).await;
    let host = register(&store).await;
    let holdings = store.take_shards(host, &[], 256).await.expect("the server is up");
    store.insert_jobs(&[keyed(10)]).await.expect("new jobs");
    assert_eq!(made(&store, &[replay(20, false)]).await, [20]);
    assert_eq!(database.number("select count(*) from checkpoint where id = 20").await, 1);
    let terms = FetchTerms { holdings: &holdings, in_flight: &[], bytes_max: i64::MAX };
    let queue = Queue { shard: SHARD, account: ACCOUNT };
    let key = FetchKey { queue, hash: KEY.hash, count: 1 };
    let fetched = store.fetch_jobs_of_keys(terms, &[key]).await.expect("the server is up");
    assert_eq!(fetched.iter().map(|job| job.run.0).collect::<Vec<_>>(), [10]);
}

#[tokio::test]
async fn one_run_is_replayed_as_often_in_one_batch_as_in_several() {
    let (database, store) = stage().await;
    execute(&database, OVER).await;
    assert_eq!(made(&store, &[replay(20, true), replay(21, true), replay(22, false)]).await, [20, 21]);
    assert_eq!(database.number("select replayed_as from run").await, 21, "the last one");
    assert_eq!(made(&store, &[replay(23, false)]).await, [0; 0], "it was replayed before");
    assert_eq!(database.number("select count(*) from job").await, 2);
}
