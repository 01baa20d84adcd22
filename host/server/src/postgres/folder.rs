//! The data folder: chosen, made, locked against a second host, filled by initdb.
//!
//! The folder itself is the host's; what is the server's lies in it as directories of its own. So a server that runs as
//! another user cannot put links where the host, as root, will write.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{EmbeddedPostgresError, ROLE, binaries::Binaries, run_as::RunAs};

/// Where a folder goes that the server's user cannot reach.
const FALLBACK_PARENT: &str = "/var/lib/trellis";
const LOCK: &str = "host.lock";

/// A folder that this host alone uses, for as long as this value lives.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    pub run_as: RunAs,
    /// Its lock is what keeps a second host out; the kernel lets go of it however this process ends.
    _lock: File,
}

impl Folder {
    /// Opens `wanted`, or the folder that stands in for it when root's choice of user cannot get there.
    pub async fn open(wanted: &Path) -> Result<Self, EmbeddedPostgresError> {
        let wanted = resolved(wanted)?;
        let mut unreachable = None;
        for root in places(&wanted).await {
            match Self::open_at(&root).await {
                Err(error @ EmbeddedPostgresError::Unreachable { .. }) => unreachable = unreachable.or(Some(error)),
                Ok(folder) if root != wanted => {
                    tracing::warn!(
                        wanted = %wanted.display(), used = %root.display(), user = folder.run_as.name(),
                        "the user PostgreSQL runs as cannot reach the wanted data folder; another one is used"
                    );
                    return Ok(folder);
                }
                other => return other,
            }
        }
        Err(unreachable.expect("there is always a place to try, and only unreachable ones are passed over"))
    }

    async fn open_at(root: &Path) -> Result<Self, EmbeddedPostgresError> {
        let run_as = RunAs::choose(&root.join("data")).await?;
        let unreachable = |folder: &Path| EmbeddedPostgresError::Unreachable {
            folder: folder.to_owned(),
            user: run_as.name().to_owned(),
        };
        if !run_as.can_enter(nearest_existing(root)).await {
            return Err(unreachable(root));
        }
        let made = make(root, &run_as)?;
        if !made && !is_ours_or_empty(root)? {
            return Err(EmbeddedPostgresError::NotOurs(root.to_owned()));
        }
        if !run_as.can_enter(root).await {
            // A strict umask has closed the folders above, which were made just now.
            if made {
                fs::remove_dir(root).map_err(EmbeddedPostgresError::folder("remove", root))?;
            }
            return Err(unreachable(root));
        }
        let lock = lock(root)?;
        Ok(Self { root: root.to_owned(), run_as, _lock: lock })
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The major version that made the data, if there are data.
    pub fn made_by(&self) -> Option<String> {
        fs::read_to_string(self.data().join("PG_VERSION")).ok().map(|version| version.trim().to_owned())
    }

    /// Makes the data with initdb, if there are none. They appear by a rename: a host that is killed in the middle
    /// leaves nothing that looks like a database.
    pub async fn initialise(&self, binaries: &Binaries) -> Result<(), EmbeddedPostgresError> {
        if self.made_by().is_some() {
            return Ok(());
        }
        let unfinished = self.root.join("data.new");
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(EmbeddedPostgresError::folder("remove", &unfinished))?;
        }
        tracing::info!(folder = %self.root.display(), version = %binaries.version, "making the database's data folder");
        self.make_directory(&unfinished)?;
        let program = binaries.program("initdb");
        let mut command = self.run_as.command(&program);
        // No password: who gets into the socket's directory is the very user that could read the files.
        command.args(["--auth-local=trust", "--auth-host=reject", "--encoding=UTF8", "--locale=C"]);
        command.args(["--no-instructions", "--username", ROLE, "-D"]).arg(&unfinished);
        let output = command.output().await;
        let output = output.map_err(|source| EmbeddedPostgresError::Program { program, source })?;
        if !output.status.success() {
            let output = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(EmbeddedPostgresError::ProgramFailed { program: "initdb", output });
        }
        fs::rename(&unfinished, self.data()).map_err(EmbeddedPostgresError::folder("rename", &unfinished))
    }

