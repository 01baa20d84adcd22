//! Compilers that pip can install: fetched once into what cargo keeps for tests, in the versions that the guests name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use sha2::{Digest as _, Sha256};

/// Where all is kept that is installed and made for guests of other languages, those of earlier runs included.
pub const KEPT: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/polyglot");

/// What a folder's `requirements.txt` names, installed into a folder of its own.
///
/// # Errors
/// Why it cannot be installed here.
pub fn installed(guest: &Path) -> Result<PathBuf, String> {
    let requirements = guest.join("requirements.txt");
    let wanted = fs::read_to_string(&requirements).expect("the guest names its compiler");
    let folder = Path::new(KEPT).join("tools").join(wanted.trim());
    let done = folder.join("installed");
    if done.exists() {
        return Ok(folder);
    }
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--upgrade"]);
    run(pip.arg("--target").arg(&folder).arg("--requirement").arg(&requirements))?;
    fs::write(&done, "").map_err(|error| error.to_string())?;
    Ok(folder)
}

/// Runs a program to its end.
///
/// # Errors
/// What it said, if it failed.
pub fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{program}: {error}"))?;
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said())) }
}

/// The component that is kept under what it is made of; `make` writes it to a folder of its own if there is none.
///
/// # Errors
/// Why it cannot be made.
pub fn kept(guest: &Path, wit: &Path, make: impl FnOnce(&Path) -> Result<Vec<u8>, String>) -> Result<Vec<u8>, String> {
    let mut digest = Sha256::new();
    for folder in [guest, wit] {
        let mut files: Vec<PathBuf> =
            fs::read_dir(folder).expect("readable").flatten().map(|file| file.path()).collect();
        files.sort();
        for path in files.iter().filter(|path| path.is_file()) {
            digest.update(path.file_name().expect("a file").as_encoded_bytes());
            digest.update(fs::read(path).expect("readable"));
        }
    }
    // How it is made is said beside this file.
    digest.update(concat!(include_str!("component.rs"), include_str!("compiled.rs")));
    let name: String = digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let folder = Path::new(KEPT).join("compiled").join(guest.file_name().expect("a folder")).join(name);
    let component = folder.join("component.wasm");
    if let Ok(bytes) = fs::read(&component) {
        return Ok(bytes);
    }
    fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
    let bytes = make(&folder)?;
    let whole = component.with_extension("new");
    fs::write(&whole, &bytes).and_then(|()| fs::rename(&whole, &component)).map_err(|error| error.to_string())?;
    Ok(bytes)
}
