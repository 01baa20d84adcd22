//! How far transformers said that they had come.

use super::with_state;

/// As in the host.
const TEXT_BYTES_MAX: usize = 200;

/// What a host makes of a report.
pub(super) fn bounded(fraction: f64, text: &str) -> (f64, String) {
    let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
    (fraction, text[..text.floor_char_boundary(TEXT_BYTES_MAX)].to_owned())
}

/// What was reported so far with [`crate::progress::report`], in order: each fraction and its text, as a host shows them.
///
/// ```
/// use trellis_sdk::{fake, progress};
///
/// progress::report(7.0, "more than all");
/// assert_eq!(fake::progress(), [(1.0, "more than all".to_owned())]);
/// ```
pub fn progress() -> Vec<(f64, String)> {
    with_state(|state| state.progress.clone())
}
