//! Tests for plugins: the real component, in the real engine, under the real limits, with fake HTTP, storage and clock.
//! No Postgres, no network, no running host; a plain `#[test]` will do.
//!
//! ```no_run
//! use serde_json::json;
//! use trellis_testing::{Plugin, Response};
//!
//! // In a `#[test]` of the plugin's own crate:
//! let report = Plugin::build(env!("CARGO_MANIFEST_DIR"))
//!     .config(json!({ "api_url": "https://api.example.com" }))
//!     .http_mock("GET", "https://api.example.com/repos/*", Response::json(200, json!({ "stars": 3 })))
//!     .storage("cache", "seen", "1")
//!     .clock("2026-05-01T12:00:00Z")
//!     .call("task", json!({ "repository": "trellis" }));
//!
//! assert_eq!(report.emitted("report"), &json!({ "stars": 3 }));
//! assert_eq!(report.requests[0].url, "https://api.example.com/repos/trellis");
//! report.assert_logged("3 stars");
//! ```
//!
//! A production run can be a test as well: see [`Fixture`].
//!
//! What a test mocks or puts into a store counts as granted, until the test says with [`Plugin::grants`] what is. Knows
//! nothing of grids, retries and commits: one call is one call.

#![deny(missing_docs)]

mod component;
mod fixture;
mod plugin;
mod report;
mod snapshot;

mod clock;
mod http;
mod progress;
mod records;
mod storage;
mod targets;

pub use fixture::{Fixture, NodeReplay, Replay};
pub use http::{Reply, Request, Response};
pub use plugin::Plugin;
pub use report::{Event, Report};

pub use trellis_engine::{
    Change, Failure, FailureKind, LogLevel, LogLine, Metering, ProgressReport, RecordWrite, TargetFull, Write,
};
pub use trellis_model::{
    call_limits::CallLimits,
    description::Description,
    fixture::{Change as OutcomeChange, Comparison},
};
