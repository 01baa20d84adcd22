//! The output side: ports that a type declares, and values that it emits to them.

use serde_json::{Map, Value, json};

use crate::{Error, Result};

use super::{ToJson, schema};

/// The port of [`Out`].
const ONLY_PORT: &str = "out";

/// What a transformer can return: see the implementors. `Option` of any of them filters: nothing is emitted for `None`,
/// and the nodes that need the port are skipped.
///
/// ```
/// use trellis_sdk::*;
///
/// /// Lets what is not empty pass.
/// #[transformer]
/// fn full(input: String) -> Result<Option<Out<String>>> {
///     Ok((!input.is_empty()).then_some(Out(input)))
/// }
///
/// # fn main() {
/// assert!(fake::call(full, json!({ "in": "" }), json!({})).unwrap().is_empty());
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no output of a transformer",
    label = "not an output",
    note = "return `Out<T>` for the one output port `out`, `Option<Out<T>>` to filter, an enum with `#[derive(Ports)]` (or a `Vec` of one) for several ports, or `()` for none"
)]
pub trait Output: Sized {
    #[doc(hidden)]
    fn declare(ports: &mut OutputPorts);

    #[doc(hidden)]
    fn emit(self, emissions: &mut Emissions) -> Result<()>;
}

/// A value for the output port `out`.
///
/// ```
/// use trellis_sdk::*;
///
/// #[transformer]
/// fn half(input: f64) -> Result<Out<f64>> {
///     Ok(Out(input / 2.0))
/// }
///
/// # fn main() {
/// assert_eq!(half(3.0).unwrap(), Out(1.5));
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Out<T>(pub T);

impl<T: ToJson> Output for Out<T> {
    fn declare(ports: &mut OutputPorts) {
        ports.add::<T>(ONLY_PORT, "");
    }

    fn emit(self, emissions: &mut Emissions) -> Result<()> {
        emissions.push(ONLY_PORT, &self.0)
    }
}

/// No output port: the transformer is there for its side effects.
impl Output for () {
    fn declare(_: &mut OutputPorts) {}

    fn emit(self, _: &mut Emissions) -> Result<()> {
        Ok(())
    }
}

/// A value, or none: then nothing is emitted.
impl<O: Output> Output for Option<O> {
    fn declare(ports: &mut OutputPorts) {
        O::declare(ports);
    }

    fn emit(self, emissions: &mut Emissions) -> Result<()> {
        self.map_or(Ok(()), |output| output.emit(emissions))
    }
}

/// Values that know their ports: several ports may be served by one call, each once.
impl<P: Ports> Output for Vec<P> {
    fn declare(ports: &mut OutputPorts) {
        P::declare(ports);
    }

    fn emit(self, emissions: &mut Emissions) -> Result<()> {
        self.into_iter().try_for_each(|output| output.emit(emissions))
    }
}

/// An enum whose variants are output ports; derived, see [`macro@crate::Ports`].
///
/// ```
/// use trellis_sdk::*;
///
/// #[derive(Ports)]
/// enum Parity { Even(i64), Odd(i64) }
///
/// #[transformer]
/// fn sort_out(input: Vec<i64>) -> Result<Vec<Parity>> {
///     let first = |parity| input.iter().copied().find(|n| n % 2 == parity);
///     Ok(first(0).map(Parity::Even).into_iter().chain(first(1).map(Parity::Odd)).collect())
/// }
///
/// # fn main() {
/// let outputs = fake::call(sort_out, json!({ "in": [3, 4] }), json!({})).unwrap();
/// assert_eq!((&outputs["even"], &outputs["odd"]), (&json!(4), &json!(3)));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not name its output port",
    note = "only enums with `#[derive(Ports)]` can be returned in a `Vec`; to emit a list as one value, return `Out<Vec<T>>`"
)]
pub trait Ports: Output {}

/// The output ports that are being declared; filled by `#[derive(Ports)]`.
#[derive(Debug, Default)]
pub struct OutputPorts {
    ports: Map<String, Value>,
}

impl OutputPorts {
    /// Adds a port. `description` replaces the type's own, unless it is empty.
    pub fn add<T: ToJson>(&mut self, name: &str, description: &str) {
        let schema = schema::described(schema::of_output::<T>(), description);
        self.ports.insert(name.into(), json!({ "schema": schema }));
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.ports)
    }
}

/// One value for one port, as JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// The port's name.
    pub port: &'static str,
    /// The value, a JSON text.
    pub data: String,
}

/// The emissions of one call; filled by `#[derive(Ports)]`.
#[derive(Debug, Default)]
pub struct Emissions {
    emissions: Vec<Emission>,
}

impl Emissions {
    /// Adds a value for a port.
    ///
    /// # Errors
    /// Permanent: the port has a value already, or the value cannot be written as JSON.
    pub fn push(&mut self, port: &'static str, value: &impl ToJson) -> Result<()> {
        if self.emissions.iter().any(|emission| emission.port == port) {
            return Err(Error::permanent(format_args!(
                "output `{port}` was given two values; a port carries one a call: emit an array"
            )));
        }
        let data = serde_json::to_string(value)
            .map_err(|error| Error::permanent(format_args!("output `{port}` cannot be written as JSON: {error}")))?;
        self.emissions.push(Emission { port, data });
        Ok(())
    }

    pub(super) fn into_vec(self) -> Vec<Emission> {
        self.emissions
    }
}
