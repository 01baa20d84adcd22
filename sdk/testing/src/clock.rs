//! A time of day that stands still until it is set.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use jiff::Timestamp;
use trellis_engine::WallClock;

pub(crate) struct FixedClock(Mutex<SystemTime>);

impl FixedClock {
    /// `time`: RFC 3339, such as `2026-05-01T12:00:00Z`.
    #[track_caller]
    pub fn at(time: &str) -> Self {
        match time.parse::<Timestamp>() {
            Ok(time) => Self(Mutex::new(time.into())),
            Err(error) => panic!("`{time}` is no time; write it like 2026-05-01T12:00:00Z: {error}"),
        }
    }
}

impl WallClock for FixedClock {
    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
