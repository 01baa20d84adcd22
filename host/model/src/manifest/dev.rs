//! `[dev]`: what `trellis dev` adds around a project, the sample event and programs that stand in for the outside world.
//!
//! Only read here. Whether files and programs exist is the command line's affair.

use super::{SECTIONS_MAX, check_count, document::Item, reader::Faults};

/// What a project needs while it is being developed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DevDefinition {
    /// The event that `trellis dev --once` sends.
    pub event: Option<DevEvent>,
    pub services: Vec<DevService>,
}

/// A file that is sent to a trigger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevEvent {
    pub trigger: String,
    /// Relative to the project's folder.
    pub file: String,
}

/// A program that listens on the port that it is given as `PORT`, and ends when its standard input does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevService {
    /// Its address is the variable `NAME_URL`, in upper case.
    pub name: String,
    /// Program and arguments, run in the project's folder.
    pub command: Vec<String>,
}

pub(super) fn read(faults: &mut Faults, item: &Item) -> DevDefinition {
    let fields = faults.fields(item, &["event", "services"]);
    DevDefinition {
        event: fields.optional("event").and_then(|item| read_event(faults, item)),
        services: fields.optional("services").map(|item| read_services(faults, item)).unwrap_or_default(),
    }
}

fn read_event(faults: &mut Faults, item: &Item) -> Option<DevEvent> {
    let fields = faults.fields(item, &["trigger", "file"]);
    let trigger = fields.required(faults, "trigger", "add `trigger = \"…\"`, the name of a trigger");
    let file = fields.required(faults, "file", "add `file = \"event.json\"`, a file of the project's folder");
    Some(DevEvent { trigger: faults.text(trigger?)?, file: faults.text(file?)? })
}

fn read_services(faults: &mut Faults, item: &Item) -> Vec<DevService> {
    let items = faults.list(item);
    check_count(faults, item, items.len(), SECTIONS_MAX, "services");
    items.iter().take(SECTIONS_MAX).filter_map(|item| read_service(faults, item)).collect()
}

fn read_service(faults: &mut Faults, item: &Item) -> Option<DevService> {
    let fields = faults.fields(item, &["name", "command"]);
    let name_item = fields.required(faults, "name", "add `name = \"…\"`");
    let command_item = fields.required(faults, "command", "add `command = [\"program\", \"argument\"]`");
    let (name_item, command_item) = (name_item?, command_item?);
    let name = faults.text(name_item)?;
    faults.name(&name, &name_item.place, "service");
    let words = faults.list(command_item);
    let command: Vec<String> = words.iter().filter_map(|word| faults.text(word)).collect();
    if words.is_empty() {
        let fault = command_item.place.fault(format!("service `{name}` has an empty `command`"));
        faults.push(fault.fix("write `command = [\"program\", \"argument\"]`"));
    }
    Some(DevService { name, command })
}
