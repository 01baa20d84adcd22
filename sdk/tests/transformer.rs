//! Functions as transformers: which ports and schemas they declare, how JSON reaches them, what they emit.

use std::collections::BTreeMap;

use trellis_sdk::*;

#[data]
struct Reading {
    n: f64,
}

#[data]
struct Config {
    factor: f64,
    #[serde(default)]
    rounding: Rounding,
}

#[data]
#[derive(Default)]
struct Rounding {
    #[serde(default)]
    digits: Option<u8>,
}

/// Multiplies a reading.
///
/// At length.
#[transformer]
fn multiply(input: Reading, config: Config) -> Result<Out<Reading>> {
    let _ = config.rounding.digits;
    Ok(Out(Reading { n: input.n * config.factor }))
}

#[data]
#[derive(Debug, PartialEq)]
struct Order {
    items: Vec<Item>,
}

#[data]
#[derive(Debug, PartialEq)]
struct Item {
    price: u32,
}

/// What an order is joined with.
#[inputs]
struct Join {
    /// The order as it came in.
    order: Order,
    #[port(name = "paying-customer")]
    customer: Option<String>,
}

#[derive(Ports)]
enum Desk {
    /// Orders to be sent.
    Sent(Order),
    /// Anything at all.
    OnHold(Value),
    #[port(name = "audit-log")]
    Audit(String),
}

#[transformer]
fn route(input: Join) -> Result<Vec<Desk>> {
    let Some(customer) = input.customer else { return Ok(vec![Desk::OnHold(json!(input.order.items.len()))]) };
    Ok(vec![Desk::Audit(customer), Desk::Sent(input.order)])
}

#[transformer]
fn positive(input: Reading) -> Result<Option<Out<Reading>>> {
    Ok((input.n > 0.0).then_some(Out(input)))
}

#[transformer]
fn forget(_input: Option<Value>) -> Result<()> {
    Ok(())
}

#[transformer]
fn twice(_input: Value) -> Result<Vec<Desk>> {
    Ok(vec![Desk::Audit("a".into()), Desk::Audit("b".into())])
}

#[transformer]
fn own_error(input: String) -> std::result::Result<Out<u8>, std::num::ParseIntError> {
    input.parse().map(Out)
}

fn refused(result: Result<BTreeMap<String, Value>>) -> (ErrorKind, String) {
    let error = result.expect_err("the call fails");
    (error.kind(), error.message().to_owned())
}

#[test]
fn a_function_stays_a_function() {
    let config = Config { factor: 2.0, rounding: Rounding::default() };
    assert_eq!(multiply(Reading { n: 2.0 }, config).expect("a reading").0.n, 4.0);
}

#[test]
fn one_value_is_the_port_in_and_out_is_the_port_out() {
    let outputs =
        fake::call(multiply, json!({ "in": { "n": 2, "unit": "m" } }), json!({ "factor": 3 })).expect("a product");
    assert_eq!(outputs, BTreeMap::from([("out".to_owned(), json!({ "n": 6.0 }))]));
}

#[test]
fn ports_and_schemas_follow_from_the_types() {
    let description = fake::describe(route);
    let inputs = &description["inputs"];
    assert_eq!(inputs["order"]["required"], json!(true));
    assert_eq!(inputs["order"]["schema"]["type"], json!("object"));
    assert_eq!(inputs["order"]["schema"]["description"], json!("The order as it came in."));
    assert_eq!(inputs["paying-customer"]["required"], json!(false));
    assert_eq!(inputs["paying-customer"]["schema"]["type"], json!(["string", "null"]));
    let outputs = description["outputs"].as_object().expect("ports");
    assert_eq!(outputs.keys().collect::<Vec<_>>(), ["audit-log", "on_hold", "sent"]);
    assert_eq!(outputs["sent"]["schema"]["description"], json!("Orders to be sent."));
    assert_eq!(outputs["sent"]["schema"]["additionalProperties"], json!(false), "it has no other fields");
    assert_eq!(outputs["sent"].as_object().expect("a port").len(), 1, "an output port has a schema and nothing else");
}

#[test]
fn a_config_schema_knows_its_keys() {
    assert_eq!(
        fake::describe(multiply)["config"],
        json!({
            "title": "Config",
            "type": "object",
            "properties": {
                "factor": { "type": "number", "format": "double" },
                "rounding": { "$ref": "#/$defs/Rounding", "default": { "digits": null } },
            },
            "required": ["factor"],
            "additionalProperties": false,
            "$defs": { "Rounding": {
                "type": "object",
                "properties": { "digits": {
                    "type": ["integer", "null"], "format": "uint8", "minimum": 0, "maximum": 255, "default": null,
                } },
            } },
        })
    );
}

