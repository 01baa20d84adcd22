//! The engine against real components: a guest that does what it is told (`tests/guests/misbehave`) and some that only
//! WebAssembly text can express.

mod artefacts;
mod concurrency;
mod contract;
mod egress;
mod handler;
mod handmade;
mod hostile_components;
mod https;
mod isolation;
mod keyvalue;
mod limits;
mod outbox;
mod records;
mod secrets;
mod storage;
mod support;
mod targets;
mod upload_corpus;
mod uploads;
mod wasi;