    /// A new directory that is the server's alone.
    pub fn make_directory(&self, directory: &Path) -> Result<(), EmbeddedPostgresError> {
        let made = DirBuilder::new().mode(0o700).create(directory);
        made.map_err(EmbeddedPostgresError::folder("make", directory))?;
        self.run_as.give(directory)
    }

    /// A file of the host's in this folder, made when missing.
    pub fn open_file(&self, name: &str, options: &mut OpenOptions) -> Result<File, EmbeddedPostgresError> {
        open_file(&self.root, name, options)
    }
}

/// The places to try, in order. Data that exist decide: a database must not seem empty because a permission changed.
async fn places(wanted: &Path) -> Vec<PathBuf> {
    let has_data = |root: &Path| root.join("data/PG_VERSION").exists();
    let fallback = fallback_for(wanted);
    match RunAs::choose(&wanted.join("data")).await {
        Ok(RunAs::Unprivileged { .. }) if has_data(wanted) => vec![wanted.to_owned()],
        Ok(RunAs::Unprivileged { .. }) if has_data(&fallback) => vec![fallback],
        Ok(RunAs::Unprivileged { .. }) => vec![wanted.to_owned(), fallback],
        _ => vec![wanted.to_owned()],
    }
}

/// `/var/lib/trellis/<name>-<hash of the wanted folder>`: the same for the same folder, readable for a person.
fn fallback_for(wanted: &Path) -> PathBuf {
    let name = wanted.file_name().unwrap_or_default().to_string_lossy();
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).take(32).collect();
    let digest = Sha256::digest(wanted.as_os_str().as_encoded_bytes());
    let hash: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new(FALLBACK_PARENT).join(format!("{name}-{hash}"))
}

/// The path without symbolic links, as far as it exists: one folder must not be locked under two names.
fn resolved(wanted: &Path) -> Result<PathBuf, EmbeddedPostgresError> {
    let absolute = std::path::absolute(wanted).map_err(EmbeddedPostgresError::folder("find", wanted))?;
    let existing = nearest_existing(&absolute);
    let real = existing.canonicalize().map_err(EmbeddedPostgresError::folder("find", existing))?;
    let rest = absolute.strip_prefix(existing).expect("an ancestor is a prefix");
    // Joining an empty rest would add a slash at the end.
    Ok(if rest.as_os_str().is_empty() { real } else { real.join(rest) })
}

fn nearest_existing(path: &Path) -> &Path {
    path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"))
}

