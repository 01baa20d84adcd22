//! Accounts with a project each, deployed through a host's API as their owners would.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use trellis::{api::generate_token, client::Client};
use trellis_model::{
    AccountId,
    token::{Scope, TokenKind},
    window::AccountLimits,
};
use trellis_store::{Database, DatabaseOptions};

use crate::{
    load::Target,
    project::{EVENT, Project},
};

/// As many as a host has.
const CONNECTIONS_MAX: u32 = 16;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// Enough to keep a host busy, few enough that its answers stay quick.
const DEPLOYMENTS_AT_ONCE: usize = 8;

#[derive(Clone, Debug)]
pub struct Tenant {
    pub name: String,
    pub account: AccountId,
    /// Good for the account.
    token: String,
}

impl Tenant {
    /// A trigger, as its users send to it: with a token.
    pub fn target(&self, address: SocketAddr, project: &str, trigger: &str) -> Target {
        Target {
            address,
            path: format!("/hooks/{}/{project}/{trigger}", self.name),
            token: Some(self.token.clone()),
            body: Bytes::from_static(EVENT.as_bytes()),
        }
    }
}

pub struct Tenants {
    pub all: Vec<Tenant>,
    operator_token: String,
}

impl Tenants {
    /// Makes this many accounts.
    ///
    /// # Errors
    /// The database is away.
    pub async fn create(database: &Database, count: usize) -> anyhow::Result<Self> {
        let text = generate_token(TokenKind::Operator)?;
        database.create_token(None, None, "bench", text.digest(), &[Scope::Operator], None).await?;
        let mut all = Vec::with_capacity(count);
        for number in 1..=count {
            all.push(tenant(database, format!("account-{number}")).await?);
        }
        Ok(Self { all, operator_token: text.reveal().to_owned() })
    }

    /// Makes this many accounts in a database that no host has used yet.
    ///
    /// # Errors
    /// The database is away.
    pub async fn prepare(database_url: &str, count: usize) -> anyhow::Result<Self> {
        let database = open(database_url).await?;
        database.migrate().await?;
        let tenants = Self::create(&database, count).await;
        database.close().await;
        tenants
    }

    pub fn accounts(&self) -> Vec<AccountId> {
        self.all.iter().map(|tenant| tenant.account).collect()
    }

    /// One more, which is none of [`Tenants::all`].
    ///
    /// # Errors
    /// The database is away.
    pub async fn create_another(&self, database: &Database, name: &str) -> anyhow::Result<Tenant> {
        tenant(database, name.to_owned()).await
    }

    /// Deploys the project in every account.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn deploy_everywhere(&self, base_url: &str, project: &Project) -> anyhow::Result<()> {
        let deployments = stream::iter(&self.all).map(|tenant| self.deploy(base_url, tenant, project));
        deployments.buffer_unordered(DEPLOYMENTS_AT_ONCE).try_collect().await
    }

    /// Uploads the plugin and deploys the project.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn deploy(&self, base_url: &str, tenant: &Tenant, project: &Project) -> anyhow::Result<()> {
        let client = self.client(base_url, Some(tenant))?;
        let path = ["v1", "plugins", &project.plugin, &project.version];
        let _: Value = client.upload(&path, project.component.clone(), |_| {}).await?;
        self.deploy_manifest(base_url, tenant, project).await
    }

    /// Deploys the project, whose plugin is there.
    ///
    /// # Errors
    /// The host refuses.
    pub async fn deploy_manifest(&self, base_url: &str, tenant: &Tenant, project: &Project) -> anyhow::Result<()> {
        let client = self.client(base_url, Some(tenant))?;
        let answer = client.put_json(&["v1", "projects", &project.name], &[], &project.manifest()).await;
        let _: Value = answer.with_context(|| format!("the project of `{}` was not deployed", tenant.name))?;
        Ok(())
    }

    /// # Errors
    /// The host refuses.
    pub async fn limit(&self, base_url: &str, tenant: &Tenant, limits: AccountLimits) -> anyhow::Result<()> {
        let client = self.client(base_url, None)?;
        let _: Value = client.put_json(&["v1", "accounts", &tenant.name], &[], &json!({ "limits": limits })).await?;
        Ok(())
    }

    /// Speaks as the operator, for an account or for none.
    fn client(&self, base_url: &str, tenant: Option<&Tenant>) -> anyhow::Result<Client> {
        Ok(Client::new(base_url, self.operator_token.as_str(), tenant.map(|tenant| tenant.name.clone()))?)
    }
}

async fn tenant(database: &Database, name: String) -> anyhow::Result<Tenant> {
    let account = database.ensure_account(&name).await?;
    let text = generate_token(TokenKind::Account)?;
    database.create_token(Some(account), None, "bench", text.digest(), &Scope::of_account(), None).await?;
    Ok(Tenant { name, account, token: text.reveal().to_owned() })
}

/// A database as a host sees it.
///
/// # Errors
/// It cannot be reached.
pub async fn open(url: &str) -> anyhow::Result<Database> {
    let options = DatabaseOptions {
        url: url.to_owned(),
        connections_max: CONNECTIONS_MAX,
        acquire_timeout: ACQUIRE_TIMEOUT,
        allow_unsafe_durability: false,
    };
    Database::connect(&options).await.context("cannot open a database of the measurement")
}
