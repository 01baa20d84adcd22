//! What a measurement came to: the line that is printed.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::goal::Goal;

/// Both sides of a measurement and their ratio.
#[derive(Debug, Serialize)]
pub struct Measurement {
    /// As in the design's table of goals.
    pub id: &'static str,
    pub ours: f64,
    /// None: nothing was measured beside it.
    pub other: Option<f64>,
    /// Ours over the other side.
    pub ratio: Option<f64>,
    pub unit: &'static str,
    pub other_is: &'static str,
    /// Of measuring, per side; warming up not counted.
    pub seconds: f64,
    /// Behind `ours`.
    pub samples: u64,
    /// In words and figures of this line.
    pub goal: String,
    /// Whether all of the goal is reached; none if there is nothing to judge it by.
    pub met: Option<bool>,
    /// What else was seen.
    #[serde(flatten)]
    pub details: Map<String, Value>,
}

impl Measurement {
    /// The ratio follows from the sides.
    pub fn new(id: &'static str, unit: &'static str, ours: f64, (other_is, other): (&'static str, f64)) -> Self {
        let mut measurement = Self::alone(id, unit, ours);
        (measurement.other_is, measurement.other) = (other_is, Some(rounded(other)));
        measurement.ratio = Some(rounded(ours / other));
        measurement
    }

    /// Without another side.
    pub fn alone(id: &'static str, unit: &'static str, ours: f64) -> Self {
        Self {
            id,
            ours: rounded(ours),
            other: None,
            ratio: None,
            unit,
            other_is: "nothing",
            seconds: 0.0,
            samples: 0,
            goal: String::new(),
            met: None,
            details: Map::new(),
        }
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

    /// Judges the figures that are there by now.
    pub fn aiming_at(mut self, goals: &[Goal]) -> Self {
        self.goal = goals.iter().map(Goal::to_string).collect::<Vec<_>>().join(", ");
        self.met = Some(goals.iter().all(|goal| self.figure(goal.figure).is_some_and(|figure| goal.holds(figure))));
        self
    }

    fn figure(&self, name: &str) -> Option<f64> {
        match name {
            "ours" => Some(self.ours),
            "ratio" => self.ratio,
            name => self.details.get(name).and_then(Value::as_f64),
        }
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
    use crate::goal::{below, least, most};

    fn call() -> Measurement {
        Measurement::new("P4", "µs", 30.0, ("bare wasmtime", 24.0))
            .taken(Duration::from_secs(10), 4_000)
            .with("pooling", true)
            .with("p99_ms", 1.234_56)
    }

    #[test]
    fn a_measurement_is_one_line_with_its_ratio_and_its_goal() {
        assert_eq!(
            call().aiming_at(&[most("ratio", 1.25)]).to_json().expect("numbers"),
            r#"{"id":"P4","ours":30.0,"other":24.0,"ratio":1.25,"unit":"µs","other_is":"bare wasmtime","seconds":10.0,"samples":4000,"goal":"ratio ≤ 1.25","met":true,"p99_ms":1.235,"pooling":true}"#
        );
    }

    #[test]
    fn a_goal_is_met_when_every_figure_of_it_is() {
        for (goals, met) in [
            (vec![least("ours", 30.0), below("p99_ms", 1.3)], true),
            (vec![least("ours", 30.1), below("p99_ms", 1.3)], false),
            (vec![least("ours", 30.0), below("p99_ms", 1.235)], false),
            (vec![most("a figure that was not taken", 1.0)], false),
        ] {
            assert_eq!(call().aiming_at(&goals).met, Some(met), "{goals:?}");
        }
    }

    #[test]
    fn without_another_side_there_is_no_ratio_and_no_verdict() {
        let line = Measurement::alone("P13", "jobs/s", 1.0).to_json().expect("numbers");
        assert!(line.contains(r#""other":null,"ratio":null"#) && line.contains(r#""met":null"#), "{line}");
    }

    #[test]
    fn nothing_measured_meets_no_goal() {
        assert_eq!(Measurement::new("P2", "ms", f64::NAN, ("x", 1.0)).aiming_at(&[most("ours", 1.0)]).met, Some(false));
    }

    #[test]
    fn figures_keep_four_digits() {
        for (figure, expected) in [(0.0, 0.0), (12_345.678, 12_346.0), (1.234_56, 1.235), (0.000_123_456, 0.000_123_5)]
        {
            assert!((rounded(figure) - expected).abs() < 1e-12, "{figure}");
        }
    }
}
