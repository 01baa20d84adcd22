//! Progress of builds, uploads and waits, on standard error: moving bars in a terminal, plain lines elsewhere, nothing
//! when quiet was asked for.
//!
//! Knows no command and no result: what a command answers is [`super::output`]'s part.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::output::{OutputArgs, printable};

/// How often a bar moves by itself: often enough to look alive.
const TICK: Duration = Duration::from_millis(100);

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// Bars that move, for a person at a terminal.
    Bars,
    /// A line when a task begins and one when it ends, for logs.
    Lines,
    Silent,
}

impl ProgressMode {
    /// Bars need a terminal, and one that nothing else is meant to read.
    pub fn of(args: OutputArgs, stderr_is_terminal: bool) -> Self {
        match args {
            OutputArgs { quiet: true, .. } => Self::Silent,
            OutputArgs { json: true, .. } => Self::Lines,
            _ if stderr_is_terminal => Self::Bars,
            _ => Self::Lines,
        }
    }
}

/// Where tasks are shown. Cheap to clone; all clones share one place on the screen.
#[derive(Clone)]
pub struct Progress {
    mode: ProgressMode,
    bars: MultiProgress,
    lines: Arc<Mutex<dyn Write + Send>>,
}

/// Something that takes its time. Dropped without [`Task::done`] it vanishes: the error that follows says why.
#[derive(Debug)]
#[must_use = "a task that is dropped at once is not seen"]
pub struct Task {
    label: String,
    began: Instant,
    bar: ProgressBar,
    progress: Progress,
}

impl Progress {
    /// On this process's standard error.
    pub fn of_process(args: OutputArgs) -> Self {
        Self::to(ProgressMode::of(args, io::stderr().is_terminal()), io::stderr())
    }

    fn to(mode: ProgressMode, lines: impl Write + Send + 'static) -> Self {
        // Its own default draws on standard error, and not at all where that is no terminal.
        Self { mode, bars: MultiProgress::new(), lines: Arc::new(Mutex::new(lines)) }
    }

    /// A task of unknown length, such as a build or a wait.
    pub fn task(&self, label: &str) -> Task {
        self.begin(label, "{spinner} {prefix} {wide_msg:.dim} {elapsed:.dim}", None)
    }

    /// A task that moves a known number of bytes, such as an upload.
    pub fn bytes(&self, label: &str, total: u64) -> Task {
        self.begin(label, "{spinner} {prefix} {bar:24} {binary_bytes}/{binary_total_bytes} {eta:.dim}", Some(total))
    }

    /// A task that consists of a known number of steps.
    pub fn steps(&self, label: &str, total: u64) -> Task {
        self.begin(label, "{spinner} {prefix} {bar:24} {pos}/{len} {wide_msg:.dim}", Some(total))
    }

    /// Whether lines can change in their place.
    pub fn is_live(&self) -> bool {
        matches!(self.mode, ProgressMode::Bars)
    }

    /// A line that changes in its place, below those that are there.
    pub fn row(&self) -> Row {
        let bar = if self.is_live() { self.bars.add(ProgressBar::no_length()) } else { ProgressBar::hidden() };
        bar.set_style(ProgressStyle::with_template("{prefix} {wide_msg:.dim}").expect("the template is valid"));
        Row { bar }
    }

