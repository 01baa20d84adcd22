//! What a command answers: tables and sentences for people, JSON for programs, an exit code for scripts.
//!
//! Answers go to standard output; errors, like progress, to standard error. What guests and other people wrote is shown
//! with its control characters escaped, whichever command shows it: an answer must not move the cursor or rename the window.

use std::{
    borrow::Cow,
    error::Error,
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use serde::Serialize;
use serde_json::json;
use trellis_model::fault::Fault;

/// How a command ended. The numbers are a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Done as asked.
    Ok = 0,
    /// Done, and it went wrong: a run that failed, a plugin that does not compile.
    Failed = 1,
    /// The command line or the configuration says something that cannot be meant. The number is clap's, too.
    Usage = 2,
    /// What was named is not there: a run, a project, a file.
    NotFound = 3,
    /// Understood and refused: an invalid manifest or component, a missing right, an exhausted limit.
    Refused = 4,
    /// The server or the database cannot be reached, or says that it cannot answer now. Trying again may help.
    Unavailable = 5,
}

impl Exit {
    pub const ALL: [Self; 6] = [Self::Ok, Self::Failed, Self::Usage, Self::NotFound, Self::Refused, Self::Unavailable];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "done",
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NotFound => "not found",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "done as asked",
            Self::Failed => "done, and it went wrong: a run that failed, a plugin that does not compile",
            Self::Usage => "the command line or the configuration says something that cannot be meant",
            Self::NotFound => "what was named is not there: a run, a project, a file",
            Self::Refused => {
                "understood and refused: an invalid manifest or component, a missing right, an exhausted limit"
            }
            Self::Unavailable => {
                "a server or the database cannot be reached, or cannot answer now; trying again may help"
            }
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// The flags that every command has.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct OutputArgs {
    /// Answer in JSON: one value a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Show no progress
    #[arg(long, short, global = true)]
    pub quiet: bool,
}

/// Where answers and errors go, and in which form.
pub struct Output {
    json: bool,
    answers: Box<dyn Write + Send>,
    errors: Box<dyn Write + Send>,
}

impl Output {
    /// To this process's standard output and error.
    pub fn of_process(args: OutputArgs) -> Self {
        Self { json: args.json, answers: Box::new(io::stdout()), errors: Box::new(io::stderr()) }
    }

    /// Whether answers are for programs.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One answer: `human` words it, unless it is to be JSON. A value that is to stay on one line goes through [`printable`]
    /// first.
    ///
    /// # Errors
    /// When standard output cannot be written; see [`written`].
    pub fn show<T: Serialize>(&mut self, answer: &T, human: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self.json {
            true => self.write(&printable_json(&serde_json::to_string(answer)?)),
            false => self.write(&printable_lines(&human(answer))),
        }
    }

    /// A sentence that only a person needs: a hint, a heading.
    ///
    /// # Errors
    /// When standard output cannot be written; see [`written`].
    pub fn note(&mut self, text: &str) -> io::Result<()> {
        if self.json { Ok(()) } else { self.write(&printable_lines(text)) }
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.answers, "{}", text.trim_end_matches('\n'))?;
        self.answers.flush()
    }

    /// Why a command ends as it does, with all that caused it; `faults` are told one by one to programs alone, the error tells
    /// them to people. Hands back `exit`.
    pub fn failure(&mut self, exit: Exit, error: &dyn Error, faults: &[Fault]) -> Exit {
        let message = with_causes(error);
        let mut told = json!({ "error": message, "exit": exit as u8 });
        if !faults.is_empty() {
            told["faults"] = json!(faults);
        }
        let written = match self.json {
            true => writeln!(self.errors, "{}", printable_json(&told.to_string())),
            false => writeln!(self.errors, "error: {}", printable_lines(&message)),
        };
        // Whoever closed standard error does not want to know.
        drop(written);
        exit
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("json", &self.json).finish_non_exhaustive()
    }
}

/// The exit after a write to standard output. A reader that has seen enough (`| head`) is no failure.
pub fn written(result: io::Result<()>) -> Exit {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Exit::Failed,
        _ => Exit::Ok,
    }
}

/// An error and its sources, each once: many messages already tell their source's.
fn with_causes(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        source = cause.source();
    }
    message
}

/// One line of text from outside, with everything escaped that a terminal would obey or that turns text around.
pub fn printable(text: &str) -> Cow<'_, str> {
    escaped(text, |_| false)
}

/// The same for text of several lines, whose breaks and tabs stay.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// The same for JSON, whose texts mean the same to a program afterwards.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    // Outside of texts JSON has blanks and line breaks alone.
    replaced(json, |c| is_unprintable(c) && c != '\n', |shown, c| shown.push_str(&format!("\\u{:04x}", u32::from(c))))
}

/// A text as one word of a command that a person pastes into a shell.
pub fn pasted(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("'{}'", text.replace('\'', "'\\''")))
}

/// How to get the page behind this one, whose `next` may be a key that somebody else has chosen.
pub fn more(next: Option<&str>) -> String {
    match next {
        None => String::new(),
        Some(next) if next.contains(is_unprintable) => "more: with the `next` that --json tells\n".to_owned(),
        Some(next) => format!("more: --after {}\n", pasted(next)),
    }
}

fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    replaced(text, |c| is_unprintable(c) && !is_kept(c), |shown, c| shown.extend(c.escape_default()))
}

