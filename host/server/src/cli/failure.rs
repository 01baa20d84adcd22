//! How a command fails: an exit code for scripts and an error for people.

use std::error::Error;

use trellis_model::fault::Fault;
use trellis_store::StoreError;

use super::output::Exit;
use crate::{client::ClientError, project::ProjectError};

/// A command that did not do what was asked.
#[derive(Debug)]
pub struct Failure {
    pub exit: Exit,
    pub error: Box<dyn Error + Send + Sync>,
    /// Each mistake in what was sent by itself, for programs. The error tells them all to people.
    pub faults: Vec<Fault>,
}

/// What every command answers with.
pub type CommandResult = Result<(), Failure>;

impl Failure {
    pub fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit, error: error.into(), faults: Vec::new() }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let is_unavailable =
            error.chain().filter_map(|cause| cause.downcast_ref::<StoreError>()).any(StoreError::is_unavailable);
        Self::new(if is_unavailable { Exit::Unavailable } else { Exit::Failed }, error)
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new(super::output::written(Err(std::io::Error::from(error.kind()))), error)
    }
}

impl From<&ClientError> for Exit {
    fn from(error: &ClientError) -> Self {
        match error.status() {
            None if matches!(error, ClientError::Address(_) | ClientError::AddressOfApi(_)) => Self::Usage,
            Some(404) => Self::NotFound,
            Some(400..500) => Self::Refused,
            _ => Self::Unavailable,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let exit = Exit::from(&error);
        match error {
            ClientError::Problem(problem) if !problem.faults.is_empty() => {
                let text = format!("{}:\n{}", problem.title, crate::project::listed(&problem.faults));
                Self { faults: problem.faults, ..Self::new(exit, text) }
            }
            error => Self::new(exit, error),
        }
    }
}

impl From<ProjectError> for Failure {
    fn from(error: ProjectError) -> Self {
        let exit = match &error {
            ProjectError::NoManifest(_) => Exit::NotFound,
            ProjectError::Faults(_) => Exit::Refused,
            ProjectError::Unreadable { .. } | ProjectError::Build(_) => Exit::Failed,
        };
        let faults = match &error {
            ProjectError::Faults(faulty) => faulty.faults.clone(),
            _ => Vec::new(),
        };
        Self { faults, ..Self::new(exit, error) }
    }
}
