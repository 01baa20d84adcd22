//! The commit by itself, on a real Postgres without a host: what it does when it is sent twice, fenced or in conflict.

use std::time::Duration;

use trellis_model::{AccountId, Lane, Place, ProjectId, RevisionId, RunId, run::RunState};
use trellis_store::{
    Database as Store, DatabaseOptions,
    commit::{Checkpoint, CommitOutcome, Conclusion, Effects, Finished, ReadVersion, RunCommit, Write, WriteKind},
    jobs::NewJob,
    shards::Holding,
};
use uuid::Uuid;

use crate::support::Database;

const EVENT: &[u8] = br#"{"attributes":[],"data":null}"#;
const REVISION: RevisionId = RevisionId(1);
/// The run whose commits these are.
const RUN: RunId = RunId(1 << 40);

/// A host by name only, with all shards, and one job.
struct Scene {
    database: Database,
    store: Store,
    host: Uuid,
    account: AccountId,
    project: ProjectId,
    holding: Holding,
}

impl Scene {
    async fn new() -> Self {
        let database = Database::fresh().await;
        let options = DatabaseOptions {
            url: database.url.clone(),
            connections_max: 4,
            acquire_timeout: Duration::from_secs(30),
            allow_unsafe_durability: false,
        };
        let store = Store::connect(&options).await.expect("the server is up");
        store.migrate().await.expect("a fresh database takes the schema");
        let account: i64 = sqlx::query_scalar("insert into account (name) values ('acme') returning id")
            .fetch_one(&database.pool)
            .await
            .expect("the schema is there");
        let project: i64 =
            sqlx::query_scalar("insert into project (account_id, name) values ($1, 'shop') returning id")
                .bind(account)
                .fetch_one(&database.pool)
                .await
                .expect("the schema is there");
        let (account, project) = (AccountId(account), ProjectId(project));
        let host = Uuid::new_v4();
        store.register_host(host, Duration::from_secs(600)).await.expect("the first host");
        let shard = trellis_model::Shard::of(account);
        let holdings = store.take_shards(host, &[], 256).await.expect("they are free");
        let holding = *holdings.iter().find(|holding| holding.shard == shard).expect("all were taken");
        let scene = Self { database, store, host, account, project, holding };
        scene.insert(RUN).await;
        scene
    }

    async fn insert(&self, run: RunId) {
        self.store.insert_jobs(&[self.job(run, "main")]).await.expect("a new id");
    }

    fn job(&self, run: RunId, grid: &str) -> NewJob {
        NewJob {
            shard: self.holding.shard,
            place: Place::default(),
            account: self.account,
            run,
            project: self.project,
            revision: REVISION,
            grid: grid.into(),
            payload: EVENT.to_vec(),
        }
    }

    /// What the run has emitted.
    fn events(&self, count: i64) -> Vec<NewJob> {
        (0..count).map(|number| self.job(RunId(RUN.0 + 1 + number), "pick")).collect()
    }

    fn commit(&self, effects: Effects, conclusion: Conclusion) -> RunCommit {
        let Self { account, project, holding, .. } = *self;
        RunCommit { holding, account, project, run: RUN, lane: Lane::Normal, effects, conclusion }
    }

    async fn send(&self, commit: &RunCommit) -> CommitOutcome {
        self.store.commit(self.host, std::slice::from_ref(commit), &[]).await.expect("the server is up")[0]
    }

    /// Jobs that events have become.
    async fn emitted(&self) -> i64 {
        self.database.number("select count(*) from job where grid = 'pick'").await
    }

    async fn value(&self, key: &str) -> Option<Vec<u8>> {
        let entry = self.store.entry(self.account, self.project, "s", key).await.expect("the server is up");
        entry.map(|entry| entry.value)
    }
}

fn put(key: &str, value: &str, ttl: Option<Duration>) -> Write {
    let kind = WriteKind::Put { value: value.as_bytes().into(), ttl };
    Write { store: "s".to_owned(), key: key.to_owned(), kind }
}

fn add(key: &str, delta: i64) -> Write {
    Write { store: "s".to_owned(), key: key.to_owned(), kind: WriteKind::Add(delta) }
}

fn read(key: &str, version: i64) -> ReadVersion {
    ReadVersion { store: "s".to_owned(), key: key.to_owned(), version }
}

fn checkpoint(sequence: i32) -> Conclusion {
    Conclusion::Checkpoint(Checkpoint { sequence, nodes: b"[]".to_vec() })
}

fn finished() -> Conclusion {
    let state = RunState::Succeeded;
    Conclusion::Finished(Finished { state, started_at_ms: 0, error: None, nodes: b"[]".to_vec(), has_checkpoint: true })
}

#[tokio::test]
async fn a_commit_that_is_sent_again_emits_and_writes_nothing_a_second_time() {
    let scene = Scene::new().await;
    let effects = |events| Effects { writes: vec![add("n", 1)], events, ..Effects::default() };
    let only_events = Effects { events: scene.events(2), ..Effects::default() };
    let first = scene.commit(only_events, checkpoint(1));
    for _ in 0..3 {
        assert_eq!(scene.send(&first).await, CommitOutcome::Committed);
        assert_eq!(scene.emitted().await, 2);
    }
    // With new numbers, as if the answer had been lost before they were known.
    let mut anew = first.clone();
    anew.effects.events.iter_mut().for_each(|event| event.run = RunId(event.run.0 + 100));
    assert_eq!(scene.send(&anew).await, CommitOutcome::Committed);
    assert_eq!(scene.emitted().await, 2);

    let last = scene.events(5).split_off(2);
    let last = scene.commit(effects(last), finished());
    for _ in 0..3 {
        assert_eq!(scene.send(&last).await, CommitOutcome::Committed);
        assert_eq!((scene.emitted().await, scene.value("n").await), (5, Some(b"1".to_vec())));
    }
}

