//! What plugins that speak to services share: how refusals are classed, pages found, times and durations written, and
//! publications remembered.
//!
//! Knows no service by name but for what several have in common. Does not know ports and configs: they are each plugin's own.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod answer;
mod duration;
mod link;
mod part;

pub mod element;
pub mod publication;
pub mod sync;
pub mod time;

pub use answer::{unwelcome, wait_for_limit, welcome};
pub use duration::{InvalidDuration, Span};
pub use link::next_page;
pub use part::{PARTS_MAX, Part};
