//! The faults that a test asks this program for in its environment, by the names of the host's fail points.
//!
//! ```text
//! HOST_FAULTS=commit-before-fence=kill@3;fence-off=off
//!
//! point=kill@n    SIGKILL to itself when it comes to the point for the nth time
//! point=stop@n    SIGSTOP to itself then: it goes on there when somebody wakes it up
//! point=panic     the task that comes to the point panics, every time
//! point=off       the guard is switched off
//! point=off@n     it is switched off the first n times
//! ```

use std::{
    env,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

use rustix::process::{Signal, getpid, kill_process};

/// Longer than a signal takes to reach every thread.
const EFFECT: Duration = Duration::from_millis(100);

const VARIABLE: &str = "HOST_FAULTS";

/// Arms what the environment asks for.
///
/// # Errors
/// The fault that cannot be read: a test that asked for it must not go on without.
pub fn arm() -> Result<(), String> {
    let Ok(wanted) = env::var(VARIABLE) else { return Ok(()) };
    wanted.split(';').filter(|fault| !fault.is_empty()).try_for_each(arm_one)
}

fn arm_one(fault: &str) -> Result<(), String> {
    let unreadable = || format!("{VARIABLE}: `{fault}` is no fault; one looks like `commit-before-fence=kill@3`");
    let (point, what) = fault.split_once('=').ok_or_else(unreadable)?;
    let (verb, hit) = what.split_once('@').unwrap_or((what, "1"));
    let is_counted = what.contains('@');
    let hit: u32 = hit.parse().map_err(|_| unreadable())?;
    match verb {
        "kill" => signal_at(point, hit, Signal::KILL),
        "stop" => signal_at(point, hit, Signal::STOP),
        "panic" => fail::cfg(point, "panic"),
        "off" if is_counted => fail::cfg(point, &format!("{hit}*return->off")),
        "off" => fail::cfg(point, "return"),
        _ => Err(unreadable()),
    }
}

fn signal_at(point: &str, hit: u32, signal: Signal) -> Result<(), String> {
    let hits = AtomicU32::new(0);
    fail::cfg_callback(point, move || {
        if hits.fetch_add(1, Ordering::Relaxed) + 1 == hit {
            // Nothing but this process can be meant: it exists, and may be signalled by itself.
            let _ = kill_process(getpid(), signal);
            // Another thread may be the one that is told first: this one must not get any further meanwhile.
            thread::sleep(EFFECT);
        }
    })
}