/// Makes the folder and those above it. Whether it was missing.
fn make(root: &Path, run_as: &RunAs) -> Result<bool, EmbeddedPostgresError> {
    let open = |path: &Path, mode: u32| {
        // Whatever the umask.
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(EmbeddedPostgresError::folder("open", path))
    };
    if let Some(parent) = root.parent() {
        let is_new_fallback = parent == Path::new(FALLBACK_PARENT) && !parent.exists();
        fs::create_dir_all(parent).map_err(EmbeddedPostgresError::folder("make", parent))?;
        if is_new_fallback {
            open(parent, 0o755)?;
        }
    }
    match DirBuilder::new().mode(0o700).create(root) {
        Ok(()) => {
            if *run_as != RunAs::Ourselves {
                // To pass through, not to look around.
                open(root, 0o711)?;
            }
            Ok(true)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(EmbeddedPostgresError::folder("make", root)(error)),
    }
}

/// Guards someone's files against being given to another user by a mistyped path.
fn is_ours_or_empty(root: &Path) -> Result<bool, EmbeddedPostgresError> {
    if root.join(LOCK).exists() {
        return Ok(true);
    }
    let mut entries = fs::read_dir(root).map_err(EmbeddedPostgresError::folder("read", root))?;
    Ok(entries.next().is_none())
}

/// A file in `root`. A new one belongs to the owner of `root`, even if root makes it in someone's folder; in place of an
/// existing one no link is followed, as that could lead anywhere.
fn open_file(root: &Path, name: &str, options: &mut OpenOptions) -> Result<File, EmbeddedPostgresError> {
    let path = root.join(name);
    let open = |options: &mut OpenOptions| -> io::Result<File> {
        match options.clone().create_new(true).mode(0o600).open(&path) {
            Ok(file) => {
                let (owner, made) = (fs::metadata(root)?, file.metadata()?);
                if owner.uid() != made.uid() {
                    fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
                }
                Ok(file)
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let file = options.open(&path)?;
                let (named, opened) = (fs::symlink_metadata(&path)?, file.metadata()?);
                let is_same = named.is_file() && (named.dev(), named.ino()) == (opened.dev(), opened.ino());
                if is_same && opened.nlink() == 1 { Ok(file) } else { Err(io::Error::other("it is a link")) }
            }
            Err(error) => Err(error),
        }
    };
    open(options).map_err(EmbeddedPostgresError::folder("open", &path))
}

fn lock(root: &Path) -> Result<File, EmbeddedPostgresError> {
    let path = root.join(LOCK);
    let mut file = open_file(root, LOCK, OpenOptions::new().read(true).write(true))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // For the message only: without it the refusal stands as well.
            let known = file.read_to_string(&mut holder).is_ok() && !holder.trim().is_empty();
            let holder = if known { format!(" (process {})", holder.trim()) } else { String::new() };
            return Err(EmbeddedPostgresError::InUse { folder: root.to_owned(), holder });
        }
        Err(TryLockError::Error(error)) => return Err(EmbeddedPostgresError::folder("lock", &path)(error)),
    }
    let write_holder = |file: &mut File| {
        file.set_len(0)?;
        file.write_all(std::process::id().to_string().as_bytes())
    };
    write_holder(&mut file).map_err(EmbeddedPostgresError::folder("write", &path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::tests::open_to_all;

    #[tokio::test]
    async fn a_folder_with_someones_files_is_refused() {
        let dir = open_to_all();
        fs::write(dir.path().join("thesis.txt"), "years of work").expect("a file");
        let error = Folder::open(dir.path()).await.expect_err("it is not ours");
        assert!(matches!(error, EmbeddedPostgresError::NotOurs(_)), "{error:?}");
    }

    #[tokio::test]
    async fn two_names_of_one_folder_are_one_folder() {
        let dir = open_to_all();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).expect("a directory");
        std::os::unix::fs::symlink(&real, &link).expect("a link");
        let _first = Folder::open(&real.join("pg")).await.expect("it is free");
        let error = Folder::open(&link.join("pg")).await.expect_err("it is in use");
        let ours = format!("(process {})", std::process::id());
        assert!(matches!(error, EmbeddedPostgresError::InUse { .. }) && error.to_string().contains(&ours), "{error}");
    }

    #[tokio::test]
    async fn a_link_in_place_of_a_file_is_not_followed() {
        let dir = open_to_all();
        let folder = Folder::open(&dir.path().join("pg")).await.expect("it is free");
        let elsewhere = dir.path().join("elsewhere");
        fs::write(&elsewhere, "precious").expect("written");
        std::os::unix::fs::symlink(&elsewhere, folder.root().join("soft")).expect("a link");
        fs::hard_link(&elsewhere, folder.root().join("hard")).expect("a link");
        for name in ["soft", "hard"] {
            let error = folder.open_file(name, OpenOptions::new().append(true)).expect_err("it is a link");
            assert!(error.to_string().ends_with("it is a link"), "{error}");
        }
        folder.open_file("plain", OpenOptions::new().append(true)).expect("it is made");
        folder.open_file("plain", OpenOptions::new().append(true)).expect("it is there");
    }

    #[test]
    fn the_stand_in_for_a_folder_is_always_the_same_and_its_own() {
        let one = fallback_for(Path::new("/home/a/.trellis/postgres"));
        assert_eq!(one, fallback_for(Path::new("/home/a/.trellis/postgres")));
        assert_ne!(one, fallback_for(Path::new("/home/b/.trellis/postgres")));
        assert!(one.starts_with(FALLBACK_PARENT) && one.to_string_lossy().contains("/postgres-"), "{one:?}");
    }
}
