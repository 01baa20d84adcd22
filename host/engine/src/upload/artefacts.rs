//! Compiled components on the local disk, so that a restart compiles nothing.
//!
//! A file is named for the component's digest and for the engine that compiled it, and begins with a MAC under a key of
//! this folder: machine code is run as it is, so only what this host wrote itself may be read back. A file that is
//! missing, damaged, not private or of another engine counts as absent, and the component is compiled anew from its original
//! bytes. Whoever can read the key can run code as this host anyway.

mod private;

use std::{
    ffi::OsStr,
    fs::{self, File},
    hash::{Hash, Hasher},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wasmtime::component::Component;

use super::machine_code::deserialize;
use crate::digest::Digest;

const KEY_FILE: &str = "artefacts.key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;
const EXTENSION: &str = "artefact";
const TEMPORARY: &str = "tmp";
/// No file takes this long to write.
const TEMPORARY_AGE_MAX: Duration = Duration::from_secs(3_600);
/// Says what is authenticated, so that a MAC of this key can mean nothing else.
const DOMAIN: &[u8] = b"trellis artefact 1\0";

pub(crate) struct Artefacts {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Of the engine's version, settings and CPU features.
    engine_hash: [u8; 8],
    /// All artefacts together, in bytes.
    bytes_max: u64,
    /// One artefact, in bytes.
    file_bytes_max: u64,
}

/// What is known of a component besides its machine code.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Label {
    /// The text that `describe` returned.
    pub description: String,
    pub imports: Vec<String>,
    /// How long it took to compile and describe the component, in milliseconds.
    #[serde(default)]
    pub build_ms: u64,
}

/// Room for the label of an artefact, in bytes: a description and the names of imports.
const LABEL_BYTES_MAX: u64 = 4 * 1024 * 1024;

impl Artefacts {
    /// Opens the folder, and makes it and its key when they are missing.
    ///
    /// # Errors
    /// The folder or the key is not this user's alone, or cannot be used.
    pub fn open(folder: &Path, engine: &wasmtime::Engine, bytes_max: u64, code_bytes_max: u64) -> io::Result<Self> {
        private::folder(folder)?;
        let key = read_or_make_key(folder)?;
        let file_bytes_max = code_bytes_max.saturating_add(LABEL_BYTES_MAX);
        Ok(Self { folder: folder.to_owned(), key, engine_hash: engine_hash(engine), bytes_max, file_bytes_max })
    }

    /// Whether there is an artefact of this component, whatever its worth.
    pub fn has(&self, digest: Digest) -> bool {
        fs::symlink_metadata(self.path(digest)).is_ok()
    }

    fn path(&self, digest: Digest) -> PathBuf {
        let engine = u64::from_be_bytes(self.engine_hash);
        self.folder.join(format!("{digest}-{engine:016x}.{EXTENSION}"))
    }

