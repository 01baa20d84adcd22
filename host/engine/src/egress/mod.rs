//! The way out: what a guest may reach over HTTP, and the sender that holds it to that.
//!
//! Allowed is what both the operator's policy and the node's grants allow. Knows nothing of guests or WIT; the `web` and
//! `wasi:http` capabilities both come through the guard.

pub mod address;
pub mod deny;
pub mod limits;
pub mod policy;

pub(crate) mod departure;
pub(crate) mod guard;
pub mod targets;

pub(crate) mod lookup;
pub mod outbound;
pub(crate) mod sender;

mod body;
mod headers;
pub(crate) mod injection;
mod own;
mod unpacking;
