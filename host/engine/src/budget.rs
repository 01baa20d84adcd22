//! CPU budget of one call: how long its guest really ran on a CPU, and when that is enough.
//!
//! Time is taken from the thread's CPU clock around every poll of the call, so that neither waiting nor a busy machine
//! counts against the guest. The epoch ticker makes a running guest look at its budget every tick. Knows nothing of wall
//! time.

use std::{
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    task::{Context, Poll},
    time::Duration,
};

/// Only the thread that polls the call writes; the fields are atomic because the call may move between threads.
#[derive(Debug)]
pub(crate) struct CpuBudget {
    /// Finished polls, in nanoseconds.
    spent_ns: AtomicU64,
    /// The thread's CPU clock when the running poll began, in nanoseconds.
    poll_began_ns: AtomicU64,
    max_ns: u64,
}

impl CpuBudget {
    pub fn new(max: Duration) -> Self {
        Self { spent_ns: AtomicU64::new(0), poll_began_ns: AtomicU64::new(0), max_ns: nanoseconds(max) }
    }

    /// Whether the budget is used up. To be asked from within a poll of [`CpuBudget::count`]'s future.
    pub fn is_used_up(&self) -> bool {
        let this_poll = thread_cpu_ns().saturating_sub(self.poll_began_ns.load(Relaxed));
        self.spent_ns.load(Relaxed) + this_poll >= self.max_ns
    }

    /// CPU time of all finished polls.
    pub fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent_ns.load(Relaxed))
    }

    /// Charges the polls of `future` to this budget.
    pub fn count<'a, F: Future>(&'a self, future: Pin<&'a mut F>) -> Counted<'a, F> {
        Counted { budget: self, future }
    }
}

pub(crate) struct Counted<'a, F> {
    budget: &'a CpuBudget,
    future: Pin<&'a mut F>,
}

impl<F: Future> Future for Counted<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let began = thread_cpu_ns();
        self.budget.poll_began_ns.store(began, Relaxed);
        let result = self.future.as_mut().poll(context);
        self.budget.spent_ns.fetch_add(thread_cpu_ns().saturating_sub(began), Relaxed);
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
    use std::{sync::LazyLock, time::Instant};
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    nanoseconds(START.elapsed())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::{hint::black_box, pin::pin, time::Instant};

    use super::*;

    async fn spin_until_used_up(budget: &CpuBudget) -> u64 {
        let mut rounds = 0_u64;
        while !budget.is_used_up() {
            rounds = black_box(rounds + 1);
        }
        rounds
    }

    #[tokio::test]
    async fn running_uses_the_budget_up() {
        let budget = CpuBudget::new(Duration::from_millis(5));
        let rounds = budget.count(pin!(spin_until_used_up(&budget))).await;
        assert!(rounds > 0);
        assert!(budget.spent() >= Duration::from_millis(5), "{:?}", budget.spent());
    }

    #[tokio::test]
    async fn waiting_costs_nothing() {
        let budget = CpuBudget::new(Duration::from_millis(5));
        let began = Instant::now();
        budget.count(pin!(tokio::time::sleep(Duration::from_millis(30)))).await;
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(budget.spent() < Duration::from_millis(5), "{:?}", budget.spent());
    }
}
