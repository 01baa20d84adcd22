//! Values of serde_json and of jq, into each other.
//!
//! As in jq, a float without a fraction is written as an integer, NaN becomes null, and infinities become the largest
//! finite numbers.

use jaq_json::{Map, Num, Val};
use serde_json::{Number, Value};

use crate::{Failure, mistake::excerpt};

/// Floats up to here name every integer exactly.
const EXACT_INTEGER_MAX: f64 = 9_007_199_254_740_991.0;

pub(crate) fn to_jq(value: Value) -> Val {
    match value {
        Value::Null => Val::Null,
        Value::Bool(truth) => Val::Bool(truth),
        Value::Number(number) => Val::Num(number_to_jq(&number)),
        Value::String(text) => Val::utf8_str(text),
        Value::Array(items) => items.into_iter().map(to_jq).collect(),
        Value::Object(members) => {
            let members = members.into_iter().map(|(key, value)| (Val::utf8_str(key), to_jq(value)));
            Val::obj(members.collect::<Map>())
        }
    }
}

pub(crate) fn number_to_jq(number: &Number) -> Num {
    if let Some(integer) = number.as_i64() {
        Num::from_integral(integer)
    } else if let Some(integer) = number.as_u64() {
        Num::from_integral(integer)
    } else {
        Num::Float(number.as_f64().unwrap_or(f64::NAN))
    }
}

pub(crate) fn from_jq(value: Val) -> Result<Value, Failure> {
    Ok(match value {
        Val::Null => Value::Null,
        Val::Bool(truth) => Value::Bool(truth),
        Val::Num(number) => number_from_jq(&number),
        Val::TStr(text) => Value::String(String::from_utf8_lossy(&text).into_owned()),
        Val::BStr(_) => return Err(Failure::NotJson("a byte string".into())),
        Val::Arr(items) => Value::Array(items.iter().cloned().map(from_jq).collect::<Result<_, _>>()?),
        Val::Obj(members) => {
            let members = members.iter().map(|(key, value)| Ok((key_from_jq(key)?, from_jq(value.clone())?)));
            Value::Object(members.collect::<Result<_, Failure>>()?)
        }
    })
}

fn key_from_jq(key: &Val) -> Result<String, Failure> {
    match key {
        Val::TStr(text) => Ok(String::from_utf8_lossy(text).into_owned()),
        other => Err(Failure::NotJson(format!("an object with the key {}", excerpt(&other.to_string())))),
    }
}

fn number_from_jq(number: &Num) -> Value {
    let float = match number {
        Num::Int(integer) => return Value::from(*integer),
        Num::BigInt(integer) => {
            let digits = integer.to_string();
            match (digits.parse::<i64>(), digits.parse::<u64>()) {
                (Ok(integer), _) => return Value::from(integer),
                (_, Ok(integer)) => return Value::from(integer),
                _ => parsed(&digits),
            }
        }
        Num::Float(float) => *float,
        Num::Dec(decimal) => parsed(decimal),
    };
    if float.is_nan() {
        return Value::Null;
    }
    let float = float.clamp(f64::MIN, f64::MAX);
    if float.fract() == 0.0 && float.abs() <= EXACT_INTEGER_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "an integer within the range of i64")]
        return Value::from(float as i64);
    }
    Value::from(float)
}

fn parsed(digits: &str) -> f64 {
    digits.parse().unwrap_or(f64::NAN)
}
