//! A look at uploaded bytes before anything is compiled: are they a component, of bearable size, importing only what a
//! host has and exporting a transformer?
//!
//! Bytes that are something else are named, with the way from there to a component. Whether the component is valid through
//! and through is found out when it is compiled.

use std::sync::LazyLock;

use semver::{Version, VersionReq};
use trellis_model::{fault::Fault, manifest::reader::FAULTS_MAX};
use wasmparser::{BinaryReaderError, Parser, Payload};

use super::limits::UploadLimits;

/// The export that makes a component a plugin.
const TRANSFORMER: &str = "trellis:plugin/transformer";
/// The other one: of components that answer HTTP requests on any host of WASI.
const HANDLER: (&str, &str) = ("wasi:http/incoming-handler", "0.2");
/// Versions of `trellis:plugin` that this host speaks. Old minor versions stay in this list.
const PLUGIN_VERSIONS: &str = "0.1";

/// WIT packages that a plugin may import from, and their versions.
const PACKAGES: [(&str, &str); 11] = [
    ("trellis:plugin", PLUGIN_VERSIONS),
    ("wasi:cli", "0.2"),
    ("wasi:clocks", "0.2"),
    ("wasi:config", "=0.2.0-rc.1"),
    ("wasi:filesystem", "0.2"),
    ("wasi:http", "0.2"),
    ("wasi:io", "0.2"),
    ("wasi:keyvalue", "=0.2.0-draft2"),
    ("wasi:logging", "=0.1.0-draft"),
    ("wasi:random", "0.2"),
    ("wasi:sockets", "0.2"),
];

static VERSIONS: LazyLock<Vec<(&str, VersionReq)>> = LazyLock::new(|| {
    let parse = |text| VersionReq::parse(text).expect("the versions of this file are valid");
    PACKAGES.iter().map(|(package, versions)| (*package, parse(versions))).collect()
});

/// Looks at an upload.
///
/// # Returns
/// The interfaces that it imports, in its order.
///
/// # Errors
/// All that is wrong with it.
pub fn check(bytes: &[u8], limits: &UploadLimits) -> Result<Vec<String>, Vec<Fault>> {
    if let Some(fault) = no_component(bytes) {
        return Err(vec![fault]);
    }
    let outline = Outline::read(bytes, limits).map_err(|fault| vec![*fault])?;
    let import_faults = outline.imports.iter().filter_map(|name| import_fault(name));
    let mut faults: Vec<Fault> = import_faults.take(FAULTS_MAX).collect();
    faults.extend(export_fault(&outline.exports));
    if faults.is_empty() { Ok(outline.imports) } else { Err(faults) }
}

/// What the bytes are, if they are no binary component.
fn no_component(bytes: &[u8]) -> Option<Fault> {
    let fault = |message: &str, fix: &str| Some(Fault::at("", message).fix(fix));
    if bytes.is_empty() {
        return fault("the upload is empty", "send the bytes of a WebAssembly component");
    }
    if Parser::is_component(bytes) {
        return None;
    }
    if Parser::is_core_wasm(bytes) {
        return fault(
            "a core WebAssembly module, not a component",
            "build for the target wasm32-wasip2, or turn the module into a component with `wasm-tools component new`",
        );
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return fault(
            "machine code that wasmtime compiled (.cwasm), not a component",
            "upload the component itself; the host compiles it",
        );
    }
    match bytes {
        [b'\0', b'a', b's', b'm', ..] => fault(
            "WebAssembly of a version that is not known here, or cut off within its first 8 bytes",
            "build a component (version 0x0d, layer 1) and upload the whole file",
        ),
        [0x7f, b'E', b'L', b'F', ..] => {
            fault("a native program or library, not a component", "build for the target wasm32-wasip2")
        }
        [0x1f, 0x8b, ..] => fault("compressed with gzip", "upload the component uncompressed"),
        [b'P', b'K', ..] => fault("a zip archive, not a component", "upload the .wasm file alone"),
        _ => Some(text_or_unknown(bytes)),
    }
}

fn text_or_unknown(bytes: &[u8]) -> Fault {
    const LOOKED_AT: usize = 4_096;
    let head = &bytes[..bytes.len().min(LOOKED_AT)];
    let text = match str::from_utf8(head) {
        Ok(text) => Some(text),
        // A character may be cut in two at the end of what is looked at.
        Err(error) if error.error_len().is_none() => str::from_utf8(&head[..error.valid_up_to()]).ok(),
        Err(_) => None,
    };
    let shown: String = bytes.iter().take(4).map(|byte| format!("{byte:02x} ")).collect();
    match text.map(|text| text.trim_start_matches('\u{feff}').trim_start()) {
        Some(text) if text.starts_with("(component") || text.starts_with("(module") || text.starts_with(";;") => {
            Fault::at("", "WebAssembly text (WAT), not a binary component")
                .fix("turn it into a binary with `wasm-tools parse`, then upload that")
        }
        Some(_) => Fault::at("", "text, not a WebAssembly component").fix("upload the .wasm file that your build made"),
        None => Fault::at("", format!("no WebAssembly component: it begins with the bytes {}", shown.trim_end()))
            .fix("upload the .wasm file that your build made"),
    }
}

