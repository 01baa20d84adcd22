//! The functions that expressions can call and that are written in Rust: jaq's, and those that jaq's standard library has
//! only together with a database of time zones and other weight.

mod number;
mod path;
mod text;
mod time;

use jaq_core::{
    RunPtr,
    data::JustLut,
    native::{Filter, Fun, bome, run, v},
};
use jaq_json::{Error, Val};
use trellis_sdk::log;

type Data = JustLut<Val>;
type Function = Filter<RunPtr<Data>>;

/// All functions.
pub(crate) fn all() -> impl Iterator<Item = Fun<Data>> {
    let ours = [number::all(), path::all(), text::all(), time::all(), own()].into_iter().flatten().map(run::<Data>);
    // There is no process of one's own to leave.
    let base = jaq_std::base_funs().filter(|(name, ..)| *name != "halt");
    jaq_core::funs().chain(base).chain(jaq_json::funs()).chain(ours)
}

fn own() -> Vec<Function> {
    vec![
        ("type", v(0), |cv| bome(Ok(kind(&cv.1).to_owned().into()))),
        ("log_debug", v(0), |cv| {
            log::debug!("{}", cv.1);
            bome(Ok(Val::Null))
        }),
    ]
}

fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "boolean",
        Val::Num(_) => "number",
        Val::TStr(_) | Val::BStr(_) => "string",
        Val::Arr(_) => "array",
        Val::Obj(_) => "object",
    }
}

/// The text of a string value.
fn as_text(value: &Val) -> Result<std::borrow::Cow<'_, str>, Error> {
    match value {
        Val::TStr(text) => Ok(String::from_utf8_lossy(text)),
        other => Err(Error::typ(other.clone(), "string")),
    }
}

fn as_float(value: &Val) -> Result<f64, Error> {
    jaq_std::ValT::as_f64(value).ok_or_else(|| Error::typ(value.clone(), "number"))
}
