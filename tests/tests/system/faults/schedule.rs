//! Schedules of faults: which host dies when, drawn from a seed and from nothing else.

use std::time::Duration;

/// The fail points of the host at which it may die, and up to which hit.
pub const POINTS: [(&str, u32); 17] = [
    ("ingest-before-commit", 12),
    ("ingest-after-commit", 12),
    ("fetch-after-claim", 8),
    ("call-before", 40),
    ("call-after", 40),
    ("commit-before-fence", 8),
    ("commit-after-fence", 8),
    ("commit-before-commit", 8),
    ("commit-after-commit", 8),
    ("take-shards-after", 1),
    ("settle-after", 1),
    ("promote-before", 3),
    ("promote-after", 3),
    ("release-before", 1),
    ("release-after", 1),
    ("snapshot-before", 1),
    ("snapshot-after", 1),
];

/// One life of a host, and how it ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// How long its place stays empty before it is started.
    pub idle: Duration,
    pub death: Death,
    /// Whether its lease is left to run out by itself, as after a real death.
    pub keeps_lease: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// At the nth time that it comes to a fail point.
    At { point: &'static str, hit: u32 },
    /// There it only sleeps, until its lease has run out and a moment more; it dies some time after it has woken up.
    AfterSleep { point: &'static str, hit: u32, more: Duration },
    /// Some time after it was ready.
    After(Duration),
}

impl Schedule {
    /// The schedule that a seed stands for.
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let death = if dice.below(8) == 0 {
            Death::After(Duration::from_millis(dice.below(600)))
        } else {
            let (point, hits) = POINTS[usize::try_from(dice.below(POINTS.len() as u64)).expect("a few points")];
            let hit = 1 + u32::try_from(dice.below(u64::from(hits))).expect("a few hits");
            match dice.below(5) {
                0 => Death::AfterSleep { point, hit, more: Duration::from_millis(dice.below(600)) },
                _ => Death::At { point, hit },
            }
        };
        Self { idle: Duration::from_millis(dice.below(4) * 50), death, keeps_lease: dice.below(16) == 0 }
    }
}

/// SplitMix64: small, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A number from the environment of the test.
pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn a_seed_stands_for_one_schedule_and_many_seeds_for_all_points() {
    assert_eq!(Schedule::draw(7), Schedule::draw(7));
    for (point, _) in POINTS {
        let is_drawn =
            (0..1_000).any(|seed| matches!(Schedule::draw(seed).death, Death::At { point: at, .. } if at == point));
        assert!(is_drawn, "{point}");
    }
}
