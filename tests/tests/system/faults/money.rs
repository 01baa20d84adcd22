//! Money: transfers between the same few records by runs that read and write both, while hosts die. The sum stays.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::json;

use super::schedule::{Dice, number_from};
use crate::support::{Account, Database, Host, HostPlan, Ledger, Told, action, eventually, project};

const RECORDS: u64 = 100;
/// What each record holds at first.
const BALANCE: i64 = 1_000;
const TRANSFERS: u64 = 20_000;
const SENDERS: usize = 32;
/// Deaths of hosts in the course of all transfers.
const DEATHS: usize = 6;

/// A bank: records, and a project whose events are transfers.
struct Bank {
    database: Database,
    plan: HostPlan,
    account: Account,
    ledger: Ledger,
}

fn record(number: u64) -> String {
    format!("record/{number:02}")
}

impl Bank {
    /// Opens all records. Answers with the first host, too.
    async fn open(settings: impl FnOnce(HostPlan) -> HostPlan) -> (Self, Host) {
        let database = Database::fresh().await;
        let plan = HostPlan::on(&database.url)
            .set("queue.runs_max", "32")
            .set("limiter.burst_per_minute", "100000000")
            .set("limiter.long_per_day", "100000000");
        let plan = settings(plan);
        let host = plan.start().await;
        let account = Account::new(&host.operator(), "bank").await;
        let mut transfer = action(&json!(null));
        // The event itself says what is to be transferred.
        transfer["inputs"]["in"] = json!("event");
        account.deploy(&project("transfers", &json!({ "transfer": transfer }))).await;
        let open: Vec<_> =
            (0..RECORDS).map(|number| json!({ "set": ["s", record(number), BALANCE.to_string()] })).collect();
        let opening = account.start("transfers", &json!({ "do": "storage", "operations": open })).await;
        account.succeeded(&opening).await;
        (Self { database, plan, account, ledger: Ledger::default() }, host)
    }

    /// Sends transfers until so many are accepted, to whichever of the hosts is up.
    async fn send(&self, transfers: u64, seed: u64, urls: &Urls) {
        let sent = stream::iter(0..transfers).map(|number| async move {
            let mut dice = Dice(seed ^ number << 20);
            let (from, by) = (dice.below(RECORDS), 1 + dice.below(RECORDS - 1));
            let event = json!({
                "do": "transfer",
                "from": record(from),
                "to": record((from + by) % RECORDS),
                "amount": dice.below(100),
            });
            loop {
                let account = Account { api: self.account.api.at(&urls.one()), ..self.account.clone() };
                if self.ledger.send(&account, "transfers", &event).await == Told::Accepted {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        sent.buffer_unordered(SENDERS).collect::<()>().await;
    }

    async fn is_idle(&self) {
        eventually("every transfer has ended", async || (self.database.unfinished_count().await == 0).then_some(()))
            .await;
    }

    /// What all records hold together.
    async fn sum(&self) -> i64 {
        self.database
            .number("select sum(convert_from(value, 'UTF8')::bigint)::bigint from keyvalue where key like 'record/%'")
            .await
    }
}

/// Where the hosts are at the moment.
#[derive(Default)]
struct Urls {
    urls: std::sync::Mutex<Vec<String>>,
    turn: AtomicUsize,
}

impl Urls {
    fn set(&self, hosts: &[Host]) {
        *self.urls.lock().expect("no panic") = hosts.iter().map(|host| host.url.clone()).collect();
    }

    fn one(&self) -> String {
        let urls = self.urls.lock().expect("no panic");
        urls[self.turn.fetch_add(1, Ordering::Relaxed) % urls.len()].clone()
    }
}

/// Kills one host after the other, evenly over the course of the transfers, and starts another in its place.
async fn kill_in_turn(bank: &Bank, hosts: &mut Vec<Host>, urls: &Urls, transfers: u64) {
    for death in 1..=DEATHS {
        let due = i64::try_from(transfers as usize * death / (DEATHS + 1)).expect("it was 20,000");
        // However slow the machine: this waits for progress, and fails only if there is none.
        let mut last = -1;
        loop {
            let ended = bank.database.ended_count().await;
            if ended >= due {
                break;
            }
            if ended == last {
                eventually("transfers go on", async || (bank.database.ended_count().await > ended).then_some(())).await;
            }
            last = ended;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let victim = hosts.remove(0);
        urls.set(hosts);
        victim.kill().await;
        hosts.push(bank.plan.start().await);
        urls.set(hosts);
    }
}

#[tokio::test]
async fn the_sum_of_all_money_stays_the_same_while_hosts_die() {
    let transfers = number_from("TRELLIS_TRANSFERS").unwrap_or(TRANSFERS);
    let seed = number_from("TRELLIS_FAULT_SEED").unwrap_or(42);
    let (bank, first) = Bank::open(|plan| plan).await;
    let mut hosts = vec![first, bank.plan.start().await];
    let urls = Urls::default();
    urls.set(&hosts);

    let begun = Instant::now();
    tokio::join!(bank.send(transfers, seed, &urls), kill_in_turn(&bank, &mut hosts, &urls, transfers));
    bank.is_idle().await;
    let seconds = begun.elapsed().as_secs_f64();

    let books = bank.ledger.books(&bank.database).await;
    let states = books.history.values().fold(BTreeMap::new(), |mut states, state| {
        *states.entry(state.clone()).or_insert(0) += 1;
        states
    });
    // The opening is a run as well.
    let ended = books.history.len() - 1;
    eprintln!(
        "{ended} transfers in {seconds:.0} s ({:.0}/s) over {DEATHS} deaths, {} unanswered: {states:?}",
        ended as f64 / seconds,
        books.unanswered,
    );
    assert_eq!(bank.sum().await, BALANCE * i64::try_from(RECORDS).expect("a hundred"), "money was made or lost");
    assert_eq!(states.keys().collect::<Vec<_>>(), ["succeeded"], "no transfer is a dead letter");
    for run in &books.accepted {
        assert_eq!(books.history.get(run).map(String::as_str), Some("succeeded"), "{run}");
        assert_eq!(books.counts.get(&format!("transfer/{run}")), Some(&1), "{run} was applied once");
    }
    assert_eq!(books.counts["transfer"], i64::try_from(ended).expect("it was 20,000"), "nothing else was applied");
    assert!(ended <= books.accepted.len() + books.unanswered, "nobody sent so many");
    bank.database.settled().await;
}

#[tokio::test]
async fn without_the_version_check_money_is_made_or_lost() {
    let (bank, host) = Bank::open(|plan| plan.fault("version-check-off=off")).await;
    let urls = Urls::default();
    let hosts = [host];
    urls.set(&hosts);
    bank.send(400, 42, &urls).await;
    bank.is_idle().await;
    assert_ne!(bank.sum().await, BALANCE * i64::try_from(RECORDS).expect("a hundred"));
}
