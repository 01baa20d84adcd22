//! Cuts an array into parts, or sends each part to another grid.
//!
//! Does not know what becomes of the parts: `gather` can put them together again.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

use std::num::NonZeroUsize;

use service::{PARTS_MAX, Part};
use trellis_sdk::*;

/// How the input is cut.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// A JSON Pointer to the array in the input. Empty: the input itself.
    pub items: String,
    /// Elements of one part. The last part may have fewer.
    pub size: NonZeroUsize,
    /// The grid to send each part to. Without one, all parts are emitted to `parts`.
    pub grid: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self { items: String::new(), size: NonZeroUsize::MIN, grid: None }
    }
}

/// What comes of the array.
#[derive(Ports, Debug, PartialEq)]
pub enum Cut {
    /// Arrays of `size` elements, in order, if no `grid` is set.
    Parts(Vec<Vec<Value>>),
    /// What was sent, if a `grid` is set.
    Sent(Sent),
}

/// What was sent to the grid.
#[data]
#[derive(Clone, Debug, PartialEq)]
pub struct Sent {
    /// What the parts have in common.
    pub split: String,
    /// How many parts there are.
    pub count: u32,
    /// How many elements there are.
    pub items: usize,
}

/// Cuts an array into parts, or sends each part to another grid.
#[transformer]
pub fn split(input: Value, config: Config) -> Result<Cut> {
    let items = items(input, &config.items)?;
    let Some(grid) = &config.grid else {
        return Ok(Cut::Parts(items.chunks(config.size.get()).map(<[Value]>::to_vec).collect()));
    };
    let total = items.len();
    let chunks = items.chunks(config.size.get());
    let count = u32::try_from(chunks.len()).ok().filter(|count| *count <= PARTS_MAX).ok_or_else(|| {
        Error::permanent(format_args!(
            "{} parts of {} elements; at most {PARTS_MAX} can be sent: raise `size`",
            total.div_ceil(config.size.get()),
            config.size
        ))
    })?;
    let split = event::current().idempotency_key;
    for (index, chunk) in (0..count).zip(chunks) {
        let part = Part { split: split.clone(), index, count, items: chunk.to_vec() };
        outbox::event(grid.as_str()).attribute("part", format!("{}/{count}", index + 1)).emit(&part)?;
    }
    Ok(Cut::Sent(Sent { split, count, items: total }))
}

fn items(mut input: Value, pointer: &str) -> Result<Vec<Value>> {
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return Err(Error::invalid_config(format_args!(
            "`items`: `{pointer}` is no JSON Pointer; write it like `/{pointer}`, or leave it out for the whole input"
        )));
    }
    match input.pointer_mut(pointer).map(Value::take) {
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(Error::invalid_input(format_args!("what `items` points to, `{pointer}`, is no array"))),
        None => {
            Err(Error::invalid_input(format_args!("the input has nothing at `{pointer}`, where `items` points to")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

    use super::*;

    fn cut(input: Value, config: Value) -> Result<std::collections::BTreeMap<String, Value>> {
        fake::reset();
        fake::call(split, json!({ "in": input }), config)
    }

    #[test]
    fn an_array_is_cut_into_arrays() {
        for (size, parts) in [(1, json!([[1], [2], [3]])), (2, json!([[1, 2], [3]])), (9, json!([[1, 2, 3]]))] {
            let config = json!({ "items": "/list", "size": size });
            assert_eq!(cut(json!({ "list": [1, 2, 3] }), config).expect("parts")["parts"], parts);
        }
        assert_eq!(cut(json!([]), json!({})).expect("no parts")["parts"], json!([]));
    }

    #[test]
    fn each_part_is_sent_to_the_grid_with_its_place_in_the_whole() {
        let outputs = cut(json!([1, 2, 3]), json!({ "size": 2, "grid": "pick" })).expect("sent");
        let key = event::Event::default().idempotency_key;
        assert_eq!(outputs["sent"], json!({ "split": key, "count": 2, "items": 3 }));
        let emitted = fake::emitted();
        assert!(emitted.iter().all(|event| event.grid == "pick"));
        assert_eq!(emitted[1].data, json!({ "split": key, "index": 1, "count": 2, "items": [3] }));
        assert_eq!(emitted[1].attributes, [("part".to_owned(), "2/2".to_owned())]);
    }

    #[test]
    fn more_parts_than_can_be_gathered_are_not_sent() {
        let many: Vec<u32> = (0..=PARTS_MAX).collect();
        let error = cut(json!(many), json!({ "grid": "pick" })).expect_err("too many");
        assert_eq!(error.kind(), ErrorKind::Permanent);
        assert!(error.message().starts_with("401 parts of 1 elements"), "{error}");
        assert!(fake::emitted().is_empty());
        assert_eq!(cut(json!(many), json!({ "grid": "pick", "size": 2 })).expect("sent")["sent"]["count"], json!(201));
    }

    #[test]
    fn what_is_no_array_and_a_bad_config_are_told() {
        for (input, config, kind, message) in [
            (json!({ "list": 1 }), json!({ "items": "/list" }), ErrorKind::InvalidInput, "`/list`, is no array"),
            (json!({}), json!({ "items": "/list" }), ErrorKind::InvalidInput, "nothing at `/list`"),
            (json!([]), json!({ "items": "list" }), ErrorKind::InvalidConfig, "write it like `/list`"),
            (json!([]), json!({ "size": 0 }), ErrorKind::InvalidConfig, "size"),
            (json!([]), json!({ "gird": "x" }), ErrorKind::InvalidConfig, "gird"),
        ] {
            let error = cut(input, config).expect_err("a failure");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(message), "{error}");
        }
    }
}
