//! Publications that are remembered, so that a later one can replace them, and an event can change or remove them.
//!
//! Publications are of one *topic* if they are about the same thing. A new one of a topic *supersedes* the older ones, which are
//! removed when their time to live after that is over: at the next publication of the topic, or when somebody cleans.
//!
//! Kept in a store of the project, each publication under a key of its own, so that publications of different topics never
//! meet in one commit. Does not know how a service is told to change or remove something: that is [`Place`]'s part.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};
use trellis_sdk::{Error, Result, http::percent_encode, log, storage};

/// Longest topic, in bytes when its special characters are escaped: with the rest of the key it fits the host's limit of 512.
const TOPIC_BYTES_MAX: usize = 400;

/// Current publications that one call supersedes. Each takes three operations on storage, of the 1,000 of a call; those that
/// are left over are superseded by the next publications.
const SUPERSEDED_MAX: usize = 100;

/// Publications of a whole store that one call looks at, of the 10,000 keys that a call may read.
const SWEPT_MAX: usize = 9_000;

/// What begins the last part of a superseded publication's key. Behind all digits, so that current ones come first.
const SUPERSEDED: char = '~';

/// A service in which something is published.
pub trait Place {
    /// What the service needs to find a publication again.
    type Reference: Serialize + DeserializeOwned;

    /// Removes a publication. One that is gone already is no error.
    ///
    /// # Errors
    /// It is still there; another attempt may help or not.
    fn remove(&self, publication: &Self::Reference) -> Result<()>;
}

/// What becomes of superseded publications.
#[derive(Clone, Copy, Debug)]
pub struct Cleanup {
    /// How long they stay after they were superseded. None: for ever.
    pub after: Option<Duration>,
    /// Most publications to remove in one call.
    pub removals_max: usize,
}

/// The publications of a store.
#[derive(Clone, Debug)]
pub struct Publications {
    store: storage::Store,
    /// How long each is remembered.
    keep: Duration,
}

/// One remembered publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remembered {
    key: String,
    /// When it is to be removed, in Unix seconds. None: it is current.
    due_at: Option<i64>,
}

/// How a cleaning went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Publications that are gone now.
    pub removed: usize,
    /// Publications that were due and are still there: too many for one call, or the service did not remove them.
    pub left: usize,
}

impl Publications {
    /// Those of a store, which the node must be granted to write. `keep`: how long a publication is remembered, from the day
    /// on that it was made or superseded; what is forgotten stays where it is.
    pub fn of(store: &str, keep: Duration) -> Self {
        Self { store: storage::store(store), keep }
    }

    /// All of a topic, current ones first, the oldest of them first.
    ///
    /// # Errors
    /// Invalid input: the topic is empty or too long. And what storage says.
    pub fn of_topic(&self, topic: &str) -> Result<Vec<Remembered>> {
        let keys = self.store.list(prefix(topic)?);
        Ok(keys.map(|key| key.map(Remembered::from_key)).collect::<Result<_, _>>()?)
    }

    /// All of the store, or as many as a call may look at, by their topics. What is behind them goes with the next publication
    /// of its topic, or when that topic is cleaned.
    ///
    /// # Errors
    /// What storage says.
    pub fn all(&self) -> Result<Vec<Remembered>> {
        let keys = self.store.list("").take(SWEPT_MAX);
        let all = keys.map(|key| key.map(Remembered::from_key)).collect::<Result<Vec<_>, _>>()?;
        if all.len() == SWEPT_MAX {
            log::warn!("there are more than {SWEPT_MAX} publications; clean by topic, or lower `remember_for`");
        }
        Ok(all)
    }

    /// What the service needs to find the newest current one of these.
    ///
    /// # Errors
    /// What storage says.
    pub fn current<R: DeserializeOwned>(&self, remembered: &[Remembered]) -> Result<Option<R>> {
        let newest = remembered.iter().rev().find(|publication| publication.due_at.is_none());
        Ok(match newest {
            Some(publication) => self.store.get_json(&publication.key)?,
            None => None,
        })
    }

    /// Remembers a publication. `id` tells it from others of the same second: the idempotency key of the call will do.
    ///
    /// # Errors
    /// Invalid input: the topic is empty or too long. And what storage says.
    pub fn remember(&self, topic: &str, id: &str, reference: &impl Serialize, now: i64) -> Result<()> {
        let key = format!("{}{now:012}-{}", prefix(topic)?, percent_encode(id));
        Ok(self.store.write(&key).ttl(self.keep).json(reference)?)
    }

