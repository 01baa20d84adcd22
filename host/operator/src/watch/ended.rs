//! Runs that have just ended on this host: what they came to, for those who begin to wait for them a moment too late, and for
//! accounts whose history keeps nothing.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use trellis_model::{
    news::{RunNews, TOLD_BYTES_MAX, ToldWhat},
    run::RunState,
};
use trellis_store::commit::Finished;

use super::Key;

/// Runs that are remembered: as many as end in the time that a notice takes, on a busy host.
const RECENT_MAX: usize = 1_024;
/// What the results of those may come to, in bytes.
const RECENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A run that is over.
#[derive(Clone, Debug)]
pub struct EndedRun {
    pub news: RunNews,
    /// Unix milliseconds; none: this host does not know.
    pub started_at_ms: Option<i64>,
    /// Array of node results, JSON; none: they have to be read from history.
    pub nodes: Option<Vec<u8>>,
}

impl EndedRun {
    pub(super) fn of(finished: Finished, now_ms: i64) -> Self {
        let Finished { state, started_at_ms, error, nodes, .. } = finished;
        let news = RunNews { error, ..RunNews::new(state, now_ms) };
        Self { news, started_at_ms: Some(started_at_ms), nodes: Some(nodes) }
    }

    /// What it came to could not be written: history says why.
    pub(super) fn buried(now_ms: i64) -> Self {
        Self { news: RunNews::new(RunState::Dead, now_ms), started_at_ms: None, nodes: None }
    }

    /// On another host.
    pub(super) fn heard(news: RunNews, nodes: Option<String>) -> Self {
        Self { news, started_at_ms: None, nodes: nodes.map(String::into_bytes) }
    }

    /// As it is told to other hosts: with its results, if they fit.
    pub(super) fn told(&self) -> ToldWhat {
        let nodes = self.nodes.as_ref().filter(|nodes| nodes.len() < TOLD_BYTES_MAX / 2);
        let nodes = nodes.and_then(|nodes| String::from_utf8(nodes.clone()).ok());
        let nodes = nodes.filter(|nodes| escaped_bytes(nodes) < TOLD_BYTES_MAX / 2);
        let news = self.news.clone();
        let error = news.error.clone();
        ToldWhat::Ended(news.because(error.as_deref()), nodes)
    }

    fn bytes(&self) -> usize {
        self.nodes.as_ref().map_or(0, Vec::len)
    }
}

/// As part of a JSON text: an output may have line breaks between its values, and each is two bytes there.
fn escaped_bytes(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

/// The last runs that ended on this host.
#[derive(Debug, Default)]
pub(super) struct RecentEnds(Mutex<Recent>);

#[derive(Debug, Default)]
struct Recent {
    ends: HashMap<Key, Arc<EndedRun>>,
    /// Oldest first.
    order: VecDeque<Key>,
    bytes: usize,
}

impl RecentEnds {
    pub fn remember(&self, over: &[(Key, Arc<EndedRun>)]) {
        if over.is_empty() {
            return;
        }
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, end) in over {
            if recent.ends.insert(*key, Arc::clone(end)).is_none() {
                recent.order.push_back(*key);
                recent.bytes += end.bytes();
            }
        }
        while recent.order.len() > RECENT_MAX || recent.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = recent.order.pop_front() else { return };
            if let Some(end) = recent.ends.remove(&oldest) {
                recent.bytes = recent.bytes.saturating_sub(end.bytes());
            }
        }
    }

    pub fn find(&self, key: Key) -> Option<Arc<EndedRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ends.get(&key).cloned()
    }
}

#[cfg(test)]
mod tests {
    use trellis_model::{AccountId, RunId, news::Told};

    use super::*;

    fn end(bytes: usize) -> Arc<EndedRun> {
        let news = RunNews::new(RunState::Succeeded, 1);
        Arc::new(EndedRun { news, started_at_ms: Some(0), nodes: Some(vec![b'x'; bytes]) })
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many_or_they_are_too_large() {
        let (recent, key) = (RecentEnds::default(), |run| (AccountId(1), RunId(run)));
        for run in 0..=i64::try_from(RECENT_MAX).expect("small") {
            recent.remember(&[(key(run), end(1))]);
        }
        assert!(recent.find(key(0)).is_none() && recent.find(key(1)).is_some());
        recent.remember(&[(key(-1), end(RECENT_BYTES_MAX - 10))]);
        assert!(recent.find(key(-1)).is_some() && recent.find(key(1)).is_none());
        recent.remember(&[(key(-2), end(RECENT_BYTES_MAX + 1))]);
        assert!(recent.find(key(-1)).is_none() && recent.find(key(-2)).is_none());
        assert_eq!(recent.0.lock().expect("no panic while locked").bytes, 0);
    }

    #[test]
    fn short_results_are_told_and_long_ones_are_left_to_history() {
        let of = |bytes| match end(bytes).told() {
            ToldWhat::Ended(_, nodes) => nodes.is_some(),
            other => panic!("{other:?}"),
        };
        assert!(of(100) && !of(TOLD_BYTES_MAX));
    }

    #[test]
    fn the_longest_end_of_a_run_fits_into_a_notice() {
        let error = Some("\u{1}".repeat(10_000));
        for bytes in (0..TOLD_BYTES_MAX).step_by(100) {
            let news = RunNews { error: error.clone(), ..RunNews::new(RunState::Dead, i64::MAX) };
            let nodes = Some("\n".repeat(bytes).into_bytes());
            let what = EndedRun { news, started_at_ms: None, nodes }.told();
            let told = Told { from: u32::MAX, account: AccountId(i64::MAX), run: RunId(i64::MAX), what };
            // The database takes 8,000 bytes.
            assert!(told.to_text().len() < 7_800, "{bytes}: {}", told.to_text().len());
        }
    }
}
