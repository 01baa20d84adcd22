//! The limiter by itself, on a real database: what its manager promises when many ask at once, and what is stored of it.

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use trellis_model::{
    AccountId, Queue, Shard,
    window::{AccountLimits, Smoothing, Window, WindowLimit},
};
use trellis_operator::{
    clock::Clock,
    lease::{Lease, LeaseConfig, LeaseKeeper, ShardChange},
    limiter::{IncrementMode, Limiter, LimiterConfig, Permit, TableSize},
};
use trellis_store::{
    DatabaseOptions,
    account_change::AccountChange,
    limits::{Snapshot, Throttle, Windows},
};

use crate::support::{Database, eventually};

/// A limiter on all shards of a database of its own.
struct Rig {
    store: trellis_store::Database,
    account: AccountId,
    limiter: Limiter,
    /// The limiter's alone: time can be set.
    clock: Clock,
    lease: Arc<Lease>,
    _changes: mpsc::Receiver<ShardChange>,
    _stop: DropGuard,
}

async fn store() -> trellis_store::Database {
    let options = DatabaseOptions {
        url: Database::fresh().await.url,
        connections_max: 4,
        acquire_timeout: Duration::from_secs(30),
        allow_unsafe_durability: false,
    };
    let store = trellis_store::Database::connect(&options).await.expect("the server is up");
    store.migrate().await.expect("a fresh database");
    store
}

/// Makes the account, if it is new, with these limits.
async fn change_limits(store: &trellis_store::Database, limits: AccountLimits) -> AccountId {
    let change = AccountChange { limits: Some(limits), ..AccountChange::default() };
    store.change_account("acme", &change).await.expect("the server is up").id
}

impl Rig {
    async fn with(limits: AccountLimits, increment: IncrementMode) -> Self {
        let store = store().await;
        let account = change_limits(&store, limits).await;
        let (sender, changes) = mpsc::channel(64);
        let config = LeaseConfig { duration: Duration::from_secs(10), is_exclusive: false };
        let keeper = LeaseKeeper::register(store.clone(), config, Clock::default(), sender, Arc::default())
            .await
            .expect("a free number");
        let (lease, stop, clock) = (keeper.lease(), CancellationToken::new(), Clock::default());
        tokio::spawn(keeper.run(stop.clone()));
        eventually("the shards are taken", async || lease.holds(Shard::of(account)).then_some(())).await;
        let config = LimiterConfig { defaults: AccountLimits::default(), increment };
        let (limiter, _) = Limiter::start(store.clone(), config, clock.clone(), Arc::clone(&lease), stop.clone());
        Self { store, account, limiter, clock, lease, _changes: changes, _stop: stop.drop_guard() }
    }

    fn queue(&self) -> Queue {
        Queue::home(self.account)
    }

    async fn used(&self) -> u32 {
        let standing = self.limiter.standing(self.account).await.expect("the server is up");
        standing.windows.expect("the queue is ours").0.used
    }

    /// What is stored of the burst window.
    async fn stored(&self) -> (u32, i64) {
        let stored = self.store.account_limit(self.account).await.expect("the server is up");
        let queue = stored.queues.get(&self.queue().shard).copied().unwrap_or_default();
        (queue.windows.burst.used, queue.throttled_until_ms)
    }
}

fn burst(max: u32, period_ms: i64) -> AccountLimits {
    AccountLimits { burst: WindowLimit { max, period_ms }, ..AccountLimits::default() }
}

