//! A host under measurement: in this process, on a database of its own, with accounts whose project is deployed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use trellis::{
    config::{Config, ConfigArgs},
    server::Server,
};
use trellis_model::{AccountId, ids::SHARD_COUNT};
use trellis_operator::{limiter::Limiter, run::Callee};

use crate::{
    load::Target,
    project::{GRID, PROJECT, Project},
    rig::Rig,
    tables::Tables,
    tenants::{Tenant, Tenants},
};

/// No account is ever over this, unless it is given limits of its own.
pub const PERMITS: u32 = u32::MAX;
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

/// How a subject differs from an ordinary host.
#[derive(Clone, Copy, Debug)]
pub struct SubjectOptions {
    pub callee: Callee,
    /// Accepts events, and runs none.
    pub only_accepts: bool,
    /// With the project deployed in each.
    pub accounts: usize,
}

impl Default for SubjectOptions {
    fn default() -> Self {
        Self { callee: Callee::default(), only_accepts: false, accounts: 1 }
    }
}

pub struct Subject {
    pub server: Server,
    pub tenants: Tenants,
    pub tables: Tables,
    config: Config,
    callee: Callee,
}

impl Subject {
    /// Starts a host on a new database of this name, and deploys the project.
    ///
    /// # Errors
    /// The host does not start, or refuses the project.
    pub async fn start(rig: &Rig, name: &str, project: &Project, options: SubjectOptions) -> anyhow::Result<Self> {
        let url = rig.database(name).await?;
        let config = configure(&url, &rig.folder(name).display().to_string(), options)?;
        let server = Server::start_calling(&config, options.callee).await?;
        let tenants = Tenants::create(&server.host.database, options.accounts).await?;
        tenants.deploy_everywhere(&server.base_url, project).await?;
        let tables = Tables::open(&url, &tenants.accounts()).await?;
        let subject = Self { server, tenants, tables, config, callee: options.callee };
        subject.wait_until_ready().await?;
        Ok(subject)
    }

    /// Stops the host, does something to its database, and starts a new one on the same database and folder.
    ///
    /// # Errors
    /// The host does not stop or start.
    pub async fn restart(self, between: impl AsyncFnOnce(&Tables) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let Self { server, tenants, tables, config, callee } = self;
        server.shutdown().await?;
        between(&tables).await?;
        let server = Server::start_calling(&config, callee).await?;
        let subject = Self { server, tenants, tables, config, callee };
        subject.wait_until_ready().await?;
        Ok(subject)
    }

    /// Shards are taken after the start.
    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + READY_TIMEOUT;
        while self.server.host.shard_count() < SHARD_COUNT as usize {
            if Instant::now() > until {
                bail!("the host holds {} shards after {READY_TIMEOUT:?}", self.server.host.shard_count());
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// One more account with the project, which counts among none of those that are looked at.
    ///
    /// # Errors
    /// The host refuses the project.
    pub async fn add_tenant(&self, name: &str, project: &Project) -> anyhow::Result<Tenant> {
        let tenant = self.tenants.create_another(&self.server.host.database, name).await?;
        self.tenants.deploy(&self.server.base_url, &tenant, project).await?;
        Ok(tenant)
    }

    /// The trigger of the first account.
    pub fn target(&self) -> Target {
        self.targets().swap_remove(0)
    }

    /// The trigger of each account.
    pub fn targets(&self) -> Vec<Target> {
        let target = |tenant: &Tenant| tenant.target(self.server.address, PROJECT, GRID);
        self.tenants.all.iter().map(target).collect()
    }

    /// Counts runs that were started, by the permits that they took: the limiter knows without a statement.
    pub fn started(&self) -> Arc<dyn Fn() -> u64 + Send + Sync> {
        let (limiter, accounts) = (self.server.host.limiter.clone(), self.tenants.accounts());
        Arc::new(move || accounts.iter().map(|account| permits_taken(&limiter, *account)).sum())
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.tables.close().await;
        self.server.shutdown().await
    }
}

/// By the long window: it does not turn while something is measured.
pub fn permits_taken(limiter: &Limiter, account: AccountId) -> u64 {
    let long = limiter.known_standing(account).and_then(|standing| Some(standing.windows?.1));
    long.map_or(0, |long| u64::from(PERMITS - long.left))
}

/// Such as every host under measurement has. Not from the environment: what is measured must not depend on who measures.
pub fn settings(database_url: &str, data_dir: &str) -> ConfigArgs {
    ConfigArgs {
        listen: Some("127.0.0.1:0".to_owned()),
        data_dir: Some(data_dir.to_owned()),
        database_url: Some(database_url.to_owned()),
        set: vec![format!("limiter.burst_per_minute={PERMITS}"), format!("limiter.long_per_day={PERMITS}")],
        ..ConfigArgs::default()
    }
}

fn configure(database_url: &str, data_dir: &str, options: SubjectOptions) -> anyhow::Result<Config> {
    let loaded = Config::load(&settings(database_url, data_dir), []).context("the settings of a measured host")?;
    let mut config = loaded.config;
    if options.only_accepts {
        config.queue.runs_max = 0;
    }
    Ok(config)
}
