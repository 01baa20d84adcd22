//! Whether an event is what its trigger says that events look like.

use serde_json::{Value, value::RawValue};
use trellis_model::{fault::Fault, manifest::Trigger, schema::Misfit};

use super::Problem;

/// # Errors
/// 422 with everything that does not fit, by JSON Pointers into the event.
pub fn check(trigger: &Trigger, data: &RawValue) -> Result<(), Problem> {
    let Some(schema) = &trigger.http.schema else { return Ok(()) };
    let event: Value = serde_json::from_str(data.get())
        .map_err(|error| Problem::bad_request(format!("the body is not JSON: {error}")))?;
    let fault = |Misfit { pointer, message, fix }| {
        let fault = Fault::at(pointer, message);
        match fix {
            Some(fix) => fault.fix(fix),
            None => fault,
        }
    };
    let faults: Vec<Fault> = schema.misfits(&event).into_iter().map(fault).collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid("invalid-event", faults))
}
