//! JSON Pointers (RFC 6901) as steps, and as fragments of references within a schema.

use serde_json::Value;

/// The steps of a pointer, unescaped.
pub fn steps(pointer: &str) -> Vec<String> {
    pointer.split('/').skip(1).map(|step| step.replace("~1", "/").replace("~0", "~")).collect()
}

/// What a fragment such as `/$defs/order` leads to in a schema; parts of it may be written as `%20`.
pub fn of_fragment<'s>(root: &'s Value, fragment: &str) -> Option<&'s Value> {
    way_of_fragment(root, fragment)?.pop()
}

/// All that a fragment leads through, the root first and what it means last.
pub fn way_of_fragment<'s>(root: &'s Value, fragment: &str) -> Option<Vec<&'s Value>> {
    let pointer = decoded(fragment)?;
    if !pointer.is_empty() && !pointer.starts_with('/') {
        return None;
    }
    let mut way = vec![root];
    for step in steps(&pointer) {
        way.push(match way.last()? {
            Value::Object(keys) => keys.get(&step)?,
            Value::Array(items) => items.get(index(&step)?)?,
            _ => return None,
        });
    }
    Some(way)
}

fn decoded(fragment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(fragment.len());
    let mut rest = fragment.as_bytes();
    while let [first, behind @ ..] = rest {
        let escape = behind.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match escape.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

/// The place in a list that a step means, if it means one.
pub fn index(step: &str) -> Option<usize> {
    let is_plain = step == "0" || !step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit());
    step.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fragments_lead_through_escapes_of_both_kinds() {
        let schema = json!({ "$defs": { "a b": 1, "c/d": 2, "100%": 3 } });
        for (fragment, found) in [("/$defs/a%20b", 1), ("/$defs/a b", 1), ("/$defs/c~1d", 2), ("/$defs/100%", 3)] {
            assert_eq!(of_fragment(&schema, fragment), Some(&json!(found)), "{fragment}");
        }
        for nothing in ["/none", "none", "/$defs/a b/c"] {
            assert_eq!(of_fragment(&schema, nothing), None, "{nothing}");
        }
        let both = json!({ "a%20b": 1, "a b": 2 });
        assert_eq!(of_fragment(&both, "/a%20b"), Some(&json!(2)), "an escape is what it stands for");
        assert_eq!(steps("/a~1b/0/~01"), ["a/b", "0", "~1"]);
        assert_eq!(
            [index("0"), index("12"), index("01"), index("+1"), index("x"), index("")],
            [Some(0), Some(12), None, None, None, None]
        );
    }
}
