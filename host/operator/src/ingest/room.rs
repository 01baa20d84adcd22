//! How much may wait for a batch, in bytes: a few large events are as much as many small ones.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Payloads that may wait to be committed, in bytes; more are refused, so that the client backs off.
pub(super) const WAITING_BYTES_MAX: usize = 128 * 1024 * 1024;

/// The bytes that wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Rooms(Arc<AtomicUsize>);

/// The room of one event, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    rooms: Rooms,
    bytes: usize,
}

impl Rooms {
    /// Room for an event; a single one of any size always finds some. None: too much is waiting.
    pub fn take(&self, bytes: usize) -> Option<Room> {
        let fits = |waiting: usize| {
            let sum = waiting.checked_add(bytes)?;
            (waiting == 0 || sum <= WAITING_BYTES_MAX).then_some(sum)
        };
        self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, fits).ok()?;
        Some(Room { rooms: self.clone(), bytes })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.0.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_in_bytes_and_what_is_done_makes_room() {
        let rooms = Rooms::default();
        let most = rooms.take(WAITING_BYTES_MAX - 10).expect("nothing waits");
        let rest = rooms.take(10).expect("it just fits");
        assert!(rooms.take(1).is_none());
        drop(rest);
        assert!(rooms.take(11).is_none());
        assert!(rooms.take(10).is_some());
        drop(most);
        let large = rooms.take(WAITING_BYTES_MAX * 2).expect("one alone always finds room");
        assert!(rooms.take(1).is_none());
        drop(large);
        assert!(rooms.take(WAITING_BYTES_MAX).is_some());
    }
}
