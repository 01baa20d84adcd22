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

/// What is given and not empty.
fn given(text: Option<&String>) -> Option<String> {
    text.map(|text| text.trim()).filter(|text| !text.is_empty()).map(str::to_owned)
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
        // Shells and CI write an empty variable where they have nothing to write.
        let (url, token) = (given(self.url.as_ref()), given(self.token.as_ref()));
        let is_empty = token.is_none() && self.token.is_some();
        // A token that was given is never sent to an address that a folder names.
        let is_given = url.is_some() || token.is_some();
        let saved = if is_given { None } else { SavedConnection::load(dir) };
        let (saved_url, saved_token) = saved.map(|saved| (saved.url, saved.token)).unzip();
        let is_named = url.is_some();
        let url = url.or(saved_url).unwrap_or_else(|| DEFAULT_URL.to_owned());
        let token = token.or(saved_token);
        let client = Client::new(&url, token.clone().unwrap_or_default(), given(self.account.as_ref()))?;
        if token.is_some() {
            return Ok(client);
        }
        if is_empty {
            let message = format!("the token for {url} is empty: is TRELLIS_TOKEN set to what you mean?");
            return Err(Failure::new(Exit::Usage, message));
        }
        let fix = if is_named {
            "the token of `trellis dev` is sent to its own host alone"
        } else {
            "or work in the folder of a project that `trellis dev` is running"
        };
        Err(Failure::new(Exit::Usage, format!("no token is given for {url}: set TRELLIS_TOKEN; {fix}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_is_as_good_as_none_and_an_empty_token_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let args = |url: &str, token: Option<&str>| ConnectionArgs {
            url: Some(url.to_owned()),
            token: token.map(str::to_owned),
            account: Some(String::new()),
        };
        let client = args("", Some(" trl_x\n")).client(folder.path()).expect("a token");
        assert_eq!((client.base().as_str(), client.token()), ("http://127.0.0.1:7800/", "trl_x"));
        let refused = args("", Some("")).client(folder.path()).map(drop).expect_err("no token");
        assert!(refused.exit == Exit::Usage && refused.error.to_string().contains("is empty"), "{refused:?}");
        let refused = args("", None).client(folder.path()).map(drop).expect_err("no token");
        assert!(refused.error.to_string().contains("set TRELLIS_TOKEN"), "{refused:?}");
        let saved = SavedConnection { url: "http://127.0.0.1:7801".to_owned(), token: "trl_y".to_owned() };
        saved.save(folder.path()).expect("written");
        let client = args("", Some("")).client(folder.path()).expect("the token of the folder");
        assert_eq!((client.base().as_str(), client.token()), ("http://127.0.0.1:7801/", "trl_y"));
    }
}
