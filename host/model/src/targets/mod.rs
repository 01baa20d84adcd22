//! The arithmetic of target limits: when the next request may go to a target that takes only so many.
//!
//! A [`TargetState`] is what is known of one target's host. Pure values; who holds them, who waits, and what a request is
//! belongs to the operator and the engine. What an answer says about the next request is read by [`advice`].

pub mod advice;
mod meter;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::meter::Meter;

/// No place in the line lies further ahead: who would have to wait longer is told to ask again by then.
const AHEAD_MAX_MS: i64 = 86_400_000;
/// After the first refusal that names no time; each further one in a row doubles it.
const REFUSED_FIRST_MS: i64 = 1_000;
const REFUSED_LONGEST_MS: i64 = 60_000;
/// Windows up to this length are taken for used up when nobody knows what their last keeper sent.
const DOUBT_MAX_MS: i64 = 60_000;
/// What a request is supposed to take before one has been measured.
const HOLD_FIRST_MS: i64 = 100;

/// How many requests a target takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetLimit {
    pub rate: Option<RateLimit>,
    /// Requests under way at the same time, from being sent to the end of their answer.
    pub concurrency: Option<u32>,
}

/// How many requests a target takes over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RateLimit {
    /// At most `max` in any stretch of `period_ms`.
    Window { max: u32, period_ms: i64 },
    /// A bucket that takes `size` at once and loses one every `interval_us` microseconds.
    Bucket { size: u32, interval_us: i64 },
}

impl RateLimit {
    /// Microseconds between two requests in the long run.
    pub fn spacing_us(self) -> f64 {
        match self {
            Self::Window { max, period_ms } => period_ms as f64 * 1_000.0 / f64::from(max.max(1)),
            Self::Bucket { interval_us, .. } => interval_us as f64,
        }
    }

    /// How long after the last of a full burst everything may be sent anew.
    fn recovery_ms(self) -> i64 {
        match self {
            Self::Window { period_ms, .. } => period_ms,
            Self::Bucket { size, interval_us } => i64::from(size).saturating_mul(interval_us) / 1_000 + 1,
        }
    }
}

impl TargetLimit {
    /// One part of this limit, where `parts` keepers hold to it without knowing of each other. Rates add up to the whole;
    /// bursts and places are rounded down, but never to nothing.
    #[must_use]
    pub fn divided(self, parts: u32) -> Self {
        let parts = parts.max(1);
        let divide = |rate| match rate {
            // Less than one in a period: one in a longer period.
            RateLimit::Window { max, period_ms } if max < parts => {
                let stretched =
                    (i64::from(parts).saturating_mul(period_ms) + i64::from(max) - 1) / i64::from(max.max(1));
                RateLimit::Window { max: 1, period_ms: stretched }
            }
            RateLimit::Window { max, period_ms } => RateLimit::Window { max: max / parts, period_ms },
            RateLimit::Bucket { size, interval_us } => {
                RateLimit::Bucket { size: (size / parts).max(1), interval_us: interval_us.saturating_mul(parts.into()) }
            }
        };
        Self { rate: self.rate.map(divide), concurrency: self.concurrency.map(|places| (places / parts).max(1)) }
    }
}

/// What somebody is told who wants to send a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Now; it is counted, and one place is taken until [`TargetState::left`].
    Go,
    /// Not before this time, in Unix milliseconds. Asking with it as one's place then, one is before all who come later.
    Wait { until_ms: i64 },
    /// Every place is taken until somebody leaves.
    Crowded,
}

