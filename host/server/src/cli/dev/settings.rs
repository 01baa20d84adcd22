//! The `[dev]` table of a manifest: what `trellis dev` adds around a project.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use trellis_model::manifest::document;

use crate::project::{MANIFEST, ProjectError};

/// What a project needs while it is being developed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DevSettings {
    /// The event that `--once` sends.
    pub event: Option<DevEvent>,
    /// Programs that stand in for the outside world.
    pub services: Vec<DevService>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevEvent {
    pub trigger: String,
    /// Relative to the project's folder.
    pub file: PathBuf,
}

/// A program that listens on the port that it is given as `PORT`, and ends when its standard input does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevService {
    /// Its address is the variable `NAME_URL`, in upper case.
    pub name: String,
    /// Program and arguments, run in the project's folder.
    pub command: Vec<String>,
}

impl DevSettings {
    /// Reads the `[dev]` table of a folder's manifest. A manifest that cannot be read as a whole is told later, with all
    /// its faults; here it has no `[dev]`.
    ///
    /// # Errors
    /// The table is not as described above.
    pub fn read(dir: &Path) -> Result<Self, ProjectError> {
        let Ok(text) = std::fs::read_to_string(dir.join(MANIFEST)) else {
            return Err(ProjectError::NoManifest(dir.to_owned()));
        };
        let Ok(document) = document::from_toml(&text) else { return Ok(Self::default()) };
        let Some(item) = document.find("/dev") else { return Ok(Self::default()) };
        let settings: Result<Self, _> = serde_json::from_value(item.to_json());
        let fault = |message: String| {
            let fix = "`event = { trigger, file }` and `[[dev.services]]` with `name` and `command` go here";
            ProjectError::Faults(vec![item.place.fault(message).fix(fix)])
        };
        let settings = settings.map_err(|error| fault(error.to_string()))?;
        match settings.services.iter().find(|service| service.command.is_empty()) {
            Some(service) => Err(fault(format!("service `{}` has an empty `command`", service.name))),
            None => Ok(settings),
        }
    }
}