#[test]
fn a_transformer_without_a_config_takes_an_empty_one() {
    let config = &fake::describe(forget)["config"];
    assert_eq!((&config["type"], &config["additionalProperties"]), (&json!("object"), &json!(false)));
    fake::call(forget, json!({}), json!({})).expect("an empty config");
    let (kind, message) = refused(fake::call(forget, json!({}), json!({ "speed": 3 })));
    assert_eq!(kind, ErrorKind::InvalidConfig);
    assert!(message.contains("speed"), "{message}");
}

#[test]
fn fields_of_inputs_are_ports() {
    let order = json!({ "items": [{ "price": 3 }] });
    let outputs =
        fake::call(route, json!({ "order": order, "paying-customer": "ann" }), json!({})).expect("two outputs");
    assert_eq!(outputs, BTreeMap::from([("audit-log".into(), json!("ann")), ("sent".into(), order.clone())]));
    for inputs in [json!({ "order": order }), json!({ "order": order, "paying-customer": null })] {
        let outputs = fake::call(route, inputs, json!({})).expect("one output");
        assert_eq!(outputs, BTreeMap::from([("on_hold".into(), json!(1))]));
    }
}

#[test]
fn bad_inputs_are_invalid_input_and_say_where() {
    let good = json!({ "items": [] });
    for (inputs, expected) in [
        (json!({}), "input `order` is missing"),
        (
            json!({ "order": { "items": [{ "price": 1 }, { "price": "free" }] } }),
            "input `order`: at `items[1].price`: invalid type",
        ),
        (json!({ "order": {} }), "input `order`: missing field `items`"),
        (json!({ "order": good, "paying-customer": 3 }), "input `paying-customer`: invalid type"),
        (json!({ "order": good, "in": 3 }), "there is no input `in`; the inputs are: order, paying-customer"),
    ] {
        let (kind, message) = refused(fake::call(route, inputs, json!({})));
        assert_eq!(kind, ErrorKind::InvalidInput);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn bad_configs_are_invalid_config_and_say_where() {
    for (config, expected) in [
        (json!({}), "missing field `factor`"),
        (json!({ "factor": "two" }), "at `factor`: invalid type"),
        (json!({ "factor": 2, "faktor": 3 }), "unknown key `faktor`"),
        (json!({ "faktor": 3 }), "missing field `factor` at line 1 column 12; unknown key `faktor`"),
        (
            json!({ "factor": 2, "rounding": { "digit": 3, "mode": "up" } }),
            "unknown key `rounding.digit`, `rounding.mode`",
        ),
        (json!([]), "invalid length 0"),
    ] {
        let (kind, message) = refused(fake::call(multiply, json!({ "in": { "n": 2 } }), config));
        assert_eq!(kind, ErrorKind::InvalidConfig);
        assert!(message.starts_with(expected), "{message}");
    }
}

#[test]
fn none_emits_nothing() {
    assert_eq!(fake::call(positive, json!({ "in": { "n": 1 } }), json!({})).expect("one").len(), 1);
    assert_eq!(fake::call(positive, json!({ "in": { "n": -1 } }), json!({})).expect("none").len(), 0);
    assert_eq!(fake::describe(forget)["outputs"], json!({}));
}

#[test]
fn a_port_takes_one_value_a_call() {
    let (kind, message) = refused(fake::call(twice, json!({ "in": null }), json!({})));
    assert_eq!(kind, ErrorKind::Permanent);
    assert!(message.contains("`audit-log` was given two values"), "{message}");
}

#[test]
fn any_value_is_a_required_input_and_an_option_is_not() {
    assert_eq!(fake::describe(twice)["inputs"]["in"]["required"], json!(true));
    assert_eq!(fake::describe(forget)["inputs"]["in"]["required"], json!(false));
    let (kind, _) = refused(fake::call(twice, json!({}), json!({})));
    assert_eq!(kind, ErrorKind::InvalidInput);
}

#[test]
fn the_schema_of_any_value_is_true() {
    assert_eq!(fake::describe(twice)["inputs"]["in"]["schema"], json!(true));
    assert_eq!(fake::describe(forget)["inputs"]["in"]["schema"], json!(true));
    assert_eq!(fake::describe(route)["outputs"]["on_hold"]["schema"], json!({ "description": "Anything at all." }));
}

#[test]
fn a_transformer_may_return_an_error_type_of_its_own() {
    assert_eq!(fake::call(own_error, json!({ "in": "7" }), json!({})).expect("a number")["out"], json!(7));
    let (kind, message) = refused(fake::call(own_error, json!({ "in": "x" }), json!({})));
    assert_eq!((kind, message.as_str()), (ErrorKind::Permanent, "invalid digit found in string"));
}
