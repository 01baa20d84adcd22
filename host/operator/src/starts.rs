//! The starts of fetched runs: no more at a time than the cores can take up at once, and of each queue in turn.
//!
//! ```text
//!   line up ──► waiting, by queue ──in turn──► launched, with a [`Start`] ──dropped──► the next one is launched
//! ```
//!
//! Runs are fetched by the hundred, because statements are dear. Were they all handed to the runtime at once, a run of a
//! quiet account would stand behind every fetched run of a busy one, because the runtime is first come first served. So a
//! run waits here until a core is near: it keeps its [`Start`] until it waits for something else than a core for the first
//! time, or has ended. How much each queue may have in flight is the scheduler's to say; knows nothing of what a run does.

use std::{
    collections::{HashMap, VecDeque},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
};

use trellis_model::Queue;
use trellis_store::{fail_point, jobs::FetchedJob};

/// Runs at the cores at a time, for each core: one that runs, and some that are next, so that no core waits.
const STARTS_PER_CORE: usize = 4;

type Launch = dyn Fn(FetchedJob, Start) + Send + Sync;

/// Where fetched runs stand until they are launched.
pub struct Starts {
    line: Mutex<Line>,
    launch: Box<Launch>,
}

/// A place at the cores; dropped, the next run is launched.
pub struct Start(Arc<Starts>);

struct Line {
    free: usize,
    /// Somebody is launching: who frees a place leaves it to him.
    is_launching: bool,
    /// Whose turn is next.
    ring: VecDeque<Queue>,
    waiting: HashMap<Queue, Waiting>,
}

struct Waiting {
    jobs: VecDeque<FetchedJob>,
    weight: u32,
    /// Starts left in its turn.
    turn: u32,
}

impl Starts {
    /// `cores` take up the runs that `launch` hands over.
    pub fn new(cores: usize, launch: impl Fn(FetchedJob, Start) + Send + Sync + 'static) -> Arc<Self> {
        let free = places(cores);
        let line = Line { free, is_launching: false, ring: VecDeque::new(), waiting: HashMap::new() };
        Arc::new(Self { line: Mutex::new(line), launch: Box::new(launch) })
    }

    /// Lines up fetched runs, each behind those of its queue. A queue starts `weight` runs in its turn.
    pub fn line_up(self: &Arc<Self>, jobs: impl IntoIterator<Item = FetchedJob>, weight: impl Fn(Queue) -> u32) {
        {
            let mut line = self.lock();
            for job in jobs {
                line.push(job, &weight);
            }
        }
        self.launch_next();
    }

