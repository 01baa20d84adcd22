//! Who is to blame for a lost host, when several hosts settle what it has left.

use trellis_model::{Lane, Queue, RunId, Shard};
use trellis_store::{
    Database as Store,
    fetch::{FetchLane, FetchTerms},
    shards::Holding,
};
use uuid::Uuid;

use super::{ACCOUNT, execute, job, register, stage};
use crate::support::Database;

const FIRST_HALF: Shard = Shard(10);
const SECOND_HALF: Shard = Shard(200);

/// Takes shards and settles what is left of their former owners.
async fn take(store: &Store, host: Uuid, count: i64) -> Vec<Holding> {
    let taken = store.take_shards(host, &[], count).await.expect("the server is up");
    store.settle_claims(&taken).await.expect("the server is up");
    taken
}

/// Fetches all jobs of a shard.
async fn fetch(store: &Store, holdings: &[Holding], shard: Shard) {
    let lane = FetchLane { queue: Queue { shard, account: ACCOUNT }, lane: Lane::Normal, cursor: RunId(0), count: 10 };
    let terms = FetchTerms { holdings, in_flight: &[], bytes_max: i64::MAX };
    assert!(!store.fetch_jobs(terms, &[lane]).await.expect("the server is up").is_empty());
}

async fn run_alone(store: &Store, holdings: &[Holding], shard: Shard, run: i64) {
    let holding = holdings.iter().find(|one| one.shard == shard).expect("it is held");
    store.claim_alone(*holding, ACCOUNT, RunId(run)).await.expect("the server is up");
}

async fn lose(database: &Database, store: &Store, hosts: &[Uuid]) {
    for host in hosts {
        database.expire(&host.to_string()).await;
    }
    store.reap_expired_hosts().await.expect("the server is up");
}

/// How many lost hosts each run counts.
async fn lost_hosts(database: &Database) -> Vec<(i64, i16)> {
    sqlx::query_as("select id, lost_hosts from job order by id").fetch_all(&database.pool).await.expect("the schema")
}

#[tokio::test]
async fn suspects_are_excused_whichever_survivor_settles_their_claims() {
    let (database, store) = stage().await;
    let (lost, one, other) = (register(&store).await, register(&store).await, register(&store).await);
    let held = take(&store, lost, 256).await;
    let jobs = [job(FIRST_HALF, 1), job(FIRST_HALF, 2), job(SECOND_HALF, 3), job(SECOND_HALF, 4)];
    store.insert_jobs(&jobs).await.expect("new jobs");
    execute(&database, "update job set lost_hosts = 2 where id < 4").await;
    fetch(&store, &held, FIRST_HALF).await;
    fetch(&store, &held, SECOND_HALF).await;
    run_alone(&store, &held, FIRST_HALF, 1).await;
    lose(&database, &store, &[lost]).await;
    // The first one settles the claim that tells who ran alone, before the second looks.
    assert_eq!(take(&store, one, 128).await.iter().filter(|held| held.shard == FIRST_HALF).count(), 1);
    assert_eq!(take(&store, other, 128).await.iter().filter(|held| held.shard == SECOND_HALF).count(), 1);
    assert_eq!(lost_hosts(&database).await, [(1, 3), (2, 2), (3, 2), (4, 1)]);
    assert_eq!(database.number("select count(*) from claim").await, 0);
}

#[tokio::test]
async fn the_suspect_of_one_lost_host_excuses_nothing_that_another_ran() {
    let (database, store) = stage().await;
    let (one, other, survivor) = (register(&store).await, register(&store).await, register(&store).await);
    let held = take(&store, one, 128).await;
    let held_by_other = take(&store, other, 128).await;
    store.insert_jobs(&[job(FIRST_HALF, 1), job(FIRST_HALF, 2), job(SECOND_HALF, 3)]).await.expect("new jobs");
    execute(&database, "update job set lost_hosts = 2").await;
    fetch(&store, &held, FIRST_HALF).await;
    fetch(&store, &held_by_other, SECOND_HALF).await;
    run_alone(&store, &held, FIRST_HALF, 1).await;
    lose(&database, &store, &[one, other]).await;
    assert_eq!(take(&store, survivor, 256).await.len(), 256, "of both in one take");
    assert_eq!(lost_hosts(&database).await, [(1, 3), (2, 2), (3, 3)]);
}

#[tokio::test]
async fn a_host_that_is_alone_on_its_database_attributes_like_any_other() {
    let (database, store) = stage().await;
    let lost = register(&store).await;
    let held = take(&store, lost, 256).await;
    store.insert_jobs(&[job(FIRST_HALF, 1), job(SECOND_HALF, 2)]).await.expect("new jobs");
    execute(&database, "update job set lost_hosts = 2").await;
    fetch(&store, &held, FIRST_HALF).await;
    fetch(&store, &held, SECOND_HALF).await;
    run_alone(&store, &held, SECOND_HALF, 2).await;
    store.reap_all_hosts().await.expect("the server is up");
    let next = register(&store).await;
    take(&store, next, 256).await;
    assert_eq!(lost_hosts(&database).await, [(1, 2), (2, 3)]);
}
