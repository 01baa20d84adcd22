//! The stage of a test: a database, hosts, accounts with their projects, and a world outside to speak to.

mod account;
mod api;
mod command;
mod database;
mod events;
pub mod forge;
mod guests;
#[path = "../../../../host/engine/tests/engine/handmade.rs"]
pub mod handmade;
mod held;
mod host;
mod janitor;
mod ledger;
mod manifest;
mod outside;
mod proxy;
mod raw;
pub mod secrets;
mod small_disk;
pub mod standby;
mod wait;
mod walls;

pub use account::{Account, node, reason};
pub use api::{Answer, Api};
pub use command::command;
pub use database::{Audit, Database, crash, private_postgres, private_postgres_with};
pub use events::{RunEvent, RunEvents};
pub use guests::{build_ready_made, guest, ready_made};
pub use held::{HELD, deploy_held, deploy_held_as, held_run};
pub use host::{Host, HostPlan, PROGRAM, without_settings};
pub use janitor::scratch;
pub use ledger::{Books, LATE, LOUD, Ledger, QUIET, Told};
pub use manifest::{action, after, grants, project};
pub use outside::Outside;
pub use proxy::{Cut, Proxy, Weather};
pub use raw::RawClient;
pub use small_disk::SmallDisk;
pub use wait::{eventually, eventually_within};
pub use walls::{Attack, Ends, Walls};

use std::path::{Path, PathBuf};

/// A database, and one host on it.
pub struct Stage {
    pub database: Database,
    pub host: Host,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(|plan| plan).await
    }

    pub async fn with(settings: impl FnOnce(HostPlan) -> HostPlan) -> Self {
        let database = Database::fresh().await;
        let host = settings(HostPlan::on(&database.url)).start().await;
        Self { database, host }
    }

    /// A host whose guests may reach the world outside of this test.
    pub async fn facing(outside: &Outside) -> Self {
        Self::with(|plan| plan.allow(outside)).await
    }

    /// A new account with a token of its own.
    pub async fn account(&self, name: &str) -> Account {
        Account::new(&self.host.operator(), name).await
    }
}

/// The folder of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("this package lies in the repository").to_owned()
}

/// Says that a test cannot be made here. On CI, where it must be, that is a failure.
pub fn skip(why: &str) {
    assert!(std::env::var("CI").map_or(true, |ci| ci != "true"), "cannot be tested here: {why}");
    eprintln!("skipped: {why}");
}
