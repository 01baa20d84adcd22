//! The directory of the server's Unix socket: private to its user, and short enough for the kernel.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use url::form_urlencoded;

use super::{EmbeddedPostgresError, folder::Folder};

/// Names the socket's file; no one listens on it. Written into every URL, since `PGPORT` would change the default.
pub(super) const PORT: u16 = 5432;

/// The longest path of a socket, in bytes: the smallest limit of our systems is 104, its closing NUL included.
const SOCKET_PATH_BYTES_MAX: usize = 100;
/// In the folder: the name of the directory below /tmp that is used instead of `socket/`.
const RECORD: &str = "socket-directory";

/// Where the socket's file is.
#[derive(Debug)]
pub(super) struct SocketDirectory {
    path: PathBuf,
    /// Lies outside the folder, and should not stay behind.
    is_temporary: bool,
}

impl SocketDirectory {
    /// `socket/` in the folder, or a directory below /tmp when that would be too long a path.
    pub fn prepare(folder: &Folder) -> Result<Self, EmbeddedPostgresError> {
        let inside = folder.root().join("socket");
        if socket_file(&inside).as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Self::temporary(folder);
        }
        if !inside.is_dir() {
            folder.make_directory(&inside)?;
        }
        Ok(Self { path: inside, is_temporary: false })
    }

    /// The recorded directory if it is still ours, else a new one: /tmp is cleaned by others, and open to all.
    fn temporary(folder: &Folder) -> Result<Self, EmbeddedPostgresError> {
        let record = folder.root().join(RECORD);
        if let Ok(recorded) = fs::read_to_string(&record)
            && is_private(Path::new(&recorded), folder)
        {
            return Ok(Self { path: recorded.into(), is_temporary: true });
        }
        // Not the user's TMPDIR, which may be long in its turn. Made anew under a random name.
        let private = Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("trellis-").permissions(private).tempdir_in("/tmp");
        let path = made.map_err(EmbeddedPostgresError::folder("make a directory in", "/tmp"))?.keep();
        folder.run_as.give(&path)?;
        let mut file = folder.open_file(RECORD, OpenOptions::new().write(true))?;
        let write =
            |file: &mut File| file.set_len(0).and_then(|()| file.write_all(path.as_os_str().as_encoded_bytes()));
        write(&mut file).map_err(EmbeddedPostgresError::folder("write", &record))?;
        Ok(Self { path, is_temporary: true })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the server has come as far as opening its socket.
    pub fn has_socket(&self) -> bool {
        socket_file(&self.path).exists()
    }

    /// A URL that both libpq and sqlx understand.
    pub fn url(&self, database: &str, role: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.append_pair("host", &self.path.to_string_lossy()).append_pair("port", &PORT.to_string());
        query.append_pair("user", role).append_pair("sslmode", "disable");
        // In a query `+` is a space for HTML forms, but not for libpq.
        format!("postgres:///{database}?{}", query.finish().replace('+', "%20"))
    }

    /// Leaves nothing behind in /tmp. The server has removed its socket's file when it ended.
    pub fn remove(&self) {
        if self.is_temporary
            && let Err(error) = fs::remove_dir(&self.path)
        {
            tracing::warn!(directory = %self.path.display(), %error, "the socket's directory stays behind");
        }
    }
}

fn socket_file(directory: &Path) -> PathBuf {
    directory.join(format!(".s.PGSQL.{PORT}"))
}

/// A directory, not a link to one, that belongs to the server's user, as its data do, and is closed to all others.
fn is_private(directory: &Path, folder: &Folder) -> bool {
    let (Ok(found), Ok(data)) = (fs::symlink_metadata(directory), fs::metadata(folder.data())) else {
        return false;
    };
    found.is_dir() && found.uid() == data.uid() && found.mode() & 0o077 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_survives_spaces_and_signs_in_the_path() {
        let socket = SocketDirectory { path: "/a b/c+d&e=f".into(), is_temporary: false };
        let url = socket.url("trellis", "someone");
        assert_eq!(url, "postgres:///trellis?host=%2Fa%20b%2Fc%2Bd%26e%3Df&port=5432&user=someone&sslmode=disable");
        let parsed = url::Url::parse(&url).expect("it is a URL");
        let host = parsed.query_pairs().find(|(key, _)| key == "host").expect("there is a host").1.into_owned();
        assert_eq!(host, "/a b/c+d&e=f");
    }
}
