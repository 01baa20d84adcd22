//! CPU budget of one call: how long its guest really ran on a CPU, and when that is enough.
//!
//! Time is taken around every poll of the call, so that waiting costs nothing. From a call's first tick on it is the
//! thread's CPU clock, so that a busy machine does not count against the guest either; that clock can cost a microsecond,
//! and most calls are over before their first tick, so until then it is the ordinary one. The epoch ticker makes a running
//! guest look at its budget every tick. Knows nothing of wall time limits.
//!
//! A call that has computed for a whole tick goes on only when it has a turn, and gives that back at the next tick and
//! whenever it waits. There are fewer turns than cores: however many guests compute, one core is for all that is short.
//! Accounts take turns, not calls. How long a call has waited for its turns is kept here, for that is no time of its own.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use trellis_model::AccountId;

use crate::{
    epoch::TICK,
    turns::{Turn, Turns},
};

/// What a guest may do after a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tick {
    /// Go on, once others had the chance to.
    GoOn,
    /// Go on when it has a turn.
    TakeTurns,
    /// Its budget is used up.
    UsedUp,
}

/// Only the thread that polls the call writes; the fields are atomic because the call may move between threads.
pub(crate) struct CpuBudget {
    /// Finished polls, in nanoseconds.
    spent_ns: AtomicU64,
    /// When the running poll began, on its clock, in nanoseconds.
    poll_began_ns: AtomicU64,
    /// Whether the running poll is measured on the thread's CPU clock.
    poll_is_exact: AtomicBool,
    /// Whether the call has seen a tick: the next polls are measured exactly.
    ticked: AtomicBool,
    began: Instant,
    max_ns: u64,
    /// Turns of all calls of the engine.
    turns: Turns,
    /// Whose call it is.
    account: AccountId,
    turn: Mutex<OwnTurn>,
}

/// What a call has of the turns.
#[derive(Default)]
struct OwnTurn {
    /// While a poll computes that needs one.
    held: Option<Turn>,
    /// Waits that are over.
    waited: Duration,
    waits_since: Option<tokio::time::Instant>,
}

impl CpuBudget {
    pub fn new(max: Duration, turns: Turns, account: AccountId) -> Self {
        Self {
            spent_ns: AtomicU64::new(0),
            poll_began_ns: AtomicU64::new(0),
            poll_is_exact: AtomicBool::new(false),
            ticked: AtomicBool::new(false),
            began: Instant::now(),
            max_ns: nanoseconds(max),
            turns,
            account,
            turn: Mutex::default(),
        }
    }

    /// To be called at a tick, from within a poll of [`CpuBudget::count`]'s future: how the guest goes on.
    pub fn tick(&self) -> Tick {
        self.ticked.store(true, Relaxed);
        let now = self.now_ns(self.poll_is_exact.load(Relaxed));
        let this_poll = now.saturating_sub(self.poll_began_ns.load(Relaxed));
        match self.spent_ns.load(Relaxed) + this_poll {
            used if used >= self.max_ns => Tick::UsedUp,
            used if used >= nanoseconds(TICK) => Tick::TakeTurns,
            _ => Tick::GoOn,
        }
    }

    /// Waits for a turn, which is given to accounts one after the other.
    pub async fn take_turn(&self) {
        self.give_turn_back();
        tokio::task::yield_now().await;
        self.own_turn().waits_since = Some(tokio::time::Instant::now());
        let turn = self.turns.take(self.account).await;
        let mut own = self.own_turn();
        own.waited = own.waited_until_now();
        own.waits_since = None;
        own.held = Some(turn);
    }

    fn give_turn_back(&self) {
        let held = self.own_turn().held.take();
        drop(held);
    }

    fn own_turn(&self) -> MutexGuard<'_, OwnTurn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long the call has waited for turns, the present wait included.
    pub fn waited_for_turns(&self) -> Duration {
        self.own_turn().waited_until_now()
    }

    /// Whether the call can go on as soon as it has a turn, and not before.
    pub fn is_waiting_for_turn(&self) -> bool {
        self.own_turn().waits_since.is_some()
    }

