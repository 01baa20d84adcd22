//! Guests in C and Go: bound to the WIT, compiled to a module, made a component.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use super::{
    component,
    tools::{KEPT, installed, kept, run},
};
use crate::support::repository;

fn wit() -> PathBuf {
    repository().join("wit")
}

/// The component of the guest in C.
///
/// # Errors
/// Why it cannot be made here.
pub fn c(guest: &Path) -> Result<Vec<u8>, String> {
    kept(guest, &wit(), |folder| {
        let zig = installed(guest)?.join("ziglang/zig");
        component::bind_c(&wit(), folder);
        let module = folder.join("module.wasm");
        let mut compiler = Command::new(zig);
        compiler.env("ZIG_GLOBAL_CACHE_DIR", Path::new(KEPT).join("zig")).current_dir(folder);
        compiler.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Oz", "-s", "-Wall", "-Werror", "-I."]);
        compiler.arg(guest.join("multiply.c")).args(["plugin.c", "plugin_component_type.o", "-o"]).arg(&module);
        run(&mut compiler)?;
        Ok(component::of_module(&fs::read(module).map_err(|error| error.to_string())?))
    })
}

/// The component of the guest in Go.
///
/// # Errors
/// Why it cannot be made here.
pub fn go(guest: &Path) -> Result<Vec<u8>, String> {
    kept(guest, &wit(), |folder| {
        let root = installed(guest)?.join("go");
        component::bind_go(&wit(), folder);
        let package = folder.join("export_trellis_plugin_transformer");
        fs::create_dir_all(&package).map_err(|error| error.to_string())?;
        fs::copy(guest.join("multiply.go"), package.join("multiply.go")).map_err(|error| error.to_string())?;
        fs::write(folder.join("go.mod"), go_module()?).map_err(|error| error.to_string())?;
        let module = folder.join("module.wasm");
        let mut compiler = Command::new(root.join("bin/go"));
        compiler.env("GOROOT", &root).env("GOPATH", Path::new(KEPT).join("go-path"));
        compiler.env("GOCACHE", Path::new(KEPT).join("go-cache")).env("GOOS", "wasip1").env("GOARCH", "wasm");
        // Nothing is fetched: the compiler is the one that pip has installed, and there is one package to find.
        compiler.env("GOTOOLCHAIN", "local").env("GOPROXY", "off").env("GOFLAGS", "-mod=mod").env("GOENV", "off");
        compiler.current_dir(folder).args(["build", "-buildmode=c-shared", "-ldflags=-checklinkname=0 -s -w", "-o"]);
        run(compiler.arg(&module))?;
        let mut module = fs::read(module).map_err(|error| error.to_string())?;
        component::embed(&wit(), &mut module);
        Ok(component::of_module(&module))
    })
}

/// The `go.mod` of the plugin: what its bindings need at run time comes with the crate that generates them.
fn go_module() -> Result<String, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version", "1", "--locked", "--offline"]).current_dir(repository());
    let output = metadata.output().map_err(|error| format!("cargo: {error}"))?;
    let metadata: Value = serde_json::from_slice(&output.stdout).map_err(|error| format!("cargo metadata: {error}"))?;
    let crates = metadata["packages"].as_array().expect("packages");
    let generator = crates.iter().find(|package| package["name"] == "wit-bindgen-go").expect("this test depends on it");
    let manifest = Path::new(generator["manifest_path"].as_str().expect("a path"));
    let runtime = manifest.parent().expect("a file lies in a folder").join("src/pkg");
    let own = fs::read_to_string(runtime.join("go.mod")).map_err(|error| error.to_string())?;
    let language = own.lines().find(|line| line.starts_with("go ")).expect("a version of Go");
    let needed = wit_bindgen_go::remote_pkg_version();
    let (name, _) = needed.split_once(' ').expect("a name and a version");
    Ok(format!("module wit_component\n\n{language}\n\nrequire {needed}\n\nreplace {name} => {}\n", runtime.display()))
}