    /// Does something that writes to the terminal itself, with the bars out of its way.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        match self.mode {
            ProgressMode::Bars => self.bars.suspend(write),
            ProgressMode::Lines | ProgressMode::Silent => write(),
        }
    }

    fn begin(&self, label: &str, template: &str, total: Option<u64>) -> Task {
        let label = printable(label).into_owned();
        let bar = match self.mode {
            ProgressMode::Bars => {
                let bar = self.bars.add(ProgressBar::no_length());
                bar.set_style(ProgressStyle::with_template(template).expect("the templates above are valid"));
                bar.set_prefix(label.clone());
                bar.enable_steady_tick(TICK);
                bar
            }
            ProgressMode::Lines | ProgressMode::Silent => ProgressBar::hidden(),
        };
        if let Some(total) = total {
            bar.set_length(total);
        }
        self.line(&format!("{label} …"));
        Task { label, began: Instant::now(), bar, progress: self.clone() }
    }

    fn line(&self, text: &str) {
        if self.mode == ProgressMode::Lines {
            let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever closed standard error does not want to see progress.
            drop(writeln!(lines, "{text}"));
        }
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Progress").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Task {
    /// What is being done right now; seen beside a bar only.
    pub fn detail(&self, text: &str) {
        self.bar.set_message(printable(text).into_owned());
    }

    /// What has changed, where it is worth a line in a log as well.
    pub fn tell(&self, text: &str) {
        self.detail(text);
        self.progress.line(&format!("{}: {}", self.label, printable(text)));
    }

    /// So many bytes or steps more.
    pub fn advance(&self, count: u64) {
        self.bar.inc(count);
    }

    /// Where it stands, of a total that was not known before.
    pub fn at(&self, position: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(position);
    }

    /// To be told of every piece that was moved, from wherever that happens.
    pub fn sent(&self) -> impl Fn(u64) + Send + Sync + 'static {
        let bar = self.bar.clone();
        move |bytes| bar.inc(bytes)
    }

    /// The task has ended well; `outcome` says how, in a few words.
    pub fn done(self, outcome: &str) {
        let line = format!("{}: {} ({})", self.label, printable(outcome), short(self.began.elapsed()));
        match self.progress.mode {
            // The line stays above the bars that still move.
            ProgressMode::Bars => drop(self.progress.bars.println(format!("✓ {line}"))),
            ProgressMode::Lines | ProgressMode::Silent => self.progress.line(&line),
        }
    }
}

/// A line that changes in its place.
#[derive(Debug)]
pub struct Row {
    bar: ProgressBar,
}

impl Row {
    pub fn set(&self, prefix: &str, text: &str) {
        self.bar.set_prefix(prefix.to_owned());
        self.bar.set_message(text.to_owned());
        self.bar.tick();
    }

    /// It stays as it is.
    pub fn keep(self) {
        self.bar.abandon();
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A time as one looks at it: `0.3s`, `12.0s`, `2m 05s`.
fn short(time: Duration) -> String {
    match time.as_secs() {
        0..60 => format!("{:.1}s", time.as_secs_f64()),
        seconds => format!("{}m {:02}s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
impl Progress {
    /// For tests of those who are given one.
    pub fn silent() -> Self {
        Self::to(ProgressMode::Silent, io::sink())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn shown(mode: ProgressMode, work: impl FnOnce(&Progress)) -> Vec<String> {
        let lines = Shared::default();
        work(&Progress::to(mode, lines.clone()));
        let text = String::from_utf8(lines.0.lock().expect("no panic while locked").clone()).expect("UTF-8");
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bars_are_for_people_at_a_terminal() {
        let args = |json, quiet| OutputArgs { json, quiet };
        let cases = [
            (args(false, false), true, ProgressMode::Bars),
            (args(false, false), false, ProgressMode::Lines),
            (args(true, false), true, ProgressMode::Lines),
            (args(false, true), true, ProgressMode::Silent),
            (args(true, true), true, ProgressMode::Silent),
        ];
        for (args, terminal, expected) in cases {
            assert_eq!(ProgressMode::of(args, terminal), expected, "{args:?} {terminal}");
        }
    }

    #[test]
    fn without_a_terminal_a_task_is_two_plain_lines() {
        let lines = shown(ProgressMode::Lines, |progress| {
            let task = progress.bytes("uploading \u{1b}hello", 10);
            task.detail("half of it");
            task.advance(5);
            assert_eq!(task.bar.position(), 5);
            progress.suspend(|| {});
            task.done("stored");
        });
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "uploading \\u{1b}hello …");
        assert!(lines[1].starts_with("uploading \\u{1b}hello: stored (0."), "{lines:?}");
    }

    #[test]
    fn a_task_that_fails_does_not_claim_to_be_done() {
        let lines = shown(ProgressMode::Lines, |progress| drop(progress.task("building")));
        assert_eq!(lines, ["building …"]);
    }

    #[test]
    fn quiet_is_quiet() {
        let lines = shown(ProgressMode::Silent, |progress| progress.steps("testing", 3).done("passed"));
        assert!(lines.is_empty());
    }

    #[test]
    fn the_templates_of_all_bars_are_valid() {
        let progress = Progress::to(ProgressMode::Bars, io::sink());
        for task in [progress.task("a"), progress.bytes("b", 1), progress.steps("c", 1)] {
            task.advance(1);
            task.done("done");
        }
    }

    #[test]
    fn times_are_short() {
        let cases = [(300, "0.3s"), (12_000, "12.0s"), (125_000, "2m 05s")];
        for (ms, expected) in cases {
            assert_eq!(short(Duration::from_millis(ms)), expected);
        }
    }
}
