//! Host bindings of the world `trellis:plugin/plugin`, generated from `wit/`. The one place where WIT becomes Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "trellis:plugin/plugin",
    imports: {
        "trellis:plugin/web": async,
        "trellis:plugin/storage": async,
    },
    exports: { default: async },
});

pub(crate) use self::{
    trellis::plugin::{storage, web},
    wasi::{config::store as config, logging::logging},
};
