//! Notices changes in a project's folder, by looking: works on every file system, and a project is small.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Files looked at, at most: a folder with more is no project.
const FILES_MAX: usize = 10_000;

/// What a file looked like.
type Stamp = (SystemTime, u64);

pub struct Watch {
    dir: PathBuf,
    seen: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), seen: look(dir) }
    }

    /// Waits for a change, and then until nothing changes for a moment: editors write in several steps.
    pub async fn changed(&mut self) {
        let mut is_changed = false;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let dir = self.dir.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&dir)).await else { continue };
            if now != self.seen {
                (self.seen, is_changed) = (now, true);
            } else if is_changed {
                return;
            }
        }
    }
}

fn look(dir: &Path) -> BTreeMap<PathBuf, Stamp> {
    let mut seen = BTreeMap::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        // What cannot be read cannot be built either, and the build says so.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_left_out = name == "target" || name.as_encoded_bytes().starts_with(b".");
            let Ok(metadata) = entry.metadata() else { continue };
            if is_left_out || seen.len() >= FILES_MAX {
                continue;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if let Ok(modified) = metadata.modified() {
                seen.insert(entry.path(), (modified, metadata.len()));
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_and_build_output_is_not() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(dir.path().join("target")).expect("writable");
        let mut watch = Watch::new(dir.path());
        std::fs::write(dir.path().join("target/x"), "built").expect("writable");
        assert_eq!(look(dir.path()), watch.seen);
        std::fs::write(dir.path().join("trellis.toml"), "[project]").expect("writable");
        tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.expect("noticed");
    }
}
