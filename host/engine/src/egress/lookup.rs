//! Looking names up: bounded in time, in number, and per account.
//!
//! The machine's own resolver is asked, because it knows what the operator has set up (`/etc/hosts`, search domains, name
//! services of a cluster), and that blocks a thread for as long as a name server takes its time. A name whose servers never
//! answer must not cost others their threads, so lookups are few, and each account has a share of them alone.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};
use trellis_model::AccountId;

/// Whoever knows names. Blocks until it has an answer.
pub(crate) trait Lookup: Send + Sync {
    fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
pub(crate) struct SystemLookup;

impl Lookup for SystemLookup {
    fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
    }
}

/// Why a name has no addresses.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupError {
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    #[error("{0}")]
    Failed(#[source] io::Error),
    #[error("the name has no address")]
    NoAddress,
}

/// All lookups of a host.
pub(crate) struct Lookups {
    source: Arc<dyn Lookup>,
    /// Threads that lookups may hold.
    at_once: Arc<Semaphore>,
    per_account: usize,
    /// Of the accounts that have a client, or a lookup under way. Those of others are forgotten.
    shares: Mutex<HashMap<AccountId, Weak<Semaphore>>>,
    /// From asking to the answer, waiting for one's turn included.
    timeout: Duration,
}

/// The share of one account, whichever of its clients looks something up.
#[derive(Clone)]
pub(crate) struct LookupShare(Arc<Semaphore>);

impl Lookups {
    pub fn new(source: Arc<dyn Lookup>, at_once: u32, per_account: u32, timeout: Duration) -> Self {
        let at_once = Arc::new(Semaphore::new(at_once as usize));
        Self { source, at_once, per_account: per_account as usize, shares: Mutex::default(), timeout }
    }

    /// The one share of an account. A lookup holds it to its end, so that nobody gets a second one by having clients made
    /// anew.
    pub fn share(&self, account: AccountId) -> LookupShare {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&account).and_then(Weak::upgrade) {
            return LookupShare(share);
        }
        // Asked for where a client is made, which takes far longer than this.
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.per_account));
        shares.insert(account, Arc::downgrade(&share));
        LookupShare(share)
    }

    /// All addresses of a name.
    ///
    /// # Errors
    /// See [`LookupError`].
    pub async fn addresses(&self, share: &LookupShare, name: String) -> Result<Vec<IpAddr>, LookupError> {
        let asked = async {
            // The account's own first: whoever waits for that must not take the place of others.
            let own = Arc::clone(&share.0).acquire_owned().await.expect("the semaphore is never closed");
            let place = Arc::clone(&self.at_once).acquire_owned().await.expect("the semaphore is never closed");
            let source = Arc::clone(&self.source);
            let answer = spawn_blocking(move || {
                let answer = source.addresses(&name);
                // Only now, and not when nobody waits for the answer any more: the thread was held until here.
                drop((own, place));
                answer
            });
            answer.await.unwrap_or_else(|error| Err(io::Error::other(error)))
        };
        match timeout(self.timeout, asked).await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(LookupError::NoAddress),
            Ok(answer) => answer.map_err(LookupError::Failed),
            Err(_) => Err(LookupError::TimedOut(self.timeout)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    };

    use super::*;

    /// Answers names that begin with `slow` only when it is let go.
    #[derive(Default)]
    struct Held {
        is_open: Mutex<bool>,
        opened: Condvar,
        asked: AtomicUsize,
    }

    impl Lookup for Held {
        fn addresses(&self, name: &str) -> io::Result<Vec<IpAddr>> {
            self.asked.fetch_add(1, SeqCst);
            if name.starts_with("slow") {
                let is_open = self.is_open.lock().expect("not poisoned");
                drop(self.opened.wait_while(is_open, |is_open| !*is_open).expect("not poisoned"));
            }
            Ok(vec!["192.0.2.1".parse().expect("valid")])
        }
    }

    impl Held {
        fn open(&self) {
            *self.is_open.lock().expect("not poisoned") = true;
            self.opened.notify_all();
        }
    }

    /// Lets go at the end of a test, however it ends: a runtime waits for its threads.
    struct Opener(Arc<Held>);

    impl Drop for Opener {
        fn drop(&mut self) {
            self.0.open();
        }
    }

    const MOMENT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn runtime(blocking_threads: usize) -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(2).max_blocking_threads(blocking_threads).enable_all().build().expect("a runtime")
    }

    #[test]
    fn names_that_are_never_answered_leave_threads_to_others() {
        let held = Arc::new(Held::default());
        let lookups = Arc::new(Lookups::new(Arc::clone(&held) as Arc<dyn Lookup>, 4, 4, MOMENT));
        runtime(5).block_on(async {
            let _opener = Opener(Arc::clone(&held));
            for number in 0..20_i64 {
                let (lookups, share) = (Arc::clone(&lookups), lookups.share(AccountId(number)));
                let asked = lookups.addresses(&share, format!("slow-{number}")).await;
                assert!(matches!(asked, Err(LookupError::TimedOut(_))), "{asked:?}");
            }
            // The fifth thread was left free.
            timeout(LONG, spawn_blocking(|| ())).await.expect("a thread is free").expect("no panic");
            assert_eq!(held.asked.load(SeqCst), 4, "the others have not even taken a thread");
        });
    }

    #[test]
    fn an_account_with_names_that_are_never_answered_leaves_lookups_to_others() {
        let held = Arc::new(Held::default());
        let lookups = Arc::new(Lookups::new(Arc::clone(&held) as Arc<dyn Lookup>, 4, 2, LONG));
        let other = lookups.share(AccountId(2));
        runtime(8).block_on(async {
            let _opener = Opener(Arc::clone(&held));
            let asked: Vec<_> = (0..10)
                .map(|number| {
                    // As by a client of its own each time.
                    let (lookups, greedy) = (Arc::clone(&lookups), lookups.share(AccountId(1)));
                    tokio::spawn(async move { lookups.addresses(&greedy, format!("slow-{number}")).await })
                })
                .collect();
            let found = timeout(LONG, lookups.addresses(&other, "quick".to_owned())).await.expect("it has its share");
            assert_eq!(found.expect("an address").len(), 1);
            held.open();
            for one in asked {
                one.await.expect("no panic").expect("an address");
            }
        });
    }

    #[test]
    fn an_account_has_one_share_until_its_last_client_and_its_last_lookup_are_gone() {
        let lookups = Lookups::new(Arc::new(SystemLookup), 4, 2, LONG);
        let (one, again) = (lookups.share(AccountId(1)), lookups.share(AccountId(1)));
        assert!(Arc::ptr_eq(&one.0, &again.0));
        let under_way = Arc::clone(&one.0).try_acquire_owned().expect("one of two");
        drop((one, again));
        assert_eq!(lookups.share(AccountId(1)).0.available_permits(), 1, "the lookup still counts");
        drop(under_way);
        drop(lookups.share(AccountId(2)));
        let _three = lookups.share(AccountId(3));
        assert_eq!(lookups.shares.lock().expect("not poisoned").len(), 1, "nothing is kept of those that are gone");
    }
}
