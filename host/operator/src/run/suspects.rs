//! Whose turn it is among the suspects of this host: one runs, a few wait, and the others are not in flight.
//!
//! See [`trellis_model::run::LOST_HOSTS_SUSPECT`]. Those that wait take room from other runs, and a suspect may run for long.

use tokio::sync::{Semaphore, SemaphorePermit};

/// Suspects that wait for their turn at most: enough that the next one is there when one of them ends quickly.
const WAITING_MAX: usize = 15;
/// However small a host is, they take no more than this part of its runs.
const HOST_PART: usize = 8;

#[derive(Debug)]
pub struct Suspects {
    line: Semaphore,
    turn: Semaphore,
}

/// Held by the suspect that is running.
pub struct Turn<'s> {
    _line: SemaphorePermit<'s>,
    _turn: SemaphorePermit<'s>,
}

impl Suspects {
    /// Of a host with room for `runs_max` runs.
    pub fn new(runs_max: usize) -> Self {
        Self { line: Semaphore::new(1 + WAITING_MAX.min(runs_max / HOST_PART)), turn: Semaphore::new(1) }
    }

    /// Waits for a turn; none: too many wait already.
    pub async fn turn(&self) -> Option<Turn<'_>> {
        let line = self.line.try_acquire().ok()?;
        // The semaphore is never closed.
        let turn = self.turn.acquire().await.ok()?;
        Some(Turn { _line: line, _turn: turn })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn one_suspect_runs_and_only_a_few_wait() {
        let suspects = Suspects::new(2 * HOST_PART);
        let running = suspects.turn().now_or_never().flatten();
        assert!(running.is_some());
        let (mut first, mut second) = (Box::pin(suspects.turn()), Box::pin(suspects.turn()));
        assert!(first.as_mut().now_or_never().is_none() && second.as_mut().now_or_never().is_none(), "they wait");
        assert!(matches!(suspects.turn().now_or_never(), Some(None)), "one too many");
        drop(running);
        assert!(matches!(first.now_or_never(), Some(Some(_))), "it is the next one's turn");
    }
}
