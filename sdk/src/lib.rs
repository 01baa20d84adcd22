//! Write Trellis transformers in Rust.
//!
//! A *transformer* is what a Trellis plugin implements: input in, side effects, output out. This crate turns a Rust function
//! into one. You write the function and its types; the ports, the JSON Schemas and the component around it follow from them.
//!
//! # A first transformer
//!
//! ```
//! use trellis_sdk::*;
//!
//! #[data]
//! struct Config {
//!     factor: f64,
//! }
//!
//! #[data]
//! struct Reading {
//!     n: f64,
//! }
//!
//! /// Multiplies a reading.
//! #[transformer]
//! fn multiply(input: Reading, config: Config) -> Result<Out<Reading>> {
//!     log::info!("n = {}", input.n);
//!     Ok(Out(Reading { n: input.n * config.factor }))
//! }
//!
//! # fn main() {
//! // It is still a function, and a test calls it as one:
//! let Out(product) = multiply(Reading { n: 2.0 }, Config { factor: 3.0 }).unwrap();
//! assert_eq!(product.n, 6.0);
//! # }
//! ```
//!
//! [`#[data]`](macro@data) makes a type readable and writable as JSON and gives it a schema.
//! [`#[transformer]`](macro@transformer) makes the function the crate's component: the first paragraph of its comment becomes
//! the summary, `Reading` the input port `in` and, through [`Out`], the output port `out`. A crate holds one transformer,
//! needs no dependency but this one, and is built as a `cdylib` and nothing else (as an `rlib` besides, the compiler would
//! leave out the optimisation that makes the component small):
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! trellis-sdk = "0.1"
//! ```
//!
//! `cargo build --release --target wasm32-wasip2`, or better `trellis plugin build`, makes the component. `trellis new` begins
//! a project with all of this in it.
//!
//! What follows is in the order in which most plugins come to need it: [tests](#tests), [inputs and config](#input-and-config),
//! [several outputs](#output), [what to do when something fails](#failure), [what a transformer can
//! reach](#what-a-transformer-can-reach), which is a chapter for each of [`http`], [`storage`], [`outbox`], [`secrets`] and
//! [`log`], and [how much of it there is](#limits).
//!
//! # Tests
//!
//! There are three ways to test a transformer, and each shows more than the one before:
//!
//! 1. **As a function**, as above. In a native build, which is what `cargo test` makes, host calls go to the in-process doubles of
//!    [`fake`]: a test says what is there beforehand, and looks at what was done.
//! 2. **Through its ports**, with [`fake::call`]: JSON in, JSON out, with the checks of inputs and config that a host would make.
//! 3. **As the component that it becomes**, in the real engine under the real limits, with the crate `trellis-testing`. It compiles
//!    a whole engine the first time, so keep such tests out of the way of the quick ones if that is too slow for you. It also
//!    calls the component as it was called in production, from a file that `trellis run export` wrote, and tells what differs.
//!
//! ```
//! use trellis_sdk::*;
//!
//! /// Counts how often it has seen a visitor.
//! #[transformer]
//! fn count(input: String) -> Result<Out<u32>> {
//!     let store = storage::store("visits");
//!     let visits = store.get_json(&input)?.unwrap_or(0) + 1;
//!     store.set_json(&input, &visits)?;
//!     Ok(Out(visits))
//! }
//!
//! # fn main() {
//! fake::storage("visits").put_json("ann", &4);
//! assert_eq!(count("ann".into()).unwrap(), Out(5));
//! assert_eq!(fake::storage("visits").get_json("ann"), Some(5));
//! # }
//! ```
//!
//! # Input and config
//!
//! A transformer takes its input and, if it wants one, its config, by value. The input is one of two things:
//!
//! - any type that can be read from JSON ([`#[data]`](macro@data) types, [`Value`], `Vec<String>`, …): the one input port
//!   `in`. An `Option` makes it an optional one.
//! - a struct annotated with [`#[inputs]`](macro@inputs): each field is an input port of its own.
//!
//! The two are read differently. Input comes from elsewhere and may carry more than this transformer needs to know, so keys
//! that its types do not have are passed over. A config is written for this very transformer, so an unknown key is a slip
//! of the pen: the config's schema closes its top level, and the call refuses it with the key's path, at any depth. A config
//! that is open on purpose says so, with `#[serde(flatten)]` and a map, or by being a [`Value`].
//!
//! What does not fit ends the call before your function is entered, as *invalid input* or *invalid config* with the path of
//! the mistake: ``input `order`: at `items[1].price`: invalid type …``.
//!
//! # Output
//!
//! | return type | output ports |
//! |---|---|
//! | `Result<Out<T>>` | `out` |
//! | `Result<Option<Out<T>>>` | `out`, or nothing: the input is filtered out |
//! | `Result<E>`, an enum with [`#[derive(Ports)]`](derive@Ports) | one port for each variant, of which one is served |
//! | `Result<Vec<E>>` | the same, and several are served, each once |
//! | `Result<()>` | none: it is there for its side effects |
//!
//! A port that got no value stays empty, and the nodes that need it are skipped. That is how a grid branches:
//!
//! ```
//! use trellis_sdk::*;
//!
//! #[data]
//! struct Order { id: String, total: f64 }
//!
//! #[inputs]
//! struct Desk {
//!     order: Order,
//!     /// Above it, a person has to look.
//!     limit: Option<f64>,
//! }
//!
//! #[derive(Ports)]
//! enum Verdict {
//!     Accepted(Order),
//!     OverLimit(String),
//! }
//!
//! /// Accepts small orders.
//! #[transformer]
//! fn check(input: Desk) -> Result<Verdict> {
//!     if input.order.total <= input.limit.unwrap_or(100.0) {
//!         Ok(Verdict::Accepted(input.order))
//!     } else {
//!         Ok(Verdict::OverLimit(input.order.id))
//!     }
//! }
//!
//! # fn main() {
//! let outputs = fake::call(check, json!({ "order": { "id": "7", "total": 250 } }), json!({})).unwrap();
//! assert_eq!(outputs["over_limit"], json!("7"));
//! # }
//! ```
//!
//! # Failure
//!
//! An [`Error`] says what the host should do: retry, or give up. `?` turns any error into one that is *permanent*, because the
//! same input mostly fails the same way; the errors of this crate's host calls know better, and stay *retryable* where waiting
//! helps, even from within an error type of your own. For anything else there is `.map_err(Error::retryable)?`, and
//! `.after(duration)` when you know how long. How often and how soon a node is tried is in its manifest entry.
//!
//! A panic ends the call and counts as retryable; so does running out of time.
//!
//! # What a transformer can reach
//!
//! Nothing but what its node was granted, through these modules:
//!
//! - [`http`]: requests to granted hosts.
//! - [`storage`]: the project's durable stores. Writes commit together with the node's completion, or not at all.
//! - [`records`]: collections of JSON records with a schema, found by indexes; committed with the node as well.
//! - [`outbox`]: events for other grids of the project, committed with the node as well.
//! - [`secrets`]: the text of credentials, for those that sign or decrypt.
//! - [`log`]: messages into the run's log.
//! - [`progress`]: how far the call has come, for those who watch.
//! - [`mod@config`]: the fields of the node's config by name, for code that has no part in the config's type.
//! - [`event`]: the run, node and attempt of this call, and the event's attributes.
//!
//! A node may be called again after a crash or a failed attempt. Its storage writes and outputs take effect once; what it did
//! to the outside world may happen twice. Every request but GET and HEAD therefore carries an idempotency key that is the same
//! on a retry.
//!
//! # Limits
//!
//! A call has a budget: so much memory, so long on a CPU and until it answers, so many requests, storage operations and bytes of
//! log and output. `trellis limits` shows that of an account; a node's manifest entry can lower any of it, as in
//! `limits = { wall = "5s" }`. A call that takes too much memory or time is ended, and counts as one that may be tried again; a
//! host call beyond its limit answers with an error that names it, such as [`storage::Error::Limit`].
//!
//! There is none of this in native tests: `trellis-testing` holds the component to it.
#![deny(missing_docs)]

