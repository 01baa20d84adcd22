//! Functions on paths, which are arrays of keys and indices.

use jaq_core::native::{bome, v};
use jaq_json::{Error, Val};

use super::Function;

/// Elements that one assignment may lengthen an array by.
const PADDING_MAX: usize = 100_000;

pub(super) fn all() -> Vec<Function> {
    vec![("setpath", v(2), |mut cv| {
        let (value, path) = (cv.0.pop_var(), cv.0.pop_var());
        bome(match path {
            Val::Arr(path) => with_value_at(cv.1, &path, value),
            other => Err(Error::typ(other, "array")),
        })
    })]
}

/// Sets what a path leads to. What is missing on the way is made: objects for texts, arrays for numbers.
fn with_value_at(whole: Val, path: &[Val], value: Val) -> Result<Val, Error> {
    let Some((step, rest)) = path.split_first() else { return Ok(value) };
    match (whole, step) {
        (Val::Null, Val::TStr(_)) => with_value_at(Val::obj(Default::default()), path, value),
        (Val::Null, Val::Num(_)) => with_value_at(Val::Arr(Default::default()), path, value),
        (Val::Obj(mut members), Val::TStr(_)) => {
            let members_mut = jaq_json::Rc::make_mut(&mut members);
            let before = members_mut.get(step).cloned().unwrap_or_default();
            members_mut.insert(step.clone(), with_value_at(before, rest, value)?);
            Ok(Val::Obj(members))
        }
        (Val::Arr(mut items), Val::Num(number)) => {
            let place = place(number.as_isize(), items.len())
                .ok_or_else(|| Error::index(Val::Arr(items.clone()), step.clone()))?;
            let items_mut = jaq_json::Rc::make_mut(&mut items);
            if place >= items_mut.len() {
                items_mut.resize(place + 1, Val::Null);
            }
            let before = std::mem::take(&mut items_mut[place]);
            items_mut[place] = with_value_at(before, rest, value)?;
            Ok(Val::Arr(items))
        }
        (whole, step) => Err(Error::index(whole, step.clone())),
    }
}

/// Negative indices count from the end.
fn place(index: Option<isize>, length: usize) -> Option<usize> {
    let index = index?;
    let place = if index < 0 { length.checked_sub(index.unsigned_abs())? } else { index.unsigned_abs() };
    (place < length.saturating_add(PADDING_MAX)).then_some(place)
}
