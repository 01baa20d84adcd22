//! Functions on numbers.

use jaq_core::native::{bome, v};
use jaq_json::{Error, Val};

use super::{Function, as_float, as_text};

/// A function of the standard library on floats.
macro_rules! float {
    ($name:literal, $function:path) => {
        ($name, v(0), |cv| bome(as_float(&cv.1).map(|number| Val::from($function(number)))))
    };
}

pub(super) fn all() -> Vec<Function> {
    vec![
        ("nan", v(0), |_| bome(Ok(Val::from(f64::NAN)))),
        ("infinite", v(0), |_| bome(Ok(Val::from(f64::INFINITY)))),
        ("isnan", v(0), |cv| bome(as_float(&cv.1).map(|number| number.is_nan().into()))),
        ("isinfinite", v(0), |cv| bome(as_float(&cv.1).map(|number| number.is_infinite().into()))),
        ("isnormal", v(0), |cv| bome(as_float(&cv.1).map(|number| number.is_normal().into()))),
        ("tonumber", v(0), |cv| bome(to_number(cv.1))),
        ("pow", v(2), |mut cv| {
            let (exponent, base) = (cv.0.pop_var(), cv.0.pop_var());
            bome(as_float(&base).and_then(|base| Ok(Val::from(base.powf(as_float(&exponent)?)))))
        }),
        float!("sqrt", f64::sqrt),
        float!("exp", f64::exp),
        float!("log", f64::ln),
        float!("log2", f64::log2),
        float!("log10", f64::log10),
        float!("trunc", f64::trunc),
    ]
}

/// A number as it is, and the number that a text spells in JSON.
fn to_number(value: Val) -> Result<Val, Error> {
    if matches!(value, Val::Num(_)) {
        return Ok(value);
    }
    let text = as_text(&value)?;
    let number = text.parse::<serde_json::Number>();
    let number = number.map_err(|_| Error::str(format_args!("{value} cannot be read as a number")))?;
    Ok(Val::Num(crate::json::number_to_jq(&number)))
}
