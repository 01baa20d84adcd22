//! Finding installed Postgres programs that fit: new enough, complete, runnable by the server's user, and of the major
//! version that made the data folder.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;

use super::{EmbeddedPostgresError, folder::Folder};

/// The oldest major version that the SQL of the store is written for.
pub(super) const MAJOR_MIN: u32 = 15;

/// What is called here; a directory that lacks one of them is passed over.
const PROGRAMS: [&str; 5] = ["postgres", "initdb", "pg_isready", "psql", "createdb"];

/// Where packages put each major version into a directory of its own: folder, what stands before and after the version.
const VERSIONED: [(&str, &str, &str); 7] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// Where to look, as a value: tests look elsewhere.
#[derive(Clone, Debug)]
pub(super) struct SearchPlaces {
    /// The one directory that counts, if the operator named one.
    explicit: Option<PathBuf>,
    path: Option<OsString>,
    ask_pg_config: bool,
    /// Prepended to all well-known folders; empty but in tests.
    prefix: PathBuf,
}

/// A directory of programs of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binaries {
    directory: PathBuf,
    pub major: u32,
    /// In full, such as `15.14`.
    pub version: String,
}

impl SearchPlaces {
    pub fn of_this_machine(explicit: Option<PathBuf>) -> Self {
        Self { explicit, path: env::var_os("PATH"), ask_pg_config: true, prefix: PathBuf::new() }
    }

    /// Directories that may hold the programs, the preferred one first.
    async fn candidates(&self) -> Vec<PathBuf> {
        let mut directories: Vec<PathBuf> = self.path.iter().flat_map(env::split_paths).collect();
        if self.ask_pg_config {
            directories.extend(pg_config_bindir().await);
        }
        for (folder, before, after) in VERSIONED {
            let folder = self.prefix.join(folder.trim_start_matches('/'));
            let folder = if self.prefix.as_os_str().is_empty() { Path::new("/").join(folder) } else { folder };
            directories.extend(newest_first(&folder, before).into_iter().map(|version| version.join(after)));
        }
        directories
    }
}

/// The entries of `folder` that are called `before` and a version number, the highest number first.
fn newest_first(folder: &Path, before: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let versioned = entries.filter_map(|entry| {
        let name = entry.file_name();
        let number: u32 = name.to_str()?.strip_prefix(before)?.parse().ok()?;
        Some((number, entry.path()))
    });
    let mut versions: Vec<_> = versioned.collect();
    versions.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    versions.into_iter().map(|(_, path)| path).collect()
}

async fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().await.ok()?;
    let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !directory.is_empty()).then(|| directory.into())
}

impl Binaries {
    /// The first directory that fits `folder`.
    pub async fn find(places: &SearchPlaces, folder: &Folder) -> Result<Self, EmbeddedPostgresError> {
        let found = match &places.explicit {
            Some(directory) => vec![Self::explicit(directory, folder).await?],
            None => Self::all(places, folder).await,
        };
        let fitting = found.iter().find(|binaries| match folder.made_by() {
            Some(made_by) => binaries.major.to_string() == made_by,
            None => binaries.major >= MAJOR_MIN,
        });
        fitting.cloned().ok_or_else(|| Self::none_fits(&found, folder))
    }

    async fn explicit(directory: &Path, folder: &Folder) -> Result<Self, EmbeddedPostgresError> {
        let inspected = Self::inspect(directory, folder).await;
        inspected.map_err(|problem| EmbeddedPostgresError::UnusableBinaries { dir: directory.to_owned(), problem })
    }

    async fn all(places: &SearchPlaces, folder: &Folder) -> Vec<Self> {
        let mut found = Vec::new();
        for directory in places.candidates().await {
            // A directory that does not fit is no news on the way to one that does.
            found.extend(Self::inspect(&directory, folder).await);
        }
        found
    }

