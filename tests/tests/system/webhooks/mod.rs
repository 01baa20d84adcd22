//! Webhooks that are signed: who signs with a secret of the project is let in, nobody else is, and whoever is not learns
//! nothing.

mod leaks;
mod secrecy;
mod sender;
mod senders;

pub use sender::with_master_key;
