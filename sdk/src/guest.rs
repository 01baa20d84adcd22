//! The component's side of the contract: what `#[transformer]` exports, in the types of `wit/plugin.wit`.
//!
//! Exists in Wasm builds only, for the expansion of the macro; not a public interface.

pub(crate) mod host;

#[allow(
    missing_docs,
    clippy::all,
    unused_qualifications,
    reason = "generated from the WIT, which has the documentation"
)]
pub mod bindings {
    wit_bindgen::generate!({
        path: "wit",
        world: "plugin",
        pub_export_macro: true,
        default_bindings_module: "trellis_sdk::guest::bindings",
        generate_all,
    });
}

use crate::{
    Error, ErrorKind, Transformer, event,
    transformer::{self, Emission as Emitted},
};

use bindings::trellis::plugin::events::Retry;

pub use bindings::{
    export,
    exports::trellis::plugin::transformer::{Emission, Event, Failure, Guest},
};

/// `describe` of the component.
pub fn describe<Arguments, T: Transformer<Arguments>>(transformer: &T, title: &str, summary: &str) -> String {
    let mut description = transformer::description(transformer);
    description.insert("title".into(), title.into());
    description.insert("summary".into(), summary.into());
    serde_json::to_string(&description).expect("a description is JSON already")
}

/// `transform` of the component.
pub fn transform<Arguments, T: Transformer<Arguments>>(
    transformer: &T,
    event: Event,
    config: &str,
) -> Result<Vec<Emission>, Failure> {
    let Event { run, node, attempt, idempotency_key, attributes, inputs } = event;
    event::set_current(Some(event::Event { run, node, attempt, idempotency_key, attributes }));
    let emitted = transformer::call(transformer, inputs, config).map_err(|error| failure(&error))?;
    Ok(emitted.into_iter().map(|Emitted { port, data }| Emission { port: port.into(), data }).collect())
}

fn failure(error: &Error) -> Failure {
    let after_ms = error.retry_after().map(|delay| u64::try_from(delay.as_millis()).unwrap_or(u64::MAX));
    let message = error.message().to_owned();
    match error.kind() {
        ErrorKind::InvalidInput => Failure::InvalidInput(message),
        ErrorKind::InvalidConfig => Failure::InvalidConfig(message),
        ErrorKind::Retryable => Failure::Retryable(Retry { message, after_ms }),
        ErrorKind::Permanent => Failure::Permanent(message),
    }
}