/// One name of an import or export, in bytes: ten times the longest that WIT packages have.
const NAME_BYTES_MAX: usize = 1_024;

fn push_name(names: &mut Vec<String>, name: &str, what: &str, names_max: u32) -> Result<(), Box<Fault>> {
    if names.len() >= names_max as usize {
        return Err(too_many(names_max, what));
    }
    if name.len() > NAME_BYTES_MAX {
        let begin: String = name.chars().take(64).collect();
        let message = format!("a name of {} bytes, at most {NAME_BYTES_MAX} are allowed: `{begin}…`", name.len());
        return Err(Box::new(Fault::at("", message).fix("give it a shorter name")));
    }
    names.push(name.to_owned());
    Ok(())
}

fn too_many(most: u32, what: &str) -> Box<Fault> {
    Box::new(Fault::at("", format!("more than {most} {what}")).fix("leave out what the plugin does not use"))
}

/// What a component imports and exports at its top level.
#[derive(Debug, Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    functions: u32,
    parts: u32,
}

impl Outline {
    fn read(bytes: &[u8], limits: &UploadLimits) -> Result<Self, Box<Fault>> {
        let mut outline = Self::default();
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(|error| broken(&error, bytes.len()))?;
            match payload {
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                    depth += 1;
                    outline.count_part(depth, limits)?;
                }
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::CodeSectionEntry(body) => outline.count_function(body.range().len(), limits)?,
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        let import = import.map_err(|error| broken(&error, bytes.len()))?;
                        push_name(&mut outline.imports, import.name.name, "imports", limits.names)?;
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        let export = export.map_err(|error| broken(&error, bytes.len()))?;
                        push_name(&mut outline.exports, export.name.name, "exports", limits.names)?;
                    }
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn count_part(&mut self, depth: u32, limits: &UploadLimits) -> Result<(), Box<Fault>> {
        self.parts += 1;
        if self.parts > limits.parts {
            let message = format!("more than {} modules and components in it", limits.parts);
            return Err(Box::new(Fault::at("", message).fix("compose fewer parts into one component")));
        }
        if depth > limits.parts_depth {
            let message = format!("modules and components nested more than {} deep", limits.parts_depth);
            return Err(Box::new(Fault::at("", message).fix("compose the parts side by side")));
        }
        Ok(())
    }

    fn count_function(&mut self, bytes: usize, limits: &UploadLimits) -> Result<(), Box<Fault>> {
        self.functions += 1;
        if self.functions > limits.functions {
            return Err(too_many(limits.functions, "functions"));
        }
        if bytes as u64 > limits.function_bytes {
            let (number, most) = (self.functions - 1, limits.function_bytes);
            let message = format!("function {number} is {bytes} bytes long, at most {most} are allowed");
            return Err(Box::new(
                Fault::at("", message).fix("split the function, or build without inlining everything"),
            ));
        }
        Ok(())
    }
}

fn broken(error: &BinaryReaderError, length: usize) -> Box<Fault> {
    if error.offset() >= length || error.message().contains("unexpected end") {
        let message = format!("the component breaks off: it is cut at byte {length}");
        return Box::new(Fault::at("", message).fix("upload the whole file; if it is whole, build it anew"));
    }
    let message = format!("no valid component: {} at byte {}", error.message(), error.offset());
    Box::new(Fault::at("", message).fix("build the component anew; `wasm-tools validate` tells more"))
}

fn import_fault(name: &str) -> Option<Fault> {
    let pointer = pointer_to("/imports", name);
    let provided = || {
        let list: Vec<String> = PACKAGES
            .iter()
            .map(|(package, versions)| format!("{package}@{}", versions.trim_start_matches('=')))
            .collect();
        format!("a plugin may import {}; put what else it needs into the component itself", list.join(", "))
    };
    let Some((package, version)) = package_and_version(name) else {
        let message = format!("imports `{name}`, which is no interface of a WIT package with a version");
        return Some(Fault::at(pointer, message).fix(provided()));
    };
    let Some((_, versions)) = VERSIONS.iter().find(|(known, _)| *known == package) else {
        return Some(Fault::at(pointer, format!("imports `{name}`, which no host provides")).fix(provided()));
    };
    if versions.matches(&version) {
        return None;
    }
    let ours = versions.to_string();
    let ours = ours.trim_start_matches(['=', '^']);
    let message = format!("imports `{name}`, but this host provides {package} in version {ours}");
    Some(Fault::at(pointer, message).fix(format!("build against {package}@{ours}")))
}

