//! P8: what a host costs that has a million jobs of a throttled account, in statements and in time on a CPU; against one
//! that has nothing, over the same seconds.

use std::time::Duration;

use serde_json::json;
use trellis_model::window::{AccountLimits, WindowLimit};

use crate::{
    footprint::{Cost, Watch},
    goal::most,
    host_process::HostProcess,
    measurement::Measurement,
    project::Project,
    rig::Rig,
    tables::Tables,
    tenants::Tenants,
    waiting_jobs,
};

const WAITING_JOBS: u32 = 1_000_000;
/// For what is left to do of the loading.
const REST: Duration = Duration::from_secs(3);
/// One run, and then none for the rest of the day.
fn limits() -> AccountLimits {
    AccountLimits { burst: WindowLimit::per_minute(1), long: WindowLimit::per_day(1), ..AccountLimits::default() }
}

pub async fn measure(rig: &Rig, seconds: Duration) -> anyhow::Result<Measurement> {
    let project = Project::of_one_node(&rig.guest("echo").await?, &json!({}));
    let idle = Side::start(rig, "throttled_none", &project).await?;
    let laden = Side::start(rig, "throttled_million", &project).await?;
    waiting_jobs::queue(&laden.tables.pool, laden.tenants.all[0].account, WAITING_JOBS).await?;
    tokio::time::sleep(REST).await;
    eprintln!("throttled: {} s", seconds.as_secs());
    let server = rig.server_view().await?;
    let watches = [
        Watch::begin(&server, "throttled_million", laden.host.id()?).await?,
        Watch::begin(&server, "throttled_none", idle.host.id()?).await?,
    ];
    tokio::time::sleep(seconds).await;
    let [ours, other] = watches;
    let (ours, other): (Cost, Cost) = (ours.end().await?, other.end().await?);
    laden.stop().await?;
    idle.stop().await?;
    Ok(Measurement::new(
        "P8",
        "statements/s",
        ours.statements_per_second,
        ("an idle host", other.statements_per_second),
    )
    .taken(seconds, WAITING_JOBS as usize)
    .with("cpu_percent", ours.cpu_percent())
    .with("other_cpu_percent", other.cpu_percent())
    .with("more_cpu_percent", ours.cpu_percent() - other.cpu_percent())
    .with("postgres_cpu_percent", ours.postgres_cpu_percent)
    .with("other_postgres_cpu_percent", other.postgres_cpu_percent)
    // As idle: within what two idle hosts differ by.
    .aiming_at(&[most("ratio", 1.1), most("more_cpu_percent", 0.5)]))
}

struct Side {
    host: HostProcess,
    tenants: Tenants,
    tables: Tables,
}

impl Side {
    async fn start(rig: &Rig, name: &str, project: &Project) -> anyhow::Result<Self> {
        let url = rig.database(name).await?;
        let tenants = Tenants::prepare(&url, 1).await?;
        let host = HostProcess::start(rig, &url, name, &[]).await?;
        tenants.deploy_everywhere(&host.base_url, project).await?;
        tenants.limit(&host.base_url, &tenants.all[0], limits()).await?;
        let tables = Tables::open(&url, &tenants.accounts()).await?;
        Ok(Self { host, tenants, tables })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.tables.close().await;
        self.host.stop().await
    }
}
