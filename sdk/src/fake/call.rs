//! A transformer called as the host calls it: JSON in, JSON out, ports by name.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{Error, Result, Transformer, transformer};

/// Calls a transformer through its ports: `inputs` is an object of port and value.
///
/// ```
/// use trellis_sdk::*;
///
/// #[data]
/// struct Number { n: i64 }
///
/// /// Doubles a number.
/// #[transformer]
/// fn double(input: Number) -> Result<Out<Number>> {
///     Ok(Out(Number { n: input.n * 2 }))
/// }
///
/// # fn main() {
/// let outputs = fake::call(double, json!({ "in": { "n": 4 } }), json!({})).unwrap();
/// assert_eq!(outputs["out"], json!({ "n": 8 }));
///
/// let error = fake::call(double, json!({ "in": { "n": "four" } }), json!({})).unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// # }
/// ```
///
/// # Errors
/// What the transformer returns, and inputs or a config that do not fit its types.
///
/// # Panics
/// When `inputs` is no JSON object.
#[expect(clippy::needless_pass_by_value, reason = "a test passes a function and literals")]
pub fn call<Arguments, T: Transformer<Arguments>>(
    transformer: T,
    inputs: Value,
    config: Value,
) -> Result<BTreeMap<String, Value>, Error> {
    let Value::Object(inputs) = inputs else { panic!("inputs are an object of port and value, not {inputs}") };
    let inputs = inputs.into_iter().map(|(port, value)| (port, value.to_string())).collect();
    let emissions = transformer::call(&transformer, inputs, &config.to_string())?;
    let value_of = |json: &str| serde_json::from_str(json).expect("the SDK emits JSON");
    Ok(emissions.into_iter().map(|emission| (emission.port.to_owned(), value_of(&emission.data))).collect())
}

/// The `inputs`, `outputs` and `config` of a transformer's description. (Title and summary are added by `#[transformer]`
/// to the component alone.)
///
/// ```
/// use trellis_sdk::*;
///
/// #[transformer]
/// fn shout(input: String) -> Result<Out<String>> {
///     Ok(Out(input.to_uppercase()))
/// }
///
/// # fn main() {
/// assert_eq!(fake::describe(shout)["outputs"]["out"]["schema"]["type"], json!("string"));
/// # }
/// ```
#[expect(clippy::needless_pass_by_value, reason = "a test passes a function")]
pub fn describe<Arguments, T: Transformer<Arguments>>(transformer: T) -> Value {
    Value::Object(transformer::description(&transformer))
}
