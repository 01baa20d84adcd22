//! The `[dev]` table of a manifest: what `trellis dev` adds around a project.

use std::path::Path;

use trellis_model::manifest::{Manifest, dev::DevDefinition, document};

use crate::project::{Faulty, MANIFEST, ProjectError};

/// Reads the `[dev]` table of a folder's manifest. A manifest that cannot be read as a whole is told later, with all its
/// faults; here it has no `[dev]`.
///
/// # Errors
/// What is wrong with the table itself.
pub fn read(dir: &Path) -> Result<DevDefinition, ProjectError> {
    let Ok(text) = std::fs::read_to_string(dir.join(MANIFEST)) else {
        return Err(ProjectError::NoManifest(dir.to_owned()));
    };
    let Ok(document) = document::from_toml(&text) else { return Ok(DevDefinition::default()) };
    let (manifest, mut faults) = Manifest::read_as_far_as_possible(&document);
    faults.retain(|fault| fault.pointer == "/dev" || fault.pointer.starts_with("/dev/"));
    if faults.is_empty() { Ok(manifest.dev) } else { Err(ProjectError::Faults(Box::new(Faulty::of(faults)))) }
}
