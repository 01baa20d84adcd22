//! The epoch ticker: an OS thread that moves the engine's epoch on, so that a guest that never waits is interrupted too.
//!
//! A thread and not a task: a runtime whose workers are all busy with guests must still tick. It holds the engine weakly
//! and ends within one tick after the engine was dropped.

use std::{io, thread, time::Duration};

/// How often a running guest yields to others and has its CPU budget looked at.
pub(crate) const TICK: Duration = Duration::from_millis(10);

pub(crate) fn start(engine: &wasmtime::Engine) -> io::Result<()> {
    let engine = engine.weak();
    thread::Builder::new().name("trellis-epoch".to_owned()).spawn(move || {
        loop {
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    })?;
    Ok(())
}
