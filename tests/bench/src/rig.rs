//! What all measurements share: a private Postgres in a temporary folder, the load's threads, and guests, built.

use std::{fs::Permissions, os::unix::fs::PermissionsExt as _, path::Path};

use anyhow::Context as _;
use sqlx::{Connection as _, Executor as _, PgConnection, PgPool};
use tempfile::TempDir;
use tokio::runtime::Handle;
use trellis::postgres::{EmbeddedPostgres, StartOptions};
use trellis_build::{BuiltPlugin, build_plugin};
use url::Url;

pub struct Rig {
    postgres: EmbeddedPostgres,
    folder: TempDir,
    /// Where the load runs.
    pub load: Handle,
}

impl Rig {
    /// `settings` are laid over those of every private Postgres.
    ///
    /// # Errors
    /// No Postgres on this machine, or one that does not know a setting.
    pub async fn start(load: Handle, settings: Vec<(String, String)>) -> anyhow::Result<Self> {
        // Postgres runs as another user when this program is root.
        let open = Permissions::from_mode(0o755);
        let folder = tempfile::Builder::new().prefix("trellis-bench-").permissions(open).tempdir()?;
        let mut options = StartOptions::new(folder.path().join("postgres"));
        options.extra_settings = settings;
        let postgres = EmbeddedPostgres::start(options).await?;
        Ok(Self { postgres, folder, load })
    }

    /// Builds one of the guests in `tests/guests`.
    ///
    /// # Errors
    /// It does not build.
    pub async fn guest(&self, name: &str) -> anyhow::Result<BuiltPlugin> {
        let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guests").join(name);
        let build = move || build_plugin(&crate_dir, &mut |_| {});
        let built = tokio::task::spawn_blocking(build).await.context("the guest's build panicked")?;
        built.with_context(|| format!("cannot build the guest `{name}`"))
    }

    /// Makes an empty database and returns its address.
    ///
    /// # Errors
    /// Postgres refuses.
    pub async fn database(&self, name: &str) -> anyhow::Result<String> {
        let mut connection = PgConnection::connect(self.postgres.url()).await?;
        let statement = sqlx::AssertSqlSafe(format!("create database {name}"));
        connection.execute(statement).await.with_context(|| format!("cannot make the database {name}"))?;
        connection.close().await?;
        let mut url = Url::parse(self.postgres.url()).context("the address of Postgres is no URL")?;
        url.set_path(name);
        Ok(url.into())
    }

    /// Connections to a database that no host uses: for looking at the server as a whole.
    ///
    /// # Errors
    /// Postgres is away.
    pub async fn server_view(&self) -> sqlx::Result<PgPool> {
        PgPool::connect(self.postgres.url()).await
    }

    /// Where the server writes what it has to say.
    pub fn postgres_log(&self) -> std::path::PathBuf {
        self.postgres.folder().join("postgres.log")
    }

    /// A folder for the files of one host.
    pub fn folder(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.postgres.stop().await?;
        self.folder.close().context("the temporary folder stays behind")
    }
}