mod error;
mod transformer;

pub mod config;
pub mod event;
pub mod http;
pub mod log;
pub mod outbox;
pub mod progress;
pub mod records;
pub mod secrets;
pub mod storage;

#[cfg(not(target_family = "wasm"))]
pub mod fake;
#[cfg(target_family = "wasm")]
#[doc(hidden)]
pub mod guest;

#[cfg(not(target_family = "wasm"))]
use fake::host;
#[cfg(target_family = "wasm")]
use guest::host;

pub use error::{Error, ErrorKind, Result};
pub use transformer::{Input, Out, Output, Ports, Transformer};

pub use serde_json::{Value, json};

/// Makes a struct or enum readable and writable as JSON, with a JSON Schema, for inputs, outputs, configs and stored values.
///
/// It derives the traits of serde and schemars, without the crate having to depend on either; their `#[serde(…)]` and
/// `#[schemars(…)]` attributes work as ever, and so do further derives.
///
/// ```
/// use trellis_sdk::*;
///
/// #[data]
/// #[derive(Debug, PartialEq)]
/// #[serde(rename_all = "camelCase")]
/// struct Order {
///     line_items: Vec<Item>,
///     #[serde(default)]
///     urgent: bool,
/// }
///
/// #[data]
/// #[derive(Debug, PartialEq)]
/// #[serde(tag = "kind")]
/// enum Item {
///     Book { isbn: String },
///     Voucher { cents: u32 },
/// }
/// ```
///
/// Unknown keys are passed over in an input and refused in a config; the type can be the same. `#[serde(deny_unknown_fields)]`
/// refuses them in an input, too.
pub use trellis_sdk_macros::data;

