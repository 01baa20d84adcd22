//! A guest that does what its input says: hostile things above all, and some good ones for comparison.
//!
//! Written on the bare WIT, without the SDK: what the host holds to must not rest on a well-meaning library. The input
//! port `in` takes an `Action` (see `action.rs`) as JSON; its result is emitted to `out`. What comes to the port `after` is not
//! looked at: it puts nodes in an order.
#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "what the WIT macros expand to")]

mod action;
mod hostile;
mod http;
mod outbox;
mod records;
mod secret;
mod store;
mod wasi;

#[allow(clippy::all, unused_qualifications, reason = "generated from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tests:misbehave;
            world misbehave {
                include trellis:plugin/plugin-with-wasi-http@0.1.0;
                import wasi:random/random@0.2.12;
            }
        ",
        path: "../../../wit",
        generate_all,
    });
}

use bindings::exports::trellis::plugin::transformer::{Emission, Event, Failure, Guest};

struct Misbehave;

impl Guest for Misbehave {
    fn describe() -> String {
        r#"{"title":"Misbehave","inputs":{"in":{},"after":{"required":false}},"outputs":{"out":{},"other":{}}}"#
            .to_owned()
    }

    fn transform(event: Event, config: String) -> Result<Vec<Emission>, Failure> {
        let input = event.inputs.iter().find(|(port, _)| port == "in").map_or("null", |(_, json)| json.as_str());
        // Neither manifests nor events can carry NUL: its picture stands for it.
        let input = input.replace('\u{2400}', "\\u0000");
        let action: action::Action =
            serde_json::from_str(&input).map_err(|error| Failure::InvalidInput(error.to_string()))?;
        action.perform(&event, &config)
    }
}

bindings::export!(Misbehave with_types_in bindings);
