//! Host bindings of the world `trellis:plugin/plugin`, and of `wasi:keyvalue`, generated from `wit/`. The one place where WIT
//! becomes Rust.

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "trellis:plugin/plugin",
    imports: {
        "trellis:plugin/web": async,
        "trellis:plugin/storage": async,
    },
    exports: { default: async },
});

/// `wasi:keyvalue` by itself: its functions can trap, and its resources are types of the capability.
mod keyvalue_world {
    wasmtime::component::bindgen!({
        inline: "
            package trellis:host;
            world keyvalue {
                import wasi:keyvalue/store@0.2.0-draft2;
                import wasi:keyvalue/atomics@0.2.0-draft2;
                import wasi:keyvalue/batch@0.2.0-draft2;
            }
        ",
        path: "../../wit",
        world: "trellis:host/keyvalue",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::capabilities::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::capabilities::keyvalue::Swap,
        },
    });
}

pub(crate) use self::{
    keyvalue_world::wasi::keyvalue,
    trellis::plugin::{outbox, progress, secrets, storage, web},
    wasi::{config::store as config, logging::logging},
};
