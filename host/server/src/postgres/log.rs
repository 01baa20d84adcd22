//! The server's log file: opened for one start, bounded in size, its end quoted in errors.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::{EmbeddedPostgresError, folder::Folder};

const LOG: &str = "postgres.log";
/// A log larger than this (in bytes) is put aside at the next start, in place of the one put aside before.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// How much of the log an error shows: lines, and bytes read for them.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: u64 = 16 * 1024;

/// Where the log is, and where this start's part of it begins.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    since: u64,
}

impl Log {
    /// The log, and the file for the server to append to.
    pub fn open(folder: &Folder) -> Result<(Self, File), EmbeddedPostgresError> {
        let path = folder.root().join(LOG);
        if fs::metadata(&path).is_ok_and(|metadata| metadata.len() > LOG_BYTES_MAX) {
            let aside = folder.root().join("postgres.log.1");
            fs::rename(&path, &aside).map_err(EmbeddedPostgresError::folder("rename", &path))?;
        }
        let file = folder.open_file(LOG, OpenOptions::new().append(true))?;
        let since = file.metadata().map_err(EmbeddedPostgresError::folder("read", &path))?.len();
        Ok((Self { path, since }, file))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last lines that were written since this start.
    pub fn tail(&self) -> String {
        let text = self.last_bytes().unwrap_or_else(|error| format!("(unreadable: {error})"));
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }

    fn last_bytes(&self) -> io::Result<String> {
        let mut file = File::open(&self.path)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(self.since.max(end.saturating_sub(TAIL_BYTES))))?;
        let mut bytes = Vec::new();
        file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::postgres::tests::open_to_all;

    #[tokio::test]
    async fn the_tail_begins_where_this_start_began() {
        let dir = open_to_all();
        let folder = Folder::open(&dir.path().join("pg")).await.expect("it is free");
        let (_, mut file) = Log::open(&folder).expect("a log");
        file.write_all(b"from before\n").expect("written");
        let (log, mut file) = Log::open(&folder).expect("a log");
        assert_eq!(log.tail(), "");
        file.write_all(b"one\ntwo\n").expect("written");
        assert_eq!(log.tail(), "one\ntwo");
        let lines: String = (0..30).map(|n| format!("line {n}\n")).collect();
        file.write_all(lines.as_bytes()).expect("written");
        assert_eq!(log.tail().lines().next(), Some("line 10"));
    }

    #[tokio::test]
    async fn a_large_log_is_put_aside() {
        let dir = open_to_all();
        let folder = Folder::open(&dir.path().join("pg")).await.expect("it is free");
        let (log, file) = Log::open(&folder).expect("a log");
        file.set_len(LOG_BYTES_MAX + 1).expect("a sparse file");
        let (_, file) = Log::open(&folder).expect("a log");
        assert_eq!(file.metadata().expect("it is open").len(), 0);
        assert!(log.path().with_file_name("postgres.log.1").exists());
    }
}