/// One target's host as its keeper knows it.
///
/// ```text
///   ask ──► nobody before, room ──────────────► Go
///    │
///    └────► a place in the line: Wait until t ──ask at t──► room ──► Go
///                                                    │
///                                                    └► closed, or others were late:
///                                                       the first time that no other late one was promised
/// ```
///
/// `sent` is what really went out; nothing goes that it has no room for. `line` and `late` are what was promised, so that a
/// thousand who wait are told a thousand times, in their order, and not the same one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TargetState {
    /// The latest time that was seen: a clock that goes back makes everything move back with it.
    seen_ms: i64,
    /// What the promises were made by.
    rate: Option<RateLimit>,
    sent: Meter,
    line: Meter,
    late: Meter,
    /// Places in the line were promised up to this time.
    line_until_ms: i64,
    /// The target itself has asked for silence until then.
    closed_until_ms: i64,
    /// Refusals in a row that named no time.
    refusals: u32,
    /// From then on nothing of this is worth remembering.
    rest_at_ms: i64,
    /// Nobody knows what was sent between the last that is known and this time.
    #[serde(skip)]
    unknown_until_ms: Option<i64>,
    #[serde(skip)]
    in_flight: u32,
    /// How long requests take, as a moving average; 0 while none has been measured.
    #[serde(skip)]
    hold_ms: i64,
    /// Times told to those who found every place taken.
    #[serde(skip)]
    crowd_until_ms: i64,
}

impl TargetState {
    /// What a former keeper left behind without a word of what it sent until now.
    #[must_use]
    pub fn in_doubt(mut self, now_ms: i64) -> Self {
        self.remember_until(now_ms + DOUBT_MAX_MS);
        Self { unknown_until_ms: Some(now_ms), ..self }
    }

    /// Whether a request may go. `place_ms` is the time that the asker was told before, if it was.
    pub fn ask(&mut self, limit: TargetLimit, place_ms: Option<i64>, now_ms: i64) -> Answer {
        self.see(now_ms);
        self.settle_doubt(limit);
        self.settle_rate(limit.rate);
        if limit.concurrency.is_some_and(|places| self.in_flight >= places) {
            return Answer::Crowded;
        }
        let until_ms = match place_ms {
            Some(place_ms) if place_ms > now_ms => return Answer::Wait { until_ms: place_ms },
            Some(_) => self.late_place(limit, now_ms),
            None => self.place_in_line(limit, now_ms),
        };
        if until_ms > now_ms {
            return Answer::Wait { until_ms };
        }
        if let Some(rate) = limit.rate {
            self.sent.record(rate, now_ms);
            self.remember_until(now_ms + rate.recovery_ms());
        }
        self.in_flight += 1;
        Answer::Go
    }

    /// Where somebody new stands: behind all promises, and not before there is room.
    fn place_in_line(&mut self, limit: TargetLimit, now_ms: i64) -> i64 {
        let open_ms = now_ms.max(self.closed_until_ms);
        let Some(rate) = limit.rate else { return open_ms };
        let until_ms = [&self.line, &self.late, &self.sent].map(|meter| meter.earliest(rate, open_ms));
        let until_ms = until_ms.into_iter().fold(open_ms, i64::max);
        if until_ms - now_ms > AHEAD_MAX_MS {
            return now_ms + AHEAD_MAX_MS;
        }
        self.line.record(rate, until_ms);
        self.line_until_ms = self.line_until_ms.max(until_ms);
        self.remember_until(until_ms + rate.recovery_ms());
        until_ms
    }

    /// Where somebody stands whose time has come: the front, unless there is no room after all.
    fn late_place(&mut self, limit: TargetLimit, now_ms: i64) -> i64 {
        let open_ms = now_ms.max(self.closed_until_ms);
        let Some(rate) = limit.rate else { return open_ms };
        let room_ms = self.sent.earliest(rate, open_ms);
        if room_ms <= now_ms {
            return now_ms;
        }
        let until_ms = self.late.earliest(rate, room_ms);
        if until_ms - now_ms > AHEAD_MAX_MS {
            return now_ms + AHEAD_MAX_MS;
        }
        self.late.record(rate, until_ms);
        self.remember_until(until_ms + rate.recovery_ms());
        until_ms
    }

    /// A request has left the target: its answer was read, or never will be. It took `held_ms`.
    pub fn left(&mut self, held_ms: i64) {
        /// One measurement in the moving average.
        const WEIGHT: i64 = 8;
        self.in_flight = self.in_flight.saturating_sub(1);
        self.hold_ms = match self.hold_ms {
            0 => held_ms.max(1),
            average => average + (held_ms - average) / WEIGHT,
        };
    }

