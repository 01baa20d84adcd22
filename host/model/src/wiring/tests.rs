//! What flows and what does not.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::{PluginId, description::Description, manifest::document};

fn plugins() -> ResolvedPlugins {
    let plugin = |(id, name, description): (i64, &str, Value)| {
        let description = Arc::new(Description::parse(&description.to_string()).expect("a description"));
        (name.to_owned(), ResolvedPlugin { id: PluginId(id), description })
    };
    let order = json!({
        "type": "object", "additionalProperties": false, "required": ["id", "total"],
        "properties": { "id": { "type": "string" }, "total": { "type": "number" }, "note": { "type": ["string", "null"] } },
    });
    [
        (1, "orders", json!({ "inputs": { "in": {} }, "outputs": { "order": { "schema": order }, "any": {} } })),
        (2, "sum", json!({ "inputs": { "in": { "schema": { "type": "number" } } }, "outputs": { "out": {} } })),
        (3, "mail", json!({
            "inputs": { "order": { "schema": { "type": "object", "required": ["id", "to"] }, "required": false }, "text": { "schema": { "type": "string" }, "required": false } },
            "outputs": {},
            "config": { "type": "object", "properties": { "from": { "type": "string" }, "retries": { "type": "integer", "maximum": 5 } }, "required": ["from"], "additionalProperties": false },
        })),
    ]
    .into_iter()
    .map(plugin)
    .collect()
}

fn check(rest: &str, expected: &[(&str, &str)]) {
    let text = format!(
        "[project]\nname = \"shop\"\n[plugins]\norders = \"orders@1\"\nsum = \"sum@1\"\nmail = \"mail@1\"\n{rest}"
    );
    let document = document::from_toml(&text).expect("TOML");
    let (manifest, read) = Manifest::read_as_far_as_possible(&document);
    let faults = all_faults(&document, &manifest, read, &plugins());
    assert_eq!(faults.len(), expected.len(), "{rest}: {faults:#?}");
    for (fault, (pointer, says)) in faults.iter().zip(expected) {
        assert!(fault.pointer == *pointer && fault.to_string().contains(says), "{says} at {pointer}: {fault}");
        assert!(fault.line.is_some() && fault.fix.is_some(), "{fault:?}");
    }
}

const FIRST: &str = "[grids.g.nodes.first]\nplugin = \"orders\"\ninputs = { in = \"event\" }\n";

fn wired(to: &str, origin: &str) -> String {
    format!("{FIRST}[grids.g.nodes.last]\nplugin = \"{to}\"\nconfig = {{ }}\ninputs = {{ {origin} }}\n")
}

#[test]
fn an_edge_joins_what_can_be_the_same() {
    let at = "/grids/g/nodes/last/inputs/in";
    check(&wired("sum", "in = \"first.order#/total\""), &[]);
    check(&wired("sum", "in = \"first.any\""), &[]);
    check(
        &wired("sum", "in = \"first.order\""),
        &[(at, "gives an object, and port `in` of plugin `sum` takes a number")],
    );
    check(
        &wired("sum", "in = \"first.order#/id\""),
        &[(at, "`first.order#/id` does not fit: port `order` of plugin `orders` gives a string")],
    );
    check(
        &wired("sum", "in = \"first.order#/sum\""),
        &[(at, "never has a value: port `order` of plugin `orders` gives an object without `sum`")],
    );
    check(
        &wired("sum", "in = \"first.order#/total/net\""),
        &[(at, "never has a value: port `order` of plugin `orders` gives a number at `/total`")],
    );
}

#[test]
fn configs_and_literals_are_what_plugins_describe() {
    let mail = |config: &str, inputs: &str| {
        format!("{FIRST}[grids.g.nodes.last]\nplugin = \"mail\"\nconfig = {{ {config} }}\ninputs = {{ {inputs} }}\n")
    };
    check(&mail("from = \"a\"", "text = { literal = \"x\" }"), &[]);
    check(
        &mail("from = \"a\", retries = 9", "text = { literal = 5 }"),
        &[
            ("/grids/g/nodes/last/config/retries", "config of plugin `mail`: 9 is too large; at most 5 is expected"),
            (
                "/grids/g/nodes/last/inputs/text/literal",
                "literal for port `text` of plugin `mail`: expected a string, found a number",
            ),
        ],
    );
    check(
        &mail("form = \"a\"", ""),
        &[
            ("/grids/g/nodes/last/config", "`from` is missing"),
            ("/grids/g/nodes/last/config/form", "unknown key `form`; did you mean `from`?"),
        ],
    );
    check(
        &mail("from = \"a\"", "order = \"first.order\""),
        &[(
            "/grids/g/nodes/last/inputs/order",
            "gives an object without `to`, and port `order` of plugin `mail` takes an object with `to`",
        )],
    );
}

#[test]
fn a_node_that_is_called_for_each_element_takes_and_gives_arrays() {
    let at = "/grids/g/nodes/last/inputs/in";
    let each = |first: &str, last: &str, origin: &str| {
        format!(
            "[grids.g.nodes.first]\nplugin = \"orders\"\ninputs = {{ in = \"event\" }}\n{first}\n[grids.g.nodes.last]\nplugin = \"sum\"\ninputs = {{ in = {origin} }}\n{last}\n"
        )
    };
    let mapped = "each = true";
    check(&each(mapped, mapped, "\"first.any\""), &[]);
    check(&each(mapped, "", "\"first.order#/0/total\""), &[]);
    check(
        &each("", mapped, "\"first.order#/total\""),
        &[(at, "gives a number, and port `in` of plugin `sum`, of a node with `each`, takes an array")],
    );
    check(
        &each(mapped, "", "\"first.order\""),
        &[(at, "gives an array, and port `in` of plugin `sum` takes a number")],
    );
    check(
        &each(mapped, mapped, "\"first.order\""),
        &[(at, "gives an object at `/0`, and port `in` of plugin `sum`, of a node with `each`, takes a number")],
    );
    check(&each("", mapped, "{ literal = [1, 2] }"), &[]);
    check(
        &each("", mapped, "{ literal = [1, \"x\"] }"),
        &[("/grids/g/nodes/last/inputs/in/literal/1", "expected a number, found a string")],
    );
}

