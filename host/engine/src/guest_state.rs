//! What a store holds while its guest runs.

use wasmtime::component::ResourceTable;

use crate::{capabilities::Capabilities, memory::MemoryLimiter};

/// One call's state. Made with its store, dropped with it.
pub(crate) struct GuestState {
    pub capabilities: Capabilities,
    /// Streams, pollables, requests: whatever the host holds for the guest.
    pub table: ResourceTable,
    pub memory: MemoryLimiter,
}