    async fn inspect(directory: &Path, folder: &Folder) -> Result<Self, String> {
        if let Some(missing) = PROGRAMS.iter().find(|program| !directory.join(program).is_file()) {
            return Err(format!("holds no `{missing}`"));
        }
        let mut command = folder.run_as.command(directory.join("postgres"));
        let output = command.arg("--version").output().await;
        let output = output.map_err(|error| format!("cannot be used by user {}: {error}", folder.run_as.name()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = parse_version(&text).ok_or_else(|| format!("holds no PostgreSQL: it says `{}`", text.trim()))?;
        Ok(Self { directory: directory.to_owned(), major: version.0, version: version.1 })
    }

    fn none_fits(found: &[Self], folder: &Folder) -> EmbeddedPostgresError {
        let mut versions: Vec<&str> = found.iter().map(|binaries| binaries.version.as_str()).collect();
        versions.dedup();
        let listed = if versions.is_empty() { "none".to_owned() } else { versions.join(", ") };
        match folder.made_by() {
            Some(made_by) if !found.is_empty() => {
                EmbeddedPostgresError::OtherVersion { folder: folder.root().to_owned(), made_by, found: listed }
            }
            _ => EmbeddedPostgresError::NotInstalled {
                minimum: MAJOR_MIN,
                found: if found.is_empty() { String::new() } else { format!(" (only {listed})") },
                install: install_command(env::consts::OS, &fs::read_to_string("/etc/os-release").unwrap_or_default()),
            },
        }
    }

    pub fn program(&self, name: &'static str) -> PathBuf {
        debug_assert!(PROGRAMS.contains(&name), "{name} was not looked for");
        self.directory.join(name)
    }
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`: 15 and `15.14`.
fn parse_version(text: &str) -> Option<(u32, String)> {
    let version = text.split_once("(PostgreSQL) ")?.1.split_whitespace().next()?;
    // A beta is called `16beta1`.
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((digits.parse().ok()?, version.to_owned()))
}

/// The command that installs Postgres on this kind of system.
fn install_command(os: &str, os_release: &str) -> String {
    if os == "macos" {
        return "brew install postgresql@17".to_owned();
    }
    let value = |key: &str| {
        let line = os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches('"').to_owned()
    };
    let family = format!("{} {}", value("ID"), value("ID_LIKE"));
    let command = family.split_whitespace().find_map(|id| match id {
        "debian" | "ubuntu" => Some("sudo apt-get install postgresql"),
        "fedora" | "rhel" | "centos" => Some("sudo dnf install postgresql-server"),
        "suse" | "opensuse" => Some("sudo zypper install postgresql-server"),
        "arch" => Some("sudo pacman -S postgresql"),
        "alpine" => Some("sudo apk add postgresql"),
        "nixos" => Some("nix-shell -p postgresql"),
        _ => None,
    });
    command.unwrap_or("your system's package manager (package `postgresql` or `postgresql-server`)").to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;
    use crate::postgres::tests::open_to_all;

    /// A directory of programs that only know their version.
    fn install(root: &Path, directory: &str, version: &str) {
        let directory = root.join(directory);
        fs::create_dir_all(&directory).expect("a directory");
        for program in PROGRAMS {
            let path = directory.join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version} (Test)'\n")).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
        }
    }

    fn places(root: &TempDir, path: Option<&str>) -> SearchPlaces {
        let path = path.map(|directory| root.path().join(directory).into_os_string());
        SearchPlaces { explicit: None, path, ask_pg_config: false, prefix: root.path().to_owned() }
    }

    async fn folder(made_by: Option<&str>) -> (TempDir, Folder) {
        let dir = open_to_all();
        let folder = Folder::open(&dir.path().join("pg")).await.expect("a folder");
        if let Some(version) = made_by {
            fs::create_dir_all(folder.data()).expect("a directory");
            fs::write(folder.data().join("PG_VERSION"), format!("{version}\n")).expect("a file");
        }
        (dir, folder)
    }

    #[tokio::test]
    async fn the_path_comes_first_then_the_highest_version() {
        let machine = open_to_all();
        install(machine.path(), "usr/lib/postgresql/9/bin", "9.6.24");
        install(machine.path(), "usr/lib/postgresql/16/bin", "16.3");
        install(machine.path(), "usr/lib/postgresql/17/bin", "17beta1");
        let (_dir, folder) = folder(None).await;
        let found = Binaries::find(&places(&machine, None), &folder).await.expect("three are installed");
        assert_eq!((found.major, found.version.as_str()), (17, "17beta1"));

        install(machine.path(), "path", "15.1");
        let found = Binaries::find(&places(&machine, Some("path")), &folder).await.expect("four are installed");
        assert_eq!(found.major, 15);
    }

    #[tokio::test]
    async fn a_data_folder_chooses_the_version_that_made_it() {
        let machine = open_to_all();
        install(machine.path(), "usr/lib/postgresql/17/bin", "17.2");
        install(machine.path(), "opt/homebrew/opt/postgresql@16/bin", "16.3");
        let (_dir, made_by_16) = folder(Some("16")).await;
        let found = Binaries::find(&places(&machine, None), &made_by_16).await.expect("16 is installed");
        assert_eq!(found.major, 16);

        let (_dir, made_by_15) = folder(Some("15")).await;
        let error = Binaries::find(&places(&machine, None), &made_by_15).await.expect_err("15 is not installed");
        assert!(matches!(error, EmbeddedPostgresError::OtherVersion { .. }), "{error:?}");
        assert!(error.to_string().contains("made by PostgreSQL 15, but only 17.2, 16.3"), "{error}");
    }

    #[tokio::test]
    async fn too_old_or_incomplete_is_as_good_as_missing() {
        let machine = open_to_all();
        let (_dir, folder) = folder(None).await;
        let missing = Binaries::find(&places(&machine, None), &folder).await.expect_err("nothing is installed");
        assert!(missing.to_string().starts_with("no PostgreSQL 15 or newer found; install it with"), "{missing}");

        install(machine.path(), "usr/lib/postgresql/14/bin", "14.9");
        install(machine.path(), "usr/lib/postgresql/16/bin", "16.1");
        fs::remove_file(machine.path().join("usr/lib/postgresql/16/bin/initdb")).expect("it is there");
        let too_old = Binaries::find(&places(&machine, None), &folder).await.expect_err("14 is too old");
        assert!(too_old.to_string().contains("found (only 14.9)"), "{too_old}");
    }

    #[tokio::test]
    async fn a_named_directory_is_the_only_one_that_counts() {
        let machine = open_to_all();
        install(machine.path(), "usr/lib/postgresql/17/bin", "17.2");
        install(machine.path(), "mine", "16.1");
        let (_dir, folder) = folder(None).await;
        let named =
            |directory: &str| SearchPlaces { explicit: Some(machine.path().join(directory)), ..places(&machine, None) };
        assert_eq!(Binaries::find(&named("mine"), &folder).await.expect("it is complete").major, 16);
        let error = Binaries::find(&named("usr"), &folder).await.expect_err("no programs there");
        assert!(error.to_string().contains("holds no `postgres`"), "{error}");
    }

    #[test]
    fn the_install_command_is_that_of_the_system() {
        let cases = [
            ("linux", "NAME=x\nID=ubuntu\nID_LIKE=debian", "sudo apt-get install postgresql"),
            ("linux", "ID=linuxmint\nID_LIKE=\"ubuntu debian\"", "sudo apt-get install postgresql"),
            ("linux", "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"", "sudo dnf install postgresql-server"),
            ("linux", "ID=alpine", "sudo apk add postgresql"),
            ("macos", "", "brew install postgresql@17"),
        ];
        for (os, os_release, command) in cases {
            assert_eq!(install_command(os, os_release), command);
        }
        assert!(install_command("linux", "").contains("package manager"));
    }
}