fn trigger(name: &str, schema: &str) -> String {
    format!("[[triggers]]\nname = \"{name}\"\nkind = \"http\"\ngrid = \"g\"\npath = \"/{name}\"\n{schema}\n")
}

#[test]
fn what_triggers_let_in_is_what_edges_from_the_event_carry() {
    let node = |origin: &str| format!("[grids.g.nodes.last]\nplugin = \"sum\"\ninputs = {{ in = \"{origin}\" }}\n");
    let order = "schema = { type = \"object\", additionalProperties = false, properties = { total = { type = \"number\" }, id = { type = \"string\" } } }";
    let other =
        "schema = { type = \"object\", additionalProperties = false, properties = { sum = { type = \"number\" } } }";
    let at = "/grids/g/nodes/last/inputs/in";
    check(&(trigger("a", order) + &node("event#/total")), &[]);
    check(&(trigger("a", order) + &node("event#/id")), &[(at, "events of trigger `a` give a string, and port `in`")]);
    check(
        &(trigger("a", order) + &node("event#/sum")),
        &[(at, "`event#/sum` never has a value: events of trigger `a` give an object without `sum`")],
    );
    // One of two triggers has it, or may have it.
    check(&(trigger("a", order) + &trigger("b", other) + &node("event#/sum")), &[]);
    check(&(trigger("a", order) + &trigger("b", "") + &node("event#/sum")), &[]);
    check(
        &(trigger("a", order) + &trigger("b", other) + &node("event#/id")),
        &[(at, "events of trigger `a` give a string")],
    );
}

#[test]
fn schemas_of_triggers_are_schemas() {
    let at = "/triggers/0/schema";
    check(&(trigger("a", "schema = \"order.json\"") + FIRST), &[(at, "is a file, which means nothing to a server")]);
    check(&(trigger("a", "schema = 5") + FIRST), &[(at, "expected a JSON Schema, found a number")]);
    check(
        &(trigger("a", "schema = { type = \"strin\" }") + FIRST),
        &[("/triggers/0/schema/type", "not a JSON Schema")],
    );
    check(&(trigger("a", "schema = { \"$ref\" = \"#\" }") + FIRST), &[(at, "leads back to itself")]);
    check(
        &(trigger("a", "schema = { \"$ref\" = \"https://example.com/a.json\" }") + FIRST),
        &[(at, "refers out of the schema")],
    );
}

#[test]
fn keys_are_where_events_can_have_them() {
    let closed =
        "schema = { type = \"object\", additionalProperties = false, properties = { id = {}, customer = {} } }";
    let keyed = |triggers: &str, key: &str, emits: &str| {
        format!(
            "{triggers}[grids.g]\nconcurrency_key = \"{key}\"\n{FIRST}[grids.h.nodes.n]\nplugin = \"orders\"\n\
             inputs = {{ in = \"event\" }}\ngrants = {{ emit = [{emits}] }}\n"
        )
    };
    let at = "/triggers/0/dedupe";
    check(&(trigger("a", &format!("{closed}\ndedupe = \"/id\"")) + FIRST), &[]);
    check(&(trigger("a", "dedupe = \"/idd\"") + FIRST), &[]);
    check(
        &(trigger("a", &format!("{closed}\ndedupe = \"/idd\"")) + FIRST),
        &[(at, "events never have a key at `/idd`: by the schema of trigger `a` they are an object without `idd`")],
    );
    let stripe = "auth = { scheme = \"stripe\", credential = \"c\" }\nschema = { type = \"array\" }";
    check(&(trigger("a", stripe) + FIRST), &[]);
    let at = "/grids/g/concurrency_key";
    check(&keyed(&trigger("a", closed), "/customer", ""), &[]);
    check(&keyed(&trigger("a", closed), "/custom", ""), &[(at, "events never have a key at `/custom`")]);
    check(&keyed(&(trigger("a", closed) + &trigger("b", "")), "/custom", ""), &[]);
    check(&keyed(&trigger("a", closed), "/custom", "\"g\""), &[]);
    check(&keyed("", "/custom", ""), &[]);
}

#[test]
fn the_patterns_of_a_manifest_are_counted_together() {
    let patterns: Vec<String> = (0..90).map(|number| format!("{{ pattern = \"a{number}\" }}")).collect();
    let schema = format!("schema = {{ allOf = [{}] }}", patterns.join(", "));
    let triggers: String = (0..6).map(|number| trigger(&format!("t{number}"), &schema)).collect();
    check(&(triggers + FIRST), &[("/triggers/5/schema", "the schemas of all triggers have more than 500 patterns")]);
    let collections: String = (0..6).map(|number| format!("[collections.c{number}]\n{schema}\n")).collect();
    check(
        &(collections + FIRST),
        &[("/collections/c5/schema", "the schemas of all collections have more than 500 patterns")],
    );
}
