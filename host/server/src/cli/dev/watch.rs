//! Notices changes in a project's folder, by looking: works on every file system, and a project is small.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime},
};

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Files looked at, at most: a folder with more is no project.
const FILES_MAX: usize = 10_000;

/// What a file looked like.
type Stamp = (SystemTime, u64);

pub struct Watch {
    folders: Vec<PathBuf>,
    seen: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { seen: look(&folders), folders }
    }

    /// Watches other folders from now on. What is new with them is no change.
    pub fn set_folders(&mut self, folders: Vec<PathBuf>) {
        if folders != self.folders {
            *self = Self::new(folders);
        }
    }

    /// Waits for a change, and then until nothing changes for a moment: editors write in several steps.
    pub async fn changed(&mut self) {
        let mut is_changed = false;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let folders = self.folders.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&folders)).await else { continue };
            if now != self.seen {
                (self.seen, is_changed) = (now, true);
            } else if is_changed {
                return;
            }
        }
    }
}

/// What a build writes among the sources, and other tools of the languages.
const BUILD_OUTPUT: [&str; 4] = ["target", "Cargo.lock", "node_modules", "__pycache__"];

fn look(folders: &[PathBuf]) -> BTreeMap<PathBuf, Stamp> {
    let mut seen = BTreeMap::new();
    let mut folders = folders.to_vec();
    while let Some(folder) = folders.pop() {
        // What cannot be read cannot be built either, and the build says so.
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_left_out =
                BUILD_OUTPUT.iter().any(|output| name == *output) || name.as_encoded_bytes().starts_with(b".");
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
        let mut watch = Watch::new(vec![dir.path().to_owned()]);
        std::fs::write(dir.path().join("target/x"), "built").expect("writable");
        std::fs::write(dir.path().join("Cargo.lock"), "locked").expect("writable");
        assert_eq!(look(&watch.folders), watch.seen);
        std::fs::write(dir.path().join("trellis.toml"), "[project]").expect("writable");
        tokio::time::timeout(Duration::from_secs(30), watch.changed()).await.expect("noticed");
    }
}
