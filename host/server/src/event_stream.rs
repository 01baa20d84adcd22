//! Server-sent events as the command line reads them: bytes in, events out.
//!
//! Knows nothing of what the events say.

use std::{mem, time::Duration};

use reqwest::Response;

/// Longer than this the server says nothing only if it is gone: it gives a sign of life every few seconds.
const SILENCE_LONGEST: Duration = Duration::from_secs(330);
/// Longest line, in bytes. No event of a run comes near it.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerEvent {
    /// What `event:` says; empty: nothing.
    pub kind: String,
    pub id: Option<String>,
    pub data: String,
}

/// Why a stream broke off.
#[derive(Debug, thiserror::Error)]
pub enum BrokenStream {
    #[error("the connection to the host was lost")]
    Lost(#[source] reqwest::Error),
    #[error("the host says nothing any more")]
    Silent,
    #[error("the host sent a line of more than {LINE_BYTES_MAX} bytes")]
    TooLong,
}

/// The events of one answer.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    parser: Parser,
}

impl EventStream {
    pub fn new(response: Response) -> Self {
        Self { response, parser: Parser::default() }
    }

    /// The next event; none: the stream has ended.
    ///
    /// # Errors
    /// It broke off.
    pub async fn next(&mut self) -> Result<Option<ServerEvent>, BrokenStream> {
        loop {
            if let Some(event) = self.parser.next()? {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(SILENCE_LONGEST, self.response.chunk());
            match chunk.await.map_err(|_| BrokenStream::Silent)?.map_err(BrokenStream::Lost)? {
                Some(bytes) => self.parser.bytes.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[derive(Debug, Default)]
struct Parser {
    /// What was not read yet.
    bytes: Vec<u8>,
    event: ServerEvent,
}

impl Parser {
    fn next(&mut self) -> Result<Option<ServerEvent>, BrokenStream> {
        while let Some(end) = self.bytes.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.bytes.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            if let Some(event) = self.line(line.trim_end_matches(['\n', '\r'])) {
                return Ok(Some(event));
            }
        }
        if self.bytes.len() > LINE_BYTES_MAX { Err(BrokenStream::TooLong) } else { Ok(None) }
    }

    /// An empty line ends an event; one that begins with a colon is a sign of life.
    fn line(&mut self, line: &str) -> Option<ServerEvent> {
        if line.is_empty() {
            let event = mem::take(&mut self.event);
            return (!event.data.is_empty()).then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event.kind),
            "id" => self.event.id = Some(value.to_owned()),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text =
            ": heartbeat\n\nevent: node\nid: 7\ndata: {\"a\":\ndata: 1}\n\nretry: 1\ndata:x\r\n\r\ndata: unfinished\n";
        let expected = [
            ServerEvent { kind: "node".to_owned(), id: Some("7".to_owned()), data: "{\"a\":\n1}".to_owned() },
            ServerEvent { kind: String::new(), id: None, data: "x".to_owned() },
        ];
        for size in [1, 2, 7, text.len()] {
            let (mut parser, mut events) = (Parser::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                parser.bytes.extend_from_slice(piece);
                while let Some(event) = parser.next().expect("short lines") {
                    events.push(event);
                }
            }
            assert_eq!(events, expected, "in pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_an_end_is_not_kept() {
        let mut parser = Parser { bytes: vec![b'x'; LINE_BYTES_MAX + 1], event: ServerEvent::default() };
        assert!(matches!(parser.next(), Err(BrokenStream::TooLong)));
    }
}
