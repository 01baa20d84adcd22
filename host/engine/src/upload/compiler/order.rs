//! What a compiler process is told and what it answers: the one thing that parent and child must agree on.
//!
//! ```text
//! arguments  compile-component pooled|on-demand MEMORY_BYTES CPU_SECONDS
//! stdin      length (8 bytes, big-endian), component; then held open for as long as the parent lives
//! stdout     C machine code  |  F why the component was refused
//! ```
//!
//! Both are the same program, so there are no versions of this.

use std::ffi::{OsStr, OsString};

/// The argument that makes a program a compiler.
pub(super) const COMMAND: &str = "compile-component";
const POOLED: &str = "pooled";
const ON_DEMAND: &str = "on-demand";

/// The answer begins with it: what follows is machine code.
pub(super) const CODE: u8 = b'C';
/// The answer begins with it: what follows is text.
pub(super) const FAULT: u8 = b'F';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    /// Whether the code is for an engine with a pool.
    pub pooling: bool,
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
}

impl Order {
    pub fn arguments(&self) -> [String; 4] {
        let place = if self.pooling { POOLED } else { ON_DEMAND };
        [COMMAND.to_owned(), place.to_owned(), self.memory_bytes.to_string(), self.cpu_seconds.to_string()]
    }

    /// From what follows [`COMMAND`].
    pub fn read(arguments: &[OsString]) -> Option<Self> {
        let [place, memory_bytes, cpu_seconds] = arguments else { return None };
        let pooling = match place.to_str()? {
            POOLED => true,
            ON_DEMAND => false,
            _ => return None,
        };
        let number = |text: &OsStr| text.to_str()?.parse().ok();
        Some(Self { pooling, memory_bytes: number(memory_bytes)?, cpu_seconds: number(cpu_seconds)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_read_as_it_is_given() {
        for pooling in [true, false] {
            let order = Order { pooling, memory_bytes: 1 << 31, cpu_seconds: 60 };
            let arguments = order.arguments().map(OsString::from);
            assert_eq!(arguments[0], COMMAND);
            assert_eq!(Order::read(&arguments[1..]), Some(order));
        }
        for wrong in [&[][..], &["pooled", "1"], &["pool", "1", "1"], &["pooled", "1", "x"], &["pooled", "1", "1", "1"]]
        {
            let arguments: Vec<OsString> = wrong.iter().map(OsString::from).collect();
            assert_eq!(Order::read(&arguments), None, "{wrong:?}");
        }
    }
}
