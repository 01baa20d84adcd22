//! Guests that try everything: use up what they are given, hand the host what it cannot hold, reach for what is not theirs.
//! In all of it the host lives, its memory comes back, and a neighbour's runs end: `support/walls.rs` sees to that.

mod called;
mod computing;
mod memory;
mod neighbours;
mod network;
mod others;
mod short_host;
mod texts;
mod unfinished;
