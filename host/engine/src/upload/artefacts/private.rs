//! Files and folders that are this user's alone: made so, and refused when they are not.
//!
//! Whoever else can write to them could have put them there. What is checked is what was opened, never a name a second time;
//! links are not followed, so that a name means the file that lies there. Knows nothing of what is in the files.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _},
    path::Path,
};

/// Makes a folder for this user alone, or takes one that is his: what others may do there is taken from them.
///
/// # Errors
/// It is a link or no folder, belongs to somebody else, or cannot be made.
pub(super) fn folder(path: &Path) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    match make_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => adopt_folder(path),
        made => made,
    }
}

/// A file that is this user's alone, and all that is in it. None: there is none.
///
/// # Errors
/// It is a link or no file, belongs to somebody else, others may read or write it, or it has more bytes than `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<Option<(File, Vec<u8>)>> {
    let mut options = OpenOptions::new();
    options.read(true);
    do_not_follow(&mut options);
    let file = match options.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unusable(path, error)),
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other(format!("{} is no file; remove it", path.display())));
    }
    refuse_foreign(&metadata, path)?;
    refuse_shared(&metadata, path)?;
    let mut bytes = Vec::new();
    (&file).take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("{} has more than {bytes_max} bytes; remove it", path.display());
        return Err(io::Error::other(message));
    }
    Ok(Some((file, bytes)))
}

/// A new file for this user alone.
///
/// # Errors
/// There is something under this name, or it cannot be made.
pub(super) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn unusable(path: &Path, error: io::Error) -> io::Error {
    if fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink()) {
        return io::Error::other(format!("{} is a link, which is not followed here; remove it", path.display()));
    }
    error
}

#[cfg(unix)]
fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(unix)]
fn adopt_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true);
    do_not_follow(&mut options);
    let folder = options.open(path).map_err(|error| unusable(path, error))?;
    let metadata = folder.metadata()?;
    if !metadata.is_dir() {
        return Err(io::Error::other(format!("{} is no folder; remove it", path.display())));
    }
    refuse_foreign(&metadata, path)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "the folder was open to others; it is closed to them");
        folder.set_permissions(fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// A link is an error, and a pipe is no trap: opening it would wait for somebody at its other end.
#[cfg(unix)]
fn do_not_follow(options: &mut OpenOptions) {
    use rustix::fs::OFlags;
    use std::os::unix::fs::OpenOptionsExt as _;
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    options.custom_flags(flags.cast_signed());
}

#[cfg(unix)]
fn refuse_foreign(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let (owner, own) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == own {
        return Ok(());
    }
    let message = format!(
        "{} belongs to user {owner}, and this host runs as user {own}; give it to that user, or remove it",
        path.display()
    );
    Err(io::Error::other(message))
}

#[cfg(unix)]
fn refuse_shared(metadata: &fs::Metadata, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let message = format!("{} can be read by others (mode {mode:o}); remove it to get a new one", path.display());
    Err(io::Error::other(message))
}

#[cfg(not(unix))]
fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

#[cfg(not(unix))]
fn adopt_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn do_not_follow(_options: &mut OpenOptions) {}

#[cfg(not(unix))]
fn refuse_foreign(_metadata: &fs::Metadata, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn refuse_shared(_metadata: &fs::Metadata, _path: &Path) -> io::Result<()> {
    Ok(())
}
