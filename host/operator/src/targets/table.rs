//! All buckets of a host, by account, project, target and host. Bounded for each account.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use dashmap::{DashMap, Entry};
use trellis_model::{Queue, Shard, targets::TargetState};
use trellis_store::targets::TargetKey;

use super::bucket::Bucket;

/// Buckets of one account's queue. Hosts beyond that share one bucket per target: a guest chooses hosts, and must not
/// fill the memory with them.
const BUCKETS_MAX: usize = 1_000;

#[derive(Debug, Default)]
pub(super) struct Table {
    buckets: DashMap<TargetKey, Arc<Bucket>>,
    /// How many buckets each queue has.
    counts: DashMap<Queue, usize>,
    rest: Mutex<Rest>,
}

#[derive(Debug, Default)]
struct Rest {
    /// Shards whose former owner left nothing that could be read, and since when they are this host's, Unix milliseconds.
    doubtful: HashMap<Shard, i64>,
    /// Buckets that are gone here, but perhaps not in the database.
    to_forget: Vec<TargetKey>,
}

impl Table {
    fn rest<T>(&self, change: impl FnOnce(&mut Rest) -> T) -> T {
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The bucket of a key, and the key that it really has.
    pub fn bucket(&self, mut key: TargetKey) -> (TargetKey, Arc<Bucket>) {
        if let Some(bucket) = self.buckets.get(&key) {
            return (key, Arc::clone(&bucket));
        }
        if self.counts.get(&key.queue).is_some_and(|count| *count >= BUCKETS_MAX) {
            key.host = String::new();
        }
        let since = self.rest(|rest| rest.doubtful.get(&key.queue.shard).copied());
        let state = since.map_or_else(TargetState::default, |since| TargetState::default().in_doubt(since));
        let bucket = self.insert(key.clone(), state);
        (key, bucket)
    }

    /// Puts a bucket in its place, unless there is one.
    pub fn insert(&self, key: TargetKey, state: TargetState) -> Arc<Bucket> {
        match self.buckets.entry(key) {
            Entry::Occupied(entry) => Arc::clone(entry.get()),
            Entry::Vacant(entry) => {
                *self.counts.entry(entry.key().queue).or_default() += 1;
                Arc::clone(&entry.insert(Arc::new(Bucket::new(state))))
            }
        }
    }

    /// Buckets of these shards that come into being are in doubt, because those before them were not to be read.
    pub fn doubt(&self, shards: &[Shard], since_ms: i64) {
        self.rest(|rest| rest.doubtful.extend(shards.iter().map(|shard| (*shard, since_ms))));
    }

    /// Takes out the buckets of shards.
    pub fn remove(&self, is_meant: impl Fn(Shard) -> bool) -> Vec<(TargetKey, TargetState)> {
        self.rest(|rest| {
            rest.doubtful.retain(|shard, _| !is_meant(*shard));
            rest.to_forget.retain(|key| !is_meant(key.queue.shard));
        });
        self.remove_if(|key, _| is_meant(key.queue.shard))
    }

    /// Takes out the buckets that are as good as new and in nobody's hands; answers with all that the database need not
    /// keep any more.
    pub fn remove_at_rest(&self, now_ms: i64) -> Vec<TargetKey> {
        let removed =
            self.remove_if(|_, bucket| Arc::strong_count(bucket) == 1 && bucket.is_at_rest(now_ms)).into_iter();
        let mut keys = self.rest(|rest| std::mem::take(&mut rest.to_forget));
        keys.extend(removed.map(|(key, _)| key));
        // What is in use again is kept.
        keys.retain(|key| !self.buckets.contains_key(key));
        keys
    }

    fn remove_if(&self, is_meant: impl Fn(&TargetKey, &Arc<Bucket>) -> bool) -> Vec<(TargetKey, TargetState)> {
        let mut removed = Vec::new();
        self.buckets.retain(|key, bucket| {
            let stays = !is_meant(key, bucket);
            if !stays {
                removed.push((key.clone(), bucket.state()));
            }
            stays
        });
        for (key, _) in &removed {
            if let Some(mut count) = self.counts.get_mut(&key.queue) {
                *count -= 1;
            }
            self.counts.remove_if(&key.queue, |_, count| *count == 0);
        }
        removed
    }

    pub fn take_changed(&self) -> Vec<(TargetKey, TargetState)> {
        let changed = |bucket: &Bucket| bucket.take_changed();
        self.buckets.iter().filter_map(|entry| Some((entry.key().clone(), changed(entry.value())?))).collect()
    }

    /// Puts back what was taken as changed, and not kept.
    pub fn keep_later(&self, changed: &[(TargetKey, TargetState)]) {
        for bucket in changed.iter().filter_map(|(key, _)| self.buckets.get(key)) {
            bucket.keep_later();
        }
    }

    pub fn forget_later(&self, keys: Vec<TargetKey>) {
        self.rest(|rest| rest.to_forget.extend(keys));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use trellis_model::{
        AccountId, ProjectId,
        targets::{Answer, RateLimit, TargetLimit},
    };

    use super::{super::bucket::Place, *};

    const NOW_MS: i64 = 1_800_000_000_000;
    const LIMIT: TargetLimit =
        TargetLimit { rate: Some(RateLimit::Window { max: 1, period_ms: 1_000 }), concurrency: None };

    fn key(account: i64, host: &str) -> TargetKey {
        let queue = Queue::home(AccountId(account));
        TargetKey { queue, project: ProjectId(1), target: "shop".to_owned(), host: host.to_owned() }
    }

    #[test]
    fn hosts_beyond_an_accounts_share_have_one_bucket_together() {
        let table = Table::default();
        for number in 0..BUCKETS_MAX {
            assert_eq!(table.bucket(key(1, &format!("h{number}"))).0.host, format!("h{number}"));
        }
        assert_eq!(table.bucket(key(1, "one-more")).0.host, "");
        assert_eq!(table.bucket(key(1, "and-another")).0.host, "");
        assert_eq!(table.bucket(key(1, "h7")).0.host, "h7", "those that are there stay");
        assert_eq!(table.bucket(key(2, "one-more")).0.host, "one-more", "another account has its own share");
    }

    #[test]
    fn a_bucket_leaves_when_it_is_at_rest_and_in_nobodys_hands() {
        let table = Table::default();
        let (_, bucket) = table.bucket(key(1, "a"));
        assert_eq!(bucket.ask(LIMIT, None, NOW_MS), Answer::Go);
        assert!(table.remove_at_rest(NOW_MS + 5_000).is_empty(), "a request is under way");
        drop(Place { bucket, began: Instant::now() });
        assert!(table.remove_at_rest(NOW_MS + 500).is_empty(), "its window is not over");
        assert_eq!(table.remove_at_rest(NOW_MS + 1_000), [key(1, "a")]);
        assert!(table.buckets.is_empty() && table.counts.is_empty());
    }

    #[test]
    fn what_the_database_did_not_forget_is_forgotten_later_unless_it_is_in_use_again() {
        let table = Table::default();
        table.forget_later(vec![key(1, "a"), key(1, "b")]);
        let _held = table.bucket(key(1, "b"));
        assert_eq!(table.remove_at_rest(NOW_MS), [key(1, "a")]);
        assert!(table.remove_at_rest(NOW_MS).is_empty());
    }

    #[test]
    fn changes_are_kept_once_and_again_if_they_were_not() {
        let table = Table::default();
        let (_, bucket) = table.bucket(key(1, "a"));
        bucket.ask(LIMIT, None, NOW_MS);
        let changed = table.take_changed();
        assert_eq!(changed.len(), 1);
        assert!(table.take_changed().is_empty());
        table.keep_later(&changed);
        assert_eq!(table.take_changed(), changed);
    }

    #[test]
    fn a_shard_whose_past_is_not_to_be_read_begins_with_its_windows_used_up() {
        let table = Table::default();
        let shard = key(1, "a").queue.shard;
        table.doubt(&[shard], NOW_MS);
        let (_, bucket) = table.bucket(key(1, "a"));
        assert_eq!(bucket.ask(LIMIT, None, NOW_MS), Answer::Wait { until_ms: NOW_MS + 1_000 });
        table.remove(|removed| removed == shard);
        assert_eq!(table.bucket(key(1, "a")).1.ask(LIMIT, None, NOW_MS), Answer::Go);
    }
}