    /// Supersedes those that are current, and removes those whose time is over. What cannot be removed stays due and is told
    /// in the log: a publication that has been made must not be made again because an older one could not be removed. So the
    /// first refusal is the last request, too: a service that is busy or silent would use up the time of the call.
    ///
    /// # Errors
    /// What storage says.
    pub fn supersede<P: Place>(&self, older: &[Remembered], place: &P, cleanup: Cleanup, now: i64) -> Result<Cleaned> {
        let Some(after) = cleanup.after else { return Ok(Cleaned::default()) };
        let (mut cleaned, mut superseded, mut is_refused) = (Cleaned::default(), 0, false);
        for publication in older {
            let due_at = publication.due_at.unwrap_or_else(|| now.saturating_add_unsigned(after.as_secs()));
            if due_at <= now {
                if !is_refused && cleaned.removed < cleanup.removals_max {
                    is_refused = !self.remove_or_warn(publication, place)?;
                    if !is_refused {
                        cleaned.removed += 1;
                        continue;
                    }
                }
                cleaned.left += 1;
            }
            if publication.due_at.is_none() && superseded < SUPERSEDED_MAX {
                self.put_off(publication, due_at)?;
                superseded += 1;
            }
        }
        Ok(cleaned)
    }

    /// Removes all of these that are due.
    ///
    /// # Errors
    /// What the service says of the first that could not be removed, if none could; and what storage says.
    pub fn clean<P: Place>(&self, remembered: &[Remembered], place: &P, cleanup: Cleanup, now: i64) -> Result<Cleaned> {
        let due = remembered.iter().filter(|publication| publication.due_at.is_some_and(|due_at| due_at <= now));
        self.remove_all(due, place, cleanup.removals_max)
    }

    /// Removes all of these, due or not.
    ///
    /// # Errors
    /// As for [`Publications::clean`].
    pub fn remove<P: Place>(&self, remembered: &[Remembered], place: &P, cleanup: Cleanup) -> Result<Cleaned> {
        self.remove_all(remembered.iter(), place, cleanup.removals_max)
    }

    fn remove_all<'a, P: Place>(
        &self,
        publications: impl Iterator<Item = &'a Remembered>,
        place: &P,
        removals_max: usize,
    ) -> Result<Cleaned> {
        let (mut cleaned, mut refusal) = (Cleaned::default(), None);
        for publication in publications {
            if cleaned.removed + usize::from(refusal.is_some()) >= removals_max || refusal.is_some() {
                cleaned.left += 1;
                continue;
            }
            match self.remove_one(publication, place)? {
                Ok(()) => cleaned.removed += 1,
                Err(error) => {
                    refusal = Some(error);
                    cleaned.left += 1;
                }
            }
        }
        match refusal {
            // What was removed is committed; the next call goes on.
            Some(error) if cleaned.removed > 0 => log::warn!("a publication could not be removed: {error}"),
            Some(error) => return Err(error),
            None => {}
        }
        Ok(cleaned)
    }

    fn remove_or_warn<P: Place>(&self, publication: &Remembered, place: &P) -> Result<bool> {
        let removed = self.remove_one(publication, place)?;
        if let Err(error) = &removed {
            log::warn!("an older publication could not be removed and stays for the next cleaning: {error}");
        }
        Ok(removed.is_ok())
    }

    /// The outer result is storage's, the inner one the service's.
    fn remove_one<P: Place>(&self, publication: &Remembered, place: &P) -> Result<Result<()>> {
        if let Some(reference) = self.store.get_json::<P::Reference>(&publication.key)?
            && let Err(refusal) = place.remove(&reference)
        {
            return Ok(Err(refusal));
        }
        self.store.delete(&publication.key)?;
        Ok(Ok(()))
    }

    /// Moves a current publication among the superseded ones.
    fn put_off(&self, publication: &Remembered, due_at: i64) -> Result<()> {
        let Some(reference) = self.store.get(&publication.key)? else { return Ok(()) };
        let (topic, rest) = publication.key.rsplit_once('/').unwrap_or(("", &publication.key));
        let (_, id) = rest.split_once('-').unwrap_or(("", rest));
        let superseded = format!("{topic}/{SUPERSEDED}{:012}-{id}", due_at.max(0));
        self.store.write(&superseded).ttl(self.keep).bytes(reference)?;
        Ok(self.store.delete(&publication.key)?)
    }
}

