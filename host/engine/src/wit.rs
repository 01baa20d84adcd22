//! WIT as text and as bytes: what a component imports and exports, and the package that plugins are written for.
//!
//! Knows nothing of which imports a host has: that is [`crate::upload`]'s part.

use std::sync::OnceLock;

use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{PackageId, Resolve, UnresolvedPackageGroup};

/// The package `trellis:plugin`, and all that it refers to.
const MAIN: (&str, &str) = ("plugin.wit", include_str!("../../../wit/plugin.wit"));
const REFERRED_TO: [(&str, &str); 10] = [
    ("wasi-cli/cli.wit", include_str!("../../../wit/deps/wasi-cli/cli.wit")),
    ("wasi-clocks/clocks.wit", include_str!("../../../wit/deps/wasi-clocks/clocks.wit")),
    ("wasi-config/store.wit", include_str!("../../../wit/deps/wasi-config/store.wit")),
    ("wasi-filesystem/filesystem.wit", include_str!("../../../wit/deps/wasi-filesystem/filesystem.wit")),
    ("wasi-http/http.wit", include_str!("../../../wit/deps/wasi-http/http.wit")),
    ("wasi-io/io.wit", include_str!("../../../wit/deps/wasi-io/io.wit")),
    ("wasi-keyvalue/keyvalue.wit", include_str!("../../../wit/deps/wasi-keyvalue/keyvalue.wit")),
    ("wasi-logging/logging.wit", include_str!("../../../wit/deps/wasi-logging/logging.wit")),
    ("wasi-random/random.wit", include_str!("../../../wit/deps/wasi-random/random.wit")),
    ("wasi-sockets/sockets.wit", include_str!("../../../wit/deps/wasi-sockets/sockets.wit")),
];

/// Bytes that have no WIT to show.
#[derive(Debug, thiserror::Error)]
#[error("the bytes are no component whose WIT can be shown: {0}")]
pub struct NoWit(String);

/// The WIT of a component, or of a package that was encoded as one: its own, then the packages that it refers to. Takes time
/// and memory in proportion to the bytes; not for the threads that serve.
///
/// # Errors
/// The bytes are neither.
pub fn wit_of(component: &[u8]) -> Result<String, NoWit> {
    // A core module would be told to be an empty world.
    if !wasmparser::Parser::is_component(component) {
        return Err(NoWit("they do not begin like one".to_owned()));
    }
    let decoded = wit_component::decode(component).map_err(|error| NoWit(format!("{error:#}")))?;
    let package = match &decoded {
        DecodedWasm::WitPackage(_, package) => Some(*package),
        DecodedWasm::Component(resolve, world) => resolve.worlds[*world].package,
    };
    let package = package.ok_or_else(|| NoWit("its world belongs to no package".to_owned()))?;
    printed(decoded.resolve(), package)
}

fn printed(resolve: &Resolve, package: PackageId) -> Result<String, NoWit> {
    let others: Vec<PackageId> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != package).collect();
    let mut printer = WitPrinter::default();
    printer.print(resolve, package, &others).map_err(|error| NoWit(format!("{error:#}")))?;
    Ok(printer.output.into())
}

/// The package that plugins are written for, in both forms.
#[derive(Debug)]
pub struct PluginWit {
    /// With all packages that it refers to, in one text.
    pub text: String,
    /// The same as tools read it from one file.
    pub wasm: Vec<u8>,
}

/// The package `trellis:plugin` of this version of Trellis. Made at the first call.
pub fn plugin_wit() -> &'static PluginWit {
    static WIT: OnceLock<PluginWit> = OnceLock::new();
    WIT.get_or_init(|| encoded().expect("the package of this repository is sound; a test holds it"))
}

fn encoded() -> Result<PluginWit, NoWit> {
    let parse = |(path, text): (&str, &str)| {
        UnresolvedPackageGroup::parse(path, text).map_err(|(_, error)| NoWit(format!("{path}: {error}")))
    };
    let referred_to = REFERRED_TO.into_iter().map(parse).collect::<Result<Vec<_>, _>>()?;
    let mut resolve = Resolve::default();
    let pushed = resolve.push_groups(parse(MAIN)?, referred_to);
    let package = pushed.map_err(|error| NoWit(error.to_string()))?;
    let wasm = wit_component::encode(&resolve, package).map_err(|error| NoWit(format!("{error:#}")))?;
    Ok(PluginWit { text: printed(&resolve, package)?, wasm })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    #[test]
    fn the_package_of_plugins_is_whole_in_both_forms() {
        let PluginWit { text, wasm } = plugin_wit();
        for part in ["package trellis:plugin@", "interface storage", "world plugin ", "package wasi:http@0.2.12"] {
            assert!(text.contains(part), "`{part}` is not in:\n{text}");
        }
        assert!(text.contains("/// Input in, side effects, output out."), "with its comments");
        let again = wit_of(wasm).expect("it was just encoded");
        for part in ["package trellis:plugin@", "interface storage", "world plugin "] {
            assert!(again.contains(part), "`{part}` is not in what is read back:\n{again}");
        }
    }

    #[test]
    fn no_package_of_the_folder_is_left_out() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/deps");
        let mut found = BTreeSet::new();
        for package in fs::read_dir(folder).expect("it is there") {
            let package = package.expect("readable").path();
            for file in fs::read_dir(&package).expect("a folder") {
                let file = file.expect("readable").file_name().to_string_lossy().into_owned();
                found.insert(format!("{}/{file}", package.file_name().expect("a name").to_string_lossy()));
            }
        }
        let listed: BTreeSet<String> = REFERRED_TO.iter().map(|(path, _)| (*path).to_owned()).collect();
        assert_eq!(listed, found);
    }

    #[test]
    fn what_is_no_component_has_no_wit_and_that_is_said() {
        let module = wat::parse_str("(module)").expect("a module");
        for bytes in [&b""[..], b"not wasm", &module] {
            let refused = wit_of(bytes).expect_err("no component").to_string();
            assert!(refused.starts_with("the bytes are no component"), "{refused}");
        }
    }

    #[test]
    fn a_component_shows_its_imports_and_exports() {
        let component = wat::parse_str(
            r#"(component
                (import "trellis:plugin/other@0.1.0" (instance (export "f" (func (param "n" u32)))))
            )"#,
        );
        let text = wit_of(&component.expect("a component")).expect("it has WIT");
        assert!(text.contains("import trellis:plugin/other@0.1.0;"), "{text}");
        assert!(text.contains("f: func(n: u32);"), "{text}");
    }
}
