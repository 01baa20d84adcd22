//! A guest that emits what it is given, for measuring what is around it; when asked to, it emits the time of its start,
//! or waits before it emits.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use trellis_sdk::*;

/// What to emit.
#[data]
#[derive(Default)]
pub struct Config {
    /// Emit the time at which this function was entered, as nanoseconds since 1970, instead of the input.
    #[serde(default)]
    pub stamp: bool,
    /// Wait this long, in milliseconds.
    #[serde(default)]
    pub sleep_ms: u64,
}

/// Emits its input.
#[transformer]
pub fn echo(input: Value, config: Config) -> Result<Out<Value>> {
    if config.stamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        return Ok(Out(json!(u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX))));
    }
    if config.sleep_ms > 0 {
        std::thread::sleep(Duration::from_millis(config.sleep_ms));
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
        let Out(output) = echo(Value::Null, Config { stamp: true, ..Config::default() }).expect("an output");
        assert!(output.as_u64().is_some_and(|nanoseconds| nanoseconds > 1_700_000_000_000_000_000), "{output}");
    }
}
