//! What a measurement should come to: a figure of it, and a bound. Pure; the figures are the measurement's.

use std::fmt;

/// One part of a row's goal.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    /// `ours`, `ratio`, or the name of a detail.
    pub figure: &'static str,
    bound: Bound,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    Least(f64),
    Most(f64),
    Below(f64),
}

pub fn least(figure: &'static str, bound: f64) -> Goal {
    Goal { figure, bound: Bound::Least(bound) }
}

pub fn most(figure: &'static str, bound: f64) -> Goal {
    Goal { figure, bound: Bound::Most(bound) }
}

pub fn below(figure: &'static str, bound: f64) -> Goal {
    Goal { figure, bound: Bound::Below(bound) }
}

impl Goal {
    pub fn holds(&self, figure: f64) -> bool {
        match self.bound {
            Bound::Least(bound) => figure >= bound,
            Bound::Most(bound) => figure <= bound,
            Bound::Below(bound) => figure < bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, bound) = match self.bound {
            Bound::Least(bound) => ('≥', bound),
            Bound::Most(bound) => ('≤', bound),
            Bound::Below(bound) => ('<', bound),
        };
        write!(f, "{} {sign} {bound}", self.figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_as_they_read() {
        for (goal, text, holds_below, holds_at, holds_above) in [
            (least("ours", 2.0), "ours ≥ 2", false, true, true),
            (most("ours", 2.0), "ours ≤ 2", true, true, false),
            (below("ours", 2.0), "ours < 2", true, false, false),
        ] {
            assert_eq!(goal.to_string(), text);
            assert_eq!(
                [1.9, 2.0, 2.1].map(|figure| goal.holds(figure)),
                [holds_below, holds_at, holds_above],
                "{text}"
            );
            assert!(!goal.holds(f64::NAN), "{text}");
        }
    }
}
