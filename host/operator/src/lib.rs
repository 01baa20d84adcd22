//! The heart of Trellis: from a committed event to a committed run.
//!
//! In the order of an event's way: [`ingest`] commits it, the [`scheduler`] fetches it when its account may run, the
//! [`limiter`] counts each module, [`targets`] each request to a service that takes only so many, [`run`] executes the grid, the [`committer`] writes what it came to, and those who [`watch`] are told. The [`lease`]
//! says whose work this host may do. Knows nothing of HTTP, the command line or configuration files.

pub mod host;

pub mod ingest;
pub mod scheduler;
pub mod slots;

pub mod call_budgets;
pub mod spreads;
pub mod starts;

pub mod limiter;

pub mod targets;

pub mod run;
pub mod vault;

pub mod committer;
mod deaths;
mod housekeeper;
mod outbox;
mod preparer;
mod run_ids;
pub mod watch;

pub mod cancellations;
mod canceller;

pub mod catalog;
mod claims;
pub mod clock;
pub mod lease;

pub use host::{Host, HostConfig};
