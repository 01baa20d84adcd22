//! Whom Postgres runs as: the host's own user, unless that is root, whom Postgres refuses.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::{MetadataExt, lchown},
    path::Path,
    process::Stdio,
};

use tokio::process::Command;

use super::EmbeddedPostgresError;

/// Variables that a Postgres program may see. All others stay out: the host's may hold secrets, and `PG…` would steer
/// the programs away from what they are told.
const KEPT_VARIABLES: [&str; 5] =
    ["PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH"];

/// Whose processes and files those of the server are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RunAs {
    /// The user of this process.
    Ourselves,
    /// Another one, as this process is root's.
    Unprivileged { name: String, uid: u32, gid: u32 },
}

impl RunAs {
    /// The user for a data folder: its owner if it exists, else `postgres`, else `nobody`. Only root has a choice.
    pub async fn choose(data: &Path) -> Result<Self, EmbeddedPostgresError> {
        if id("-u", None).await != Some(0) {
            return Ok(Self::Ourselves);
        }
        if let Ok(metadata) = fs::symlink_metadata(data)
            && metadata.uid() != 0
        {
            let (uid, gid) = (metadata.uid(), metadata.gid());
            return Ok(Self::Unprivileged { name: uid.to_string(), uid, gid });
        }
        for name in ["postgres", "nobody"] {
            if let (Some(uid), Some(gid)) = (id("-u", Some(name)).await, id("-g", Some(name)).await) {
                return Ok(Self::Unprivileged { name: name.to_owned(), uid, gid });
            }
        }
        Err(EmbeddedPostgresError::NoUnprivilegedUser)
    }

    /// The user's name for messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Ourselves => "of this process",
            Self::Unprivileged { name, .. } => name,
        }
    }

    /// A program that runs as this user, with an environment and a process state of its own. No standard input.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        // The host's own directory may be one that this user cannot be in.
        command.current_dir("/").stdin(Stdio::null()).env_clear();
        command.envs(KEPT_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        // Messages in English, as some are looked at; and macOS needs a locale that starts no threads.
        command.env("LC_ALL", "C");
        if let Self::Unprivileged { uid, gid, .. } = self {
            // Setting the uid as root also drops root's supplementary groups.
            command.uid(*uid).gid(*gid);
        }
        command
    }

    /// Gives a directory to this user. Only for one that was made a moment ago, in a place where nobody but the host
    /// can put something else under its name.
    pub fn give(&self, directory: &Path) -> Result<(), EmbeddedPostgresError> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Unprivileged { uid, gid, .. } => {
                let given = lchown(directory, Some(*uid), Some(*gid));
                given.map_err(EmbeddedPostgresError::folder("give away", directory))
            }
        }
    }

    /// Whether this user gets into a directory. Tried, not computed: access lists and security modules have a say too.
    /// Where nobody changes users there is nothing to try: the first thing done with the directory will tell.
    pub async fn can_enter(&self, directory: &Path) -> bool {
        if *self == Self::Ourselves {
            return true;
        }
        let mut command = self.command("/bin/sh");
        command.args(["-c", "cd -- \"$0\""]).arg(directory).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().await.is_ok_and(|status| status.success())
    }
}

/// A number from `id`: of this process's user, or of `name`. None if there is no such user.
async fn id(what: &str, name: Option<&str>) -> Option<u32> {
    let output = Command::new("id").arg(what).args(name).stdin(Stdio::null()).output().await.ok()?;
    if !output.status.success() {
        return None;
    }
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
