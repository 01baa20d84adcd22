//! Compiled components on disk: used when they are ours, compiled anew when anything is wrong with them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};

use bytes::Bytes;
use tempfile::TempDir;
use trellis_engine::{Digest, Engine, EngineConfig, LoadError};

use crate::hostile_components::{harmless, harmless_titled};

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn engine(&self) -> Engine {
        Engine::new(&EngineConfig { instances_max: 2, ..EngineConfig::new(self.0.path()) }).expect("an engine")
    }

    fn artefacts(&self) -> Vec<PathBuf> {
        files(self.0.path()).into_iter().filter(|path| path.extension().is_some_and(|end| end == "artefact")).collect()
    }

    /// Loads in an engine that starts anew; how often the original bytes were asked for.
    async fn load_after_restart(&self) -> u32 {
        let asked = AtomicU32::new(0);
        let load = || {
            asked.fetch_add(1, Relaxed);
            async { Ok::<_, String>(harmless()) }
        };
        let transformer = self.engine().load(Digest::of(&harmless()), load).await.expect("accepted");
        assert_eq!(transformer.description().title, "harmless");
        asked.load(Relaxed)
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()).collect()
}

#[tokio::test]
async fn a_restart_compiles_nothing() {
    let folder = Folder::new();
    folder.engine().compile(harmless()).await.expect("accepted");
    assert_eq!(folder.artefacts().len(), 1);
    assert_eq!(folder.load_after_restart().await, 0);
}

#[tokio::test]
async fn one_flipped_bit_anywhere_and_the_component_is_compiled_anew() {
    let folder = Folder::new();
    folder.engine().compile(harmless()).await.expect("accepted");
    let path = folder.artefacts().remove(0);
    let whole = fs::read(&path).expect("the artefact");
    for place in [0, 31, 32, 40, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        fs::write(&path, &flipped).expect("written");
        assert_eq!(folder.load_after_restart().await, 1, "bit flipped in byte {place}");
        assert_eq!(folder.load_after_restart().await, 0, "written anew");
    }
    for length in [0, 31, 32, whole.len() - 1] {
        fs::write(&path, &whole[..length]).expect("written");
        assert_eq!(folder.load_after_restart().await, 1, "cut at byte {length}");
    }
}

#[tokio::test]
async fn an_artefact_of_another_component_or_key_is_not_used() {
    let folder = Folder::new();
    folder.engine().compile(harmless()).await.expect("accepted");
    let path = folder.artefacts().remove(0);

    let other = Folder::new();
    other.engine().compile(harmless()).await.expect("accepted");
    fs::copy(&other.artefacts()[0], &path).expect("copied");
    assert_eq!(folder.load_after_restart().await, 1, "an artefact under another key");

    folder.engine().compile(harmless_titled("other")).await.expect("accepted");
    let second = folder.artefacts().into_iter().find(|found| *found != path).expect("two artefacts");
    fs::copy(second, &path).expect("copied");
    assert_eq!(folder.load_after_restart().await, 1, "an artefact of another component under this name");
}

#[cfg(unix)]
#[tokio::test]
async fn key_and_artefacts_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.engine().compile(harmless()).await.expect("accepted");
    let all = files(folder.0.path());
    assert_eq!(all.len(), 2, "{all:?}");
    for path in &all {
        let mode = fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
    let key = all.iter().find(|path| path.ends_with("artefacts.key")).expect("the key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("changed");
    let refused = Engine::new(&EngineConfig::new(folder.0.path())).expect_err("a key that others can read");
    assert!(refused.to_string().contains("can be read by others (mode 644)"), "{refused}");
}

#[tokio::test]
async fn old_artefacts_make_room_for_new_ones() {
    let folder = Folder::new();
    folder.engine().compile(harmless()).await.expect("accepted");
    let size = fs::metadata(&folder.artefacts()[0]).expect("metadata").len();
    let config = EngineConfig { artefacts_bytes_max: 2 * size + size / 2, ..EngineConfig::new(folder.0.path()) };
    let engine = Engine::new(&config).expect("an engine");
    for number in 0..5 {
        engine.compile(harmless_titled(&format!("harmless{number}"))).await.expect("accepted");
        assert!(folder.artefacts().len() <= 2);
    }
}

#[tokio::test]
async fn what_a_killed_host_left_half_written_is_removed() {
    let folder = Folder::new();
    let left = folder.0.path().join("left.0123.tmp");
    fs::write(&left, "half").expect("written");
    folder.engine().compile(harmless()).await.expect("accepted");
    assert!(left.exists(), "it may still be written");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(7_200);
    fs::File::options().write(true).open(&left).and_then(|file| file.set_modified(old)).expect("changed");
    folder.engine().compile(harmless_titled("other")).await.expect("accepted");
    assert!(!left.exists());
}

#[tokio::test]
async fn bytes_of_another_digest_are_refused() {
    let folder = Folder::new();
    let load = || async { Ok::<_, String>(Bytes::from_static(b"something else")) };
    let error = folder.engine().load(Digest::of(&harmless()), load).await.expect_err("refused");
    assert!(matches!(error, LoadError::WrongDigest { .. }), "{error}");
}
