//! The HTTP edge: what a client may send, and how long it may take.

use std::time::Duration;

use super::{ByteSize, Section};

/// Limits of the HTTP server.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// How long a client may take to send a request's head; also how long a kept connection may idle. Default 10 s:
    /// slow for a phone in a tunnel, short for someone who opens thousands and sends a byte a minute.
    pub header_timeout: Duration,
    /// How long a request may take in all, its body and the wait for an outcome included. Default 60 s: twice the wall
    /// time of a call, so that `Prefer: wait` can see one through.
    pub request_timeout: Duration,
    /// Body of an event or a manifest, in bytes. Default 1 MiB: an event is stored whole, and a batch holds hundreds.
    pub body_max: ByteSize,
    /// Body of a plugin upload, in bytes. Default 64 MiB: a Python component has twenty, and room to grow.
    pub upload_max: ByteSize,
    /// Connections at the same time; more wait to be accepted. Default 4,096: each costs some ten KiB and a file.
    pub connections_max: u32,
    /// How long running requests and nodes may go on after a stop was asked for. Default 30 s: the wall time of a call.
    pub drain: Duration,
}

impl HttpConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let second = Duration::from_secs(1);
        Self {
            header_timeout: section.setting_in("header_timeout", 10 * second, second..=300 * second),
            request_timeout: section.setting_in("request_timeout", 60 * second, second..=3_600 * second),
            body_max: section.setting_in("body_max", ByteSize::mib(1), ByteSize::kib(1)..=ByteSize::gib(1)),
            upload_max: section.setting_in("upload_max", ByteSize::mib(64), ByteSize::kib(1)..=ByteSize::gib(1)),
            connections_max: section.setting_in("connections_max", 4_096, 1..=1_000_000),
            drain: section.setting_in("drain", 30 * second, Duration::ZERO..=3_600 * second),
        }
    }
}
