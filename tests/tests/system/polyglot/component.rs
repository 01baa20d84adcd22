//! From the WIT to bindings of a language, and from a module that was compiled with them to a component: what the command
//! line tools of the component model do, by the libraries that they are made of.

use std::{fs, path::Path};

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_bindgen_core::{
    Files, WorldGenerator,
    wit_parser::{Resolve, WorldId},
};
use wit_component_of_bindings::{ComponentEncoder, StringEncoding, embed_component_metadata};

const WORLD: &str = "plugin";

fn world(wit: &Path) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).expect("the WIT is sound");
    let world = resolve.select_world(&[package], Some(WORLD)).expect("it has that world");
    (resolve, world)
}

/// The bindings of C: `plugin.h`, `plugin.c`, and an object file that tells the linker what the component is to be.
pub fn bind_c(wit: &Path, folder: &Path) {
    bind(wit, &mut *wit_bindgen_c::Opts::default().build(), folder);
}

/// The bindings of Go, as packages of the module in which the plugin lies.
pub fn bind_go(wit: &Path, folder: &Path) {
    let options = wit_bindgen_go::Opts { format: wit_bindgen_go::Format::False, ..wit_bindgen_go::Opts::default() };
    bind(wit, &mut *options.build(), folder);
}

fn bind(wit: &Path, generator: &mut dyn WorldGenerator, folder: &Path) {
    let (mut resolve, world) = world(wit);
    let mut files = Files::default();
    generator.generate(&mut resolve, world, &mut files).expect("bindings can be made of the WIT");
    for (name, text) in files.iter() {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("the folder is ours");
        fs::write(path, text).expect("the folder is ours");
    }
}

/// Adds to a module what no object file has told the linker: the world that it was bound to.
pub fn embed(wit: &Path, module: &mut Vec<u8>) {
    let (resolve, world) = world(wit);
    embed_component_metadata(module, &resolve, world, StringEncoding::UTF8, false).expect("the WIT is sound");
}

/// The component of a module that was compiled with such bindings, for the first preview of WASI.
pub fn of_module(module: &[u8]) -> Vec<u8> {
    let mut encoder = ComponentEncoder::default();
    encoder.module(module).expect("a module with the exports of the world");
    encoder
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)
        .expect("the adapter is sound");
    encoder.encode().expect("a component")
}
