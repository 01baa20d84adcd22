//! Those who watch runs, and what they are told: on this host at once, on others by notices.
//!
//! ```text
//!   watcher ──► topic of the run ◄── execution, committer          on the same host: memory alone
//!      │ "watched", every few seconds                 │
//!      └──────────────► notices of the database ◄─────┘            on others: only while somebody watches there
//! ```
//!
//! Nobody who runs something waits for those who watch it, and nothing is written or sent for a run that nobody watches. A
//! topic keeps the newest news of each node and nothing older, so that a watcher who reads slowly sees less and holds up
//! nobody. Whoever misses news finds out by looking, a few seconds later: the database has the truth.

mod ended;
mod teller;
mod waiting;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use dashmap::DashMap;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use trellis_model::{
    AccountId, Queue, RunId, Shard,
    ids::SPREAD_MAX,
    news::{NodeNews, RunNews, Told, ToldWhat},
    run::RunState,
};
use trellis_store::{
    Database,
    commit::{Conclusion, RunCommit},
};

pub use self::{ended::EndedRun, waiting::WaitEnd};
use self::{ended::RecentEnds, teller::Teller};
use crate::{cancellations::Cancellations, clock::Clock, committer::CommitEnd, lease::Lease};

/// How often a watcher says that it is still there, and looks by itself.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// A watcher of another host that is not heard of for so long is gone: three times what it takes to say it again.
const REMOTE_LONGEST: Duration = Duration::from_secs(15);
/// Watched runs of other hosts that are remembered; more are found by their watchers when they look.
const REMOTE_MAX: usize = 16_384;

type Key = (AccountId, RunId);

/// What is known of a watched run at this moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The newest of each node.
    pub nodes: BTreeMap<String, NodeNews>,
    pub run: Option<RunNews>,
    pub ended: Option<Arc<EndedRun>>,
    /// Rises when it is time to look into the database.
    pub looks: u64,
}

#[derive(Debug)]
struct Topic {
    live: watch::Sender<Live>,
    watchers: AtomicUsize,
}

pub struct Watches {
    lease: Arc<Lease>,
    clock: Clock,
    in_flight: Arc<Cancellations>,
    /// Of runs that are watched through this host.
    topics: DashMap<Key, Arc<Topic>>,
    /// Runs that are watched through other hosts, until when.
    remote: DashMap<Key, Instant>,
    /// How many there are of both: of a host that nobody watches, this is all that is looked at.
    watched: AtomicUsize,
    ends: RecentEnds,
    told: mpsc::Sender<Told>,
    /// By which this host knows its own words.
    number: u32,
    closing: CancellationToken,
}

impl Watches {
    /// Starts the task that tells other hosts.
    pub fn start(
        database: Database,
        lease: Arc<Lease>,
        clock: Clock,
        in_flight: Arc<Cancellations>,
        stop: CancellationToken,
    ) -> (Arc<Self>, JoinHandle<()>) {
        let (told, teller) = Teller::new(database);
        let task = tokio::spawn(teller.run(stop));
        let (topics, remote, watched) = (DashMap::new(), DashMap::new(), AtomicUsize::new(0));
        let (ends, closing) = (RecentEnds::default(), CancellationToken::new());
        let number = uuid::Uuid::new_v4().as_fields().0;
        (Arc::new(Self { lease, clock, in_flight, topics, remote, watched, ends, told, number, closing }), task)
    }

    /// Begins to watch a run. What it is told from now on is seen; what happened before has to be asked for.
    pub fn watch(self: &Arc<Self>, account: AccountId, run: RunId) -> Watcher {
        let key = (account, run);
        let topic = self.topics.entry(key).or_insert_with(|| {
            self.watched.fetch_add(1, Ordering::AcqRel);
            Arc::new(Topic { live: watch::Sender::new(Live::default()), watchers: AtomicUsize::new(0) })
        });
        topic.watchers.fetch_add(1, Ordering::AcqRel);
        let live = topic.live.subscribe();
        drop(topic);
        Watcher { watches: Arc::clone(self), key, live }
    }

    /// Whether anybody is told of a run.
    pub fn is_watched(&self, account: AccountId, run: RunId) -> bool {
        self.watched.load(Ordering::Acquire) > 0
            && (self.is_watched_here((account, run)) || self.is_watched_elsewhere((account, run)))
    }

    fn is_watched_here(&self, key: Key) -> bool {
        self.topics.contains_key(&key)
    }

    fn is_watched_elsewhere(&self, key: Key) -> bool {
        self.remote.get(&key).is_some_and(|until| *until > Instant::now())
    }

    /// News of nodes of a run that this host runs.
    pub fn tell_nodes(&self, account: AccountId, run: RunId, nodes: Vec<NodeNews>) {
        if nodes.is_empty() || !self.is_watched(account, run) {
            return;
        }
        if self.is_watched_elsewhere((account, run)) {
            trellis_model::news::in_parts(nodes.clone())
                .into_iter()
                .for_each(|part| self.send((account, run), ToldWhat::Nodes(part)));
        }
        self.note((account, run), |live| note_nodes(live, nodes));
    }

    /// News of a run that this host runs.
    pub fn tell_run(&self, account: AccountId, run: RunId, news: RunNews) {
        if !self.is_watched(account, run) {
            return;
        }
        if self.is_watched_elsewhere((account, run)) {
            self.send((account, run), ToldWhat::Run(news.clone()));
        }
        self.note((account, run), |live| live.run = Some(news));
    }

