//! The transformation of many languages, in Rust: multiplies a number, asks a service, and counts its calls.

use trellis_sdk::*;

/// What to do with each number.
#[data]
pub struct Config {
    /// Each number is multiplied by it.
    pub factor: i64,
}

/// A number, and perhaps a service to ask.
#[data]
pub struct Reading {
    /// An integer; anything else is refused with words of our own.
    pub n: Value,
    /// Where to send a `GET`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// The product, and what the service said.
#[data]
#[derive(Debug, PartialEq)]
pub struct Product {
    /// The number, multiplied.
    pub n: i64,
    /// The status of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// Multiplies a reading.
#[transformer]
pub fn multiply(input: Reading, config: Config) -> Result<Out<Product>> {
    let n = input.n.as_i64().ok_or_else(|| Error::invalid_input("`n` is no integer"))?;
    log::info!("n = {n}");
    let status = input.url.map(ask).transpose()?;
    storage::store("s").add("calls", 1)?;
    Ok(Out(Product { n: n * config.factor, status }))
}

fn ask(url: String) -> Result<u16> {
    match http::get(url).send()?.status {
        200 => Ok(200),
        status => Err(Error::retryable(format!("the service answered {status}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(n: Value) -> Result<Out<Product>> {
        multiply(Reading { n, url: None }, Config { factor: 2 })
    }

    #[test]
    fn a_number_is_multiplied() {
        let Out(product) = product(json!(21)).expect("a product");
        assert_eq!(product, Product { n: 42, status: None });
    }

    #[test]
    fn what_is_no_integer_is_refused() {
        assert_eq!(product(json!("x")).err().map(|error| error.kind()), Some(ErrorKind::InvalidInput));
    }
}
