//! The connection pools, the schema, and the refusal to run on a server that may lose acknowledged events.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection, postgres::PgConnectOptions};

use crate::{
    error::{Result, StoreError},
    patient_pool::PatientPool,
};

const POSTGRES_VERSION_LEAST: u32 = 15;

#[derive(Clone, Debug)]
pub struct DatabaseOptions {
    /// `postgres://user:password@host/database`, or with a socket directory as `?host=`.
    pub url: String,
    /// Connections of the durable pool.
    pub connections_max: u32,
    /// How long to wait for a free connection.
    pub acquire_timeout: Duration,
    /// Run on `fsync = off` all the same.
    pub allow_unsafe_durability: bool,
}

/// Handle to Postgres; cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    /// Commits are fsynced before they return.
    pub(crate) durable: PatientPool,
    /// `synchronous_commit = off`, for rows whose loss in a crash of the server costs nothing: claims.
    pub(crate) relaxed: PatientPool,
}

/// Connections for claims, leases, looks at the queue, notices, snapshots and housekeeping, which come one at a time each,
/// and the one that listens.
const RELAXED_CONNECTIONS_MAX: u32 = 7;
/// A host that is paused or cut off in the middle of a transaction must not hold its locks for long: no transaction of ours
/// is ever idle. The server hangs up on connections whose other end is gone, and gives up the statements that nobody waits
/// for any more: one that was given up here and went through later would change what its sender believes to be its own.
const SESSION_SETTINGS: [(&str, &str); 8] = [
    // Longer than any client waits, see `patient_pool`.
    ("statement_timeout", "12s"),
    ("client_connection_check_interval", "2s"),
    ("idle_in_transaction_session_timeout", "5s"),
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10s"),
    // Our statements are short: what the planner takes for long ones would be compiled for longer than they run.
    ("jit", "off"),
];

impl Database {
    /// Opens the pools and checks the server's version and durability.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::TooOld`], [`StoreError::UnsafeDurability`].
    pub async fn connect(options: &DatabaseOptions) -> Result<Self> {
        let connect: PgConnectOptions = options.url.parse()?;
        let connect = connect.application_name("trellis").options(SESSION_SETTINGS);
        // A connection of its own says at once, and plainly, why there is none; a pool would try until its time is up.
        PgConnection::connect_with(&connect).await?.close().await?;
        let pool = || PatientPool::options().acquire_timeout(options.acquire_timeout);
        let durable = pool().max_connections(options.connections_max).connect_with(connect.clone()).await?;
        let relaxed = pool()
            .max_connections(RELAXED_CONNECTIONS_MAX)
            .connect_with(connect.options([("synchronous_commit", "off")]))
            .await?;
        let database = Self { durable: PatientPool::new(durable), relaxed: PatientPool::new(relaxed) };
        database.check_version().await?;
        if !options.allow_unsafe_durability {
            database.check_durability().await?;
        }
        Ok(database)
    }

    async fn check_version(&self) -> Result<()> {
        let number: i32 =
            sqlx::query_scalar("select current_setting('server_version_num')::int").fetch_one(&self.durable).await?;
        if number.unsigned_abs() / 10_000 >= POSTGRES_VERSION_LEAST {
            return Ok(());
        }
        let found: String =
            sqlx::query_scalar("select current_setting('server_version')").fetch_one(&self.durable).await?;
        Err(StoreError::TooOld { found, least: POSTGRES_VERSION_LEAST })
    }

    async fn check_durability(&self) -> Result<()> {
        let (fsync, synchronous_commit): (String, String) =
            sqlx::query_as("select current_setting('fsync'), current_setting('synchronous_commit')")
                .fetch_one(&self.durable)
                .await?;
        for (setting, value) in [("fsync", fsync), ("synchronous_commit", synchronous_commit)] {
            if value == "off" {
                return Err(StoreError::UnsafeDurability { setting });
            }
        }
        Ok(())
    }

    /// Brings the schema up to date. Hosts that start at the same time wait for each other, and a migration may take its time:
    /// it has a connection of its own, whose statements may.
    ///
    /// # Errors
    /// [`StoreError::Migration`] when a migration fails or the schema is newer than this program.
    pub async fn migrate(&self) -> Result<Vec<String>> {
        let migrator = sqlx::migrate!("../../migrations");
        let before = self.applied_migrations().await?;
        let connect = (*self.durable.connect_options()).clone().options([("statement_timeout", "0")]);
        let mut connection = PgConnection::connect_with(&connect).await?;
        migrator.run(&mut connection).await?;
        connection.close().await?;
        let is_new = |version: i64| !before.contains(&version);
        Ok(migrator.iter().filter(|one| is_new(one.version)).map(|one| one.description.to_string()).collect())
    }

    async fn applied_migrations(&self) -> Result<Vec<i64>> {
        let exists: bool =
            sqlx::query_scalar("select to_regclass('_sqlx_migrations') is not null").fetch_one(&self.durable).await?;
        if !exists {
            return Ok(Vec::new());
        }
        Ok(sqlx::query_scalar("select version from _sqlx_migrations where success").fetch_all(&self.durable).await?)
    }

    /// Whether the server answers.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    pub async fn ping(&self) -> Result<()> {
        sqlx::query("select 1").execute(&self.durable).await?;
        Ok(())
    }

    pub async fn close(&self) {
        self.durable.close().await;
        self.relaxed.close().await;
    }
}