    fn launch_next(self: &Arc<Self>) {
        {
            let mut line = self.lock();
            if line.is_launching {
                return;
            }
            line.is_launching = true;
        }
        // A launched run may be dropped at once, when the runtime ends: this loop, and not a call within that drop, goes on.
        loop {
            let next = self.lock().next();
            let Some(job) = next else { return };
            (self.launch)(job, Start(Arc::clone(self)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        self.0.lock().free += 1;
        self.0.launch_next();
    }
}

impl Line {
    fn push(&mut self, job: FetchedJob, weight: impl Fn(Queue) -> u32) {
        let queue = job.queue();
        let ring = &mut self.ring;
        let waiting = self.waiting.entry(queue).or_insert_with(|| {
            ring.push_back(queue);
            let weight = weight(queue).max(1);
            Waiting { jobs: VecDeque::new(), weight, turn: weight }
        });
        waiting.jobs.push_back(job);
    }

    /// The next run, with a place taken for it; none: no place is free, or nobody waits, and the launching is over.
    fn next(&mut self) -> Option<FetchedJob> {
        let job = if self.free == 0 { None } else { self.pop() };
        match job {
            Some(_) => self.free -= 1,
            None => self.is_launching = false,
        }
        job
    }

    fn pop(&mut self) -> Option<FetchedJob> {
        let queue = *self.ring.front()?;
        let waiting = self.waiting.get_mut(&queue)?;
        let job = waiting.jobs.pop_front();
        waiting.turn -= 1;
        let is_over = waiting.turn == 0;
        if waiting.jobs.is_empty() {
            self.waiting.remove(&queue);
            self.ring.pop_front();
        } else if is_over {
            waiting.turn = waiting.weight;
            self.ring.rotate_left(1);
        }
        job
    }
}

/// Runs at the cores at a time.
fn places(cores: usize) -> usize {
    fail_point!("starts-in-turn-off", usize::MAX / 2);
    cores * STARTS_PER_CORE
}

/// Awaits something that may be long: the start is given up if it is not ready at once.
pub async fn giving_up<T>(start: &mut Option<Start>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        let polled = future.as_mut().poll(context);
        if matches!(polled, Poll::Pending) {
            *start = None;
        }
        polled
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;
    use trellis_model::{AccountId, ClaimId, Place, ProjectId, RevisionId, RunId, Shard};

    use super::*;

    fn job(account: i64, run: i64) -> FetchedJob {
        FetchedJob {
            shard: Shard(0),
            account: AccountId(account),
            place: Place::default(),
            run: RunId(run),
            project: ProjectId(1),
            revision: RevisionId(1),
            grid: "main".to_owned(),
            lost_hosts: 0,
            is_resumed: false,
            payload: Vec::new(),
            epoch: 1,
            claim: ClaimId(1),
        }
    }

    type Launched = mpsc::UnboundedReceiver<(FetchedJob, Start)>;

    /// One core, and what was launched.
    fn starts() -> (Arc<Starts>, Launched) {
        let (sender, launched) = mpsc::unbounded_channel();
        let starts = Starts::new(1, move |job, start| {
            // A test that is over listens no more.
            let _ = sender.send((job, start));
        });
        (starts, launched)
    }

    /// Ends one run after the other, and tells their accounts in the order of their starts.
    fn accounts(launched: &mut Launched) -> Vec<i64> {
        std::iter::from_fn(|| launched.try_recv().ok()).map(|(job, _)| job.account.0).collect()
    }

    #[test]
    fn a_quiet_queue_is_not_behind_all_runs_of_a_busy_one() {
        let (starts, mut launched) = starts();
        starts.line_up((1..=100).map(|run| job(1, run)), |_| 1);
        starts.line_up([job(2, 101)], |_| 1);
        let order = accounts(&mut launched);
        assert_eq!(order.len(), 101);
        assert_eq!(order.iter().position(|account| *account == 2), Some(STARTS_PER_CORE + 1));
    }

    #[test]
    fn a_queue_starts_as_many_runs_in_its_turn_as_its_weight_says() {
        let (starts, mut launched) = starts();
        let held: Vec<_> = {
            starts.line_up((0..STARTS_PER_CORE as i64).map(|run| job(9, run)), |_| 1);
            std::iter::from_fn(|| launched.try_recv().ok()).collect()
        };
        let weight = |queue: Queue| if queue.account == AccountId(1) { 3 } else { 1 };
        starts.line_up((10..20).map(|run| job(1, run)).chain((20..30).map(|run| job(2, run))), weight);
        assert!(launched.try_recv().is_err(), "every place is taken");
        drop(held);
        assert_eq!(accounts(&mut launched)[..8], [1, 1, 1, 2, 1, 1, 1, 2]);
    }

    #[test]
    fn no_more_runs_are_at_the_cores_than_there_are_places() {
        let (starts, mut launched) = starts();
        starts.line_up((0..100).map(|run| job(1, run)), |_| 1);
        let at_the_cores: Vec<_> = std::iter::from_fn(|| launched.try_recv().ok()).collect();
        assert_eq!(at_the_cores.len(), STARTS_PER_CORE);
    }

    #[test]
    fn runs_that_are_dropped_as_they_are_launched_do_not_nest() {
        let starts = Starts::new(1, |_, start| drop(start));
        starts.line_up((0..100_000).map(|run| job(1, run)), |_| 1);
        assert!(starts.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn a_start_is_given_up_by_the_first_wait_and_not_before() {
        let (starts, mut launched) = starts();
        starts.line_up([job(1, 1)], |_| 1);
        let mut start = launched.try_recv().ok().map(|(_, start)| start);
        giving_up(&mut start, async {}).await;
        assert!(start.is_some());
        giving_up(&mut start, tokio::task::yield_now()).await;
        assert!(start.is_none());
    }
}
