//! Wasmtime: check, compile, cache, link, instantiate and call transformers.
//!
//! Takes hostile bytes and hostile guests, and gives back a report. Knows nothing of Postgres, grids, retries, rate limits
//! or the HTTP API: what it needs from outside comes in through small traits ([`Storage`], [`Records`], [`Outbound`], [`TargetGate`], [`WallClock`]),
//! which the operator and the test harness both implement.

mod engine;
mod epoch;

mod upload;

mod cache;
mod transformer;

mod call;
mod handler;
mod report;
mod room;
mod sandbox;
mod turns;

mod budget;
mod failure;
mod guest_state;
mod memory;

mod bindings;
mod capabilities;
pub mod egress;
mod redaction;
mod secrets;

mod digest;
mod wit;

pub use call::{Call, Event};
pub use capabilities::{
    log::{LogLevel, LogLine, RunLog},
    outbox::EmittedEvent,
    progress::{PROGRESS_TEXT_BYTES_MAX, ProgressReport, ProgressSink},
    records::{
        FoundPage, FoundRecord, ManagedData, PageSize, Record, RecordVersion, RecordWrite, Records, RecordsFailed,
        laid_over,
    },
    storage::{Change, Entry, ListedKey, ReadVersion, Storage, StorageUnavailable, Write},
    wasi::WallClock,
};
pub use digest::{Digest, InvalidDigest, RunningDigest};
pub use egress::{
    outbound::{Outbound, OutboundBody, OutboundRequest, OutboundResponse, SendError, StreamBody, WireMeter},
    targets::{Passage, Patience, TargetFull, TargetGate},
};
pub use engine::{Engine, EngineConfig, EngineError, one_core_less};
pub use failure::{Failure, FailureKind};
pub use redaction::Redaction;
pub use report::{CallReport, Effects, Emission, Metering, Outcome};
pub use secrets::Secrets;
pub use transformer::{Place, Transformer};
#[cfg(unix)]
pub use upload::compiler::child::compile_if_asked;
pub use upload::{Compiled, LoadError, UploadError, check::check, compiler::CompileIn, limits::UploadLimits};
pub use wit::{NoWit, PluginWit, plugin_wit, wit_of};
