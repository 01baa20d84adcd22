//! Where a new plugin takes the SDK from.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// What stands behind `trellis-sdk = ` in a new plugin's `Cargo.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SdkSource {
    /// A directory with its source.
    Directory(PathBuf),
    /// A released version.
    Version(&'static str),
}

/// A directory that does not hold the SDK.
#[derive(Debug, thiserror::Error)]
#[error("{} does not hold the SDK: {reason}; name the directory of the crate `trellis-sdk`", .directory.display())]
pub struct UnusableSdk {
    directory: PathBuf,
    reason: String,
}

impl SdkSource {
    /// The SDK beside this program's own source if that is still there: a plugin made with a checkout then fits the
    /// host of that checkout. Else the released version that belongs to this program.
    pub fn of_this_build() -> Self {
        let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sdk");
        Self::in_directory(&beside).unwrap_or(Self::Version(env!("CARGO_PKG_VERSION")))
    }

    /// The SDK in `directory`.
    ///
    /// # Errors
    /// If there is no crate `trellis-sdk`.
    pub fn in_directory(directory: &Path) -> Result<Self, UnusableSdk> {
        let unusable = |reason: String| UnusableSdk { directory: directory.to_owned(), reason };
        let manifest = directory.join("Cargo.toml");
        let text = fs::read_to_string(&manifest).map_err(|error| unusable(format!("Cargo.toml: {error}")))?;
        let manifest: toml::Table = text.parse().map_err(|_| unusable("its Cargo.toml is not TOML".to_owned()))?;
        let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
        if name != Some("trellis-sdk") {
            return Err(unusable(format!("its crate is `{}`", name.unwrap_or("nameless"))));
        }
        let directory = directory.canonicalize().map_err(|error| unusable(error.to_string()))?;
        if directory.to_str().is_none() {
            return Err(unusable("its path is not UTF-8, which Cargo.toml must be".to_owned()));
        }
        Ok(Self::Directory(directory))
    }

    pub(super) fn to_toml(&self) -> String {
        match self {
            Self::Directory(path) => format!("{{ path = {} }}", toml::Value::from(path.to_string_lossy().as_ref())),
            Self::Version(version) => toml::Value::from(*version).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn in_a_checkout_the_sdk_beside_the_server_is_taken() {
        let SdkSource::Directory(path) = SdkSource::of_this_build() else { panic!("this is a checkout") };
        assert!(path.is_absolute() && path.ends_with("sdk"), "{path:?}");
    }

    #[test]
    fn a_directory_without_the_sdk_is_refused() {
        let dir = TempDir::new().expect("a temporary directory");
        let reason = || SdkSource::in_directory(dir.path()).expect_err("no SDK").to_string();
        assert!(reason().contains("does not hold the SDK: Cargo.toml: No such file"), "{}", reason());
        for (text, expected) in [("[package]\nname = \"other\"", "its crate is `other`"), ("[", "is not TOML")] {
            fs::write(dir.path().join("Cargo.toml"), text).expect("written");
            assert!(reason().contains(expected), "{}", reason());
        }
    }

    #[test]
    fn quotes_in_a_path_are_escaped() {
        let source = SdkSource::Directory("/a \"b\"/sdk".into());
        let parsed: toml::Table = format!("sdk = {}", source.to_toml()).parse().expect("TOML");
        assert_eq!(parsed["sdk"]["path"].as_str(), Some("/a \"b\"/sdk"));
        assert_eq!(SdkSource::Version("1.2.3").to_toml(), "\"1.2.3\"");
    }
}