    /// When somebody should ask again who found every place taken and cannot stay: as many are told one time as will
    /// probably find a place then.
    pub fn turn_away(&mut self, limit: TargetLimit, now_ms: i64) -> i64 {
        self.see(now_ms);
        let hold_ms = if self.hold_ms == 0 { HOLD_FIRST_MS } else { self.hold_ms };
        let places = i64::from(limit.concurrency.unwrap_or(1).max(1));
        let step_ms = (hold_ms / places).max(1);
        let until_ms = (self.crowd_until_ms.max(now_ms + hold_ms) + step_ms).min(now_ms + AHEAD_MAX_MS);
        self.crowd_until_ms = until_ms;
        self.remember_until(until_ms);
        until_ms
    }

    /// Heeds an answer: its status, and for how long it asks for silence, if it does.
    pub fn note_answer(&mut self, status: u16, silence_ms: Option<i64>, now_ms: i64) {
        self.see(now_ms);
        let silence_ms = match (status, silence_ms) {
            (_, Some(silence_ms)) => Some(silence_ms.max(0)),
            (advice::TOO_MANY_REQUESTS, None) => Some(self.silence_after_refusal()),
            _ => None,
        };
        self.refusals = if status == advice::TOO_MANY_REQUESTS { self.refusals.saturating_add(1) } else { 0 };
        let Some(silence_ms) = silence_ms else { return };
        let until_ms = now_ms + silence_ms.min(AHEAD_MAX_MS);
        let more_ms = until_ms - self.closed_until_ms.max(now_ms);
        if more_ms > 0 {
            self.closed_until_ms = until_ms;
            self.remember_until(self.rest_at_ms.max(until_ms) + more_ms);
        }
        if more_ms > 0 && self.line_until_ms > now_ms {
            // Who comes from now on is promised a time behind those who will be late because of this.
            self.line.shift(more_ms);
            self.line_until_ms += more_ms;
        }
    }

    fn silence_after_refusal(&self) -> i64 {
        let doublings = self.refusals.min(16);
        (REFUSED_FIRST_MS << doublings).min(REFUSED_LONGEST_MS)
    }

    /// Whether a new state would be as good as this one.
    pub fn is_at_rest(&self, now_ms: i64) -> bool {
        self.in_flight == 0 && now_ms >= self.rest_at_ms
    }

    pub fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn remember_until(&mut self, until_ms: i64) {
        self.rest_at_ms = self.rest_at_ms.max(until_ms);
    }

    /// Nothing gets older by a clock that goes back.
    fn see(&mut self, now_ms: i64) {
        let back_ms = self.seen_ms - now_ms;
        if self.seen_ms != 0 && back_ms > 0 {
            for meter in [&mut self.sent, &mut self.line, &mut self.late] {
                meter.shift(-back_ms);
            }
            let times =
                [&mut self.line_until_ms, &mut self.closed_until_ms, &mut self.rest_at_ms, &mut self.crowd_until_ms];
            times.into_iter().for_each(|time| *time -= back_ms);
        }
        self.seen_ms = now_ms;
    }

    /// Under a new rate, promises made by the old one bind nobody but those who have them: they may come at their times,
    /// and others need not wait behind them.
    fn settle_rate(&mut self, rate: Option<RateLimit>) {
        if self.rate != rate {
            self.rate = rate;
            (self.line, self.late) = (self.sent.clone(), self.sent.clone());
            self.line_until_ms = 0;
        }
    }

    /// Takes the window for used up, if that does not shut anybody out for long.
    fn settle_doubt(&mut self, limit: TargetLimit) {
        if let Some(rate) = limit.rate
            && let Some(unknown_until_ms) = self.unknown_until_ms.take()
            && rate.recovery_ms() <= DOUBT_MAX_MS
        {
            self.sent.fill(rate, unknown_until_ms);
        }
    }
}

#[cfg(test)]
mod tests;
