//! What the statements of the store promise by themselves, where no host could be brought to show it for certain: which host
//! settles what, and how much one statement reads, moves or waits.

mod attribution;
mod bounds;
mod plugins;
mod replays;
mod silence;

use std::time::Duration;

use trellis_model::{AccountId, Lane, Place, ProjectId, RevisionId, RunId, Shard};
use trellis_store::{Database as Store, database::DatabaseOptions, jobs::NewJob};
use uuid::Uuid;

use crate::support::Database;

const ACCOUNT: AccountId = AccountId(7);
const LEASE: Duration = Duration::from_secs(3_600);

async fn open(url: &str) -> Store {
    let options = DatabaseOptions {
        url: url.to_owned(),
        connections_max: 3,
        acquire_timeout: Duration::from_secs(30),
        allow_unsafe_durability: true,
    };
    Store::connect(&options).await.expect("the server is up")
}

/// A database with its schema, and the store on it.
async fn stage() -> (Database, Store) {
    let database = Database::fresh().await;
    let store = open(&database.url).await;
    store.migrate().await.expect("a new database");
    (database, store)
}

async fn register(store: &Store) -> Uuid {
    let host = Uuid::new_v4();
    store.register_host(host, LEASE).await.expect("numbers are free");
    host
}

fn job(shard: Shard, run: i64) -> NewJob {
    NewJob {
        shard,
        place: Place { lane: Lane::Normal, key: None },
        account: ACCOUNT,
        run: RunId(run),
        project: ProjectId(1),
        revision: RevisionId(1),
        grid: "main".into(),
        payload: b"{}".to_vec(),
    }
}

async fn execute(database: &Database, statement: &'static str) {
    sqlx::raw_sql(statement).execute(&database.pool).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
}
