//! The API against everybody who must not use it like this: other tenants, other tokens, slow, lying and random clients.

mod hooks;
mod leaks;
mod manifests;
mod raw_bytes;
mod routes;
mod schemathesis;
mod slow_clients;
mod tokens;
