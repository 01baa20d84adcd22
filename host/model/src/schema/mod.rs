//! JSON Schemas: whether a value fits one ([`Validator`]), and whether anything at all can fit two ([`fit`]).
//!
//! Schemas are written by strangers, and so are the values: both questions are answered within bounds, or not at all.
//! Knows nothing of plugins, ports and manifests.

mod bounds;
pub mod fit;
mod misfit;
mod patterns;
mod pointer;
mod validator;
mod words;

pub use bounds::{DEPTH_MAX, PATTERNS_MAX, SAME_VALUE_MAX};
pub use patterns::PatternBudget;
pub use validator::{InvalidSchema, Misfit, Validator};

/// Whether a schema can be used here at all: [`Validator::new`] says why not.
pub fn is_bounded(schema: &serde_json::Value) -> bool {
    bounds::measure(schema).is_ok()
}