    fn mac(&self, digest: Digest) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("any key length will do");
        mac.update(DOMAIN);
        mac.update(digest.as_bytes());
        mac.update(&self.engine_hash);
        mac
    }

    /// Reads a compiled component back. None: compile it.
    pub fn load(&self, engine: &wasmtime::Engine, digest: Digest) -> Option<(Component, Label)> {
        let path = self.path(digest);
        let (file, bytes) = match private::read(&path, self.file_bytes_max) {
            Ok(Some(read)) => read,
            Ok(None) => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read a compiled component; it is compiled anew");
                return None;
            }
        };
        let loaded = self.open_sealed(engine, digest, &bytes);
        match &loaded {
            Some(_) => mark_used(&file, &path),
            None => {
                tracing::warn!(path = %path.display(), "a compiled component was altered since it was written; it is compiled anew");
            }
        }
        loaded
    }

    fn open_sealed(&self, engine: &wasmtime::Engine, digest: Digest, bytes: &[u8]) -> Option<(Component, Label)> {
        let (tag, sealed) = bytes.split_at_checked(MAC_BYTES)?;
        let mut mac = self.mac(digest);
        mac.update(sealed);
        mac.verify_slice(tag).ok()?;
        let (length, rest) = sealed.split_first_chunk::<4>()?;
        let (label, code) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let label = serde_json::from_slice(label).ok()?;
        let component = deserialize(engine, code);
        let refused =
            |error: &wasmtime::Error| tracing::warn!(reason = format!("{error:#}"), "cannot use a compiled component");
        Some((component.inspect_err(refused).ok()?, label))
    }

    /// Keeps a compiled component. A full disk costs the next start some time, and nothing else.
    pub fn save(&self, digest: Digest, component: &Component, label: &Label) {
        let path = self.path(digest);
        let saved = self.seal(digest, component, label).and_then(|bytes| write_whole(&path, &bytes));
        if let Err(error) = saved {
            tracing::warn!(path = %path.display(), %error, "cannot keep a compiled component; it is compiled anew after a restart");
        }
        if let Err(error) = self.remove_oldest() {
            tracing::warn!(folder = %self.folder.display(), %error, "cannot remove old compiled components");
        }
    }

    fn seal(&self, digest: Digest, component: &Component, label: &Label) -> io::Result<Vec<u8>> {
        let code = component.serialize().map_err(|error| io::Error::other(format!("{error:#}")))?;
        let label = serde_json::to_vec(label)?;
        let length = u32::try_from(label.len()).map_err(io::Error::other)?;
        let mut bytes = vec![0; MAC_BYTES];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&label);
        bytes.extend_from_slice(&code);
        let mut mac = self.mac(digest);
        mac.update(&bytes[MAC_BYTES..]);
        bytes[..MAC_BYTES].copy_from_slice(&mac.finalize().into_bytes());
        Ok(bytes)
    }

    /// Removes the artefacts that were not used for longest until the rest is within its limit, and what a host that was
    /// killed while it wrote left behind.
    fn remove_oldest(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let (path, metadata) = (entry.path(), entry.metadata()?);
            let modified = metadata.modified()?;
            match path.extension().and_then(OsStr::to_str) {
                Some(EXTENSION) => files.push((modified, metadata.len(), path)),
                Some(TEMPORARY) if modified.elapsed().is_ok_and(|age| age > TEMPORARY_AGE_MAX) => {
                    fs::remove_file(path)?;
                }
                _ => {}
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, length, _)| length).sum();
        for (_, length, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= length;
        }
        Ok(())
    }
}

fn mark_used(file: &File, path: &Path) {
    // Only the order of removal rests on it.
    if let Err(error) = file.set_modified(SystemTime::now()) {
        tracing::debug!(path = %path.display(), %error, "cannot note the use of a compiled component");
    }
}

/// Writes under another name and renames, so that a file is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = temporary_name(path)?;
    let written = private::create(&temporary)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        _ = fs::remove_file(&temporary);
    }
    written
}

fn temporary_name(path: &Path) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(path.with_extension(format!("{:016x}.{TEMPORARY}", u64::from_be_bytes(random))))
}

/// The key of the folder. Of two hosts that make it at the same time, the first one's is kept.
fn read_or_make_key(folder: &Path) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join(KEY_FILE);
    if let Some(key) = read_key(&path)? {
        return Ok(key);
    }
    let mut key = [0; KEY_BYTES];
    getrandom::fill(&mut key).map_err(io::Error::other)?;
    let temporary = temporary_name(&path)?;
    private::create(&temporary).and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))?;
    let linked = fs::hard_link(&temporary, &path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => read_key(&path)?.ok_or_else(|| io::Error::other("the key was removed while it was read")),
    }
}

fn read_key(path: &Path) -> io::Result<Option<[u8; KEY_BYTES]>> {
    // More than a key has, so that a longer file is seen to be one.
    let Some((_, bytes)) = private::read(path, 1_024)? else { return Ok(None) };
    let length = bytes.len();
    bytes.try_into().map(Some).map_err(|_| {
        io::Error::other(format!(
            "{} has {length} bytes instead of {KEY_BYTES}; remove it to get a new one",
            path.display()
        ))
    })
}

fn engine_hash(engine: &wasmtime::Engine) -> [u8; 8] {
    let mut hasher = StableHasher(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    let hash: [u8; 32] = hasher.0.finalize().into();
    *hash.first_chunk().expect("32 bytes begin with 8")
}

/// The standard library's hashers are not the same in every process.
struct StableHasher(Sha256);

impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash: [u8; 32] = self.0.clone().finalize().into();
        u64::from_be_bytes(*hash.first_chunk().expect("32 bytes begin with 8"))
    }
}