#[tokio::test]
async fn nothing_is_emitted_by_a_commit_that_is_in_conflict_or_fenced_or_impossible() {
    let scene = Scene::new().await;
    let stale = Effects { reads: vec![read("a", 7)], events: scene.events(1), ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(stale, finished())).await, CommitOutcome::Conflict);

    let text = Effects { writes: vec![put("t", "text", None)], ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(text, checkpoint(1))).await, CommitOutcome::Committed);
    let impossible = Effects { writes: vec![add("t", 1)], events: scene.events(1), ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(impossible, finished())).await, CommitOutcome::Impossible);

    let mut fenced = scene.commit(Effects { events: scene.events(1), ..Effects::default() }, finished());
    fenced.holding.epoch -= 1;
    assert_eq!(scene.send(&fenced).await, CommitOutcome::Fenced);
    assert_eq!(scene.emitted().await, 0);
    assert_eq!(scene.database.ended_count().await, 0);
}

/// Lets an entry's time run out.
async fn expire(scene: &Scene, key: &str) {
    let expire = "update keyvalue set expires_at = now() - interval '1 second' where key = $1";
    sqlx::query(expire).bind(key).execute(&scene.database.pool).await.expect("the schema is there");
}

async fn version(scene: &Scene, key: &str) -> i64 {
    sqlx::query_scalar("select version from keyvalue where key = $1")
        .bind(key)
        .fetch_one(&scene.database.pool)
        .await
        .expect("it was written")
}

#[tokio::test]
async fn an_expired_entry_is_absent_for_reads_lists_and_version_checks() {
    let scene = Scene::new().await;
    let ttl = Some(Duration::from_secs(600));
    let writes = vec![put("a", "41", ttl), put("b", "x", ttl), put("c", "x", None)];
    let written = Effects { writes, ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(written, checkpoint(1))).await, CommitOutcome::Committed);
    assert_eq!(scene.value("a").await, Some(b"41".to_vec()));
    let seen = version(&scene, "a").await;
    expire(&scene, "a").await;
    assert_eq!(scene.value("a").await, None);
    let keys = scene.store.keys(scene.account, scene.project, "s", "", None, 10).await.expect("the server is up");
    assert_eq!(keys.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["b", "c"]);

    // Whoever has read it before it expired has read a stale version; whoever has found it absent has not.
    let stale = Effects { reads: vec![read("a", seen)], writes: vec![put("a", "42", None)], ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(stale, checkpoint(2))).await, CommitOutcome::Conflict);
    let fresh = Effects { reads: vec![read("a", 0)], writes: vec![add("a", 1)], ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(fresh, checkpoint(2))).await, CommitOutcome::Committed);
    assert_eq!(scene.value("a").await, Some(b"1".to_vec()), "an addition begins anew");
    let endless = scene.database.number("select count(*) from keyvalue where key = 'a' and expires_at is null").await;
    assert_eq!(endless, 1, "and does not inherit an end that has passed");
}

#[tokio::test]
async fn an_addition_leaves_the_time_to_live_as_it_is() {
    let scene = Scene::new().await;
    let ttl = Some(Duration::from_secs(600));
    let written = Effects { writes: vec![put("a", "1", ttl), put("b", "1", ttl)], ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(written, checkpoint(1))).await, CommitOutcome::Committed);
    let ends = "select (extract(epoch from max(expires_at)) * 1000000)::bigint from keyvalue where key = 'a'";
    let end = scene.database.number(ends).await;
    let writes = vec![add("a", 2), put("b", "1", None), add("b", 2), put("c", "1", ttl), add("c", 2), add("d", 3)];
    let added = Effects { writes, ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(added, checkpoint(2))).await, CommitOutcome::Committed);
    for key in ["a", "b", "c", "d"] {
        assert_eq!(scene.value(key).await, Some(b"3".to_vec()), "{key}");
    }
    assert_eq!(scene.database.number(ends).await, end);
    let mortal: Vec<String> = sqlx::query_scalar("select key from keyvalue where expires_at is not null order by key")
        .fetch_all(&scene.database.pool)
        .await
        .expect("the schema is there");
    assert_eq!(mortal, ["a", "c"]);
}

#[tokio::test]
async fn expired_entries_are_taken_away_and_no_others() {
    let scene = Scene::new().await;
    let ttl = Some(Duration::from_secs(600));
    let writes = ["a", "b", "c"].map(|key| put(key, "x", ttl)).into_iter().chain([put("d", "x", None)]).collect();
    let written = Effects { writes, ..Effects::default() };
    assert_eq!(scene.send(&scene.commit(written, checkpoint(1))).await, CommitOutcome::Committed);
    expire(&scene, "a").await;
    expire(&scene, "b").await;
    assert_eq!(scene.store.delete_expired_entries(1).await.expect("the server is up"), 1);
    assert_eq!(scene.store.delete_expired_entries(10).await.expect("the server is up"), 1);
    assert_eq!(scene.store.delete_expired_entries(10).await.expect("the server is up"), 0);
    assert_eq!(scene.database.number("select count(*) from keyvalue").await, 2);
}
