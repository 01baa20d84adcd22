//! Ranges of index values: what a condition asks of an index.

use super::IndexValue;

/// Values from one on, up to another and not with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueRange {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl ValueRange {
    /// One value alone.
    pub fn exactly(value: &IndexValue) -> Self {
        Self { from: value.as_bytes().to_vec(), to: behind(value) }
    }

    /// Values of the same type that are less; with the value itself, or without.
    pub fn below(value: &IndexValue, inclusive: bool) -> Self {
        let to = if inclusive { behind(value) } else { value.as_bytes().to_vec() };
        Self { from: vec![value.type_bytes().start], to }
    }

    /// Values of the same type that are greater; with the value itself, or without.
    pub fn above(value: &IndexValue, inclusive: bool) -> Self {
        let from = if inclusive { value.as_bytes().to_vec() } else { behind(value) };
        Self { from, to: vec![value.type_bytes().end] }
    }

    /// Texts that begin with this one, which is whole.
    pub fn beginning_with(text: &IndexValue) -> Self {
        let mut to = text.as_bytes().to_vec();
        // No byte of UTF-8 is 0xFF, so that the last one has a successor.
        if let Some(last) = to.last_mut() {
            *last += 1;
        }
        Self { from: text.as_bytes().to_vec(), to }
    }

    pub fn contains(&self, value: &IndexValue) -> bool {
        value.as_bytes() >= self.from.as_slice() && value.as_bytes() < self.to.as_slice()
    }

    /// Whether it is one value alone, at most: such records come by key.
    pub fn is_exact(&self) -> bool {
        self.to.split_last() == Some((&0, &self.from))
    }

    /// The first value.
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// The first value behind it.
    pub fn to(&self) -> &[u8] {
        &self.to
    }
}

/// The first bytes behind a value.
fn behind(value: &IndexValue) -> Vec<u8> {
    [value.as_bytes(), &[0]].concat()
}