/// Takes as often as 16 tasks can at once; answers with how many permits were granted.
async fn granted_at_once(rig: &Rig) -> usize {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (limiter, queue) = (rig.limiter.clone(), rig.queue());
            tokio::spawn(async move {
                let mut granted = 0;
                for _ in 0..40 {
                    granted += usize::from(limiter.take(queue).await == Permit::Granted);
                }
                granted
            })
        })
        .collect();
    let mut granted = 0;
    for task in tasks {
        granted += task.await.expect("no task panics");
    }
    granted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_exact_account_never_gets_more_than_its_maximum_however_many_ask_at_once() {
    for smoothing in [Smoothing::Fixed, Smoothing::Sliding] {
        let limits = AccountLimits { exact: true, smoothing, ..burst(50, 600_000) };
        // In this mode the others overshoot.
        let rig = Rig::with(limits, IncrementMode::Cast).await;
        assert_eq!(granted_at_once(&rig).await, 50);
        assert_eq!(rig.used().await, 50);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_taken_beyond_the_maximum_is_counted_and_taken_off_later_windows() {
    let rig = Rig::with(burst(5, 600_000), IncrementMode::Cast).await;
    let granted = granted_at_once(&rig).await;
    assert!(granted >= 5);
    eventually("all of it is counted", async || (rig.used().await as usize == granted).then_some(())).await;
    let turns = i64::try_from(granted / 5).expect("few");
    let now_ms = rig.clock.now_ms();
    rig.clock.synchronise(now_ms + (turns - 1) * 600_000);
    assert_ne!(rig.limiter.check(rig.queue()), Permit::Granted, "{granted} were granted");
    rig.clock.synchronise(now_ms + turns * 600_000);
    assert_eq!(rig.limiter.check(rig.queue()), Permit::Granted);
}

#[tokio::test]
async fn what_is_not_in_use_leaves_the_memory_and_comes_back_as_it_was() {
    let rig = Rig::with(burst(100, 86_400_000), IncrementMode::Call).await;
    for _ in 0..7 {
        assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    }
    rig.used().await;
    assert_eq!(rig.limiter.size(), TableSize { queues: 1, accounts: 1 });
    eventually("the windows are stored", async || (rig.stored().await.0 == 7).then_some(())).await;
    rig.clock.synchronise(rig.clock.now_ms() + 120_000);
    eventually("they leave the memory", async || {
        (rig.limiter.size() == TableSize { queues: 0, accounts: 0 }).then_some(())
    })
    .await;
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    assert_eq!(rig.used().await, 8);
}

#[tokio::test]
async fn limits_of_an_account_in_use_are_known_for_as_long_and_changed_with_and_without_a_notice() {
    let limits = |running_max| AccountLimits { running_max: Some(running_max), ..burst(1_000, 600_000) };
    let rig = Rig::with(limits(2), IncrementMode::Call).await;
    let idle = rig.store.ensure_account("idle").await.expect("the server is up");
    rig.limiter.standing(idle).await.expect("the server is up");
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    rig.clock.synchronise(rig.clock.now_ms() + 120_000);
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    eventually("what is not in use leaves the memory", async || {
        rig.limiter.known_standing(idle).is_none().then_some(())
    })
    .await;
    assert_eq!(rig.limiter.limits(rig.account).running_max, Some(2), "no host default in the middle of its runs");

    change_limits(&rig.store, limits(3)).await;
    rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    assert_eq!(rig.limiter.limits(rig.account).running_max, Some(3), "heard of");
    change_limits(&rig.store, limits(4)).await;
    rig.limiter.refresh().await.expect("the server is up");
    assert_eq!(rig.limiter.limits(rig.account).running_max, Some(4), "found without a notice");
}

#[tokio::test]
async fn a_throttled_account_is_told_once_a_turn_and_taken_back_when_its_limits_are_raised() {
    let rig = Rig::with(burst(3, 600_000), IncrementMode::Call).await;
    for _ in 0..3 {
        assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    }
    assert_ne!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    let until_ms = eventually("it is told", async || Some(rig.stored().await.1).filter(|until| *until > 0)).await;
    assert!((until_ms - rig.clock.now_ms() - 600_000).abs() < 60_000, "{until_ms}");

    change_limits(&rig.store, burst(3, 600_000)).await;
    assert_eq!(rig.stored().await.1, 0);
    rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    eventually("under the same limits it is told again", async || (rig.stored().await.1 == until_ms).then_some(()))
        .await;

    change_limits(&rig.store, burst(9, 600_000)).await;
    assert_eq!(rig.stored().await.1, 0, "the former limits hold no longer");
    rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    assert_eq!(rig.used().await, 4, "what was taken counts under the new limits");
}

#[tokio::test]
async fn a_lowered_spread_gives_the_parts_together_no_more_than_the_account_has() {
    let rig = Rig::with(burst(400, 600_000), IncrementMode::Call).await;
    let spread = async |spread| {
        let change = AccountChange { spread: Some(spread), ..AccountChange::default() };
        rig.store.change_account("acme", &change).await.expect("the server is up");
        rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    };
    spread(4).await;
    let queues: Vec<Queue> = Queue::parts(rig.account, 4).collect();
    for queue in &queues {
        assert_eq!(rig.limiter.take(*queue).await, Permit::Granted);
    }
    let permits = || -> u32 { queues.iter().map(|queue| rig.limiter.permits(*queue)).sum() };
    assert_eq!(permits(), 396);
    spread(1).await;
    assert_eq!(permits(), 396, "jobs are left on parts that new ones do not come to");
    assert_eq!(rig.limiter.parts(rig.queue()), 4);
    eventually("what was taken is stored", async || (rig.stored().await.0 == 1).then_some(())).await;
    rig.limiter.forget(|shard| shard != rig.queue().shard).await;
    rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    assert_eq!(rig.limiter.parts(rig.queue()), 4, "other hosts have them now, and go on running them");
    rig.clock.synchronise(rig.clock.now_ms() + 700_000);
    rig.limiter.reload_limits(rig.account).await.expect("the server is up");
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    assert_eq!(rig.limiter.permits(rig.queue()), 399, "the old parts are empty");
}

#[tokio::test]
async fn a_shard_that_was_lost_gives_no_permits() {
    let rig = Rig::with(burst(3, 600_000), IncrementMode::Call).await;
    assert_eq!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    rig.lease.drop_holdings(&[rig.queue().shard]);
    assert_ne!(rig.limiter.take(rig.queue()).await, Permit::Granted);
    let standing = rig.limiter.standing(rig.account).await.expect("the server is up");
    assert!(standing.windows.is_none() && standing.wait.is_zero(), "its windows are somebody else's: {standing:?}");
}

#[tokio::test]
async fn a_late_snapshot_never_undoes_that_of_a_newer_owner() {
    let store = store().await;
    let queue = Queue::home(store.ensure_account("acme").await.expect("the server is up"));
    // The epoch, the number, what was counted, and what is stored then.
    let snapshots = [
        (5, 3, 10, 10, "the first"),
        (4, 9, 99, 10, "of a former owner"),
        (5, 2, 98, 10, "an earlier one of the same owner"),
        (5, 3, 97, 10, "the same once more"),
        (5, 4, 11, 11, "a later one"),
        (6, 1, 12, 12, "of the next owner"),
    ];
    for (epoch, number, used, expected, what) in snapshots {
        let windows = Windows { burst: Window { start_ms: 1, used, previous: 0 }, long: Window::default() };
        store.snapshot_windows(&[Snapshot { queue, epoch, number, windows }]).await.expect("the server is up");
        let stored = store.account_limit(queue.account).await.expect("the server is up");
        assert_eq!(stored.queues[&queue.shard].windows.burst.used, expected, "{what}");
    }
    for (epoch, until_ms, expected) in [(6, 2_000, 2_000), (5, 9_000, 2_000), (7, 3_000, 3_000)] {
        store.keep_throttles(&[Throttle { queue, epoch, until_ms }]).await.expect("the server is up");
        let stored = store.account_limit(queue.account).await.expect("the server is up");
        assert_eq!(stored.queues[&queue.shard].throttled_until_ms, expected, "told under epoch {epoch}");
    }
}
