//! Files with secrets, such as master keys and the operator's token: read only while nobody but their owner can read them.
//!
//! Does not know what is in them.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

/// A longer file has no keys and no token in it.
const BYTES_MAX: u64 = 64 * 1024;
/// Rights of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Why a file is not read. Says nothing of what is in it.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {BYTES_MAX} bytes, which no file of keys or of a token is; is another one meant?", path.display())]
    TooLong { path: PathBuf },
    #[error("{} can be read by others (mode {mode:03o}); `chmod 600` it, and make a new secret if others had access", path.display())]
    Exposed { path: PathBuf, mode: u32 },
}

/// The text of a file that is its owner's alone.
///
/// # Errors
/// See [`PrivateFileError`].
pub fn read(path: &Path) -> Result<Zeroizing<String>, PrivateFileError> {
    let failed = |source| PrivateFileError::Read { path: path.to_owned(), source };
    // The file that was looked at is the one that is read, whatever the name means a moment later.
    let file = fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(PrivateFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if text.len() as u64 > BYTES_MAX {
        return Err(PrivateFileError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_if_it_is_its_owners_alone_and_of_a_sensible_length() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        fs::write(&path, "x".repeat(64 * 1024)).expect("it is ours");
        for mode in [0o640, 0o604, 0o660, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
            assert!(matches!(read(&path), Err(PrivateFileError::Exposed { .. })), "{mode:o}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        assert_eq!(read(&path).expect("readable").len(), 64 * 1024);
        fs::write(&path, "x".repeat(64 * 1024 + 1)).expect("it is ours");
        assert!(matches!(read(&path), Err(PrivateFileError::TooLong { .. })));
    }
}
