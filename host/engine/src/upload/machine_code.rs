//! The one place where bytes become code that runs.

use wasmtime::component::Component;

/// Makes machine code runnable.
///
/// The caller answers for where the bytes come from, and there are two answers. Either their MAC was checked, under a key
/// that only this host's user can read: this host wrote them. Or a compiler process has just handed them over: the same
/// program as this one, which was given a component and its limits, ran nothing of the component, and could write nowhere
/// but into its pipe. What such a process hands over is trusted as much as what a thread of this one would have returned: the
/// compiler is the same, and an error in it would be the same error, but not in the host's own memory.
///
/// # Errors
/// wasmtime refuses it: machine code of another version or other settings, or larger than the pool.
#[expect(unsafe_code, reason = "wasmtime trusts compiled components; who compiled these bytes is said above")]
pub(super) fn deserialize(engine: &wasmtime::Engine, own: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `Component::serialize` or its like returned in a program of this host's user, as above.
    unsafe { Component::deserialize(engine, own) }
}
