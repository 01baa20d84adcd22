//! Uploads that are no plugin, each with a message that says what it is and how to mend it.

use bytes::Bytes;
use trellis_engine::{Engine, UploadError, UploadLimits};
use trellis_model::fault::Fault;

use crate::{
    hostile_components::harmless,
    support::{config, misbehave},
};

fn check(bytes: &[u8]) -> Result<Vec<String>, Vec<Fault>> {
    trellis_engine::check(bytes, &UploadLimits::default())
}

fn text_of(bytes: &[u8]) -> String {
    let faults = check(bytes).expect_err("refused");
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn says(bytes: &[u8], words: &[&str]) {
    let text = text_of(bytes);
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in: {text}");
    }
}

fn component(text: &str) -> Vec<u8> {
    wat::parse_str(text).expect("valid text")
}

#[test]
fn what_is_no_component_is_called_by_its_name() {
    says(b"", &["the upload is empty"]);
    says(&component("(module)"), &["a core WebAssembly module", "wasm32-wasip2"]);
    says(b"(module)", &["WebAssembly text (WAT)", "wasm-tools parse"]);
    says(b"  ;; a comment\n(component)", &["WebAssembly text (WAT)"]);
    says("\u{feff}(component)".as_bytes(), &["WebAssembly text (WAT)"]);
    says(b"export default {}", &["text, not a WebAssembly component"]);
    says(&[b'\x1f', 0x8b, 8, 0], &["compressed with gzip"]);
    says(b"PK\x03\x04", &["a zip archive"]);
    says(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0], &["a native program"]);
    says(&[0xca, 0xfe, 0xba, 0xbe, 0xff], &["begins with the bytes ca fe ba be"]);
    says(b"\0asm", &["cut off within its first 8 bytes"]);
    says(b"\0asm\x0e\0\x01\0", &["version that is not known"]);
}

#[test]
fn a_compiled_artefact_is_not_an_upload() {
    let engine = wasmtime::Engine::default();
    let artefact = engine.precompile_component(&harmless()).expect("compiles");
    says(&artefact, &["machine code", ".cwasm", "upload the component itself"]);
}

#[test]
fn a_component_that_is_cut_off_is_refused_wherever_it_is_cut() {
    let whole = harmless();
    let engine = wasmtime::Engine::default();
    for length in 8..whole.len() {
        let part = &whole[..length];
        if check(part).is_ok() {
            // Cut between sections, behind the last one that means anything: what is left is whole.
            wasmtime::component::Component::from_binary(&engine, part).expect("nothing is missing");
        }
    }
    assert!(check(&whole[..whole.len() / 2]).is_err());
    says(&misbehave()[..200_000], &["the component breaks off: it is cut at byte 200000"]);
}

#[test]
fn imports_that_no_host_provides_are_named() {
    let import = |name: &str| component(&format!(r#"(component (import "{name}" (instance)))"#));
    says(
        &import("acme:db/query@1.0.0"),
        &["imports `acme:db/query@1.0.0`, which no host provides", "trellis:plugin@0.1"],
    );
    says(
        &import("wasi:http/types@0.3.0"),
        &["this host provides wasi:http in version 0.2", "build against wasi:http@0.2"],
    );
    says(&import("wasi:blobstore/blobstore@0.2.0-draft"), &["which no host provides"]);
    says(&import("wasi:keyvalue/store@0.2.0-draft"), &["provides wasi:keyvalue in version 0.2.0-draft2"]);
    says(&import("wasi:logging/logging@0.1.0-other"), &["provides wasi:logging in version 0.1.0-draft"]);
    says(&import("trellis:plugin/web@0.2.0"), &["provides trellis:plugin in version 0.1"]);
    says(&import("wasi:cli/run"), &["no interface of a WIT package with a version"]);
    says(&component(r#"(component (import "log" (func)))"#), &["imports `log`, which is no interface"]);
}

#[test]
fn all_faults_are_told_at_once() {
    let bytes = component(r#"(component (import "a:b/c@1.0.0" (instance)) (import "d:e/f@1.0.0" (instance)))"#);
    let faults = check(&bytes).expect_err("refused");
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/imports/a:b~1c@1.0.0", "/imports/d:e~1f@1.0.0", "/exports"]);
}

#[test]
fn a_component_without_a_transformer_is_told_what_is_missing() {
    says(&component("(component)"), &["does not export `trellis:plugin/transformer@0.1.0`", "#[transformer]"]);
    let export = |name: &str| component(&format!(r#"(component (instance $i) (export "{name}" (instance $i)))"#));
    says(&export("wasi:cli/run@0.2.3"), &["a command", "crate-type"]);
    says(&export("trellis:plugin/transformer@0.2.0"), &["this host speaks trellis:plugin/transformer@0.1"]);
}

#[tokio::test]
async fn imports_of_another_signature_are_found_at_upload() {
    let text = r#"(component
        (import "trellis:plugin/web@0.1.0" (instance (export "fetch" (func (param "url" string) (result string)))))
        (instance $i) (export "trellis:plugin/transformer@0.1.0" (instance $i)))"#;
    let engine = Engine::new(&config()).expect("an engine");
    let error = engine.compile(component(text).into()).await.expect_err("refused");
    assert!(error.to_string().contains("trellis:plugin/web@0.1.0"), "{error}");
    let text = r#"(component
        (import "wasi:http/nonsense@0.2.0" (instance (export "f" (func))))
        (instance $i) (export "trellis:plugin/transformer@0.1.0" (instance $i)))"#;
    let error = engine.compile(component(text).into()).await.expect_err("refused");
    assert!(error.to_string().contains("wasi:http/nonsense@0.2.0"), "{error}");
}

/// Whatever is uploaded, the answer is a fault of the upload, not of the host.
#[tokio::test]
async fn mutations_of_a_component_never_blame_the_host() {
    let engine = Engine::new(&config()).expect("an engine");
    let whole = harmless();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..400 {
        let mut mutated = whole.to_vec();
        for _ in 0..3 {
            // xorshift64, so that every run mutates alike.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let place = usize::try_from(state % (mutated.len() as u64)).expect("in range");
            mutated[place] = state.to_le_bytes()[7];
        }
        match engine.compile(Bytes::from(mutated)).await {
            Ok(_) | Err(UploadError::Faults(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
}