/// A name below a list of them; the list itself for none.
pub(super) fn pointer_to(list: &str, name: &str) -> String {
    if name.is_empty() { list.to_owned() } else { format!("{list}/{}", name.replace('~', "~0").replace('/', "~1")) }
}

/// `wasi:http/types@0.2.3` → `wasi:http`, `0.2.3`.
fn package_and_version(name: &str) -> Option<(&str, Version)> {
    let (interface, version) = name.split_once('@')?;
    let (package, _) = interface.split_once('/')?;
    package.contains(':').then_some(())?;
    Some((package, Version::parse(version).ok()?))
}

/// Whether the component answers HTTP requests.
fn is_handler(exports: &[String]) -> bool {
    let (interface, versions) = HANDLER;
    let versions = VersionReq::parse(versions).expect("the versions of this file are valid");
    let fits = |version: &str| Version::parse(version).is_ok_and(|version| versions.matches(&version));
    exports.iter().filter_map(|name| name.split_once('@')).any(|(name, version)| name == interface && fits(version))
}

fn export_fault(exports: &[String]) -> Option<Fault> {
    let versions = VersionReq::parse(PLUGIN_VERSIONS).expect("the versions of this file are valid");
    let mut other_version = None;
    for name in exports {
        let Some((interface, version)) = name.split_once('@') else { continue };
        if interface != TRANSFORMER {
            continue;
        }
        if Version::parse(version).is_ok_and(|version| versions.matches(&version)) {
            return None;
        }
        other_version = Some(name);
    }
    if other_version.is_none() && is_handler(exports) {
        return None;
    }
    let fix = "with the Rust SDK, put `#[transformer]` on a function; in other languages, build for the world \
               `trellis:plugin/plugin`";
    Some(match other_version {
        Some(name) => {
            let message = format!("exports `{name}`, but this host speaks {TRANSFORMER}@{PLUGIN_VERSIONS}");
            Fault::at("/exports", message)
                .fix("build against the WIT of this host: its source has it in the folder `wit`")
        }
        None if exports.iter().any(|name| name.starts_with("wasi:cli/run@")) => {
            let message = format!("a command (it exports `wasi:cli/run`), not a plugin: `{TRANSFORMER}` is missing");
            Fault::at("/exports", message)
                .fix(format!("build a library instead (Rust: crate-type = [\"cdylib\"]); {fix}"))
        }
        None => Fault::at("/exports", format!("does not export `{TRANSFORMER}@{PLUGIN_VERSIONS}.0`")).fix(fix),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wrong with a component, of those things that are counted before anything else is looked at.
    fn fault(text: &str, limits: &UploadLimits) -> String {
        let bytes = wat::parse_str(text).expect("valid text");
        check(&bytes, limits).expect_err("it exports nothing").remove(0).message
    }

    #[test]
    fn what_is_large_or_many_is_refused_before_it_is_compiled() {
        let long_name = format!(r#"(component (import "{}" (func)))"#, "a".repeat(NAME_BYTES_MAX + 1));
        let standard = UploadLimits::default();
        let cases = [
            (
                "(component (core module (func) (func)))",
                UploadLimits { functions: 1, ..standard },
                "more than 1 functions",
            ),
            (
                "(component (core module (func nop nop nop nop)))",
                UploadLimits { function_bytes: 4, ..standard },
                "function 0 is",
            ),
            (
                "(component (core module) (core module))",
                UploadLimits { parts: 1, ..standard },
                "more than 1 modules and components",
            ),
            (
                "(component (component (core module)))",
                UploadLimits { parts_depth: 1, ..standard },
                "nested more than 1 deep",
            ),
            (
                r#"(component (import "a" (func)) (import "b" (func)))"#,
                UploadLimits { names: 1, ..standard },
                "more than 1 imports",
            ),
            (
                r#"(component (import "a" (func $f)) (export "b" (func $f)) (export "c" (func $f)))"#,
                UploadLimits { names: 1, ..standard },
                "more than 1 exports",
            ),
            (long_name.as_str(), standard, "a name of 1025 bytes"),
        ];
        for (text, limits, says) in cases {
            let told = fault(text, &limits);
            assert!(told.contains(says), "`{says}` is not in: {told}");
        }
    }
}
