//! Hosts that are killed, at their fail points and at any moment, one after the other and several at once.
//!
//! `TRELLIS_FAULT_SCHEDULES` says how many lives are played (200 if it does not), `TRELLIS_FAULT_SEED` which ones: a failure
//! prints the seed that repeats it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures_util::{StreamExt, future::join_all, stream};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::schedule::{Death, Dice, Schedule, number_from};
use crate::support::{Account, Books, Database, Host, HostPlan, LATE, LOUD, Ledger, Outside, QUIET, Told};

const SCHEDULES: u64 = 200;
/// Schedules of one database; then the books are closed, and new ones opened.
const CHAPTER_SCHEDULES: u64 = 50;
/// Chapters at the same time: hosts wait for leases more than they work.
const CHAPTERS_AT_ONCE: usize = 2;
/// Hosts of a chapter at the same time.
const LANES: u64 = 2;
/// A host that does not come to its fail point by then is killed where it stands.
const LIFE_LONGEST: Duration = Duration::from_secs(2);
/// Longer than other hosts take to notice that a lease has run out.
const SLEEP: Duration = Duration::from_millis(700);
const AT_NO_POINT: &str = "at no point";
const SENDERS: usize = 2;
/// Between two events of a sender.
const PACE: Duration = Duration::from_millis(8);

/// One database, its hosts and its books.
struct Chapter {
    seed: u64,
    schedules: u64,
    next: AtomicU64,
    database: Database,
    plan: HostPlan,
    account: Account,
    ledger: Ledger,
    /// Where hosts are to be found at the moment, by lane.
    open: Mutex<BTreeMap<u64, String>>,
    /// How hosts have ended: at which point, or at no point in particular.
    deaths: Mutex<BTreeMap<&'static str, u64>>,
}

impl Chapter {
    async fn begin(seed: u64, schedules: u64, outside: &Outside) -> Self {
        let database = Database::fresh().await;
        let plan = HostPlan::on(&database.url)
            .allow(outside)
            .set("queue.runs_max", "16")
            .set("limiter.burst_per_minute", "1000000");
        let host = plan.start().await;
        let account = Account::new(&host.operator(), "acme").await;
        Ledger::deploy(&account, outside).await;
        host.kill().await;
        Self {
            seed,
            schedules,
            next: AtomicU64::new(0),
            database,
            plan,
            account,
            ledger: Ledger::default(),
            open: Mutex::default(),
            deaths: Mutex::default(),
        }
    }

    /// Plays all schedules, under load, and closes the books.
    async fn play(&self) -> Books {
        let stop = CancellationToken::new();
        let dying = async {
            join_all((0..LANES).map(|lane| self.lane(lane))).await;
            stop.cancel();
        };
        tokio::join!(dying, join_all((0..SENDERS).map(|_| self.send(&stop))));
        let host = self.plan.start().await;
        let books = self.ledger.balance(&self.database).await;
        drop(host);
        books
    }

