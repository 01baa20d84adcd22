//! `trellis new`: a project that runs, to be changed into the one that is wanted.
//!
//! Writes files and nothing else: it builds nothing, asks no server, and starts no version control.

mod name;
mod sdk;
mod template;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::output::Exit;
pub use name::{InvalidProjectName, ProjectName};
pub use sdk::{SdkSource, UnusableSdk};
pub use template::Language;

/// The flags of `trellis new`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewArgs {
    /// The project's name, and its plugin's: lower-case letters, digits, `-` and `_`
    pub name: String,
    /// Where to make it [default: a directory of the project's name]
    #[arg(long, value_name = "DIR")]
    pub path: Option<PathBuf>,
    /// What its plugin is written in
    #[arg(long, value_enum, default_value_t)]
    pub language: Language,
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
    /// The command that tests its plugin, to be called in `directory`.
    pub test: String,
}

/// Why no project was made. Nothing was written, but for [`NewError::Write`].
#[derive(Debug, thiserror::Error)]
pub enum NewError {
    #[error(transparent)]
    Name(#[from] InvalidProjectName),
    #[error(transparent)]
    Sdk(#[from] UnusableSdk),
    #[error("--sdk is for plugins in Rust: those in other languages depend on no SDK; leave it out")]
    SdkOfOtherLanguage,
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
            Self::Name(_) | Self::Sdk(_) | Self::SdkOfOtherLanguage => Exit::Usage,
            Self::NotEmpty(_) | Self::NoDirectory(_) => Exit::Refused,
            Self::Write { .. } => Exit::Failed,
        }
    }
}

/// Makes the project.
///
/// # Errors
/// See [`NewError`].
pub fn create(args: &NewArgs) -> Result<CreatedProject, NewError> {
    let name: ProjectName = args.name.parse()?;
    match (args.language, &args.sdk) {
        (Language::Rust, _) => name.check_crate()?,
        (_, Some(_)) => return Err(NewError::SdkOfOtherLanguage),
        (_, None) => {}
    }
    let sdk = match &args.sdk {
        Some(directory) => SdkSource::in_directory(directory)?,
        None => SdkSource::of_this_build(),
    };
    let directory = args.path.clone().unwrap_or_else(|| name.as_str().into());
    check_free(&directory)?;
    let sdk = sdk.to_toml();
    let fill = |text: &str| text.replace("{{name}}", name.as_str()).replace("{{sdk}}", &sdk);
    let mut files = Vec::new();
    for (path, text) in args.language.files() {
        let path = PathBuf::from(fill(path));
        write(&directory.join(&path), &fill(text))?;
        files.push(path);
    }
    let test = args.language.test(name.as_str());
    Ok(CreatedProject { name: name.as_str().to_owned(), directory, files, test })
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
