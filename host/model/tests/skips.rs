//! When a node is called, with which inputs, and when it is skipped: every kind of origin, with a value and without, for ports
//! that need one and for ports that do not.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::value::RawValue;
use trellis_model::{
    PluginId,
    description::Description,
    manifest::Manifest,
    plan::{GridPlan, ResolvedPlugin, plan_grids},
    run::{NodeResult, NodeState, Progress},
};

const NOW_MS: i64 = 1_000_000;

/// `last` has the required port `need` and the optional port `may`; `first`, which takes anything, stands before it.
fn plan(inputs: &str) -> GridPlan {
    let plugin = |id, description| ResolvedPlugin {
        id: PluginId(id),
        description: Arc::new(Description::parse(description).expect("a description")),
    };
    let plugins = BTreeMap::from([
        ("first".to_owned(), plugin(1, r#"{"inputs":{"in":{}},"outputs":{"out":{},"rare":{}}}"#)),
        ("last".to_owned(), plugin(2, r#"{"inputs":{"need":{},"may":{"required":false}},"outputs":{"out":{}}}"#)),
    ]);
    let text = format!(
        "[project]\nname = \"p\"\n[plugins]\nfirst = \"first@1\"\nlast = \"last@1\"\n[grids.g.nodes]\n\
         first = {{ plugin = \"first\", inputs = {{ in = \"event#/first\" }} }}\n\
         last = {{ plugin = \"last\", inputs = {{ {inputs} }} }}\n"
    );
    let manifest = Manifest::from_toml(&text).unwrap_or_else(|faults| panic!("{inputs}: {faults:?}"));
    plan_grids(&manifest, &plugins)
        .unwrap_or_else(|faults| panic!("{inputs}: {faults:?}"))
        .remove("g")
        .expect("the grid")
}

fn raw(json: &str) -> Box<RawValue> {
    serde_json::from_str(json).expect("JSON")
}

/// What becomes of `last` for an event, after `first` has put `out` on its port of that name, if anything.
fn last(inputs: &str, event: &str, out: Option<&str>) -> Result<Vec<(String, String)>, String> {
    let plan = plan(inputs);
    let index = |name: &str| plan.nodes.iter().position(|node| node.name == name).expect("a node");
    let (event, mut progress) = (raw(event), Progress::new(&plan));
    // Once for the nodes that the event itself decides.
    let mut ready = progress.ready(&plan, &event, NOW_MS, |_| false);
    if progress.result(index("first")).is_none() {
        let outputs = out.map(|json| ("out".to_owned(), raw(json))).into_iter().collect();
        progress.set(index("first"), NodeResult { outputs, ..NodeResult::new("first", NodeState::Succeeded) });
        ready = progress.ready(&plan, &event, NOW_MS, |_| false);
    }
    match progress.result(index("last")) {
        Some(result) => {
            assert_eq!(result.state, NodeState::Skipped);
            assert!(ready.iter().all(|(node, _)| *node != index("last")), "{inputs}: skipped and called");
            Err(result.reason.clone().expect("a reason").message)
        }
        None => Ok(ready.into_iter().find(|(node, _)| *node == index("last")).expect("called").1),
    }
}

const WITH_FIRST: &str = r#"{"first":1,"x":{"y":5},"n":null}"#;

#[test]
fn a_node_is_called_with_what_there_is_and_skipped_for_want_of_what_it_needs() {
    type Case = (
        &'static str,
        &'static str,
        Option<&'static str>,
        Result<&'static [(&'static str, &'static str)], &'static str>,
    );
    let cases: &[Case] = &[
        // A required port.
        ("need = \"event\"", "null", None, Ok(&[("need", "null")])),
        ("need = \"event#/x/y\"", WITH_FIRST, None, Ok(&[("need", "5")])),
        ("need = \"event#/n\"", WITH_FIRST, None, Ok(&[("need", "null")])),
        ("need = \"event#/z\"", WITH_FIRST, None, Err("input `need` has no value: nothing at `event#/z`")),
        ("need = { literal = 7 }", WITH_FIRST, None, Ok(&[("need", "7")])),
        ("need = { literal = {} }", WITH_FIRST, None, Ok(&[("need", "{}")])),
        ("need = \"first.out\"", WITH_FIRST, Some("[1]"), Ok(&[("need", "[1]")])),
        ("need = \"first.out\"", WITH_FIRST, Some("null"), Ok(&[("need", "null")])),
        ("need = \"first.out#/0\"", WITH_FIRST, Some("[1]"), Ok(&[("need", "1")])),
        ("need = \"first.out#/1\"", WITH_FIRST, Some("[1]"), Err("input `need` has no value: port `out` stayed empty")),
        ("need = \"first.out\"", WITH_FIRST, None, Err("input `need` has no value: port `out` stayed empty")),
        ("need = \"first.rare\"", WITH_FIRST, Some("1"), Err("input `need` has no value: port `rare` stayed empty")),
        // Skipped because what stands before it was.
        ("need = \"first.out\"", "{}", Some("1"), Err("input `need` has no value: port `out` stayed empty")),
        // An optional port: wired to nothing, or to what has no value, it is left out of the call.
        ("need = { literal = 1 }", "{}", None, Ok(&[("need", "1")])),
        ("need = { literal = 1 }, may = \"event#/z\"", "{}", None, Ok(&[("need", "1")])),
        ("need = { literal = 1 }, may = \"event#/x/y\"", WITH_FIRST, None, Ok(&[("may", "5"), ("need", "1")])),
        ("need = { literal = 1 }, may = \"event#/n\"", WITH_FIRST, None, Ok(&[("may", "null"), ("need", "1")])),
        ("need = { literal = 1 }, may = \"first.out\"", WITH_FIRST, Some("2"), Ok(&[("may", "2"), ("need", "1")])),
        ("need = { literal = 1 }, may = \"first.out\"", WITH_FIRST, None, Ok(&[("need", "1")])),
        ("need = { literal = 1 }, may = \"first.out\"", "{}", Some("2"), Ok(&[("need", "1")])),
        // Both: the optional one does not save what the required one lacks.
        (
            "need = \"event#/z\", may = \"event#/x\"",
            WITH_FIRST,
            None,
            Err("input `need` has no value: nothing at `event#/z`"),
        ),
    ];
    for (inputs, event, out, expected) in cases {
        let found = last(inputs, event, *out);
        let expected = expected
            .map(|inputs| {
                inputs.iter().map(|(port, json)| ((*port).to_owned(), (*json).to_owned())).collect::<Vec<_>>()
            })
            .map_err(str::to_owned);
        assert_eq!(found, expected, "{inputs} with {event} and {out:?}");
    }
}

#[test]
fn a_required_port_without_an_origin_is_refused_and_an_optional_one_is_not() {
    let plugins = BTreeMap::from([(
        "last".to_owned(),
        ResolvedPlugin {
            id: PluginId(1),
            description: Arc::new(
                Description::parse(r#"{"inputs":{"need":{},"may":{"required":false}},"outputs":{}}"#).expect("valid"),
            ),
        },
    )]);
    let faults = |inputs: &str| {
        let text = format!(
            "[project]\nname = \"p\"\n[plugins]\nlast = \"last@1\"\n[grids.g.nodes.n]\nplugin = \"last\"\ninputs = {{ {inputs} }}\n"
        );
        plan_grids(&Manifest::from_toml(&text).expect("readable"), &plugins).err().unwrap_or_default().len()
    };
    assert_eq!((faults("need = \"event\""), faults("may = \"event\""), faults("")), (0, 1, 1));
}
