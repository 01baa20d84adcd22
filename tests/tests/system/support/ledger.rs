//! The ledger: what clients were told of their events, held against what the database holds in the end.
//!
//! Every event that was answered 202 must have ended exactly once, and what its run has written must be there exactly as
//! often as its end says. An event whose answer was lost may have been accepted or not, but not half.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use reqwest::Method;
use serde_json::{Value, json};

use super::{Account, Database, Outside, action, eventually, grants, project};

/// A run that counts itself and is done: one commit.
pub const QUIET: &str = "quiet";
/// One that counts itself, tells the world outside, and counts itself again: two commits.
pub const LOUD: &str = "loud";
/// One that fails at first, and so waits for its time.
pub const LATE: &str = "late";

/// What one client was told.
#[derive(Default)]
pub struct Ledger {
    accepted: Mutex<BTreeSet<String>>,
    /// Events whose answer was lost, or which left their fate open.
    unanswered: AtomicUsize,
}

/// What a client makes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Accepted,
    /// The event may have been accepted all the same.
    Nothing,
}

/// Both sides of the account, to be compared. Pure.
#[derive(Clone, Debug, Default)]
pub struct Books {
    pub accepted: BTreeSet<String>,
    pub unanswered: usize,
    /// How each run has ended.
    pub history: BTreeMap<String, String>,
    /// What runs have counted, by `key/run` and by `key` for all of them.
    pub counts: BTreeMap<String, i64>,
}

impl Ledger {
    /// Deploys the projects whose runs keep books.
    pub async fn deploy(account: &Account, outside: &Outside) {
        let count = |key: &str, input: Option<&str>| {
            let mut node = action(&json!({ "do": "count", "key": key }));
            if let Some(input) = input {
                node["inputs"]["after"] = json!(input);
            }
            node
        };
        let tell = json!({
            "plugin": "http-request",
            "inputs": { "in": "first.out" },
            "config": { "method": "POST", "url": format!("{}/told", outside.url) },
            "grants": grants(outside),
        });
        let mut stumble = action(&json!({ "do": "fail-until", "attempt": 2 }));
        stumble["retry"] = json!({ "attempts": 5, "first": "1ms" });
        let quiet = json!({ "last": count("last", None) });
        let loud = json!({ "first": count("first", None), "tell": tell, "last": count("last", Some("tell.response")) });
        let late = json!({ "stumble": stumble, "last": count("last", Some("stumble.out")) });
        for (name, nodes) in [(QUIET, quiet), (LOUD, loud), (LATE, late)] {
            account.deploy(&project(name, &nodes)).await;
        }
    }

    /// Sends one event, to a host that may be dying or away.
    pub async fn send(&self, account: &Account, project: &str, data: &Value) -> Told {
        let body = Bytes::from(data.to_string());
        let answer = account.api.try_send(Method::POST, &account.hook(project), "application/json", body).await;
        match answer {
            Ok(answer) if answer.status == 202 => {
                let run = answer.body["run"].as_str().expect("an accepted event has a run").to_owned();
                assert!(self.accepted.lock().expect("no panic").insert(run), "two events were given the same run");
                Told::Accepted
            }
            // 503: the database, or this host's lease, was away; perhaps only its answer.
            Ok(answer) => {
                assert_eq!(answer.status, 503, "an event is answered: {:#}", answer.body);
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                Told::Nothing
            }
            Err(_) => {
                self.unanswered.fetch_add(1, Ordering::Relaxed);
                Told::Nothing
            }
        }
    }

    pub fn accepted_count(&self) -> usize {
        self.accepted.lock().expect("no panic").len()
    }

    pub fn unanswered_count(&self) -> usize {
        self.unanswered.load(Ordering::Relaxed)
    }

    /// Opens the books as they stand.
    pub async fn books(&self, database: &Database) -> Books {
        let accepted = self.accepted.lock().expect("no panic").clone();
        Books {
            accepted,
            unanswered: self.unanswered_count(),
            history: database.history().await,
            counts: counts(database).await,
        }
    }

    /// Waits until everything has ended, and compares.
    ///
    /// # Panics
    /// With everything that does not balance.
    pub async fn balance(&self, database: &Database) -> Books {
        eventually("every run has ended", async || (database.unfinished_count().await == 0).then_some(())).await;
        let books = self.books(database).await;
        let faults = books.faults();
        assert!(
            faults.is_empty(),
            "{} faults in the books:\n  {}",
            faults.len(),
            faults[..faults.len().min(20)].join("\n  ")
        );
        database.settled().await;
        books
    }
}

