//! `wasi:logging`, and the log of one call that everything written goes into: bounded, counted, and without control
//! characters, so that showing a log cannot drive a terminal.
//!
//! Knows nothing of where a run's log is kept.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use serde::{Deserialize, Serialize};
use wasmtime::component::{HasSelf, Linker};

use crate::{
    bindings::logging::{self, Level},
    guest_state::GuestState,
    redaction::Redactor,
};

/// What one line costs besides its text, so that empty lines are bounded too.
const LINE_BYTES: u64 = 16;
/// Bytes of standard error that are kept for the message of a trap.
const STDERR_TAIL_BYTES: usize = 2_048;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
    Critical,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Milliseconds since the call began.
    pub at_ms: u64,
    pub level: LogLevel,
    /// What the guest gave as context; `stdout` or `stderr` for its standard streams; `trellis` for remarks of the host.
    pub context: String,
    pub message: String,
}

/// What a call logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunLog {
    pub lines: Vec<LogLine>,
    /// Bytes over the limit, which were thrown away.
    pub dropped_bytes: u64,
}

/// Which standard stream a guest writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// The log of a running call. Its streams and its logging capability share it.
#[derive(Clone)]
pub(crate) struct Log(Arc<Mutex<Growing>>);

struct Growing {
    began: Instant,
    log: RunLog,
    bytes_left: u64,
    redactor: Arc<Redactor>,
    /// Of all that came, kept or not.
    bytes: u64,
    /// Text behind the last line break, per stream.
    unfinished: [Vec<u8>; 2],
    stderr_tail: Vec<u8>,
}

