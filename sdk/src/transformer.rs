//! A function as a transformer: its types become ports and schemas, JSON becomes its arguments, its result becomes
//! emissions.
//!
//! Does not know the host: `guest` calls it in a component, `fake` in a native test.

mod decode;
mod input;
mod output;
mod schema;

use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use crate::{Error, Result};

pub use input::{Input, InputPorts, InputValues};
pub use output::{Emission, Emissions, Out, Output, OutputPorts, Ports};

/// A function that [`macro@crate::transformer`] can make a component of: `fn(input) -> Result<output>` or
/// `fn(input, config) -> Result<output>`. `Arguments` is the tuple of the argument types.
///
/// Implemented by the functions themselves; there is nothing to implement by hand.
///
/// ```
/// use trellis_sdk::*;
///
/// #[transformer]
/// fn shout(input: String) -> Result<Out<String>> {
///     Ok(Out(input.to_uppercase()))
/// }
///
/// /// Whatever is a transformer can be called with JSON.
/// fn called<Arguments>(transformer: impl Transformer<Arguments>) -> Value {
///     fake::call(transformer, json!({ "in": "hello" }), json!({})).unwrap()["out"].clone()
/// }
///
/// # fn main() {
/// assert_eq!(called(shout), json!("HELLO"));
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no transformer",
    note = "write `fn(input: Input) -> Result<Out<Output>>` or `fn(input: Input, config: Config) -> Result<Out<Output>>`, with types annotated by `#[data]`"
)]
pub trait Transformer<Arguments> {
    #[doc(hidden)]
    fn declare(inputs: &mut InputPorts, outputs: &mut OutputPorts) -> Value;

    #[doc(hidden)]
    fn call(&self, inputs: &mut InputValues, config: &str) -> Result<Emissions>;
}

impl<F, I, O, E> Transformer<(I,)> for F
where
    F: Fn(I) -> Result<O, E>,
    I: Input,
    O: Output,
    E: Into<Error>,
{
    fn declare(inputs: &mut InputPorts, outputs: &mut OutputPorts) -> Value {
        I::declare(inputs);
        O::declare(outputs);
        schema::of_config::<NoConfig>()
    }

    fn call(&self, inputs: &mut InputValues, config: &str) -> Result<Emissions> {
        read_config::<NoConfig>(config)?;
        emitted(self(I::read(inputs)?))
    }
}

impl<F, I, C, O, E> Transformer<(I, C)> for F
where
    F: Fn(I, C) -> Result<O, E>,
    I: Input,
    C: FromJson,
    O: Output,
    E: Into<Error>,
{
    fn declare(inputs: &mut InputPorts, outputs: &mut OutputPorts) -> Value {
        I::declare(inputs);
        O::declare(outputs);
        schema::of_config::<C>()
    }

    fn call(&self, inputs: &mut InputValues, config: &str) -> Result<Emissions> {
        let config = read_config::<C>(config)?;
        emitted(self(I::read(inputs)?, config))
    }
}

/// What can be read from an input port or a config.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be read from JSON",
    label = "not readable",
    note = "annotate the type with `#[data]`"
)]
pub trait FromJson: DeserializeOwned + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: DeserializeOwned + JsonSchema> FromJson for T {}

/// What can be written to an output port.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written as JSON",
    label = "not writable",
    note = "annotate the type with `#[data]`"
)]
pub trait ToJson: Serialize + JsonSchema {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + JsonSchema> ToJson for T {}

/// The config of a transformer that takes none.
#[derive(serde::Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(description = "This transformer takes no config.")]
struct NoConfig {}

fn read_config<C: FromJson>(config: &str) -> Result<C> {
    decode::strictly(config).map_err(Error::invalid_config)
}

fn emitted<O: Output, E: Into<Error>>(result: Result<O, E>) -> Result<Emissions> {
    let mut emissions = Emissions::default();
    result.map_err(Into::into)?.emit(&mut emissions)?;
    Ok(emissions)
}

/// Everything of a description that follows from the types: `inputs`, `outputs`, `config`.
pub(crate) fn description<Arguments, T: Transformer<Arguments>>(_: &T) -> Map<String, Value> {
    let (mut inputs, mut outputs) = (InputPorts::default(), OutputPorts::default());
    let config = T::declare(&mut inputs, &mut outputs);
    let mut description = Map::new();
    description.insert("inputs".into(), inputs.into_value());
    description.insert("outputs".into(), outputs.into_value());
    description.insert("config".into(), config);
    description
}

/// One call: `inputs` are ports and JSON texts, `config` is a JSON text.
pub(crate) fn call<Arguments, T: Transformer<Arguments>>(
    transformer: &T,
    inputs: Vec<(String, String)>,
    config: &str,
) -> Result<Vec<Emission>> {
    Ok(transformer.call(&mut InputValues::new(inputs), config)?.into_vec())
}

/// Compiles only for an input.
pub fn assert_input<I: Input>() {}

/// Compiles only for a config.
pub fn assert_config<C: FromJson>() {}

/// Compiles only for a function that returns a result with an output.
pub fn assert_output<O: Output, E: Into<Error>>(_: Result<O, E>) {}
