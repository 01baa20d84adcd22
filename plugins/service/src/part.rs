//! Parts of a whole, on their way between grids: what `split` sends and `gather` collects.

use trellis_sdk::{Value, data};

/// Most parts of one whole. Collecting them reads and deletes a key for each, within the 1,000 storage operations of a call.
pub const PARTS_MAX: u32 = 400;

/// One part.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Which whole it is of: the same for all of its parts, and for no others.
    pub split: String,
    /// From 0.
    pub index: u32,
    /// How many parts there are.
    pub count: u32,
    /// The elements of this part.
    pub items: Vec<Value>,
}