    /// Plays one schedule after the other in one place.
    async fn lane(&self, lane: u64) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.schedules {
                return;
            }
            self.live(lane, &Schedule::draw(Dice(self.seed ^ number << 32).next())).await;
        }
    }

    /// One life of one host.
    async fn live(&self, lane: u64, schedule: &Schedule) {
        tokio::time::sleep(schedule.idle).await;
        let plan = match schedule.death {
            Death::At { point, hit } => self.plan.clone().fault(format!("{point}=kill@{hit}")),
            Death::AfterSleep { point, hit, .. } => self.plan.clone().fault(format!("{point}=stop@{hit}")),
            Death::After(_) => self.plan.clone(),
        };
        let mut host = plan.launch().await;
        if host.is_ready {
            self.open.lock().expect("no panic").insert(lane, host.url.clone());
        }
        let died_of = self.die(&mut host, schedule).await;
        self.open.lock().expect("no panic").remove(&lane);
        let id = host.id();
        host.kill().await;
        if let Some(id) = id.filter(|_| !schedule.keeps_lease) {
            self.database.expire(&id).await;
        }
        *self.deaths.lock().expect("no panic").entry(died_of).or_default() += 1;
    }

    /// Waits for what the schedule has for a host. Answers with what it dies of; the caller buries it.
    async fn die(&self, host: &mut Host, schedule: &Schedule) -> &'static str {
        match schedule.death {
            Death::At { point, .. } if host.has_died_within(LIFE_LONGEST).await => point,
            Death::At { .. } => AT_NO_POINT,
            Death::After(time) => {
                host.has_died_within(time).await;
                AT_NO_POINT
            }
            Death::AfterSleep { more, .. } => {
                if !host.has_paused_within(LIFE_LONGEST).await {
                    return AT_NO_POINT;
                }
                if let Some(id) = host.id() {
                    self.database.expire(&id).await;
                }
                tokio::time::sleep(SLEEP).await;
                host.wake().await;
                host.has_died_within(more).await;
                "after a sleep"
            }
        }
    }

    /// Sends events to whatever host is there, until `stop`.
    async fn send(&self, stop: &CancellationToken) {
        let mut number = 0_usize;
        while !stop.is_cancelled() {
            let urls: Vec<String> = self.open.lock().expect("no panic").values().cloned().collect();
            if let Some(url) = urls.get(number % urls.len().max(1)) {
                let account = Account { api: self.account.api.at(url), ..self.account.clone() };
                let project = [QUIET, LOUD, QUIET, LATE][number % 4];
                if self.ledger.send(&account, project, &json!(number)).await == Told::Nothing {
                    tokio::time::sleep(PACE * 4).await;
                }
            }
            number += 1;
            tokio::time::sleep(PACE).await;
        }
    }
}

fn seed_of_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_millis() as u64)
}

#[tokio::test]
async fn no_death_of_a_host_loses_an_event_or_applies_one_twice() {
    let seed = number_from("TRELLIS_FAULT_SEED").unwrap_or_else(seed_of_now);
    let schedules = number_from("TRELLIS_FAULT_SCHEDULES").unwrap_or(SCHEDULES);
    eprintln!("to play the same deaths again: TRELLIS_FAULT_SEED={seed} TRELLIS_FAULT_SCHEDULES={schedules}");
    let outside = Outside::start().await;
    let begun = Instant::now();
    let chapters = (0..schedules.div_ceil(CHAPTER_SCHEDULES)).map(|number| {
        let count = CHAPTER_SCHEDULES.min(schedules - number * CHAPTER_SCHEDULES);
        let seed = Dice(seed ^ number << 48).next();
        let outside = &outside;
        async move {
            let chapter = Chapter::begin(seed, count, outside).await;
            let books = chapter.play().await;
            (books, chapter.deaths.into_inner().expect("no panic"))
        }
    });
    let played: Vec<_> = stream::iter(chapters).buffer_unordered(CHAPTERS_AT_ONCE).collect().await;

    let mut deaths: BTreeMap<&str, u64> = BTreeMap::new();
    for (point, count) in played.iter().flat_map(|(_, deaths)| deaths) {
        *deaths.entry(point).or_default() += count;
    }
    let sum = |of: fn(&Books) -> usize| played.iter().map(|(books, _)| of(books)).sum::<usize>();
    let (accepted, unanswered) = (sum(|books| books.accepted.len()), sum(|books| books.unanswered));
    let (succeeded, dead) = (sum(|books| books.ended("succeeded")), sum(|books| books.ended("dead")));
    eprintln!(
        "{schedules} deaths in {} s, seed {seed}: {accepted} events accepted and {unanswered} unanswered, {succeeded} runs \
         succeeded and {dead} dead; {deaths:?}",
        begun.elapsed().as_secs(),
    );
    assert_eq!(deaths.values().sum::<u64>(), schedules, "every schedule is a death");
    let missed = deaths.get(AT_NO_POINT).copied().unwrap_or(0);
    assert!(missed < schedules / 2, "most hosts died at no fail point: {deaths:?}");
    assert!(accepted > 0, "no event was accepted");
}
