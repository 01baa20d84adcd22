//! The real program, real Postgres, real components; only the world outside is played.
//!
//! Each test has a database of its own, and hosts that are processes of their own: they can be killed.

mod support;

mod crash;
mod dedupe;
mod delays;
mod deployments;
mod each;
mod faults;
mod hosts;
mod leases;
mod limiter;
mod limits;
mod postgres_restart;
mod queue;
mod stop;
mod store;
mod suspects;
mod targets;

mod api;
mod call_limits;
mod credential_bounds;
mod credentials;
mod egress_namespace;
mod hostile_guests;
mod hostile_uploads;
mod open_files;
mod refusals;
mod tenancy;
mod webhooks;

mod dead_rows;
mod housekeeping;
mod lists;
mod retention;

mod branches;
mod cancel;
mod commits;
mod handlers;
mod keyvalue;
mod outbox;
mod polyglot;
mod ready_made;
mod records;
mod replay;
mod retries;
mod shadow;
mod storage;
mod stores;
mod watch;

mod cli;
mod dev;
mod first_command;
mod readme;
mod sdk_package;
mod templates;
mod threat_model;
mod tidy;
mod tutorial;
