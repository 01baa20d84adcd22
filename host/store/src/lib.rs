//! Postgres: every SQL statement of the host stands here, one file per noun.
//!
//! Knows nothing of Wasm, HTTP or scheduling. Every query takes the account or the shard; fenced writes also take the
//! host's lease, and write nothing once it is lost.

pub mod database;
pub mod error;
pub mod fail_point;
mod patient_pool;

pub mod account_change;
pub mod accounts;
pub mod call_limits;
pub mod components;
pub mod credentials;
pub mod limits;
pub mod plugins;
pub mod projects;
pub mod retention;
pub mod revisions;
pub mod stores;
pub mod tokens;

pub mod hosts;
pub mod shards;
pub mod targets;

pub mod cancel_requests;
pub mod dedup;
pub mod failed_starts;
pub mod fetch;
pub mod jobs;
pub mod waiting;

pub mod commit;
pub mod keyvalue;
pub mod replays;
pub mod run_list;
pub mod runs;

pub mod expiry;
pub mod run_days;

pub mod notices;

pub use database::{Database, DatabaseOptions};
pub use error::{Result, StoreError};
