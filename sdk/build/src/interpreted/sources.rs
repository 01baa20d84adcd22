//! What a component is made of, in one digest: the files of its folder, the tools, the WIT.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};

use crate::BuildError;

/// Files of one plugin, at most. 10,000: a folder with more is no plugin's, and reading it would take longer than a build.
const FILES_MAX: usize = 10_000;
/// Bytes of a digest that names are made of: enough for more components than anybody makes.
const NAME_BYTES: usize = 8;

/// What other programs write among the sources. What begins with a dot is left out as well.
const NO_SOURCES: [&str; 3] = ["node_modules", "__pycache__", "target"];

/// The digest of a folder's files and some texts.
pub(crate) fn digest(folder: &Path, texts: &[&str]) -> Result<String, BuildError> {
    let mut hasher = Sha256::new();
    for text in texts {
        add(&mut hasher, text.as_bytes());
    }
    for path in files(folder)? {
        let name = path.strip_prefix(folder).expect("it lies in the folder");
        add(&mut hasher, name.as_os_str().as_encoded_bytes());
        add(&mut hasher, &fs::read(&path).map_err(|source| BuildError::Unreadable { path: path.clone(), source })?);
    }
    Ok(name_of(&hasher.finalize()))
}

/// The digest of a text.
pub(crate) fn digest_of(text: &str) -> String {
    name_of(&Sha256::digest(text))
}

/// With its length before it: what ends one part cannot begin the next.
fn add(hasher: &mut Sha256, part: &[u8]) {
    hasher.update((part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn name_of(digest: &[u8]) -> String {
    digest.iter().take(NAME_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, BuildError> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(current) = folders.pop() {
        let unreadable = |source| BuildError::Unreadable { path: current.clone(), source };
        for entry in fs::read_dir(&current).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") || NO_SOURCES.iter().any(|other| name == *other) {
                continue;
            }
            // A link to a folder is not followed: it may lead around in a circle.
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if entry.path().is_file() {
                found.push(entry.path());
            }
            if found.len() > FILES_MAX {
                return Err(BuildError::TooManyFiles { folder: folder.to_owned(), files_max: FILES_MAX });
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_digest_changes_with_every_source_and_with_nothing_else() {
        let dir = TempDir::new().expect("a temporary folder");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("in the folder")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        let now = |tools: &str| digest(dir.path(), &[tools]).expect("readable");
        write("src/a.js", "1");
        let first = now("1.0");
        for ignored in ["node_modules/x/index.js", "src/__pycache__/a.pyc", ".trellis/guests/x.wasm"] {
            write(ignored, "made");
            assert_eq!(now("1.0"), first, "{ignored}");
        }
        assert_ne!(now("1.1"), first, "other tools");
        write("src/a.js", "2");
        let second = now("1.0");
        assert_ne!(second, first, "another content");
        fs::rename(dir.path().join("src/a.js"), dir.path().join("src/b.js")).expect("ours");
        assert_ne!(now("1.0"), second, "another name");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let dir = TempDir::new().expect("a temporary folder");
        let of = |texts: &[&str]| digest(dir.path(), texts).expect("readable");
        assert_ne!(of(&["ab", "c"]), of(&["a", "bc"]));
    }
}
