//! What a measurement came to: the line that is printed.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

/// Both sides of a measurement and their ratio.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// As in the design's table of goals.
    pub id: &'static str,
    pub ours: f64,
    pub other: f64,
    /// Ours over the other side.
    pub ratio: f64,
    pub unit: &'static str,
    pub other_is: &'static str,
    /// Of measuring, per side; warming up not counted.
    pub seconds: f64,
    /// Behind `ours`.
    pub samples: u64,
    /// What else was seen.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Measurement {
    /// The ratio follows from the sides.
    pub fn new(id: &'static str, unit: &'static str, ours: f64, (other_is, other): (&'static str, f64)) -> Self {
        let (ours, other, ratio) = (rounded(ours), rounded(other), rounded(ours / other));
        Self { id, ours, other, ratio, unit, other_is, seconds: 0.0, samples: 0, details: Map::new() }
    }

    pub fn taken(mut self, span: Duration, samples: usize) -> Self {
        (self.seconds, self.samples) = (rounded(span.as_secs_f64()), samples as u64);
        self
    }

    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        let value = match value.into() {
            Value::Number(number) if number.is_f64() => number.as_f64().map(rounded).into(),
            other => other,
        };
        self.details.insert(name.to_owned(), value);
        self
    }

    /// One line.
    ///
    /// # Errors
    /// A figure that is no number.
    pub fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// Four digits are more than such a measurement can tell apart.
fn rounded(figure: f64) -> f64 {
    if figure == 0.0 || !figure.is_finite() {
        return figure;
    }
    let digits = 3 - figure.abs().log10().floor() as i32;
    if digits <= 0 { figure.round() } else { (figure * 10_f64.powi(digits)).round() / 10_f64.powi(digits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_one_line_with_its_ratio() {
        let measurement = Measurement::new("P4", "µs", 30.0, ("bare wasmtime", 24.0))
            .taken(Duration::from_secs(10), 4_000)
            .with("pooling", true)
            .with("p99_ms", 1.234_56);
        assert_eq!(
            measurement.to_json().expect("numbers"),
            r#"{"id":"P4","ours":30.0,"other":24.0,"ratio":1.25,"unit":"µs","other_is":"bare wasmtime","seconds":10.0,"samples":4000,"p99_ms":1.235,"pooling":true}"#
        );
    }

    #[test]
    fn figures_keep_four_digits() {
        for (figure, expected) in [(0.0, 0.0), (12_345.678, 12_346.0), (1.234_56, 1.235), (0.000_123_456, 0.000_123_5)]
        {
            assert!((rounded(figure) - expected).abs() < 1e-12, "{figure}");
        }
    }
}