    /// CPU time of all finished polls.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Relaxed))
    }

    /// Charges the polls of `future` to this budget.
    pub fn count<'a, F: Future>(&'a self, future: Pin<&'a mut F>) -> Counted<'a, F> {
        Counted { budget: self, future }
    }

    fn now_ns(&self, exact: bool) -> u64 {
        if exact { thread_cpu_ns() } else { nanoseconds(self.began.elapsed()) }
    }
}

impl OwnTurn {
    fn waited_until_now(&self) -> Duration {
        self.waited + self.waits_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

pub(crate) struct Counted<'a, F> {
    budget: &'a CpuBudget,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let budget = self.budget;
        let exact = budget.ticked.load(Relaxed);
        let began = budget.now_ns(exact);
        budget.poll_is_exact.store(exact, Relaxed);
        budget.poll_began_ns.store(began, Relaxed);
        let result = self.future.as_mut().poll(context);
        if budget.ticked.load(Relaxed) {
            // Whoever waits for something else than a turn keeps none.
            budget.give_turn_back();
        }
        budget.spent_ns.fetch_add(budget.now_ns(exact).saturating_sub(began), Relaxed);
        result
    }
}

#[cfg(unix)]
fn thread_cpu_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// Without a thread clock, time in the poll stands for CPU time.
#[cfg(not(unix))]
fn thread_cpu_ns() -> u64 {
    use std::sync::LazyLock;
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanoseconds(START.elapsed())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, pin::pin};

    use super::*;
    use crate::turns::{NOBODY, tests::has_free};

    fn budget(ms: u64, turns: &Turns) -> CpuBudget {
        CpuBudget::new(Duration::from_millis(ms), turns.clone(), AccountId(1))
    }

    fn compute_for_a_tick(budget: &CpuBudget) -> Tick {
        loop {
            match budget.tick() {
                Tick::GoOn => std::hint::spin_loop(),
                other => return other,
            }
        }
    }

    #[tokio::test]
    async fn who_computes_for_long_takes_turns_and_holds_none_while_it_waits() {
        let turns = Turns::new(1);
        let (first, second) = (budget(10_000, &turns), budget(10_000, &turns));
        let computing = async {
            assert_eq!(compute_for_a_tick(&first), Tick::TakeTurns);
            first.take_turn().await;
            assert!(!has_free(&turns), "it computes with a turn");
            tokio::task::yield_now().await;
        };
        first.count(pin!(computing)).await;
        assert!(has_free(&turns), "its turn ends with the poll");
        let waiting = async {
            assert_eq!(compute_for_a_tick(&second), Tick::TakeTurns);
            let held = turns.take(NOBODY).await;
            let has_none = tokio::time::timeout(Duration::from_millis(20), second.take_turn()).await.is_err();
            drop(held);
            second.take_turn().await;
            has_none
        };
        assert!(second.count(pin!(waiting)).await, "there are no more turns than there are");
    }

    async fn spin_until_used_up(budget: &CpuBudget) -> u64 {
        let mut rounds = 0_u64;
        while budget.tick() != Tick::UsedUp {
            rounds = black_box(rounds + 1);
            tokio::task::yield_now().await;
        }
        rounds
    }

    #[tokio::test]
    async fn running_uses_the_budget_up() {
        let budget = budget(5, &Turns::new(1));
        let rounds = budget.count(pin!(spin_until_used_up(&budget))).await;
        assert!(rounds > 0);
        assert!(budget.spent() >= Duration::from_millis(5), "{:?}", budget.spent());
    }

    #[tokio::test]
    async fn waiting_costs_nothing() {
        let budget = budget(5, &Turns::new(1));
        let began = Instant::now();
        budget.count(pin!(tokio::time::sleep(Duration::from_millis(30)))).await;
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(budget.spent() < Duration::from_millis(5), "{:?}", budget.spent());
    }

    #[tokio::test]
    async fn from_the_first_tick_on_a_busy_machine_does_not_count() {
        let budget = budget(5, &Turns::new(1));
        let preempted = async {
            budget.tick();
            tokio::task::yield_now().await;
            // As if others had the CPU meanwhile.
            std::thread::sleep(Duration::from_millis(50));
            budget.tick()
        };
        assert_eq!(budget.count(pin!(preempted)).await, Tick::GoOn, "{:?}", budget.spent());
    }
}
