//! Queries: what somebody asks for, checked against the indexes that the collection declares, and answered for any record.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value;

use super::{CHOICES_MAX, CONDITIONS_MAX, INDEX_TEXT_BYTES_MAX, IndexValue, InvalidCursor, Position, ValueRange};
use crate::fault::did_you_mean;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    OneOf,
    StartsWith,
}

/// One condition, as asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub index: String,
    pub operator: Operator,
    pub value: Value,
}

/// By which index, and whether it is turned round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub index: String,
    pub descending: bool,
}

/// A query as asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub filter: Vec<Condition>,
    /// None: by key.
    pub order: Option<Order>,
    /// A cursor.
    pub after: Option<String>,
}

/// Why a query is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidQuery {
    #[error("collection `{collection}` has no index `{index}`; {fix}")]
    NoIndex { collection: String, index: String, fix: String },
    #[error("{0} conditions, at most {CONDITIONS_MAX} are allowed")]
    TooManyConditions(usize),
    #[error("the condition on index `{index}`: {reason}")]
    Condition { index: String, reason: String },
    #[error("`after`: {0}")]
    Cursor(#[from] InvalidCursor),
}

/// One condition, checked: the values at `pointer` that it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub index: String,
    pointer: String,
    /// Any of them.
    pub ranges: Vec<ValueRange>,
}

/// A query that can be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    pub tests: Vec<Test>,
    pub order: Option<Order>,
    /// Where the index of the order looks.
    order_pointer: Option<String>,
    /// Only records behind it.
    pub after: Option<Position>,
}

impl Query {
    /// Checks what is asked of a collection with these indexes (name and JSON Pointer).
    ///
    /// # Errors
    /// The first thing that cannot be answered.
    pub fn new(
        collection: &str,
        indexes: &BTreeMap<String, String>,
        selection: Selection,
    ) -> Result<Self, InvalidQuery> {
        let Selection { filter, order, after } = selection;
        if filter.len() > CONDITIONS_MAX {
            return Err(InvalidQuery::TooManyConditions(filter.len()));
        }
        let pointer = |index: &str| indexes.get(index).cloned().ok_or_else(|| no_index(collection, indexes, index));
        let test = |condition: Condition| {
            let pointer = pointer(&condition.index)?;
            let ranges = ranges(&condition)
                .map_err(|reason| InvalidQuery::Condition { index: condition.index.clone(), reason })?;
            Ok(Test { index: condition.index, pointer, ranges })
        };
        let tests = filter.into_iter().map(test).collect::<Result<_, InvalidQuery>>()?;
        let order_pointer = order.as_ref().map(|order| pointer(&order.index)).transpose()?;
        let after: Option<Position> = after.as_deref().map(str::parse).transpose()?;
        if after.as_ref().is_some_and(|after| after.value.is_some() != order.is_some()) {
            return Err(InvalidCursor.into());
        }
        Ok(Self { tests, order, order_pointer, after })
    }

    /// All records, by key.
    pub fn everything() -> Self {
        Self { tests: Vec::new(), order: None, order_pointer: None, after: None }
    }

    /// Name and JSON Pointer of every index that is asked.
    pub fn indexes(&self) -> impl Iterator<Item = (&str, &str)> {
        let of_tests = self.tests.iter().map(|test| (test.index.as_str(), test.pointer.as_str()));
        let of_order = self.order.as_ref().zip(self.order_pointer.as_deref());
        of_tests.chain(of_order.map(|(order, pointer)| (order.index.as_str(), pointer)))
    }

    pub fn is_descending(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.descending)
    }

    /// Whether a record is one of those that are asked for, and does not come before the cursor.
    pub fn finds(&self, key: &str, record: &Value) -> bool {
        let is_behind = |after: &Position| self.compare(&self.position(key, record), after).is_gt();
        self.tests.iter().all(|test| test.holds(&IndexValue::at(record, &test.pointer)))
            && self.after.as_ref().is_none_or(is_behind)
    }

    /// Where a record stands in the order of this query.
    pub fn position(&self, key: &str, record: &Value) -> Position {
        let value = self.order_pointer.as_ref().map(|pointer| IndexValue::at(record, pointer));
        Position { value, key: key.to_owned() }
    }

    /// Which of two comes first. A descending order is turned round as a whole: equal ones come by key backwards.
    pub fn compare(&self, one: &Position, other: &Position) -> Ordering {
        if self.is_descending() { other.cmp(one) } else { one.cmp(other) }
    }
}