fn replaced(text: &str, is_harmful: impl Fn(char) -> bool, replace: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.contains(&is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_harmful(c) { replace(&mut shown, c) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// Control characters, and the invisible ones that hide text or change its direction.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A number of things, in words: `1 run`, `2 runs`, `0 days`.
pub fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}

/// Rows under headings, for people. Cells are made [`printable`].
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

/// Between two columns.
const GAP: &str = "  ";

impl Table {
    pub fn new(headings: impl Into<Vec<&'static str>>) -> Self {
        Self { headings: headings.into(), rows: Vec::new() }
    }

    /// One row, with a cell for each heading.
    pub fn row<C: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| printable(cell.as_ref()).into_owned()).collect();
        debug_assert_eq!(cells.len(), self.headings.len(), "a cell for each heading");
        self.rows.push(cells);
    }

    fn widths(&self) -> Vec<usize> {
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0).max(self.headings[column].chars().count())
        };
        (0..self.headings.len()).map(widest).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let mut line = |cells: &mut dyn Iterator<Item = &str>| {
            let padded: Vec<String> = cells.zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", padded.join(GAP).trim_end())
        };
        line(&mut self.headings.iter().copied())?;
        self.rows.iter().try_for_each(|row| line(&mut row.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A place to write to that the test keeps an eye on.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while locked").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Shared {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().expect("no panic while locked").clone()).expect("UTF-8")
        }
    }

    fn output(json: bool) -> (Output, Shared, Shared) {
        let (answers, errors) = (Shared::default(), Shared::default());
        (Output { json, answers: Box::new(answers.clone()), errors: Box::new(errors.clone()) }, answers, errors)
    }

    #[derive(Serialize)]
    struct Answer {
        run: &'static str,
    }

    #[test]
    fn people_get_words_and_programs_get_one_json_value_a_line() {
        for (json, expected) in
            [(false, "run run_1\nrun run_1\nhint\n"), (true, "{\"run\":\"run_1\"}\n{\"run\":\"run_1\"}\n")]
        {
            let (mut output, answers, _) = output(json);
            for _ in 0..2 {
                output.show(&Answer { run: "run_1" }, |answer| format!("run {}\n", answer.run)).expect("memory");
            }
            output.note("hint").expect("memory");
            assert_eq!(answers.text(), expected);
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("failed to send")]
    struct Unsent(#[source] io::Error);

    #[test]
    fn a_failure_is_told_with_its_causes_and_apart_from_answers() {
        let error = Unsent(io::Error::other("refused by \u{1b}[31mhost"));
        let (mut human, answers, errors) = output(false);
        assert_eq!(human.failure(Exit::Unavailable, &error, &[]), Exit::Unavailable);
        assert_eq!(errors.text(), "error: failed to send: refused by \\u{1b}[31mhost\n");
        assert_eq!(answers.text(), "");

        let (mut json, _, errors) = output(true);
        json.failure(Exit::Unavailable, &error, &[]);
        let value: serde_json::Value = serde_json::from_str(&errors.text()).expect("JSON");
        assert_eq!(value["exit"], 5);
        assert_eq!(value["error"], "failed to send: refused by \u{1b}[31mhost");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_failure() {
        assert_eq!(written(Ok(())), Exit::Ok);
        assert_eq!(written(Err(io::ErrorKind::BrokenPipe.into())), Exit::Ok);
        assert_eq!(written(Err(io::ErrorKind::StorageFull.into())), Exit::Failed);
    }

    #[test]
    fn one_thing_is_one_thing() {
        assert_eq!([0, 1, 2].map(|count| counted(count, "run")), ["0 runs", "1 run", "2 runs"]);
    }

    #[test]
    fn exit_codes_are_the_documented_numbers() {
        assert_eq!(Exit::ALL.map(|exit| exit as u8), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        assert!(matches!(printable("plain, ünïcode, 漢字"), Cow::Borrowed(_)));
        let cases = [
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\0b", "a\\u{0}b"),
            ("a\r\nb", "a\\r\\nb"),
            ("\u{202e}txt.exe", "\\u{202e}txt.exe"),
            ("\u{9b}31m", "\\u{9b}31m"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable_lines("a\n\tb\r"), "a\n\tb\\r");
    }

    #[test]
    fn no_answer_is_obeyed_by_a_terminal_whoever_forgot_to_escape_it() {
        let hostile = json!({ "run": "\u{1b}[31m\u{9b}2J\u{202e}" });
        for json in [false, true] {
            let (mut output, answers, _) = output(json);
            output.show(&hostile, |answer| answer["run"].as_str().unwrap_or_default().to_owned()).expect("memory");
            output.note("\u{9b}2J").expect("memory");
            assert!(!answers.text().contains(|c| is_unprintable(c) && c != '\n'), "{:?}", answers.text());
            if json {
                let read: serde_json::Value = serde_json::from_str(&answers.text()).expect("JSON");
                assert_eq!(read, hostile, "a program reads what was there");
            }
        }
    }

    #[test]
    fn what_is_pasted_is_one_word_of_a_shell() {
        for (text, expected) in [
            ("github:acme/shop", "github:acme/shop"),
            ("", "''"),
            ("x; rm -rf ~", "'x; rm -rf ~'"),
            ("it's $(x)", "'it'\\''s $(x)'"),
        ] {
            assert_eq!(pasted(text), expected);
        }
        assert_eq!(more(Some("a b")), "more: --after 'a b'\n");
        assert!(more(Some("a\u{1b}")).contains("--json") && more(None).is_empty());
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(["RUN", "STATE"]);
        table.row(["run_1", "succeeded"]);
        table.row(["r", "bad\nnews"]);
        assert_eq!(table.to_string(), "RUN    STATE\nrun_1  succeeded\nr      bad\\nnews\n");
    }
}
