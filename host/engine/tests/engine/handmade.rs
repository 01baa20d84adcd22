//! Components made by hand, as WebAssembly text: what no compiler of a guest language would make. Whole-system tests take
//! this file, too.

use bytes::Bytes;

/// The parts of a component in which these differ.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    /// In front of the plugin's own module: other core modules and their instances.
    pub before: &'a str,
    /// Fields of the core module besides its memory and functions.
    pub fields: &'a str,
    pub memory_pages: u32,
    pub realloc: &'a str,
    pub describe: &'a str,
    /// What `describe` is said to return.
    pub described: &'a str,
    pub transform: &'a str,
    pub description: &'a str,
}

/// A plugin that emits nothing.
pub const HARMLESS: Parts<'static> = Parts {
    before: "",
    fields: "",
    memory_pages: 1,
    // Hands out memory without ever taking it back.
    realloc: "(local $at i32)
        (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
        (global.set $free (i32.add (local.get $at) (local.get 3)))
        (local.get $at)",
    // A string: its place and its length, at address 8.
    describe: "(i32.const 8)",
    described: "string",
    // `ok` with an empty list: zeros, at address 512.
    transform: "(i32.const 512)",
    description: r#"{"title":"harmless"}"#,
};

impl Parts<'_> {
    pub fn component(&self) -> Bytes {
        wat::parse_str(self.text()).expect("valid text").into()
    }

    fn text(&self) -> String {
        let Self { before, fields, memory_pages, realloc, describe, described, transform, description } = *self;
        // Exported types may only be made of exported types.
        let failure_named = FAILURE.replace("$retry", "$retry-out");
        let escaped = description.replace('\\', "\\\\").replace('"', "\\\"");
        let length: String = u32::try_from(description.len())
            .expect("short")
            .to_le_bytes()
            .iter()
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        format!(
            r#"(component
  {before}
  (core module $module
    (memory (export "memory") {memory_pages})
    (global $free (mut i32) (i32.const 1024))
    {fields}
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) {realloc})
    (func (export "describe") (result i32) {describe})
    (func (export "transform") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {transform})
    (data (i32.const 8) "\10\00\00\00{length}")
    (data (i32.const 16) "{escaped}"))
  (core instance $instance (instantiate $module))
  (alias core export $instance "memory" (core memory $memory))
  (alias core export $instance "cabi_realloc" (core func $realloc))
  (alias core export $instance "describe" (core func $describe-core))
  (alias core export $instance "transform" (core func $transform-core))
  (type $event {EVENT})
  (type $emission {EMISSION})
  (type $retry {RETRY})
  (type $failure {FAILURE})
  (func $describe (result {described})
    (canon lift (core func $describe-core) (memory $memory) (realloc $realloc)))
  (func $transform (param "event" $event) (param "config" string) (result (result (list $emission) (error $failure)))
    (canon lift (core func $transform-core) (memory $memory) (realloc $realloc)))
  (component $interface
    (type $event-shape {EVENT})
    (import "type-event" (type $event (eq $event-shape)))
    (type $emission-shape {EMISSION})
    (import "type-emission" (type $emission (eq $emission-shape)))
    (type $retry-shape {RETRY})
    (import "type-retry" (type $retry (eq $retry-shape)))
    (type $failure-shape {FAILURE})
    (import "type-failure" (type $failure (eq $failure-shape)))
    (import "describe" (func $describe (result {described})))
    (import "transform" (func $transform
      (param "event" $event) (param "config" string) (result (result (list $emission) (error $failure)))))
    (export $event-out "event" (type $event))
    (export $emission-out "emission" (type $emission))
    (export $retry-out "retry" (type $retry))
    (type $failure-named {failure_named})
    (export $failure-out "failure" (type $failure-named))
    (export "describe" (func $describe))
    (export "transform" (func $transform) (func
      (param "event" $event-out) (param "config" string)
      (result (result (list $emission-out) (error $failure-out))))))
  (instance $transformer (instantiate $interface
    (with "type-event" (type $event))
    (with "type-emission" (type $emission))
    (with "type-retry" (type $retry))
    (with "type-failure" (type $failure))
    (with "describe" (func $describe))
    (with "transform" (func $transform))))
  (export "trellis:plugin/transformer@0.1.0" (instance $transformer)))"#
        )
    }
}

const EVENT: &str = r#"(record (field "run" string) (field "node" string) (field "attempt" u32)
    (field "idempotency-key" string) (field "attributes" (list (tuple string string)))
    (field "inputs" (list (tuple string string))))"#;
const EMISSION: &str = r#"(record (field "port" string) (field "data" string))"#;
const RETRY: &str = r#"(record (field "message" string) (field "after-ms" (option u64)))"#;
const FAILURE: &str = r#"(variant (case "invalid-input" string) (case "invalid-config" string)
    (case "retryable" $retry) (case "permanent" string))"#;

/// Instructions that never end.
pub const ENDLESS: &str = "(loop $again (br $again)) unreachable";
