//! Manifests that somebody has turned upside down: each is read to a plan or to faults that name what is wrong, never to a
//! panic. How long the slowest took is printed; machines differ too much for more.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use proptest::{prelude::*, sample::Index, test_runner::Config};
use trellis_model::{
    PluginId,
    description::Description,
    fault::Fault,
    manifest::{Manifest, document},
    plan::{ResolvedPlugin, ResolvedPlugins, plan_grids},
};

const GOOD: &str = r#"
[project]
name = "shop"

[plugins]
tally = "tally@^0.1"
shape = "json-map@^0.1"

[[triggers]]
name = "orders"
kind = "http"
grid = "order"
path = "/orders"
dedupe = "/id"

[[targets]]
name = "mail"
host = "api.mail.example.com"
rate = 100
per = "1m"

[grids.order]
concurrency_key = "/customer"
running_max = 8

[grids.order.nodes.tally]
plugin = "tally"
inputs = { in = "event#/order" }
config = { currency = "EUR", rounds = 2 }
grants = { http = ["GET https://api.example.com/*"], storage = ["totals:rw"], emit = ["order"] }
limits = { wall = "20s", memory = "16MiB" }
retry = { attempts = 3, first = "2s" }

[grids.order.nodes.alert]
plugin = "shape"
inputs = { in = "tally.large" }
delay = "5s"
"#;

/// What a mutation puts in: all that the reader gives a meaning to, and things that it gives none.
const PIECES: [&str; 24] = [
    "[",
    "]",
    "{",
    "}",
    "\"",
    "'",
    "=",
    ",",
    ".",
    "\n",
    "#",
    "[[",
    "]]",
    "\\u0000",
    "\u{202e}",
    "-1",
    "1e999",
    "nan",
    "99999999999999999999",
    "1979-05-27T07:32:00Z",
    "true",
    "[grids.order.nodes.tally]",
    "tally.out",
    "event#/~2",
];