    /// What the committer has written: runs that are over, or wait.
    pub fn committed(&self, commits: Vec<RunCommit>, ends: &[CommitEnd]) {
        let now_ms = self.clock.now_ms();
        let mut over = Vec::new();
        for (commit, end) in commits.into_iter().zip(ends) {
            let key = (commit.account, commit.run);
            match (commit.conclusion, end) {
                (Conclusion::Finished(finished), CommitEnd::Committed) => {
                    over.push((key, Arc::new(EndedRun::of(finished, now_ms))));
                }
                (_, CommitEnd::Buried) => over.push((key, Arc::new(EndedRun::buried(now_ms)))),
                (Conclusion::Later { after, last_error, .. }, CommitEnd::Committed) => {
                    let run_at_ms = now_ms.saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
                    let news = RunNews::new(RunState::Waiting, now_ms).because(last_error.as_deref());
                    self.tell_run(key.0, key.1, RunNews { run_at_ms: Some(run_at_ms), ..news });
                }
                _ => {}
            }
        }
        // Remembered first: whoever begins to watch now finds it there, or is told.
        self.ends.remember(&over);
        for (key, end) in over {
            self.tell_end(key, end);
        }
    }

    fn tell_end(&self, key: Key, end: Arc<EndedRun>) {
        if !self.is_watched(key.0, key.1) {
            return;
        }
        if self.is_watched_elsewhere(key) {
            self.send(key, end.told());
        }
        self.note(key, |live| live.ended = Some(end));
    }

    /// Says to other hosts that a run is watched through this one.
    fn announce(&self, key: Key) {
        self.send(key, ToldWhat::Watched);
    }

    fn send(&self, (account, run): Key, what: ToldWhat) {
        // If there is no room, watchers there look by themselves.
        let _ = self.told.try_send(Told { from: self.number, account, run, what });
    }

    fn note(&self, key: Key, change: impl FnOnce(&mut Live)) {
        let topic = self.topics.get(&key).map(|topic| Arc::clone(&topic));
        if let Some(topic) = topic {
            topic.live.send_modify(change);
        }
    }

    /// Heeds what another host tells.
    pub fn heed(&self, text: &str) {
        let Some(told) = Told::parse(text).filter(|told| told.from != self.number) else { return };
        let key = (told.account, told.run);
        match told.what {
            ToldWhat::Watched => self.watched_elsewhere(key),
            ToldWhat::Heard => self.note(key, |live| live.looks += 1),
            ToldWhat::Nodes(nodes) => self.note(key, |live| note_nodes(live, nodes)),
            ToldWhat::Run(news) => self.note(key, |live| live.run = Some(news)),
            ToldWhat::Ended(news, nodes) => {
                let end = Arc::new(EndedRun::heard(news, nodes));
                self.note(key, |live| live.ended = Some(end));
            }
        }
    }

    fn watched_elsewhere(&self, key: Key) {
        self.remember_remote(key);
        if self.in_flight.ask(key.0, key.1) {
            // The execution tells where it stands.
        } else if let Some(end) = self.ends.find(key) {
            self.send(key, end.told());
        } else if Queue::parts(key.0, SPREAD_MAX).any(|queue| self.lease.holds(queue.shard)) {
            self.send(key, ToldWhat::Heard);
        }
    }

    fn remember_remote(&self, key: Key) {
        let now = Instant::now();
        if self.remote.len() >= REMOTE_MAX {
            self.forget_remote(now);
        }
        if self.remote.len() < REMOTE_MAX && self.remote.insert(key, now + REMOTE_LONGEST).is_none() {
            self.watched.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Forgets watchers of other hosts that were not heard of for long.
    pub fn forget_gone(&self) {
        self.forget_remote(Instant::now());
    }

    fn forget_remote(&self, now: Instant) {
        let mut gone = 0;
        self.remote.retain(|_, until| {
            gone += usize::from(*until <= now);
            *until > now
        });
        self.watched.fetch_sub(gone, Ordering::AcqRel);
    }

    /// The host stops: nobody waits here any more, and watchers go elsewhere.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// Resolves when the host stops.
    pub async fn closed(&self) {
        self.closing.cancelled().await;
    }

    /// Whether this host would be told of a run without asking others: it owns the shard that the run was put on.
    fn is_ours(&self, shard: Shard) -> bool {
        self.lease.holds(shard)
    }
}

/// News that come late do not hide newer ones.
fn note_nodes(live: &mut Live, nodes: Vec<NodeNews>) {
    for news in nodes {
        let is_older = live
            .nodes
            .get(&news.node)
            .is_some_and(|known| (known.attempt, known.at_ms) > (news.attempt, news.at_ms) && known.state.is_final());
        if !is_older {
            live.nodes.insert(news.node.clone(), news);
        }
    }
}

/// Somebody who watches a run.
pub struct Watcher {
    watches: Arc<Watches>,
    key: Key,
    live: watch::Receiver<Live>,
}

impl Watcher {
    /// Asks whoever runs it to say where it stands, here and on other hosts.
    pub fn ask(&self) {
        if !self.watches.in_flight.ask(self.key.0, self.key.1) {
            self.watches.announce(self.key);
        }
    }

    /// Resolves when there is something new.
    pub async fn changed(&mut self) {
        // The topic lives as long as it has a watcher.
        if self.live.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is known now; counts as seen.
    pub fn now(&mut self) -> Live {
        let mut live = self.live.borrow_and_update().clone();
        if live.ended.is_none() {
            live.ended = self.watches.ends.find(self.key);
        }
        live
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let is_last = |_: &Key, topic: &Arc<Topic>| topic.watchers.fetch_sub(1, Ordering::AcqRel) == 1;
        if self.watches.topics.remove_if(&self.key, is_last).is_some() {
            self.watches.watched.fetch_sub(1, Ordering::AcqRel);
        }
    }
}
