//! When the next event is due.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::Semaphore,
    time::{MissedTickBehavior, interval},
};

/// How events follow each other.
pub enum Pace {
    /// On each connection as soon as the last one was answered.
    Closed,
    /// The same, but only while fewer than this many events of this load wait for their start. `started` counts starts since
    /// whenever; the host has nothing to start when the load begins.
    Backlog { events_max: u64, started: Arc<dyn Fn() -> u64 + Send + Sync> },
    /// This many a second, whether or not earlier ones were answered, as far as there are connections.
    Rate(f64),
}

/// How often events are let through: as fine as the runtime's timer.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Pacer {
    pace: Pace,
    began: Instant,
    /// Starts before this load.
    started_before: u64,
    /// One for each event that is due and not yet taken. Not used by [`Pace::Closed`].
    due: Semaphore,
    taken: AtomicU64,
    is_stopped: AtomicBool,
}

impl Pacer {
    pub fn new(pace: Pace) -> Self {
        let started_before = match &pace {
            Pace::Backlog { started, .. } => started(),
            Pace::Closed | Pace::Rate(_) => 0,
        };
        Self {
            pace,
            began: Instant::now(),
            started_before,
            due: Semaphore::new(0),
            taken: AtomicU64::new(0),
            is_stopped: AtomicBool::new(false),
        }
    }

    /// Lets events through until [`Pacer::stop`].
    pub async fn run(&self) {
        if matches!(self.pace, Pace::Closed) {
            return;
        }
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut let_through = 0;
        while !self.is_stopped.load(Relaxed) {
            ticks.tick().await;
            let more = self.due_by_now().saturating_sub(let_through);
            self.due.add_permits(usize::try_from(more).unwrap_or(0));
            let_through += more;
        }
    }

    /// Events that are due by now, since the beginning.
    fn due_by_now(&self) -> u64 {
        match &self.pace {
            Pace::Closed => u64::MAX,
            Pace::Backlog { events_max, started } => started().saturating_sub(self.started_before) + events_max,
            Pace::Rate(rate) => (self.began.elapsed().as_secs_f64() * rate) as u64,
        }
    }

    /// Waits for the next event, and says when it was due. None: the load is over.
    pub async fn next(&self) -> Option<Instant> {
        if self.is_stopped.load(Relaxed) {
            return None;
        }
        if matches!(self.pace, Pace::Closed) {
            return Some(Instant::now());
        }
        self.due.acquire().await.ok()?.forget();
        match self.pace {
            // An event that is sent late, because the host was slow with others, was slow too.
            Pace::Rate(rate) => {
                let number = self.taken.fetch_add(1, Relaxed) + 1;
                Some(self.began + Duration::from_secs_f64(number as f64 / rate))
            }
            Pace::Closed | Pace::Backlog { .. } => Some(Instant::now()),
        }
    }

    pub fn stop(&self) {
        self.is_stopped.store(true, Relaxed);
        self.due.close();
    }
}
