//! A guest as somebody would have written it for another host: its one import is `wasi:keyvalue`. It performs what the input
//! says, operation by operation, and emits the answers.
//!
//! Written on the bare WIT, in a world of its own, without the SDK.
#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "what the WIT macros expand to")]

mod operation;

#[allow(clippy::all, unused_qualifications, reason = "generated from the WIT")]
mod bindings {
    wit_bindgen::generate!({
        inline: "
            package tests:keyvalue;
            world keyvalue {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
                export trellis:plugin/transformer@0.1.0;
            }
        ",
        path: "../../../wit",
        generate_all,
    });
}

use bindings::exports::trellis::plugin::transformer::{Emission, Event, Failure, Guest};

struct KeyValue;

impl Guest for KeyValue {
    fn describe() -> String {
        r#"{"title":"Key value","inputs":{"in":{},"after":{"required":false}},"outputs":{"out":{}}}"#.to_owned()
    }

    fn transform(event: Event, _config: String) -> Result<Vec<Emission>, Failure> {
        let input = event.inputs.iter().find(|(port, _)| port == "in").map_or("null", |(_, json)| json.as_str());
        let operations: Vec<operation::Operation> =
            serde_json::from_str(input).map_err(|error| Failure::InvalidInput(error.to_string()))?;
        let answers = operation::perform(operations);
        Ok(vec![Emission { port: "out".to_owned(), data: answers.to_string() }])
    }
}

bindings::export!(KeyValue with_types_in bindings);
