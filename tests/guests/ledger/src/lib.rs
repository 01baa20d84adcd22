//! A guest that keeps accounts, for measuring node transactions: it adds to one record, or moves money between two of many.
//!
//! Which two, and how much, follows from the run: no two runs do the same, and a run that is run again does.

use trellis_sdk::*;

/// The store, as it is to be granted.
const STORE: &str = "ledger";

/// What to do with each event.
#[data]
#[derive(Default)]
pub struct Config {
    #[serde(default)]
    pub does: Does,
    /// Among how many records money is moved; at least 2.
    #[serde(default)]
    pub records: u64,
}

#[data]
#[derive(Default)]
#[serde(rename_all = "lowercase")]
pub enum Does {
    /// Emits the input.
    #[default]
    Nothing,
    /// Adds 1 to the record `sum`.
    Add,
    /// Takes from one of the records `record-N` what it gives to another.
    Transfer,
}

/// Emits its input, after it has kept its accounts.
#[transformer]
pub fn ledger(input: Value, config: Config) -> Result<Out<Value>> {
    let store = storage::store(STORE);
    match config.does {
        Does::Nothing => {}
        Does::Add => store.add("sum", 1)?,
        Does::Transfer => {
            let Transfer { from, to, amount } = Transfer::of(&event::current().run, config.records)?;
            let (from, to) = (format!("record-{from}"), format!("record-{to}"));
            let (giver, taker): (Option<i64>, Option<i64>) = (store.get_json(&from)?, store.get_json(&to)?);
            store.set_json(&from, &(giver.unwrap_or(0) - amount))?;
            store.set_json(&to, &(taker.unwrap_or(0) + amount))?;
        }
    }
    Ok(Out(input))
}

#[derive(Debug, PartialEq, Eq)]
struct Transfer {
    from: u64,
    to: u64,
    amount: i64,
}

impl Transfer {
    fn of(run: &str, records: u64) -> Result<Self> {
        if records < 2 {
            return Err(Error::invalid_config("`records` is at least 2: money is moved from one to another"));
        }
        let number = mixed(run);
        let from = number % records;
        // One of the others.
        let to = (from + 1 + (number >> 20) % (records - 1)) % records;
        Ok(Self { from, to, amount: 1 + i64::try_from((number >> 40) % 100).unwrap_or(0) })
    }
}

/// A number that looks random, of a text: FNV-1a, and the finish of SplitMix64 to spread runs that follow each other.
fn mixed(text: &str) -> u64 {
    let fnv = text
        .bytes()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    let spread = (fnv ^ (fnv >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let spread = (spread ^ (spread >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    spread ^ (spread >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_moves_between_two_records_that_differ_and_every_record_takes_part() {
        let mut givers = std::collections::BTreeSet::new();
        for number in 0..2_000 {
            let transfer = Transfer::of(&format!("run_{number:013}"), 100).expect("enough records");
            assert_ne!(transfer.from, transfer.to);
            assert!(transfer.to < 100 && (1..=100).contains(&transfer.amount), "{transfer:?}");
            givers.insert(transfer.from);
        }
        assert_eq!(givers.len(), 100);
    }

    #[test]
    fn a_run_that_is_run_again_moves_the_same() {
        let twice = ["run_a", "run_a"].map(|run| Transfer::of(run, 7).expect("enough records"));
        assert_eq!(twice[0], twice[1]);
    }

    #[test]
    fn one_record_is_too_few() {
        assert_eq!(Transfer::of("run_a", 1).expect_err("no other record").kind(), ErrorKind::InvalidConfig);
    }
}
