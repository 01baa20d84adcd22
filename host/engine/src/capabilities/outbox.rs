//! `trellis:plugin/outbox`: events for other grids of the project. They are held back here until the call succeeds, and
//! given to the caller to commit together with its completion.
//!
//! Checks grants, limits and hops. Which run an event belongs to, and when that begins, is not this module's.

use std::{mem, sync::Arc};

use serde_json::value::RawValue;
use trellis_model::{
    call_limits::CallLimits,
    description::check_name,
    grant::Grants,
    outbox::{check_attributes, hops},
};
use wasmtime::component::{HasSelf, Linker};

use crate::{
    bindings::outbox::{self as wit, EmitOptions, OutboxError},
    guest_state::GuestState,
    report::parse_json,
};

/// An event that waits for its commit.
#[derive(Clone, Debug)]
pub struct EmittedEvent {
    /// A grid that the node was granted.
    pub grid: String,
    pub data: Box<RawValue>,
    /// Those of the guest: none of the names that the host sets.
    pub attributes: Vec<(String, String)>,
}

pub(crate) struct Outbox {
    grants: Arc<Grants>,
    events_max: u32,
    bytes_max: u64,
    hops_max: u32,
    /// Of the event that this call handles.
    hops: u32,
    bytes: u64,
    count: u32,
    events: Vec<EmittedEvent>,
}

impl Outbox {
    /// `attributes` are those of the event that the call handles.
    pub fn new(grants: Arc<Grants>, attributes: &[(String, String)], limits: &CallLimits) -> Self {
        Self {
            grants,
            events_max: limits.outbox_events,
            bytes_max: limits.outbox_bytes,
            hops_max: limits.outbox_hops,
            hops: hops(attributes),
            bytes: 0,
            count: 0,
            events: Vec::new(),
        }
    }

    /// Events that were emitted, those that were taken included.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What was emitted, in the guest's order.
    pub fn take_events(&mut self) -> Vec<EmittedEvent> {
        mem::take(&mut self.events)
    }

    fn check_grant(&self, grid: &str) -> Result<(), OutboxError> {
        if self.grants.allows_emit(grid) {
            return Ok(());
        }
        Err(OutboxError::Denied(match check_name(grid) {
            Err(reason) => format!("grid name {reason}"),
            Ok(()) => {
                format!("emitting to grid `{grid}` is not granted; add \"{grid}\" to `grants.emit` of this node")
            }
        }))
    }

    fn check_hops(&self) -> Result<(), OutboxError> {
        if self.hops < self.hops_max {
            return Ok(());
        }
        Err(OutboxError::HopLimit(format!(
            "{} emissions lie between this event and one from outside, and no more than {} are allowed; \
             do the grids emit to each other without an end?",
            self.hops, self.hops_max
        )))
    }

    /// The bytes of all events, with one more.
    fn total_with(&self, grid: &str, data: &str, attributes: &[(String, String)]) -> Result<u64, OutboxError> {
        if self.count() >= self.events_max {
            return Err(OutboxError::Limit(format!("used up its limit of {} emitted events a call", self.events_max)));
        }
        let attributes: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        let total = self.bytes + (grid.len() + data.len() + attributes) as u64;
        if total > self.bytes_max {
            return Err(OutboxError::Limit(format!(
                "emitted events of {total} bytes, at most {} bytes a call are allowed",
                self.bytes_max
            )));
        }
        Ok(total)
    }
}

impl wit::Host for Outbox {
    fn emit(&mut self, grid: String, data: String, options: EmitOptions) -> Result<(), OutboxError> {
        let EmitOptions { attributes } = options;
        self.check_grant(&grid)?;
        self.check_hops()?;
        let total = self.total_with(&grid, &data, &attributes)?;
        check_attributes(&attributes).map_err(OutboxError::Invalid)?;
        let data = parse_json(data).map_err(|reason| OutboxError::Invalid(format!("the data is {reason}")))?;
        self.bytes = total;
        self.count += 1;
        self.events.push(EmittedEvent { grid, data, attributes });
        Ok(())
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<Outbox>>(linker, |state| &mut state.capabilities.outbox)
}
