//! Databases: one server for all tests of this process, one database for each; and what a test reads in it directly.

use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
};

use sqlx::{Connection, PgConnection, PgPool, Postgres, Transaction, postgres::PgPoolOptions};
use trellis::postgres::{EmbeddedPostgres, StartOptions};
use trellis_model::{RunId, Shard};

use super::{Account, eventually, scratch};

/// A database of a test's own.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
}

/// A private Postgres of a test's own, to be maltreated.
pub async fn private_postgres(folder: &Path) -> EmbeddedPostgres {
    EmbeddedPostgres::start(StartOptions::new(folder)).await.expect("Postgres starts")
}

/// The same, with settings that its maker would not choose.
pub async fn private_postgres_with(folder: &Path, settings: &[(&str, &str)]) -> EmbeddedPostgres {
    let mut options = StartOptions::new(folder);
    options.extra_settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    EmbeddedPostgres::start(options).await.expect("Postgres starts")
}

/// Ends a server as `pg_ctl stop -m immediate` does: no checkpoint, no goodbye.
pub fn crash(postgres: &EmbeddedPostgres) {
    let pid_file = std::fs::read_to_string(postgres.folder().join("data/postmaster.pid")).expect("the server runs");
    let process = pid_file.lines().next().expect("its first line is the process id");
    assert!(Command::new("kill").args(["-QUIT", process]).status().expect("`kill` runs").success());
}

/// The server that all tests share. It runs until this process ends, and not longer.
fn shared_url() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| {
        let (sender, started) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let postgres = private_postgres(&scratch().join("postgres")).await;
                sender.send(postgres.url().to_owned()).expect("somebody waits for it");
                std::future::pending::<()>().await;
            });
        });
        started.recv().expect("Postgres starts; the reason why not is above")
    })
}

impl Database {
    /// A new, empty database.
    pub async fn fresh() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(shared_url()).await.expect("the server is up");
        let create = sqlx::AssertSqlSafe(format!("create database {name}"));
        sqlx::query(create).execute(&mut connection).await.expect("a new name");
        Self::at(shared_url().replacen(":///trellis?", &format!(":///{name}?"), 1))
    }

    pub fn at(url: String) -> Self {
        let pool = PgPoolOptions::new().max_connections(2).connect_lazy(&url).expect("a valid address");
        Self { url, pool }
    }

    pub async fn number(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap_or_else(|error| panic!("{query}: {error}"))
    }

    /// Runs that have ended.
    pub async fn ended_count(&self) -> i64 {
        self.number("select count(*) from run").await
    }

    /// Runs that have not.
    pub async fn unfinished_count(&self) -> i64 {
        self.number("select (select count(*) from job) + (select count(*) from job_later)").await
    }

    /// Every run that has ended, and how. A run that stood there twice would be a failure of the key.
    pub async fn history(&self) -> BTreeMap<String, String> {
        let rows: Vec<(i64, String)> =
            sqlx::query_as("select id, state from run").fetch_all(&self.pool).await.expect("the schema is there");
        let count = rows.len();
        let history: BTreeMap<String, String> =
            rows.into_iter().map(|(id, state)| (RunId(id).to_string(), state)).collect();
        assert_eq!(history.len(), count, "a run is in history twice");
        history
    }

    /// Waits until nothing is left of runs but their history.
    pub async fn settled(&self) {
        for (table, query) in [
            ("job", "select count(*) from job"),
            ("job_later", "select count(*) from job_later"),
            ("checkpoint", "select count(*) from checkpoint"),
            ("claim", "select count(*) from claim"),
        ] {
            eventually(&format!("the table {table} is empty"), async || (self.number(query).await == 0).then_some(()))
                .await;
        }
    }

    /// A committed value of the store `s` of an account.
    pub async fn stored(&self, account: &Account, key: &str) -> Option<String> {
        let value: Option<Vec<u8>> =
            sqlx::query_scalar("select value from keyvalue where account_id = $1 and store = 's' and key = $2")
                .bind(account.id.0)
                .bind(key)
                .fetch_optional(&self.pool)
                .await
                .expect("the schema is there");
        value.map(|value| String::from_utf8(value).expect("text"))
    }

    /// Which host holds a shard, by the number that is part of the run ids it hands out.
    pub async fn owner(&self, shard: Shard) -> Option<i16> {
        sqlx::query_scalar("select host.number from shard join host on host.id = shard.owner where shard = $1")
            .bind(shard.0)
            .fetch_optional(&self.pool)
            .await
            .expect("the schema is there")
    }

    /// Makes the lease of a dead host run out now, instead of after its time.
    pub async fn expire(&self, host: &str) {
        sqlx::query("update host set expires_at = clock_timestamp() where id = $1::uuid")
            .bind(host)
            .execute(&self.pool)
            .await
            .expect("the schema is there");
    }

    /// Holds on to a host's row, until the transaction is rolled back: its lease is not renewed, nobody reaps it, and it
    /// cannot say that it goes. Commits pass.
    pub async fn hold_host(&self, number: i16) -> Transaction<'static, Postgres> {
        let mut transaction = self.pool.begin().await.expect("the server is up");
        sqlx::query("select from host where number = $1 for no key update")
            .bind(number)
            .fetch_one(&mut *transaction)
            .await
            .expect("the host is registered");
        transaction
    }

    /// The shards of each host that holds any.
    pub async fn shard_counts(&self) -> Vec<i64> {
        sqlx::query_scalar("select count(*) from shard where owner is not null group by owner order by 1")
            .fetch_all(&self.pool)
            .await
            .expect("the schema is there")
    }
}

/// Counts every row that is written to the queue's tables from now on.
pub struct Audit<'d>(&'d Database);

impl<'d> Audit<'d> {
    pub async fn install(database: &'d Database) -> Self {
        sqlx::raw_sql(
            "create table audit (relation text not null, lost_host boolean not null);
             create function audit_write() returns trigger language plpgsql as $$
             begin
                 insert into audit values (
                     tg_table_name,
                     tg_table_name = 'job' and tg_op = 'UPDATE' and
                     (to_jsonb(new) ->> 'lost_hosts')::int > (to_jsonb(old) ->> 'lost_hosts')::int
                 );
                 return null;
             end $$;
             create trigger audit after insert or update or delete on job for each row execute function audit_write();
             create trigger audit after insert or update or delete on job_later for each row execute function audit_write();
             create trigger audit after insert or update or delete on checkpoint for each row execute function audit_write();
             create trigger audit after insert or update or delete on claim for each row execute function audit_write();",
        )
        .execute(&database.pool)
        .await
        .expect("the schema is there");
        Self(database)
    }

    /// Rows written so far.
    pub async fn written(&self) -> i64 {
        self.0.number("select count(*) from audit").await
    }

    /// How often a run was noted to have lost its host.
    pub async fn lost_hosts(&self) -> i64 {
        self.0.number("select count(*) from audit where lost_host").await
    }
}
