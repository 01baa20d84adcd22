//! The jq expressions of the plugins `json-map` and `filter`: one language, one set of messages.
//!
//! An expression sees a JSON value and the variable `$event`, and yields values one by one. It has no modules, files,
//! environment or further inputs. Does not know ports: what several values or none mean is for the plugin to say.
#![deny(missing_docs)]

mod event;
mod functions;
mod json;
mod mistake;
mod prelude;

use jaq_core::{
    Compiler, Ctx, Filter, Vars,
    data::JustLut,
    load::{Arena, File, Loader},
};
use jaq_json::Val;
use serde_json::Value;

pub use event::current_event;
pub use mistake::Mistake;

/// The variable that holds what is known about the event.
const EVENT: &str = "$event";

/// A compiled expression.
pub struct Expression {
    filter: Filter<JustLut<Val>>,
}

/// Why an expression yields no value for an input.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A step cannot be done with the value at hand, or the expression itself raised an error.
    #[error("the expression fails: {0}")]
    Step(String),
    /// The expression yields something that JSON has no form for.
    #[error("the expression yields {0}, which JSON has no form for")]
    NotJson(String),
}

impl Expression {
    /// Reads an expression.
    ///
    /// # Errors
    /// The first mistake, with its line and column.
    pub fn parse(text: &str) -> Result<Self, Mistake> {
        let arena = Arena::default();
        let modules = Loader::new(prelude::definitions(text))
            .load(&arena, File { code: text, path: () })
            .map_err(|errors| Mistake::of_loading(text, &errors))?;
        let filter = Compiler::default()
            .with_funs(functions::all())
            .with_global_vars([EVENT])
            .compile(modules)
            .map_err(|errors| Mistake::of_compiling(text, &errors))?;
        Ok(Self { filter })
    }

    /// The values that the expression yields for an input, computed as they are asked for.
    pub fn values(&self, input: Value, event: Value) -> impl Iterator<Item = Result<Value, Failure>> + '_ {
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([json::to_jq(event)]));
        self.filter.id.run((context, json::to_jq(input))).map(|value| match value {
            Ok(value) => json::from_jq(value),
            Err(exception) => match exception.get_err() {
                Ok(error) => Err(Failure::Step(reason(error))),
                Err(_) => Err(Failure::Step("it leaves without a value".into())),
            },
        })
    }
}

/// A text that was raised is told as it is, anything else as JSON.
fn reason(error: jaq_json::Error) -> String {
    match error.into_val() {
        Val::TStr(text) => mistake::excerpt(&String::from_utf8_lossy(&text)),
        other => mistake::excerpt(&other.to_string()),
    }
}

impl std::fmt::Debug for Expression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Expression").finish_non_exhaustive()
    }
}
