//! Where installed tools and made components are kept, and how builders in several processes keep out of each other's way.

use std::{
    env, fs,
    fs::File,
    path::{Path, PathBuf},
    time::SystemTime,
};

use crate::{BuildError, cargo::BUILD_DIR};

/// The file that makes a folder a project.
const PROJECT: &str = "trellis.toml";
/// Components kept of one plugin. 4: whoever goes back and forth between two states of it need not wait.
const COMPONENTS_MAX: usize = 4;

/// ```text
/// tools/{language}-{digest}/   with the file `installed` when it is whole
/// packages/{digest}/           what a Python plugin depends on, likewise
/// wit/{digest}/                the WIT, as files
/// guests/plugins/{plugin}/{digest}.wasm
/// lock                         held by whoever changes anything of it
/// ```
#[derive(Clone, Debug)]
pub(crate) struct BuildFolder(PathBuf);

impl BuildFolder {
    /// The folder `.trellis` of the project in which a plugin lies; that of the plugin itself if it lies in none.
    pub fn of(plugin: &Path) -> Self {
        let named = env::var_os(BUILD_DIR).filter(|path| !path.is_empty());
        Self(named.map_or_else(|| default_for(plugin), PathBuf::from))
    }

    /// Waits until nobody else is at work here. Others wait until the file is dropped.
    pub fn enter(&self) -> Result<File, BuildError> {
        let path = self.0.join("lock");
        let unwritable = |source| BuildError::Unwritable { path: path.clone(), source };
        fs::create_dir_all(&self.0).map_err(unwritable)?;
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(unwritable)?;
        lock.lock().map_err(unwritable)?;
        Ok(lock)
    }

    pub fn component(&self, plugin: &str, digest: &str) -> PathBuf {
        // The test harness keeps machine code beside `plugins`.
        self.0.join("guests/plugins").join(plugin).join(format!("{digest}.wasm"))
    }

    /// A folder whose content follows from what its name says: made if it is not there, or not whole.
    pub fn kept(
        &self,
        kind: &str,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), BuildError>,
    ) -> Result<PathBuf, BuildError> {
        let folder = self.0.join(kind).join(name);
        let done = folder.join("installed");
        if done.is_file() {
            return Ok(folder);
        }
        let unwritable = |source| BuildError::Unwritable { path: folder.clone(), source };
        if folder.is_dir() {
            fs::remove_dir_all(&folder).map_err(unwritable)?;
        }
        fs::create_dir_all(&folder).map_err(unwritable)?;
        make(&folder)?;
        fs::write(&done, "").map_err(unwritable)?;
        Ok(folder)
    }

    /// Makes the folder of a component that is about to be made, and drops the oldest of its siblings.
    pub fn make_room_for(&self, component: &Path) -> Result<(), BuildError> {
        let folder = component.parent().expect("a component lies in a folder");
        let unwritable = |source| BuildError::Unwritable { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(unwritable)?;
        let mut old: Vec<(SystemTime, PathBuf)> = fs::read_dir(folder)
            .map_err(unwritable)?
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        old.sort();
        let surplus = (old.len() + 1).saturating_sub(COMPONENTS_MAX);
        for (_, path) in old.into_iter().take(surplus) {
            fs::remove_file(&path).map_err(|source| BuildError::Unwritable { path, source })?;
        }
        Ok(())
    }
}

fn default_for(plugin: &Path) -> PathBuf {
    let project = plugin.ancestors().find(|folder| folder.join(PROJECT).is_file());
    project.unwrap_or(plugin).join(".trellis")
}

/// Writes a file that lies in a folder of the build.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), BuildError> {
    let unwritable = |source| BuildError::Unwritable { path: path.to_owned(), source };
    fs::create_dir_all(path.parent().expect("a file lies in a folder")).map_err(unwritable)?;
    fs::write(path, text).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn in_temporary() -> (TempDir, BuildFolder) {
        let temporary = TempDir::new().expect("a temporary folder");
        let folder = BuildFolder(temporary.path().join(".trellis"));
        (temporary, folder)
    }

    #[test]
    fn plugins_of_a_project_share_its_folder_and_others_have_their_own() {
        let temporary = TempDir::new().expect("a temporary folder");
        let plugin = temporary.path().join("project/plugins/hello");
        fs::create_dir_all(&plugin).expect("writable");
        assert_eq!(default_for(&plugin), plugin.join(".trellis"));
        fs::write(temporary.path().join("project/trellis.toml"), "").expect("writable");
        assert_eq!(default_for(&plugin), temporary.path().join("project/.trellis"));
    }

    #[test]
    fn what_was_not_finished_is_made_again_and_what_was_is_not() {
        let (_temporary, folder) = in_temporary();
        let broken_off = folder.kept("tools", "x", |path| {
            fs::write(path.join("half"), "").expect("writable");
            Err(BuildError::UnexpectedOutput { reason: "broken off".to_owned() })
        });
        assert!(broken_off.is_err());
        let mut times = 0;
        for _ in 0..2 {
            let made = folder.kept("tools", "x", |path| {
                assert!(!path.join("half").exists(), "left over from the time before");
                times += 1;
                Ok(())
            });
            assert!(made.expect("it is made").is_dir());
        }
        assert_eq!(times, 1);
    }

    #[test]
    fn a_few_components_of_a_plugin_are_kept_and_no_more() {
        let (_temporary, folder) = in_temporary();
        for count in 0..COMPONENTS_MAX + 3 {
            let path = folder.component("hello", &count.to_string());
            folder.make_room_for(&path).expect("room");
            fs::write(&path, "").expect("writable");
            let made = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(count as u64);
            File::options().write(true).open(&path).and_then(|file| file.set_modified(made)).expect("ours");
        }
        let kept = |count: usize| folder.component("hello", &count.to_string()).is_file();
        assert!(!kept(2) && (3..COMPONENTS_MAX + 3).all(kept));
    }

    #[test]
    fn one_builder_waits_for_the_other() {
        let (_temporary, folder) = in_temporary();
        let alone = folder.enter().expect("nobody is there");
        let other = File::options().write(true).open(folder.0.join("lock")).expect("it is there");
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(alone);
        other.try_lock().expect("nobody is there any more");
    }
}
