//! What has had its time: days of history, runs beyond their account's own days, expired entries; and what must stay.

use std::sync::atomic::{AtomicI32, Ordering};

use serde_json::json;
use sqlx::migrate::Migrator;

use crate::support::{Account, Database, HostPlan, Stage, action, eventually, project, repository, scratch};

/// Looks after the house every second.
fn busy(plan: HostPlan) -> HostPlan {
    plan.set("history.housekeeping", "1s")
}

/// Runs as they were written some days ago.
struct Aged<'r> {
    account: &'r Account,
    accepted_days: i32,
    ended_days: i32,
    state: &'r str,
    count: i32,
}

impl Aged<'_> {
    /// Writes them, into a day of their own if it is there.
    async fn write(&self, database: &Database) {
        // Two of the same millisecond are kept apart.
        static WRITTEN: AtomicI32 = AtomicI32::new(0);
        sqlx::query(
            "insert into run (account_id, id, project_id, revision_id, grid, state, started_at, ended_at, event, nodes)
             select $1, run_id_at(now() - make_interval(days => $2)) + $7 + n, 1, 1, $5, $4, now(),
                    now() - make_interval(days => $3), '{\"attributes\":[],\"data\":null}', '[]'
             from generate_series(1, $6) as n",
        )
        .bind(self.account.id.0)
        .bind(self.accepted_days)
        .bind(self.ended_days)
        .bind(self.state)
        // Marks them, for a test to count.
        .bind(format!("{}-{}-{}", self.state, self.accepted_days, self.ended_days))
        .bind(self.count)
        .bind(WRITTEN.fetch_add(self.count, Ordering::Relaxed))
        .execute(&database.pool)
        .await
        .expect("the schema is there");
    }
}

/// Makes the day that lies so many days back.
async fn make_day(database: &Database, days_ago: i32) {
    sqlx::query("select make_run_day((now() at time zone 'UTC')::date - $1)")
        .bind(days_ago)
        .execute(&database.pool)
        .await
        .expect("it is not there yet");
}

/// What is left: how many runs of each mark an account has, and whether they lie in the default partition.
async fn left(database: &Database, account: &Account) -> Vec<(String, i64, bool)> {
    sqlx::query_as(
        "select grid, count(*), tableoid = 'run_default'::regclass from run where account_id = $1
         group by 1, 3 order by 1, 3",
    )
    .bind(account.id.0)
    .fetch_all(&database.pool)
    .await
    .expect("the schema is there")
}

fn owned(rows: &[(&str, i64, bool)]) -> Vec<(String, i64, bool)> {
    rows.iter().map(|(mark, count, is_default)| ((*mark).to_owned(), *count, *is_default)).collect()
}

async fn set_days(stage: &Stage, account: &Account, days: u32) {
    let settings = json!({ "retention": { "days": days } });
    stage.host.operator().put(&format!("/v1/accounts/{}", account.name), &settings).await.expect(200);
}

/// Waits until a whole look has come to its end: an entry that has just expired is among the last things that it deletes.
async fn looked_after(database: &Database, account: &Account) {
    // The first look may have been under way already.
    for _ in 0..2 {
        sqlx::query(
            "insert into keyvalue (account_id, project_id, store, key, value, version, expires_at)
             select account_id, id, 's', 'mark', '', 1, now() from project where account_id = $1 limit 1",
        )
        .bind(account.id.0)
        .execute(&database.pool)
        .await
        .expect("the mark of the look before is gone");
        eventually("an expired entry is gone", async || database.stored(account, "mark").await.is_none().then_some(()))
            .await;
    }
}

async fn account_with_project(stage: &Stage, name: &str) -> Account {
    let account = stage.account(name).await;
    account.deploy(&project("any", &json!({ "echo": action(&json!({ "do": "echo" })) }))).await;
    account
}

#[tokio::test]
async fn days_beyond_every_retention_are_dropped_whole_but_for_letters_that_died_lately() {
    let stage = Stage::with(busy).await;
    let (account, database) = (account_with_project(&stage, "acme").await, &stage.database);
    for days_ago in [29, 32, 40] {
        make_day(database, days_ago).await;
    }
    for (accepted_days, ended_days, state, count) in [
        (40, 40, "succeeded", 50),
        (40, 40, "dead", 2),
        // Waited for weeks, and died the other day.
        (40, 3, "dead", 2),
        (40, 3, "succeeded", 2),
        (32, 32, "dead", 2),
        (29, 29, "succeeded", 5),
        (29, 29, "dead", 2),
        // No day covers it.
        (36, 36, "succeeded", 5),
        (36, 1, "dead", 1),
    ] {
        Aged { account: &account, accepted_days, ended_days, state, count }.write(database).await;
    }
    let kept = owned(&[
        ("dead-29-29", 2, false),
        ("dead-36-1", 1, true),
        ("dead-40-3", 2, true),
        ("succeeded-29-29", 5, false),
    ]);
    eventually("what nobody keeps is gone", async || (left(database, &account).await == kept).then_some(())).await;
    looked_after(database, &account).await;
    assert_eq!(left(database, &account).await, kept, "and nothing else");
    let old = "select count(*) from run_days() where day < (now() at time zone 'UTC')::date - 30";
    assert_eq!(database.number(old).await, 0, "the days are no more");
}

