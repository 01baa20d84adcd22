//! How many modules are instantiated at once, where that is limited: for an account's queue and for a grid.
//!
//! Who finds all slots taken waits in memory, without a write and in no promised order: who comes just as one is freed may
//! have it before those who wait. The scheduler sees to it that only few do: of a queue, and of a grid without a concurrency
//! key, it starts no more runs than there are slots. Runs of a grid that has a key as well as a maximum are kept apart by
//! their keys alone, and those of different keys may wait here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;
use trellis_model::{ProjectId, Queue};

/// Whose slots are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SlotsOf {
    Queue(Queue),
    Grid(ProjectId, String),
}

/// Counts the modules that are running, of those whose number is limited. What has none running takes no memory.
/// Cheap to clone; all clones are the same slots.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    gauges: Arc<Mutex<HashMap<SlotsOf, Gauge>>>,
}

#[derive(Debug, Default)]
struct Gauge {
    running: u32,
    waiting: u32,
    freed: Arc<Notify>,
}

/// A module that is running; dropped, another may run.
#[derive(Debug)]
pub struct Slot {
    of: SlotsOf,
    gauges: Arc<Mutex<HashMap<SlotsOf, Gauge>>>,
}

impl Slots {
    /// Waits for a slot. `most` is asked again after every wait, because it may have been changed; none: there is no limit,
    /// and nothing to be counted.
    pub async fn enter(&self, of: SlotsOf, most: impl Fn() -> Option<u32>) -> Option<Slot> {
        let mut waiter: Option<Waiter<'_>> = None;
        loop {
            let most = most()?;
            let freed = {
                let mut gauges = self.gauges.lock().unwrap_or_else(PoisonError::into_inner);
                let gauge = gauges.entry(of.clone()).or_default();
                if gauge.running < most.max(1) {
                    gauge.running += 1;
                    return Some(Slot { of, gauges: Arc::clone(&self.gauges) });
                }
                if waiter.is_none() {
                    gauge.waiting += 1;
                }
                Arc::clone(&gauge.freed)
            };
            waiter.get_or_insert_with(|| Waiter { of: of.clone(), slots: self });
            freed.notified().await;
        }
    }
}

/// Somebody who waits, until it is dropped.
struct Waiter<'s> {
    of: SlotsOf,
    slots: &'s Slots,
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        change(&self.slots.gauges, &self.of, |gauge| {
            gauge.waiting -= 1;
            // One that was told of a free slot and gave up must not keep it from the next.
            gauge.freed.notify_one();
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        change(&self.gauges, &self.of, |gauge| {
            gauge.running -= 1;
            gauge.freed.notify_one();
        });
    }
}

fn change(gauges: &Mutex<HashMap<SlotsOf, Gauge>>, of: &SlotsOf, change: impl FnOnce(&mut Gauge)) {
    let mut gauges = gauges.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gauge) = gauges.get_mut(of) else { return };
    change(gauge);
    if gauge.running == 0 && gauge.waiting == 0 {
        gauges.remove(of);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use trellis_model::AccountId;

    use super::*;

    fn queue() -> SlotsOf {
        SlotsOf::Queue(Queue::home(AccountId(1)))
    }

    fn count(slots: &Slots) -> usize {
        slots.gauges.lock().expect("no test panicked with it").len()
    }

    #[tokio::test]
    async fn no_more_run_at_once_than_there_are_slots() {
        let slots = Arc::new(Slots::default());
        let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let (slots, running, most) = (Arc::clone(&slots), Arc::clone(&running), Arc::clone(&most));
                tokio::spawn(async move {
                    let _slot = slots.enter(queue(), || Some(3)).await;
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    running.fetch_sub(1, Ordering::SeqCst);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no task panics");
        }
        assert_eq!(most.load(Ordering::SeqCst), 3);
        assert_eq!(count(&slots), 0, "nothing is kept of those that are gone");
    }

    #[tokio::test]
    async fn without_a_limit_nothing_is_counted() {
        let slots = Slots::default();
        assert!(slots.enter(queue(), || None).await.is_none());
        assert_eq!(count(&slots), 0);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_keeps_nobody_from_a_slot() {
        let slots = Slots::default();
        let held = slots.enter(queue(), || Some(1)).await;
        {
            let given_up = slots.enter(queue(), || Some(1));
            assert!(futures_util::FutureExt::now_or_never(given_up).is_none(), "it has to wait");
        }
        drop(held);
        assert!(slots.enter(queue(), || Some(1)).await.is_some());
        assert_eq!(count(&slots), 0);
    }
}