/// The plugins that the good manifest names, with ports that take anything.
fn plugins() -> ResolvedPlugins {
    let description: Description =
        serde_json::from_str(r#"{"inputs":{"in":{}},"outputs":{"out":{},"large":{}}}"#).expect("a description");
    let description = Arc::new(description);
    let plugin = |(number, name): (i64, &str)| {
        (name.to_owned(), ResolvedPlugin { id: PluginId(number), description: Arc::clone(&description) })
    };
    [(1, "tally"), (2, "shape")].into_iter().map(plugin).collect::<BTreeMap<_, _>>()
}

/// Reads a manifest to its plans; how long that took, and what is wrong with it.
fn read(text: &str, is_json: bool) -> (Duration, Result<usize, Vec<Fault>>) {
    let began = Instant::now();
    let manifest = if is_json { Manifest::from_json(text) } else { Manifest::from_toml(text) };
    let plans = manifest.and_then(|manifest| plan_grids(&manifest, &plugins())).map(|plans| plans.len());
    (began.elapsed(), plans)
}

/// Every fault says something; answers with the time that it took.
fn check(text: &str, is_json: bool) -> Duration {
    let (took, outcome) = read(text, is_json);
    if let Err(faults) = outcome {
        assert!(!faults.is_empty(), "refused without a reason: {text}");
        assert!(faults.iter().all(|fault| !fault.message.is_empty()), "{faults:?}");
    }
    took
}

#[derive(Clone, Debug)]
enum Mutation {
    Insert(Index, &'static str),
    Delete(Index, usize),
    Copy(Index, Index, usize),
    Replace(Index, char),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let place = any::<Index>;
    prop_oneof![
        (place(), prop::sample::select(PIECES.to_vec())).prop_map(|(at, piece)| Mutation::Insert(at, piece)),
        (place(), 1..40_usize).prop_map(|(at, length)| Mutation::Delete(at, length)),
        (place(), place(), 1..200_usize).prop_map(|(from, to, length)| Mutation::Copy(from, to, length)),
        (place(), any::<char>()).prop_map(|(at, letter)| Mutation::Replace(at, letter)),
    ]
}

fn mutated(text: &str, mutations: &[Mutation]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for mutation in mutations {
        // An index needs something to point at.
        letters.push(' ');
        let end = letters.len();
        match mutation {
            Mutation::Insert(at, piece) => drop(letters.splice(at.index(end)..at.index(end), piece.chars())),
            Mutation::Delete(at, length) => {
                let at = at.index(end);
                letters.drain(at..end.min(at + length));
            }
            Mutation::Copy(from, to, length) => {
                let from = from.index(end);
                let piece = letters[from..end.min(from + length)].to_vec();
                letters.splice(to.index(end)..to.index(end), piece);
            }
            Mutation::Replace(at, letter) => letters[at.index(end)] = *letter,
        }
    }
    letters.into_iter().collect()
}

proptest! {
    #![proptest_config(Config { cases: 4_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_mutated_manifest_has_a_plan_or_faults(mutations in prop::collection::vec(mutation(), 1..8), as_json: bool) {
        let text = if as_json {
            document::from_toml(GOOD).expect("valid").to_json().to_string()
        } else {
            GOOD.to_owned()
        };
        check(&mutated(&text, &mutations), as_json);
    }

    #[test]
    fn any_text_has_faults(text in ".{0,2000}", as_json: bool) {
        prop_assert!(read(&text, as_json).1.is_err());
    }
}

/// A manifest whose grid `order` has these nodes.
fn with_nodes(nodes: &str) -> String {
    let (head, _) = GOOD.split_once("[grids.order.nodes.tally]").expect("it has one");
    format!("{head}{nodes}")
}

/// Texts that are small to write and large, deep or circular to read.
fn bombs() -> Vec<(&'static str, String, bool)> {
    const DEPTH: usize = 10_000;
    const MANY: usize = 100_000;
    let node = |number: usize| format!("[grids.order.nodes.n{number}]\nplugin = \"tally\"\n");
    let circle =
        |number: usize, of: usize| format!("{}inputs = {{ in = \"n{}.out\" }}\n", node(number), (number + 1) % of);
    let deep_toml = format!("{GOOD}\nconfig = {}1{}", "[".repeat(DEPTH), "]".repeat(DEPTH));
    let deep_tables = format!("{GOOD}\n[{}]", vec!["a"; DEPTH].join("."));
    let deep_json = format!("{}1{}", r#"{"grids":"#.repeat(DEPTH), "}".repeat(DEPTH));
    vec![
        ("a circle of nodes", with_nodes(&(0..400).map(|number| circle(number, 400)).collect::<String>()), false),
        ("a node that needs itself", with_nodes(&circle(0, 1)), false),
        ("a hundred thousand nodes", with_nodes(&(0..MANY).map(node).collect::<String>()), false),
        ("a thousand nodes", with_nodes(&(0..1_000).map(node).collect::<String>()), false),
        ("all on one line", format!("config = [{}]\n", "1,".repeat(500_000)), false),
        ("numbers that fit nowhere", format!("config = [{}]\n", "99999999999999999999,".repeat(40_000)), false),
        ("lists in lists", deep_toml, false),
        ("tables in tables", deep_tables, false),
        ("objects in objects", deep_json, true),
        ("lists in lists, as JSON", format!("{}{}", "[".repeat(DEPTH), "]".repeat(DEPTH)), true),
        ("the same key twice", format!("{GOOD}\n[project]\nname = \"other\"\n"), false),
        ("the same key twice, as JSON", r#"{"project":{"name":"a","name":"b"}}"#.to_owned(), true),
        ("the same key many times", format!("{{{}\"a\":1}}", "\"a\":1,".repeat(MANY)), true),
        ("a name of a megabyte", format!("[project]\nname = \"{}\"\n", "a".repeat(1_000_000)), false),
        ("a number of a megabyte", format!("{{\"project\":{}}}", "9".repeat(1_000_000)), true),
    ]
}

#[test]
fn a_manifest_that_is_a_bomb_has_faults() {
    for (name, text, is_json) in bombs() {
        let (took, outcome) = read(&text, is_json);
        let faults = outcome.expect_err(name);
        let shown: String = faults[0].to_string().chars().take(120).collect();
        println!("{name}, {} bytes: {took:?}: {shown}", text.len());
        let told: usize = faults.iter().map(|fault| fault.to_string().len()).sum();
        assert!(told < 1_000_000, "{name}: an answer of {told} bytes, in {} faults, is a bomb itself", faults.len());
    }
}

#[test]
fn the_good_manifest_of_these_tests_has_a_plan() {
    let (took, outcome) = read(GOOD, false);
    assert_eq!(outcome.expect("valid"), 1);
    println!("{took:?}");
}