/// What runs have counted, over all projects.
async fn counts(database: &Database) -> BTreeMap<String, i64> {
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as("select key, value from keyvalue where store = 's'")
        .fetch_all(&database.pool)
        .await
        .expect("the schema is there");
    let mut counts = BTreeMap::new();
    for (key, value) in rows {
        let Ok(value) = String::from_utf8_lossy(&value).parse::<i64>() else { continue };
        *counts.entry(key).or_default() += value;
    }
    counts
}

impl Books {
    /// Everything that does not balance; empty if all is well.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        faults.extend(
            self.accepted
                .iter()
                .filter(|run| !self.history.contains_key(*run))
                .map(|run| format!("{run} was accepted and is lost")),
        );
        let unannounced = self.history.keys().filter(|run| !self.accepted.contains(*run)).count();
        if unannounced > self.unanswered {
            faults
                .push(format!("{unannounced} runs that nobody was told of, of {} unanswered events", self.unanswered));
        }
        for (run, state) in &self.history {
            let expected = i64::from(state == "succeeded");
            let last = self.count("last", run);
            if last != expected {
                faults.push(format!("{run} has {state} and is counted {last} times"));
            }
            let first = self.count("first", run);
            if !(0..=1).contains(&first) {
                faults.push(format!("{run} has {state} and is counted {first} times at its first commit"));
            }
        }
        for key in ["first", "last"] {
            faults.extend(self.faults_of_sum(key));
        }
        faults
    }

    /// Runs that have ended like this.
    pub fn ended(&self, state: &str) -> usize {
        self.history.values().filter(|own| *own == state).count()
    }

    fn count(&self, key: &str, run: &str) -> i64 {
        self.counts.get(&format!("{key}/{run}")).copied().unwrap_or(0)
    }

    /// The runs' own counts and the common one must agree, and speak of no other runs.
    fn faults_of_sum(&self, key: &str) -> Vec<String> {
        let begin = format!("{key}/");
        let own: Vec<(&str, i64)> =
            self.counts.iter().filter_map(|(name, count)| Some((name.strip_prefix(&begin)?, *count))).collect();
        let mut faults: Vec<String> = own
            .iter()
            .filter(|(run, _)| !self.history.contains_key(*run))
            .map(|(run, _)| format!("{run} is counted and has not ended"))
            .collect();
        let (sum, common) =
            (own.iter().map(|(_, count)| count).sum::<i64>(), self.counts.get(key).copied().unwrap_or(0));
        if sum != common {
            faults.push(format!("the runs have counted {sum} times `{key}`, and together {common}"));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two runs, one of them a dead letter, and all is well.
    fn balanced() -> Books {
        let runs = [("a", "succeeded"), ("b", "dead")];
        Books {
            accepted: runs.iter().map(|(run, _)| (*run).to_owned()).collect(),
            unanswered: 0,
            history: runs.iter().map(|(run, state)| ((*run).to_owned(), (*state).to_owned())).collect(),
            counts: [("last/a", 1), ("last", 1), ("first/b", 1), ("first", 1)].map(|(k, n)| (k.to_owned(), n)).into(),
        }
    }

    #[test]
    fn books_that_balance_have_no_faults() {
        assert_eq!(balanced().faults(), Vec::<String>::new());
    }

    #[test]
    fn every_kind_of_imbalance_is_noticed() {
        type Cook = fn(&mut Books);
        let cases: [(&str, Cook); 8] = [
            ("c was accepted and is lost", |books| _ = books.accepted.insert("c".to_owned())),
            ("1 runs that nobody was told of", |books| _ = books.accepted.remove("a")),
            ("a has succeeded and is counted 2 times", |books| _ = books.counts.insert("last/a".to_owned(), 2)),
            ("a has succeeded and is counted 0 times", |books| _ = books.counts.remove("last/a")),
            ("b has dead and is counted 1 times", |books| _ = books.counts.insert("last/b".to_owned(), 1)),
            ("at its first commit", |books| _ = books.counts.insert("first/b".to_owned(), 2)),
            ("x is counted and has not ended", |books| _ = books.counts.insert("last/x".to_owned(), 1)),
            ("and together 5", |books| _ = books.counts.insert("last".to_owned(), 5)),
        ];
        for (fault, cook) in cases {
            let mut books = balanced();
            cook(&mut books);
            let faults = books.faults();
            assert!(faults.iter().any(|found| found.contains(fault)), "{fault}: {faults:?}");
        }
    }

    #[test]
    fn an_event_whose_answer_was_lost_may_have_been_accepted() {
        let mut books = balanced();
        books.accepted.remove("a");
        books.unanswered = 1;
        assert_eq!(books.faults(), Vec::<String>::new());
    }
}
