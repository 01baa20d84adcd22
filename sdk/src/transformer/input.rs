//! The input side: ports that a type declares, and values that it reads from them.

use serde_json::{Map, Value, json};

use crate::{Error, Result};

use super::{FromJson, decode, schema};

/// The port of a transformer whose input is a single value.
const ONLY_PORT: &str = "in";

/// What a transformer can take as its input: any [`macro@crate::data`] type is the one input port `in`, and a struct
/// annotated with [`macro@crate::inputs`] is a port for each of its fields.
///
/// ```
/// use trellis_sdk::*;
///
/// #[inputs]
/// struct Sum { left: i64, right: i64 }
///
/// #[transformer]
/// fn add(input: Sum) -> Result<Out<i64>> {
///     Ok(Out(input.left + input.right))
/// }
///
/// # fn main() {
/// let outputs = fake::call(add, json!({ "left": 1, "right": 2 }), json!({})).unwrap();
/// assert_eq!(outputs["out"], json!(3));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no input of a transformer",
    label = "not an input",
    note = "annotate the type with `#[data]` to take it as the one input port `in`, or with `#[inputs]` to make each of its fields an input port"
)]
pub trait Input: Sized {
    #[doc(hidden)]
    fn declare(ports: &mut InputPorts);

    #[doc(hidden)]
    fn read(values: &mut InputValues) -> Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: FromJson> Input for T {
    fn declare(ports: &mut InputPorts) {
        ports.add::<T>(ONLY_PORT, "");
    }

    fn read(values: &mut InputValues) -> Result<Self> {
        let value = values.take(ONLY_PORT)?;
        values.end(&[ONLY_PORT])?;
        Ok(value)
    }
}

/// The input ports that are being declared; filled by `#[inputs]`.
#[derive(Debug, Default)]
pub struct InputPorts {
    ports: Map<String, Value>,
}

impl InputPorts {
    /// Adds a port. `description` replaces the type's own, unless it is empty.
    pub fn add<T: FromJson>(&mut self, name: &str, description: &str) {
        let schema = schema::described(schema::of_input::<T>(), description);
        let required = decode::absent::<T>().is_none();
        self.ports.insert(name.into(), json!({ "schema": schema, "required": required }));
    }

    pub(super) fn into_value(self) -> Value {
        Value::Object(self.ports)
    }
}

/// The values of one call, by port; read by `#[inputs]`.
#[derive(Debug)]
pub struct InputValues {
    values: Vec<(String, String)>,
}

impl InputValues {
    pub(super) fn new(values: Vec<(String, String)>) -> Self {
        Self { values }
    }

    /// Takes the value of a port; without one, an `Option` is `None`.
    ///
    /// # Errors
    /// Invalid input: the value is missing or does not fit `T`.
    pub fn take<T: FromJson>(&mut self, port: &str) -> Result<T> {
        let Some(place) = self.values.iter().position(|(name, _)| name == port) else {
            return decode::absent().ok_or_else(|| Error::invalid_input(format_args!("input `{port}` is missing")));
        };
        let (_, json) = self.values.swap_remove(place);
        decode::leniently(&json).map_err(|reason| Error::invalid_input(format_args!("input `{port}`: {reason}")))
    }

    /// Refuses what is left over.
    ///
    /// # Errors
    /// Invalid input: there is a value for a port that does not exist, or a second one for a port.
    pub fn end(&self, ports: &[&str]) -> Result<()> {
        match self.values.first() {
            None => Ok(()),
            Some((port, _)) if ports.contains(&port.as_str()) => {
                Err(Error::invalid_input(format_args!("input `{port}` has more than one value")))
            }
            Some((port, _)) => Err(Error::invalid_input(format_args!(
                "there is no input `{port}`; the inputs are: {}",
                if ports.is_empty() { "none".to_owned() } else { ports.join(", ") }
            ))),
        }
    }
}
