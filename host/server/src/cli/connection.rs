//! Which host a command speaks to, and with which token.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{failure::Failure, output::Exit};
use crate::client::Client;

/// Where the host is and who is asking.
#[derive(Clone, Default, clap::Args)]
pub struct ConnectionArgs {
    /// The host's address [default: that of `trellis dev` in this folder, or http://127.0.0.1:7800]
    #[arg(long, env = "TRELLIS_URL", value_name = "URL")]
    pub url: Option<String>,
    /// A token; better in the environment, where other users of the machine cannot see it
    #[arg(long, env = "TRELLIS_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The account that an operator token acts for
    #[arg(long, env = "TRELLIS_ACCOUNT", value_name = "NAME")]
    pub account: Option<String>,
}

const DEFAULT_URL: &str = "http://127.0.0.1:7800";

/// What `trellis dev` leaves in the project's `.trellis` folder, so that other commands find it.
#[derive(Serialize, Deserialize)]
pub struct SavedConnection {
    pub url: String,
    pub token: String,
}

impl SavedConnection {
    fn path(project_dir: &Path) -> PathBuf {
        project_dir.join(".trellis").join("connection.json")
    }

    /// Readable for this user alone.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, project_dir: &Path) -> std::io::Result<()> {
        use std::{io::Write as _, os::unix::fs::OpenOptionsExt as _};
        let path = Self::path(project_dir);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        // A file that was there keeps its mode when it is opened: begin anew.
        Self::forget(project_dir);
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
        file.write_all(serde_json::to_string(self)?.as_bytes())
    }

    /// There is nothing to connect to any more.
    pub fn forget(project_dir: &Path) {
        // If it was never there, all the better.
        drop(std::fs::remove_file(Self::path(project_dir)));
    }

    fn load(project_dir: &Path) -> Option<Self> {
        let text = std::fs::read(Self::path(project_dir)).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

impl fmt::Debug for ConnectionArgs {
    /// Without the token.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionArgs").field("url", &self.url).field("account", &self.account).finish_non_exhaustive()
    }
}

impl ConnectionArgs {
    /// A client of the host that is meant. `dir` is the project folder that the command is about.
    ///
    /// # Errors
    /// There is no token, or the address is none.
    pub fn client(&self, dir: &Path) -> Result<Client, Failure> {
        // A token that was given is never sent to an address that a folder names.
        let is_given = self.url.is_some() || self.token.is_some();
        let saved = if is_given { None } else { SavedConnection::load(dir) };
        let (saved_url, saved_token) = saved.map(|saved| (saved.url, saved.token)).unzip();
        let url = self.url.clone().or(saved_url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let token = self.token.clone().or(saved_token);
        let client = Client::new(&url, token.clone().unwrap_or_default(), self.account.clone())?;
        if token.is_some() {
            return Ok(client);
        }
        let fix = if self.url.is_some() {
            "the token of `trellis dev` is sent to its own host alone"
        } else {
            "or work in the folder of a project that `trellis dev` is running"
        };
        Err(Failure::new(Exit::Usage, format!("no token is given for {url}: set TRELLIS_TOKEN; {fix}")))
    }
}