#[tokio::test]
async fn an_account_with_fewer_days_loses_its_own_runs_alone() {
    let stage = Stage::with(busy).await;
    let database = &stage.database;
    let (short, long) = (account_with_project(&stage, "short").await, account_with_project(&stage, "long").await);
    set_days(&stage, &short, 5).await;
    for days_ago in [4, 7, 8] {
        make_day(database, days_ago).await;
    }
    for account in [&short, &long] {
        for (accepted_days, ended_days, state, count) in [
            (8, 8, "succeeded", 2_500),
            (7, 7, "dead", 3),
            (7, 1, "dead", 2),
            (7, 1, "succeeded", 2),
            (4, 4, "succeeded", 5),
        ] {
            Aged { account, accepted_days, ended_days, state, count }.write(database).await;
        }
    }
    let before = left(database, &long).await;
    let kept = owned(&[("dead-7-1", 2, false), ("succeeded-4-4", 5, false)]);
    eventually("the short account's are gone", async || (left(database, &short).await == kept).then_some(())).await;
    looked_after(database, &short).await;
    assert_eq!(left(database, &short).await, kept);
    assert_eq!(left(database, &long).await, before);
}

#[tokio::test]
async fn a_look_that_was_cut_off_by_a_dead_host_is_made_up_for_by_another() {
    const RUNS: i32 = 40_000;
    let Stage { database, host } = Stage::with(busy).await;
    let stage = Stage { database, host };
    let account = account_with_project(&stage, "acme").await;
    make_day(&stage.database, 8).await;
    make_day(&stage.database, 50).await;
    let runs = Aged { account: &account, accepted_days: 8, ended_days: 8, state: "succeeded", count: RUNS };
    runs.write(&stage.database).await;
    let late = Aged { account: &account, accepted_days: 50, ended_days: 1, state: "dead", count: 3 };
    late.write(&stage.database).await;
    // Another's retention is longer, so that the runs are deleted one by one.
    account_with_project(&stage, "other").await;
    set_days(&stage, &account, 5).await;
    eventually("some runs are deleted", async || {
        (stage.database.number("select count(*) from run where state = 'succeeded'").await < i64::from(RUNS))
            .then_some(())
    })
    .await;
    let Stage { database, host } = stage;
    host.kill().await;
    let rest = database.number("select count(*) from run where state = 'succeeded'").await;
    assert!(rest > 0, "the host was killed too late: there was nothing left to do");
    // As a host leaves it that dies between the two steps of dropping a day.
    make_day(&database, 51).await;
    sqlx::query("select detach_run_day((now() at time zone 'UTC')::date - 51)")
        .execute(&database.pool)
        .await
        .expect("it is there");

    let plan = busy(HostPlan::on(&database.url));
    let hosts = [plan.start().await, plan.start().await];
    eventually("the rest is deleted", async || {
        (database.number("select count(*) from run where state = 'succeeded'").await == 0).then_some(())
    })
    .await;
    eventually("the day that was half dropped is gone", async || {
        let old = "select count(*) from run_days() where day < (now() at time zone 'UTC')::date - 30";
        (database.number(old).await == 0).then_some(())
    })
    .await;
    assert_eq!(left(&database, &account).await, owned(&[("dead-50-1", 3, true)]));
    for host in hosts {
        host.terminate().await;
        assert!(host.ended().await.success(), "it stops at once, whatever it was at");
    }
}

