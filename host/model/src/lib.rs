//! Names and rules of Trellis: what a manifest may say, what a grid plan is, how a run lives, how windows count, what a
//! grant allows.
//!
//! Pure on purpose: no I/O, no async, no database, no engine. Time is always an argument.

pub mod ids;

pub mod changes;
pub mod credential;
pub mod description;
pub mod fault;
pub mod grant;
pub mod manifest;
pub mod plan;
pub mod schema;
pub mod wiring;

pub mod backoff;
pub mod fixture;
pub mod json;
pub mod news;
pub mod outbox;
pub mod place;
pub mod records;
pub mod replay;
pub mod results;
pub mod retention;
pub mod run;

pub mod call_limits;
pub mod run_limits;
pub mod signature;
pub mod targets;
pub mod token;
pub mod window;

pub use ids::{AccountId, ClaimId, NodeName, PluginId, ProjectId, Queue, RevisionId, RunId, Shard, TokenId};
pub use place::{ConcurrencyKey, Lane, Place};
