//! The rig of a fault: hosts behind a proxy, under a load that keeps books, while something is being broken.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::support::{Account, Books, Database, Host, HostPlan, LATE, LOUD, Ledger, Outside, Proxy, QUIET, Told};

const SENDERS: usize = 4;
/// Between two events of a sender.
const PACE: Duration = Duration::from_millis(5);
/// Before a sender tries again that was told nothing.
const PAUSE: Duration = Duration::from_millis(50);

/// Hosts that reach their database through a proxy, and an account that keeps books.
pub struct Rig {
    pub database: Database,
    pub proxy: Proxy,
    pub plan: HostPlan,
    pub hosts: Vec<Host>,
    pub account: Account,
    pub ledger: Ledger,
    /// Whom the runs tell that they were here.
    #[expect(dead_code, reason = "it answers for as long as it is kept")]
    outside: Outside,
}

impl Rig {
    /// So many hosts on the database, each with these settings.
    pub async fn on(database: Database, host_count: usize, settings: impl FnOnce(HostPlan) -> HostPlan) -> Self {
        let outside = Outside::start().await;
        let proxy = Proxy::before(&database.url).await;
        let plan = HostPlan::on(&proxy.url(&database.url))
            .allow(&outside)
            .set("queue.runs_max", "16")
            .set("limiter.burst_per_minute", "1000000");
        let plan = settings(plan);
        let mut hosts = vec![plan.start().await];
        let account = Account::new(&hosts[0].operator(), "acme").await;
        Ledger::deploy(&account, &outside).await;
        for _ in 1..host_count {
            hosts.push(plan.start().await);
        }
        Self { database, proxy, plan, hosts, account, ledger: Ledger::default(), outside }
    }

    pub async fn new(host_count: usize) -> Self {
        Self::on(Database::fresh().await, host_count, |plan| plan).await
    }

    /// Sends events to all hosts for as long as `breaking` takes.
    pub async fn under_load<T>(&self, breaking: impl Future<Output = T>) -> T {
        let stop = CancellationToken::new();
        let broken = async {
            let broken = breaking.await;
            stop.cancel();
            broken
        };
        let (broken, _) = tokio::join!(broken, join_all((0..SENDERS).map(|_| self.send(&stop))));
        broken
    }

    async fn send(&self, stop: &CancellationToken) {
        let accounts: Vec<Account> = self.hosts.iter().map(|host| self.account.at(host)).collect();
        for (number, account) in accounts.iter().cycle().enumerate() {
            if stop.is_cancelled() {
                return;
            }
            let project = [QUIET, LOUD, QUIET, LATE][number % 4];
            let told = self.ledger.send(account, project, &json!(number)).await;
            tokio::time::sleep(if told == Told::Accepted { PACE } else { PAUSE }).await;
        }
    }

    /// Waits until everything has ended, compares, and says what there was.
    pub async fn balance(&self, what: &str) -> Books {
        let books = self.ledger.balance(&self.database).await;
        let (accepted, unanswered) = (books.accepted.len(), books.unanswered);
        eprintln!("{what}: {accepted} events accepted and {unanswered} unanswered, {} runs", books.history.len());
        assert!(accepted > 0, "no event was accepted");
        assert_eq!(books.ended("dead"), 0, "what broke is no failure of a run");
        books
    }
}
