//! Nodes with `each`, as they are planned: which of their inputs is the array, and which ports become arrays.

use serde_json::{Value, json};

use crate::{
    description::Description,
    fault::{Fault, did_you_mean},
    manifest::{Each, NodeDefinition, Origin, reader::Faults},
};

/// How a node is mapped over an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEach {
    /// The input port that gets one element after the other.
    pub input: String,
    /// The output ports of the plugin: each has an array when all elements have succeeded, of the values that were emitted to
    /// it, in the order of the elements.
    pub outputs: Vec<String>,
    /// Elements that are called at the same time.
    pub concurrency: u32,
    /// None: the host's limit alone counts.
    pub elements_max: Option<u32>,
}

/// The schema of an array whose elements fit `schema`: of what comes to the port that is taken apart, and of what leaves the
/// node on every port.
pub fn array_of(schema: &Value) -> Value {
    json!({ "type": "array", "items": schema })
}

/// Plans `each` of the node at `pointer`.
pub(super) fn plan(
    each: &Each,
    node: &NodeDefinition,
    description: Option<&Description>,
    pointer: &str,
    faults: &mut Faults,
) -> Option<PlannedEach> {
    let pointer = format!("{pointer}/each");
    let input = input(each, node, &pointer, faults)?;
    if let Some(Origin::Literal(value)) = node.inputs.get(&input)
        && !value.is_array()
    {
        let message = format!("`each` takes input `{input}` apart, and its literal is no array");
        faults.push(Fault::at(&pointer, message).fix("write an array, or leave `each` out"));
    }
    Some(PlannedEach {
        input,
        outputs: description.map(|description| description.outputs.keys().cloned().collect()).unwrap_or_default(),
        concurrency: each.concurrency,
        elements_max: each.elements_max,
    })
}

/// The port that is taken apart.
fn input(each: &Each, node: &NodeDefinition, pointer: &str, faults: &mut Faults) -> Option<String> {
    let known: Vec<&str> = node.inputs.keys().map(String::as_str).collect();
    let Some(named) = &each.input else {
        return match known.as_slice() {
            [only] => Some((*only).to_owned()),
            [] => {
                let fault = Fault::at(pointer, "`each` needs an input that is an array, and the node has no inputs");
                faults.push(fault.fix("add an origin to `inputs`, or leave `each` out"));
                None
            }
            [first, ..] => {
                let message = format!("`each` does not say which of the inputs is the array: {}", known.join(", "));
                faults.push(Fault::at(pointer, message).fix(format!("write `each = {{ input = \"{first}\" }}`")));
                None
            }
        };
    };
    if node.inputs.contains_key(named) {
        return Some(named.clone());
    }
    let fault = Fault::at(format!("{pointer}/input"), format!("the node has no input `{named}`"));
    faults.push(match did_you_mean(named, known.iter().copied()) {
        Some(near) => fault.fix(format!("did you mean `{near}`?")),
        None if known.is_empty() => fault.fix("add an origin to `inputs`"),
        None => fault.fix(format!("it has: {}", known.join(", "))),
    });
    None
}