#[tokio::test]
async fn missing_days_are_made_and_take_up_the_runs_that_came_before_them() {
    let stage = Stage::with(busy).await;
    let (account, database) = (account_with_project(&stage, "acme").await, &stage.database);
    let ahead = "select count(*) from run_days() where attached and day between (now() at time zone 'UTC')::date
                 and (now() at time zone 'UTC')::date + 7";
    assert_eq!(database.number(ahead).await, 8, "today and a week ahead");
    sqlx::raw_sql(
        "do $$ begin
             execute format('drop table %I', run_day_name((now() at time zone 'UTC')::date));
             execute format('drop table %I', run_day_name((now() at time zone 'UTC')::date + 7));
         end $$",
    )
    .execute(&database.pool)
    .await
    .expect("they are there");
    let run = account.run("any", &json!(1)).await;
    eventually("the days are made anew", async || (database.number(ahead).await == 8).then_some(())).await;
    assert_eq!(database.number("select count(*) from run_default").await, 0, "its run has moved");
    let again = account.show(run["run"].as_str().expect("an id")).await;
    assert_eq!(again, run);
    account.run("any", &json!(2)).await;
    assert_eq!(database.number("select count(*) from run_default").await, 0);
}

#[tokio::test]
async fn a_run_that_ends_after_its_day_was_dropped_is_in_history_all_the_same() {
    let Stage { database, host } = Stage::with(|plan| busy(plan).set("queue.runs_max", "1")).await;
    let account = Account::new(&host.operator(), "acme").await;
    account.deploy(&project("slow", &json!({ "wait": action(&json!({ "do": "sleep", "ms": 1_500 })) }))).await;
    account.start("slow", &json!("runs")).await;
    account.start("slow", &json!("waits")).await;
    let aged: Vec<i64> = sqlx::query_scalar(
        "update job set id = run_id_at(now() - interval '50 days')
         where id = (select max(id) from job) returning id",
    )
    .fetch_all(&database.pool)
    .await
    .expect("the schema is there");
    assert_eq!(aged.len(), 1, "both were over too soon");
    let ended = format!("select count(*) from run_default where id = {}", aged[0]);
    eventually("the aged run has ended", async || {
        let count: i64 =
            sqlx::query_scalar(sqlx::AssertSqlSafe(ended.clone())).fetch_one(&database.pool).await.expect("a number");
        (count == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn expired_entries_are_deleted_and_others_stay() {
    let stage = Stage::with(busy).await;
    let (account, database) = (account_with_project(&stage, "acme").await, &stage.database);
    sqlx::query(
        "insert into keyvalue (account_id, project_id, store, key, value, version, expires_at)
         select account_id, id, 's', kind || n, '', 1, case kind when 'old' then now() - interval '1 second'
                when 'young' then now() + interval '1 hour' end
         from project, generate_series(1, 2500) as n, unnest(array['old', 'young', 'eternal']) as kind
         where account_id = $1",
    )
    .bind(account.id.0)
    .execute(&database.pool)
    .await
    .expect("the schema is there");
    sqlx::query("insert into checkpoint (shard, account_id, id, sequence, nodes) values (0, 1, 1, 1, '[]')")
        .execute(&database.pool)
        .await
        .expect("the schema is there");
    eventually("expired entries are gone", async || {
        (database.number("select count(*) from keyvalue where key like 'old%'").await == 0).then_some(())
    })
    .await;
    assert_eq!(database.number("select count(*) from keyvalue").await, 5_000);
    eventually("the orphan is gone", async || {
        (database.number("select count(*) from checkpoint").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_history_from_before_there_were_days_moves_into_them() {
    let database = Database::fresh().await;
    let former = scratch().join("former-migrations");
    std::fs::create_dir_all(&former).expect("the scratch folder is ours");
    for entry in std::fs::read_dir(repository().join("migrations")).expect("the repository is readable") {
        let entry = entry.expect("a readable folder");
        if entry.file_name().to_string_lossy().as_ref() < "0013" {
            std::fs::copy(entry.path(), former.join(entry.file_name())).expect("a copy");
        }
    }
    let former = Migrator::new(former).await.expect("they are migrations");
    former.run(&database.pool).await.expect("an empty database");
    sqlx::raw_sql(
        "insert into run (account_id, id, project_id, revision_id, grid, state, started_at, error, event, nodes)
         select 7, (((extract(epoch from now() - make_interval(hours => n)) * 1000)::bigint - 1735689600000) << 21) + n,
                n, 1, 'main', case n % 7 when 0 then 'dead' else 'succeeded' end, now(), null, 'event'::bytea, 'nodes'::bytea
         from generate_series(1, 500) as n",
    )
    .execute(&database.pool)
    .await
    .expect("the former schema is there");
    let rows = "select bit_xor(hashtextextended(jsonb_strip_nulls(to_jsonb(run))::text, 0)) from run";
    let before = database.number(rows).await;
    let _host = HostPlan::on(&database.url).start().await;
    assert_eq!(database.number(rows).await, before, "every run is as it was");
    assert_eq!(database.number("select count(*) from run_default").await, 0);
    assert!(database.number("select count(*) from run_days()").await >= 8 + 20);
}
