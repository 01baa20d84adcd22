//! How far a call has come, for those who watch its run while it goes on.
//!
//! ```
//! use trellis_sdk::*;
//!
//! /// Adds up long lists.
//! #[transformer]
//! fn total(input: Vec<Vec<u64>>) -> Result<Out<u64>> {
//!     let mut sum = 0;
//!     for (index, page) in input.iter().enumerate() {
//!         progress::report(index as f64 / input.len() as f64, &format!("page {}", index + 1));
//!         sum += page.iter().sum::<u64>();
//!     }
//!     Ok(Out(sum))
//! }
//!
//! # fn main() {
//! assert_eq!(total(vec![vec![1, 2], vec![3]]).unwrap(), Out(6));
//! assert_eq!(fake::progress(), [(0.0, "page 1".to_owned()), (0.5, "page 2".to_owned())]);
//! # }
//! ```
//!
//! `trellis run watch` and the event stream of a run show it. It costs next to nothing, it cannot fail, and nothing of it is kept
//! with the run: what should be found later belongs into the [`log`](crate::log).

use crate::host;

/// Says how far this call has come: `fraction` from 0 to 1, and a few words for what is being done.
///
/// A fraction beyond its bounds is brought into them, and of the text more than 200 bytes are cut off. Of several reports in
/// quick succession only the last may be seen.
///
/// ```
/// use trellis_sdk::{fake, progress};
///
/// progress::report(0.5, "page 2");
/// assert_eq!(fake::progress(), [(0.5, "page 2".to_owned())]);
/// ```
pub fn report(fraction: f64, text: &str) {
    host::progress(fraction, text);
}