/// Makes an input port of each field of a struct, for transformers with several inputs.
///
/// The port's name is the field's, unless `#[port(name = "…")]` gives another one; the field's comment becomes the port's
/// description. An `Option` is an optional input: `None` when nothing is wired or the value is null. The types of the fields
/// are [`#[data]`](macro@data) types or others that can be read from JSON.
///
/// ```
/// use trellis_sdk::*;
///
/// #[inputs]
/// struct Greeting {
///     /// Who is greeted.
///     name: String,
///     #[port(name = "mother-tongue")]
///     language: Option<String>,
/// }
///
/// #[transformer]
/// fn greet(input: Greeting) -> Result<Out<String>> {
///     let hello = if input.language.as_deref() == Some("it") { "ciao" } else { "hello" };
///     Ok(Out(format!("{hello} {}", input.name)))
/// }
///
/// # fn main() {
/// let outputs = fake::call(greet, json!({ "name": "Ann", "mother-tongue": "it" }), json!({})).unwrap();
/// assert_eq!(outputs["out"], json!("ciao Ann"));
/// # }
/// ```
pub use trellis_sdk_macros::inputs;

/// Makes an output port of each variant of an enum, for transformers with several outputs.
///
/// The port's name is the variant's in snake case, unless `#[port(name = "…")]` gives another one; the variant's comment
/// becomes the port's description. Each variant holds one value. A transformer returns one of them, or a `Vec` to serve several
/// ports, each once.
///
/// ```
/// use trellis_sdk::*;
///
/// #[derive(Ports)]
/// enum Parity {
///     Even(i64),
///     Odd(i64),
///     /// Every number, counted.
///     #[port(name = "audit-log")]
///     Audit(String),
/// }
///
/// #[transformer]
/// fn sort_out(input: i64) -> Result<Vec<Parity>> {
///     let parity = if input % 2 == 0 { Parity::Even(input) } else { Parity::Odd(input) };
///     Ok(vec![parity, Parity::Audit(format!("saw {input}"))])
/// }
///
/// # fn main() {
/// let outputs = fake::call(sort_out, json!({ "in": 3 }), json!({})).unwrap();
/// assert_eq!(outputs.keys().collect::<Vec<_>>(), ["audit-log", "odd"]);
/// # }
/// ```
pub use trellis_sdk_macros::Ports;

/// Makes the crate's component of a function: `fn(input) -> Result<output>` or `fn(input, config) -> Result<output>`.
///
/// The function itself stays as it is, to be called in tests. The component's title follows from the function's name, unless
/// `#[transformer(title = "…")]` gives another one; its summary is the first paragraph of the function's comment. See the
/// [crate's documentation](crate) for what input, config and output can be. A crate has one transformer: a second one makes
/// the Wasm build fail with a symbol that is defined twice.
///
/// ```
/// use trellis_sdk::*;
///
/// /// Counts the words of a text.
/// #[transformer(title = "Word count")]
/// fn count(input: String) -> Result<Out<usize>> {
///     Ok(Out(input.split_whitespace().count()))
/// }
///
/// # fn main() {
/// assert_eq!(count("one two".into()).unwrap(), Out(2));
/// # }
/// ```
pub use trellis_sdk_macros::transformer;

/// What the expansions of the macros name. Not a public interface.
#[doc(hidden)]
pub mod expansion {
    pub use crate::transformer::{
        Emissions, InputPorts, InputValues, OutputPorts, assert_config, assert_input, assert_output,
    };
    pub use schemars::{self, JsonSchema};
    pub use serde::{self, Deserialize, Serialize};
}
