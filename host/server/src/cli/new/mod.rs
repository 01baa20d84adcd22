//! `trellis new`: a project that runs, to be changed into the one that is wanted.
//!
//! Writes files and nothing else: it builds nothing, asks no server, and starts no version control.

mod name;
mod sdk;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::output::Exit;
pub use name::{InvalidProjectName, ProjectName};
pub use sdk::{SdkSource, UnusableSdk};

/// The flags of `trellis new`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewArgs {
    /// The project's name, and its plugin's: lower-case letters, digits, `-` and `_`
    pub name: String,
    /// Where to make it [default: a directory of the project's name]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// Depend on the SDK in this directory instead of a released one
    #[arg(long, value_name = "DIR")]
    pub sdk: Option<PathBuf>,
}

/// What was made.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CreatedProject {
    pub name: String,
    pub directory: PathBuf,
    /// Relative to `directory`.
    pub files: Vec<PathBuf>,
}

/// Why no project was made. Nothing was written, but for [`NewError::Write`].
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    #[error(transparent)]
    Name(#[from] InvalidProjectName),
    #[error(transparent)]
    Sdk(#[from] UnusableSdk),
    #[error("{} exists and is not empty; choose another name, or another place with --path", .0.display())]
    NotEmpty(PathBuf),
    #[error("{} exists and is no directory; choose another name, or another place with --path", .0.display())]
    NoDirectory(PathBuf),
    #[error("failed to write {}: {source}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl NewError {
    /// How a command ends for it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Name(_) | Self::Sdk(_) => Exit::Usage,
            Self::NotEmpty(_) | Self::NoDirectory(_) => Exit::Refused,
            Self::Write { .. } => Exit::Failed,
        }
    }
}

/// Path in the project and text, both with places for what differs.
const TEMPLATES: [(&str, &str); 6] = [
    ("trellis.toml", include_str!("../../../templates/rust/trellis.toml")),
    ("event.json", include_str!("../../../templates/rust/event.json")),
    ("README.md", include_str!("../../../templates/rust/README.md")),
    (".gitignore", include_str!("../../../templates/rust/gitignore")),
    ("plugins/{{name}}/Cargo.toml", include_str!("../../../templates/rust/plugin/Cargo.toml.template")),
    ("plugins/{{name}}/src/lib.rs", include_str!("../../../templates/rust/plugin/lib.rs.template")),
];

/// Makes the project.
///
/// # Errors
/// See [`NewError`].
pub fn create(args: &NewArgs) -> Result<CreatedProject, NewError> {
    let name: ProjectName = args.name.parse()?;
    let sdk = match &args.sdk {
        Some(directory) => SdkSource::in_directory(directory)?,
        None => SdkSource::of_this_build(),
    };
    let directory = args.path.clone().unwrap_or_else(|| name.as_str().into());
    check_free(&directory)?;
    let sdk = sdk.to_toml();
    let fill = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{sdk}}", &sdk);
    let mut files = Vec::with_capacity(TEMPLATES.len());
    for (path, text) in TEMPLATES {
        let path = PathBuf::from(fill(path));
        write(&directory.join(&path), &fill(text))?;
        files.push(path);
    }
    Ok(CreatedProject { name: name.as_str().to_owned(), directory, files })
}

/// A directory that is not there yet, or that is empty.
fn check_free(directory: &Path) -> Result<(), NewError> {
    match fs::read_dir(directory).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(NewError::NotEmpty(directory.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(NewError::NoDirectory(directory.to_owned())),
        Err(source) => Err(NewError::Write { path: directory.to_owned(), source }),
    }
}

fn write(path: &Path, text: &str) -> Result<(), NewError> {
    let failed = |source| NewError::Write { path: path.to_owned(), source };
    fs::create_dir_all(path.parent().expect("a file lies in a directory")).map_err(failed)?;
    fs::write(path, text).map_err(failed)
}

#[cfg(test)]
mod tests;