impl Log {
    /// A log that has none of the call's secrets in it.
    pub fn redacting(bytes_max: u64, redactor: Arc<Redactor>) -> Self {
        Self(Arc::new(Mutex::new(Growing {
            began: Instant::now(),
            log: RunLog::default(),
            bytes_left: bytes_max,
            redactor,
            bytes: 0,
            unfinished: [Vec::new(), Vec::new()],
            stderr_tail: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Growing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A remark of the host, such as why a request was refused.
    pub fn remark(&self, level: LogLevel, message: &str) {
        self.lock().push(level, "trellis", message);
    }

    pub fn write(&self, stream: Stream, bytes: &[u8]) {
        let mut growing = self.lock();
        growing.bytes += bytes.len() as u64;
        growing.write(stream, bytes);
    }

    /// Ends the log. A line without a line break counts as a line.
    pub fn finish(&self) -> RunLog {
        let mut growing = self.lock();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let rest = mem::take(&mut growing.unfinished[stream as usize]);
            if !rest.is_empty() {
                growing.push_stream_line(stream, &rest);
            }
        }
        mem::take(&mut growing.log)
    }

    /// Bytes that were logged and printed so far, those that were thrown away included.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The last lines of standard error, where runtimes of other languages leave the message of an uncaught exception.
    pub fn stderr_tail(&self) -> String {
        let growing = self.lock();
        let kept = &growing.stderr_tail;
        let text = String::from_utf8_lossy(&kept[kept.len().saturating_sub(growing.tail_bytes())..]);
        // What is kept beyond that begins with the end of a secret, perhaps.
        let from = text.len().saturating_sub(STDERR_TAIL_BYTES);
        clean(growing.redactor.part(&text, from, text.len()).trim())
    }
}

impl Growing {
    fn push(&mut self, level: LogLevel, context: &str, message: &str) {
        if self.bytes_left == 0 {
            return self.dropped(message.len());
        }
        let redactor = Arc::clone(&self.redactor);
        if redactor.is_empty() {
            return self.push_clean(level, context, message);
        }
        // No more than can be kept is looked through; and before it is cut off, or the cut could go through a secret.
        let room = usize::try_from(self.bytes_left).unwrap_or(usize::MAX);
        let head = |text: &str| {
            let seen = &text[..text.floor_char_boundary(room.saturating_add(redactor.longest()))];
            redactor.part(seen, 0, room.min(seen.len())).into_owned()
        };
        self.dropped(message.len().saturating_sub(room));
        self.push_clean(level, &head(context), &head(message));
    }

    fn dropped(&mut self, bytes: usize) {
        self.log.dropped_bytes += bytes as u64;
    }

    fn push_clean(&mut self, level: LogLevel, context: &str, message: &str) {
        let wanted = LINE_BYTES + (context.len() + message.len()) as u64;
        if wanted <= self.bytes_left {
            self.bytes_left -= wanted;
            let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.log.lines.push(LogLine { at_ms, level, context: clean(context), message: clean(message) });
            return;
        }
        // As much of the first line that does not fit as there is room for; nothing behind it.
        let overhead = LINE_BYTES + context.len() as u64;
        let room = usize::try_from(self.bytes_left.saturating_sub(overhead)).unwrap_or(usize::MAX);
        let kept = message.floor_char_boundary(room);
        self.log.dropped_bytes += (message.len() - kept) as u64;
        if kept > 0 {
            self.push_clean(level, context, &message[..kept]);
        }
        self.bytes_left = 0;
    }

    fn push_stream_line(&mut self, stream: Stream, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        match stream {
            Stream::Stdout => self.push(LogLevel::Info, "stdout", &line),
            Stream::Stderr => self.push(LogLevel::Warn, "stderr", &line),
        }
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr {
            self.keep_tail(bytes);
        }
        if self.bytes_left == 0 {
            self.log.dropped_bytes += bytes.len() as u64;
            return;
        }
        let mut unfinished = mem::take(&mut self.unfinished[stream as usize]);
        let mut rest = bytes;
        // Once nothing fits any more, what is left is counted as a whole, however many lines it has.
        while self.bytes_left > 0 {
            let Some(end) = memchr::memchr(b'\n', rest) else {
                unfinished.extend_from_slice(rest);
                rest = &[];
                break;
            };
            unfinished.extend_from_slice(&rest[..end]);
            self.push_stream_line(stream, &unfinished);
            unfinished.clear();
            rest = &rest[end + 1..];
        }
        self.dropped(rest.len());
        // A line that never ends must not grow for ever; what a secret at its cut may still need is waited for.
        if unfinished.len() as u64 > self.bytes_left.saturating_add(self.redactor.longest() as u64) {
            self.push_stream_line(stream, &unfinished);
            unfinished.clear();
        }
        self.unfinished[stream as usize] = unfinished;
    }

    /// Keeps twice as much as is needed, so that many short writes do not move all of it each time.
    fn keep_tail(&mut self, bytes: &[u8]) {
        let most = self.tail_bytes();
        let newest = &bytes[bytes.len().saturating_sub(most)..];
        self.stderr_tail.extend_from_slice(newest);
        if self.stderr_tail.len() > 2 * most {
            self.stderr_tail.drain(..self.stderr_tail.len() - most);
        }
    }

    /// Bytes of standard error that decide what its tail is without secrets.
    fn tail_bytes(&self) -> usize {
        STDERR_TAIL_BYTES + self.redactor.longest()
    }
}

/// Replaces control characters other than line breaks and tabs, and those that turn the direction of writing: terminals obey
/// them, databases refuse NUL, and readers are deceived.
pub(crate) fn clean(text: &str) -> String {
    let is_control = |character: char| match character {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    };
    if text.contains(is_control) { text.replace(is_control, "\u{FFFD}") } else { text.to_owned() }
}

impl logging::Host for Log {
    fn log(&mut self, level: Level, context: String, message: String) {
        let level = match level {
            Level::Trace => LogLevel::Trace,
            Level::Debug => LogLevel::Debug,
            Level::Info => LogLevel::Info,
            Level::Warn => LogLevel::Warn,
            Level::Error => LogLevel::Error,
            Level::Critical => LogLevel::Critical,
        };
        let mut growing = self.lock();
        growing.bytes += (context.len() + message.len()) as u64;
        growing.push(level, &context, &message);
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    logging::add_to_linker::<_, HasSelf<Log>>(linker, |state| &mut state.capabilities.log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redaction::tests::redactor;

    fn log(bytes_max: u64) -> Log {
        Log::redacting(bytes_max, Arc::default())
    }

    fn messages(log: &Log) -> Vec<String> {
        log.finish().lines.into_iter().map(|line| line.message).collect()
    }

    #[test]
    fn streams_become_lines() {
        let log = log(1_000);
        log.write(Stream::Stdout, b"one\ntw");
        log.write(Stream::Stderr, b"other\n");
        log.write(Stream::Stdout, b"o\n\nrest");
        assert_eq!(messages(&log), ["one", "other", "two", "", "rest"]);
    }

    #[test]
    fn a_flood_is_cut_off_and_counted() {
        let log = log(100);
        for _ in 0..10 {
            log.write(Stream::Stdout, &[b'x'; 50]);
        }
        log.remark(LogLevel::Info, "more");
        let run_log = log.finish();
        let kept: usize = run_log.lines.iter().map(|line| line.message.len()).sum();
        assert!(kept <= 100, "{kept}");
        assert_eq!(run_log.dropped_bytes, 504 - kept as u64);
        assert_eq!(log.bytes(), 500, "what the guest wrote, and no more");
    }

    #[test]
    fn empty_lines_are_bounded_too() {
        let log = log(1_000);
        log.write(Stream::Stdout, &[b'\n'; 100_000]);
        assert!(log.finish().lines.len() < 100);
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let log = log(1_000);
        log.remark(LogLevel::Info, "a\u{1b}[31mred\0\ttab \u{202e}dab\u{9b}");
        assert_eq!(messages(&log), ["a\u{FFFD}[31mred\u{FFFD}\ttab \u{FFFD}dab\u{FFFD}"]);
    }

    #[test]
    fn the_tail_of_standard_error_is_its_newest_part() {
        let log = log(10);
        log.write(Stream::Stderr, &[b'a'; 5_000]);
        log.write(Stream::Stderr, b"Traceback: the end\n");
        let tail = log.stderr_tail();
        assert!(tail.ends_with("aaTraceback: the end"), "{tail}");
        assert!(tail.len() <= STDERR_TAIL_BYTES);
    }

    #[test]
    fn a_secret_in_two_writes_at_the_limit_is_not_cut_into_view() {
        let secret = "s3cret-text-that-is-longer-than-what-a-line-costs-besides";
        for room in 1..80 {
            let log = Log::redacting(room, Arc::new(redactor(&[secret])));
            log.write(Stream::Stdout, &secret.as_bytes()[..50]);
            log.write(Stream::Stdout, &secret.as_bytes()[50..]);
            let lines = messages(&log);
            assert!(lines.iter().all(|line| !line.contains("s3")), "{room}: {lines:?}");
        }
    }

    #[test]
    fn a_line_that_never_ends_takes_no_more_room_than_the_log_and_a_secret() {
        let redactor = Arc::new(redactor(&["s3cret-text"]));
        let log = Log::redacting(1_000, Arc::clone(&redactor));
        for _ in 0..1_000 {
            log.write(Stream::Stdout, &[b'x'; 100]);
            assert!(log.lock().unfinished[0].len() <= 1_000 + redactor.longest());
        }
        assert_eq!(messages(&log).len(), 1);
    }

    #[test]
    fn a_flood_of_lines_is_not_looked_through_once_the_log_is_full() {
        let log = Log::redacting(1_000, Arc::new(redactor(&["s3cret-text"])));
        log.write(Stream::Stdout, &[b'\n'; 100_000]);
        log.write(Stream::Stdout, b"rest\nrest");
        let full = log.finish();
        assert!(full.lines.len() < 100, "{}", full.lines.len());
        // A line break of what was looked through is no text; all others were dropped unseen.
        assert_eq!(full.dropped_bytes, 100_000 - full.lines.len() as u64 - 1 + 9);
    }
}
