//! A guest that emits what it is given, for measuring what is around it; when asked to, it emits the time of its start.

use std::time::{SystemTime, UNIX_EPOCH};

use trellis_sdk::*;

/// What to emit.
#[data]
#[derive(Default)]
pub struct Config {
    /// Emit the time at which this function was entered, as nanoseconds since 1970, instead of the input.
    #[serde(default)]
    pub stamp: bool,
}

/// Emits its input.
#[transformer]
pub fn echo(input: Value, config: Config) -> Result<Out<Value>> {
    if config.stamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(Out(json!(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))));
    }
    Ok(Out(input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_input_comes_back() {
        let Out(output) = echo(json!({ "n": [1, "2"] }), Config::default()).expect("an output");
        assert_eq!(output, json!({ "n": [1, "2"] }));
    }

    #[test]
    fn the_time_of_the_start_is_given_when_asked_for() {
        let Out(output) = echo(Value::Null, Config { stamp: true }).expect("an output");
        assert!(output.as_u64().is_some_and(|nanoseconds| nanoseconds > 1_700_000_000_000_000_000), "{output}");
    }
}
