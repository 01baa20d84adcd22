//! Latencies, and what is said of many of them.

use std::time::Duration;

/// Latencies of one side.
#[derive(Debug, Default)]
pub struct Samples {
    micros: Vec<u32>,
}

impl Samples {
    pub fn push(&mut self, latency: Duration) {
        self.micros.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn append(&mut self, mut other: Self) {
        self.micros.append(&mut other.micros);
    }

    pub fn len(&self) -> usize {
        self.micros.len()
    }

    /// The smallest latency that this share of all does not exceed, in milliseconds; NaN of nothing.
    pub fn percentile_ms(&mut self, percent: u32) -> f64 {
        if self.micros.is_empty() {
            return f64::NAN;
        }
        self.micros.sort_unstable();
        let rank = (self.micros.len() * percent as usize).div_ceil(100).max(1);
        f64::from(self.micros[rank - 1]) / 1_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_latencies_that_were_measured() {
        let mut samples = Samples::default();
        (1..=200).rev().for_each(|ms| samples.push(Duration::from_millis(ms)));
        let percentiles = [1, 50, 99, 100].map(|percent| samples.percentile_ms(percent));
        assert_eq!(percentiles, [2.0, 100.0, 198.0, 200.0]);
    }

    #[test]
    fn nothing_has_no_percentile() {
        assert!(Samples::default().percentile_ms(50).is_nan());
    }
}
