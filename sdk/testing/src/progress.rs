//! What a plugin reports of its progress, collected for the report of its call.

use std::sync::{Mutex, PoisonError};

use trellis_engine::{ProgressReport, ProgressSink};

/// Reports that are kept, the first ones: a plugin under test must not take the memory of the test.
const REPORTS_MAX: usize = 10_000;

/// The reports of one call.
#[derive(Debug, Default)]
pub(crate) struct Reported(Mutex<Vec<ProgressReport>>);

impl Reported {
    pub fn take(&self) -> Vec<ProgressReport> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ProgressSink for Reported {
    fn report(&self, report: ProgressReport) {
        let mut reports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() < REPORTS_MAX {
            reports.push(report);
        }
    }
}
