//! The cargo test harness: real components, real limits, fake HTTP, storage and clock.