impl Remembered {
    fn from_key(key: String) -> Self {
        let last = key.rsplit_once('/').map_or(key.as_str(), |(_, last)| last);
        let superseded = last.strip_prefix(SUPERSEDED).and_then(|rest| rest.split_once('-'));
        let due_at = superseded.and_then(|(due_at, _)| due_at.parse().ok());
        Self { key, due_at }
    }
}

fn prefix(topic: &str) -> Result<String> {
    let escaped = percent_encode(topic);
    if topic.is_empty() || escaped.len() > TOPIC_BYTES_MAX {
        return Err(Error::invalid_input(format_args!(
            "`topic` has {} bytes when it is escaped; 1 to {TOPIC_BYTES_MAX} are allowed",
            escaped.len()
        )));
    }
    Ok(format!("{escaped}/"))
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use trellis_sdk::{ErrorKind, fake};

    /// Remembers what it was told to remove, and refuses some.
    #[derive(Default)]
    struct Wall {
        removed: RefCell<Vec<u32>>,
        refuses: Option<u32>,
        asked: Cell<usize>,
    }

    impl Place for Wall {
        type Reference = u32;

        fn remove(&self, publication: &u32) -> Result<()> {
            self.asked.set(self.asked.get() + 1);
            if self.refuses == Some(*publication) {
                return Err(Error::retryable("busy"));
            }
            self.removed.borrow_mut().push(*publication);
            Ok(())
        }
    }

    const KEEP: Duration = Duration::from_secs(90 * 86_400);

    const HOUR: Cleanup = Cleanup { after: Some(Duration::from_secs(3_600)), removals_max: 10 };

    fn publish(wall: &Wall, topic: &str, number: u32, cleanup: Cleanup, now: i64) -> Cleaned {
        let publications = Publications::of("posts", KEEP);
        let older = publications.of_topic(topic).expect("a list");
        let cleaned = publications.supersede(&older, wall, cleanup, now).expect("cleaned");
        publications.remember(topic, &format!("run-{number}"), &number, now).expect("remembered");
        fake::commit();
        cleaned
    }

    #[test]
    fn an_older_publication_stays_for_its_time_and_goes_at_the_next() {
        let wall = Wall::default();
        publish(&wall, "a/b", 1, HOUR, 1_000);
        publish(&wall, "a", 9, HOUR, 1_000);
        assert_eq!(publish(&wall, "a/b", 2, HOUR, 2_000), Cleaned::default());
        let publications = Publications::of("posts", KEEP);
        let all = publications.of_topic("a/b").expect("a list");
        assert_eq!(all.iter().map(|one| one.due_at).collect::<Vec<_>>(), [None, Some(5_600)]);
        assert_eq!(publications.current::<u32>(&all).expect("the current one"), Some(2));
        assert_eq!(publish(&wall, "a/b", 3, HOUR, 5_599).removed, 0);
        assert_eq!(publish(&wall, "a/b", 4, HOUR, 5_600).removed, 1);
        assert_eq!(wall.removed.take(), [1]);
    }

    #[test]
    fn cleaning_removes_what_is_due_in_every_topic_and_no_more() {
        let wall = Wall::default();
        for (topic, number) in [("a", 1), ("a", 2), ("b", 3), ("b", 4)] {
            publish(&wall, topic, number, HOUR, 1_000 + i64::from(number));
        }
        let publications = Publications::of("posts", KEEP);
        let clean = |now| publications.clean(&publications.all().expect("a list"), &wall, HOUR, now).expect("cleaned");
        assert_eq!(clean(4_601), Cleaned::default());
        assert_eq!(clean(4_602), Cleaned { removed: 1, left: 0 });
        assert_eq!(clean(9_999), Cleaned { removed: 1, left: 0 });
        assert_eq!(wall.removed.take(), [1, 3]);
        assert_eq!(publications.all().expect("a list").len(), 2);
    }

    #[test]
    fn what_cannot_be_removed_stays_due() {
        let wall = Wall { refuses: Some(1), ..Wall::default() };
        let at_once = Cleanup { after: Some(Duration::ZERO), ..HOUR };
        publish(&wall, "a", 1, at_once, 1_000);
        assert_eq!(publish(&wall, "a", 2, at_once, 2_000), Cleaned { removed: 0, left: 1 });
        let publications = Publications::of("posts", KEEP);
        let all = publications.of_topic("a").expect("a list");
        assert_eq!(all.iter().map(|one| one.due_at).collect::<Vec<_>>(), [None, Some(2_000)]);
        let refused = publications.clean(&all, &wall, at_once, 3_000).expect_err("it is refused again");
        assert_eq!(refused.kind(), ErrorKind::Retryable);
        let willing = Wall::default();
        assert_eq!(publications.clean(&all, &willing, at_once, 3_000).expect("cleaned").removed, 1);
    }

    #[test]
    fn a_service_that_refuses_is_not_asked_again_in_the_same_call() {
        let forever = Cleanup { after: None, removals_max: 10 };
        for number in 1..=5 {
            publish(&Wall::default(), "a", number, forever, i64::from(number));
        }
        let wall = Wall { refuses: Some(1), ..Wall::default() };
        let at_once = Cleanup { after: Some(Duration::ZERO), removals_max: 10 };
        assert_eq!(publish(&wall, "a", 6, at_once, 10), Cleaned { removed: 0, left: 5 });
        assert_eq!(wall.asked.get(), 1);
        let willing = Wall::default();
        assert_eq!(publish(&willing, "a", 7, at_once, 11).removed, 6);
    }

    #[test]
    fn very_many_are_superseded_by_and_by() {
        let many = u32::try_from(SUPERSEDED_MAX).expect("a few") + 30;
        for number in 0..many {
            publish(&Wall::default(), "a", number, Cleanup { after: None, ..HOUR }, 1_000);
        }
        let current = || {
            let all = Publications::of("posts", KEEP).of_topic("a").expect("a list");
            all.iter().filter(|one| one.due_at.is_none()).count()
        };
        publish(&Wall::default(), "a", many, HOUR, 2_000);
        assert_eq!(current(), 31);
        publish(&Wall::default(), "a", many + 1, HOUR, 2_001);
        assert_eq!(current(), 1);
    }

    #[test]
    fn one_call_removes_so_many_and_leaves_the_rest_due() {
        let wall = Wall::default();
        let forever = Cleanup { after: None, removals_max: 2 };
        for number in 1..=5 {
            publish(&wall, "a", number, forever, i64::from(number));
        }
        let at_once = Cleanup { after: Some(Duration::ZERO), removals_max: 2 };
        assert_eq!(publish(&wall, "a", 6, at_once, 10), Cleaned { removed: 2, left: 3 });
        let publications = Publications::of("posts", KEEP);
        let all = publications.of_topic("a").expect("a list");
        assert_eq!(publications.remove(&all, &wall, at_once).expect("removed"), Cleaned { removed: 2, left: 2 });
        assert_eq!(wall.removed.take().len(), 4);
    }

    #[test]
    fn a_publication_is_forgotten_in_the_end() {
        publish(&Wall::default(), "a", 1, HOUR, 1_000);
        fake::advance(KEEP);
        assert!(Publications::of("posts", KEEP).of_topic("a").expect("a list").is_empty());
    }

    #[test]
    fn a_store_with_more_than_a_call_may_read_is_cleaned_as_far_as_that_goes() {
        for number in 0..=SWEPT_MAX {
            fake::storage("posts").put_json(&format!("{number:05}/~000000000001-x"), &number);
        }
        let publications = Publications::of("posts", KEEP);
        let all = publications.all().expect("a list");
        assert_eq!(all.len(), SWEPT_MAX);
        assert_eq!(publications.clean(&all, &Wall::default(), HOUR, 10).expect("cleaned").removed, HOUR.removals_max);
    }

    #[test]
    fn a_topic_is_not_empty_and_not_too_long() {
        let publications = Publications::of("posts", KEEP);
        publications.of_topic(&"x".repeat(TOPIC_BYTES_MAX)).expect("long");
        for topic in [String::new(), "x".repeat(TOPIC_BYTES_MAX + 1), "ü".repeat(80)] {
            assert_eq!(publications.of_topic(&topic).expect_err("no topic").kind(), ErrorKind::InvalidInput, "{topic}");
        }
    }
}
