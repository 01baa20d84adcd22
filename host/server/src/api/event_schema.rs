//! Whether an event is what its trigger says that events look like.

use serde_json::{Value, value::RawValue};
use trellis_model::{AccountId, fault::Fault, manifest::Trigger, schema::Misfit};

use super::{Api, Problem};

/// # Errors
/// 422 with everything that does not fit, by JSON Pointers into the event.
pub async fn check(api: &Api, account: AccountId, trigger: &Trigger, data: &RawValue) -> Result<(), Problem> {
    let Some(schema) = &trigger.http.schema else { return Ok(()) };
    let event: Value = serde_json::from_str(data.get())
        .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
    let misfits = if schema.is_quick(&event) {
        schema.misfits(&event)
    } else {
        let schema = schema.clone();
        api.schema_turns.work(account, move || schema.misfits(&event)).await?
    };
    if misfits.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid("invalid-event", misfits.into_iter().map(fault).collect()))
}

pub fn fault(Misfit { pointer, message, fix }: Misfit) -> Fault {
    let fault = Fault::at(pointer, message);
    match fix {
        Some(fix) => fault.fix(fix),
        None => fault,
    }
}
