//! The smallest useful transformer: one input, one output, a config and a log message.

use trellis_sdk::*;

#[data]
struct Config {
    factor: f64,
}

#[data]
struct Reading {
    n: f64,
}

/// Multiplies a reading.
#[transformer]
fn multiply(input: Reading, config: Config) -> Result<Out<Reading>> {
    log::info!("n = {}", input.n);
    Ok(Out(Reading { n: input.n * config.factor }))
}