impl Test {
    pub fn holds(&self, value: &IndexValue) -> bool {
        self.ranges.iter().any(|range| range.contains(value))
    }
}

fn no_index(collection: &str, indexes: &BTreeMap<String, String>, index: &str) -> InvalidQuery {
    let fix = match did_you_mean(index, indexes.keys().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if indexes.is_empty() => {
            format!("declare it in the manifest: `indexes = {{ NAME = \"/…\" }}` under `[collections.{collection}]`")
        }
        None => format!("it has {}", indexes.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")),
    };
    let shown = |text: &str| text.escape_debug().take(100).collect();
    InvalidQuery::NoIndex { collection: shown(collection), index: shown(index), fix }
}

fn ranges(Condition { operator, value, .. }: &Condition) -> Result<Vec<ValueRange>, String> {
    if *operator == Operator::OneOf {
        let Value::Array(choices) = value else { return Err("`one-of` needs an array of values".to_owned()) };
        if choices.len() > CHOICES_MAX {
            return Err(format!("{} values, at most {CHOICES_MAX} are allowed", choices.len()));
        }
        return choices.iter().map(|choice| Ok(ValueRange::exactly(&comparable(choice)?))).collect();
    }
    if *operator == Operator::StartsWith && !value.is_string() {
        return Err("`starts-with` needs a text".to_owned());
    }
    let value = comparable(value)?;
    Ok(vec![match operator {
        Operator::Equal | Operator::OneOf => ValueRange::exactly(&value),
        Operator::Less => ValueRange::below(&value, false),
        Operator::LessOrEqual => ValueRange::below(&value, true),
        Operator::Greater => ValueRange::above(&value, false),
        Operator::GreaterOrEqual => ValueRange::above(&value, true),
        Operator::StartsWith => ValueRange::beginning_with(&value),
    }])
}

fn comparable(value: &Value) -> Result<IndexValue, String> {
    match value {
        Value::Array(_) | Value::Object(_) => Err("compare with a text, a number, true, false or null".to_owned()),
        Value::String(text) if text.len() > INDEX_TEXT_BYTES_MAX => {
            Err(format!("the text is {} bytes long, at most {INDEX_TEXT_BYTES_MAX} are allowed", text.len()))
        }
        value => Ok(IndexValue::of(value)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn indexes() -> BTreeMap<String, String> {
        BTreeMap::from([("state".to_owned(), "/state".to_owned()), ("n".to_owned(), "/a/n".to_owned())])
    }

    fn query(filter: &[(&str, Operator, Value)], order: Option<&str>, after: Option<&str>) -> Result<Query, String> {
        let condition = |(index, operator, value): &(&str, Operator, Value)| Condition {
            index: (*index).to_owned(),
            operator: *operator,
            value: value.clone(),
        };
        let order = order.map(|index| Order { index: index.to_owned(), descending: false });
        let filter = filter.iter().map(condition).collect();
        let selection = Selection { filter, order, after: after.map(str::to_owned) };
        Query::new("things", &indexes(), selection).map_err(|error| error.to_string())
    }

    #[track_caller]
    #[expect(clippy::needless_pass_by_value, reason = "cases are written as literals")]
    fn check(operator: Operator, value: Value, found: &[Value], others: &[Value]) {
        let query = query(&[("n", operator, value.clone())], None, None).expect("a query");
        let finds = |n: &Value| query.finds("k", &json!({ "a": { "n": n } }));
        for (values, expected) in [(found, true), (others, false)] {
            for n in values {
                assert_eq!(finds(n), expected, "{n} {operator:?} {value}");
            }
        }
    }

    #[test]
    fn conditions_hold_for_values_of_the_same_type_alone() {
        check(Operator::Equal, json!(2), &[json!(2), json!(2.0)], &[json!(3), json!("2"), json!(null)]);
        check(Operator::Less, json!(2), &[json!(1.5), json!(-7)], &[json!(2), json!(null), json!(true), json!("")]);
        check(Operator::LessOrEqual, json!("b"), &[json!("b"), json!("")], &[json!("ba"), json!(1), json!([])]);
        check(Operator::Greater, json!("b"), &[json!("ba"), json!("c")], &[json!("b"), json!(9), json!({})]);
        check(Operator::GreaterOrEqual, json!(2), &[json!(2), json!(u64::MAX)], &[json!(1), json!("3")]);
        check(Operator::Greater, json!(false), &[json!(true)], &[json!(false), json!(1), json!(null)]);
        check(Operator::Less, json!(null), &[], &[json!(null), json!(false)]);
        check(Operator::OneOf, json!(["a", 1]), &[json!("a"), json!(1)], &[json!("b"), json!(2)]);
        check(Operator::OneOf, json!([]), &[], &[json!("b"), json!(null)]);
        check(Operator::StartsWith, json!("ab"), &[json!("ab"), json!("abc")], &[json!("a"), json!("ac"), json!(1)]);
        check(Operator::StartsWith, json!(""), &[json!(""), json!("ä")], &[json!(1), json!([]), json!(null)]);
    }

    #[test]
    fn null_is_a_value_that_is_absent_too() {
        let query = query(&[("n", Operator::Equal, json!(null))], None, None).expect("a query");
        for record in [json!({}), json!({ "a": { "n": null } }), json!("text"), json!({ "a": 5 })] {
            assert!(query.finds("k", &record), "{record}");
        }
    }

    #[test]
    fn what_cannot_be_answered_says_why_and_how_to_mend_it() {
        let one = |operator, value| query(&[("n", operator, value)], None, None).expect_err("refused");
        let refused = query(&[("stat", Operator::Equal, json!(1))], None, None).expect_err("refused");
        assert_eq!(refused, "collection `things` has no index `stat`; did you mean `state`?");
        let refused = query(&[], Some("updated"), None).expect_err("refused");
        assert_eq!(refused, "collection `things` has no index `updated`; it has `n`, `state`");
        assert!(one(Operator::Equal, json!([1])).contains("compare with a text"));
        assert!(one(Operator::OneOf, json!(1)).contains("needs an array"));
        assert!(one(Operator::OneOf, json!(vec![0; CHOICES_MAX + 1])).contains("101 values, at most 100"));
        assert!(one(Operator::StartsWith, json!(1)).contains("needs a text"));
        assert!(one(Operator::Equal, json!("x".repeat(513))).contains("513 bytes long, at most 512"));
        let many = vec![("n", Operator::Equal, json!(1)); CONDITIONS_MAX + 1];
        assert!(query(&many, None, None).expect_err("refused").contains("17 conditions"));
        assert!(query(&[], None, Some("05.k")).expect_err("of another order").contains("no cursor"));
        assert!(query(&[], Some("n"), Some(".k")).expect_err("of another order").contains("no cursor"));
    }

    #[test]
    fn equal_ones_come_by_key_and_a_cursor_leads_behind_its_record() {
        let indexes = indexes();
        for descending in [false, true] {
            let order = Some(Order { index: "n".to_owned(), descending });
            let ask = |after| Query::new("t", &indexes, Selection { filter: vec![], order: order.clone(), after });
            let query = ask(None).expect("a query");
            let records = [("b", json!({ "a": { "n": 1 } })), ("a", json!({ "a": { "n": 1 } })), ("c", json!({}))];
            let mut positions: Vec<Position> =
                records.iter().map(|(key, record)| query.position(key, record)).collect();
            positions.sort_by(|one, other| query.compare(one, other));
            let keys: Vec<&str> = positions.iter().map(|position| position.key.as_str()).collect();
            assert_eq!(keys, if descending { ["b", "a", "c"] } else { ["c", "a", "b"] });
            let rest = ask(Some(positions[1].to_string())).expect("a query");
            let found: Vec<&str> =
                records.iter().filter(|(key, record)| rest.finds(key, record)).map(|(key, _)| *key).collect();
            assert_eq!(found, [keys[2]]);
        }
    }
}
