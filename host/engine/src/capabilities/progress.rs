//! `trellis:plugin/progress`: how far a call has come, handed on at once to whoever the caller has named.
//!
//! Knows nothing of who watches, and keeps nothing: a report replaces the one before it.

use std::sync::Arc;

use wasmtime::component::{HasSelf, Linker};

use crate::{bindings::progress as wit, capabilities::log::clean, guest_state::GuestState, redaction::Redactor};

/// Longest text of a report, in bytes. 200: a line of a terminal.
pub const PROGRESS_TEXT_BYTES_MAX: usize = 200;

/// How far a call has come, as its guest says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProgressReport {
    /// From 0 to 1.
    pub fraction: f64,
    /// At most [`PROGRESS_TEXT_BYTES_MAX`], without secrets and control characters.
    pub text: String,
}

/// Whoever is told how far a call has come. Told as often as the guest likes, on the thread that runs the guest: it must not
/// block, and is to keep the last report alone.
pub trait ProgressSink: Send + Sync {
    fn report(&self, report: ProgressReport);
}

pub(crate) struct Progress {
    sink: Option<Arc<dyn ProgressSink>>,
    redactor: Arc<Redactor>,
}

impl Progress {
    /// Without a `sink` nobody wants to know.
    pub fn new(sink: Option<Arc<dyn ProgressSink>>, redactor: Arc<Redactor>) -> Self {
        Self { sink, redactor }
    }

    /// The beginning of a text. Secrets are looked for in no more than could be shown, and before it is cut.
    fn line(&self, text: &str) -> String {
        let seen = &text[..text.floor_char_boundary(PROGRESS_TEXT_BYTES_MAX + self.redactor.longest())];
        let mut line = clean(&self.redactor.part(seen, 0, PROGRESS_TEXT_BYTES_MAX.min(seen.len())));
        // What stands where secrets and control characters were may be longer than these.
        line.truncate(line.floor_char_boundary(PROGRESS_TEXT_BYTES_MAX));
        line
    }
}

impl wit::Host for Progress {
    fn report(&mut self, fraction: f64, text: String) {
        let Some(sink) = &self.sink else { return };
        let fraction = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        sink.report(ProgressReport { fraction, text: self.line(&text) });
    }
}

pub(super) fn add_to_linker(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wit::add_to_linker::<_, HasSelf<Progress>>(linker, |state| &mut state.capabilities.progress)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{wit::Host as _, *};
    use crate::redaction::tests::redactor;

    #[derive(Default)]
    struct Told(Mutex<Vec<ProgressReport>>);

    impl ProgressSink for Told {
        fn report(&self, report: ProgressReport) {
            self.0.lock().expect("no panic while locked").push(report);
        }
    }

    fn told(secrets: &[&str], reports: &[(f64, &str)]) -> Vec<ProgressReport> {
        let told = Arc::new(Told::default());
        let mut progress = Progress::new(Some(Arc::clone(&told) as Arc<dyn ProgressSink>), Arc::new(redactor(secrets)));
        reports.iter().for_each(|(fraction, text)| progress.report(*fraction, (*text).to_owned()));
        let told = told.0.lock().expect("no panic while locked");
        told.clone()
    }

    #[test]
    fn fractions_are_brought_into_their_bounds() {
        let fractions = [-1.0, 0.25, 7.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(|fraction| (fraction, ""));
        let told: Vec<f64> = told(&[], &fractions).iter().map(|report| report.fraction).collect();
        assert_eq!(told, [0.0, 0.25, 1.0, 0.0, 1.0, 0.0]);
    }

    #[test]
    fn texts_are_short_and_have_neither_secrets_nor_control_characters() {
        let long = "ü".repeat(1_000);
        let reports = told(&["s3cret-text"], &[(0.0, &long), (0.0, "a s3cret-text\u{1b}[31m")]);
        assert_eq!(reports[0].text, "ü".repeat(PROGRESS_TEXT_BYTES_MAX / 2));
        assert_eq!(reports[1].text, "a [redacted]\u{FFFD}[31m");
        let at_the_cut = format!("{}s3cret-text", "x".repeat(PROGRESS_TEXT_BYTES_MAX - 3));
        let text = &told(&["s3cret-text"], &[(0.0, &at_the_cut)])[0].text;
        assert!(!text.contains("s3") && text.len() <= PROGRESS_TEXT_BYTES_MAX, "{text}");
    }
}
