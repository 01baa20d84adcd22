//! Functions on time: Unix seconds, ISO 8601 texts, and jq's "broken down time", an array of year, month from 0, day, hour,
//! minute, second, day of the week from Sunday as 0, day of the year from 0. Always in UTC: there are no time zones here.

use std::time::{SystemTime, UNIX_EPOCH};

use jaq_core::native::{bome, unary, v};
use jaq_json::{Error, Val};
use jiff::{Timestamp, Zoned, civil::DateTime, fmt::strtime, tz::TimeZone};

use super::{Function, as_float, as_text};

pub(super) fn all() -> Vec<Function> {
    vec![
        ("now", v(0), |_| bome(now())),
        ("todate", v(0), |cv| bome(timestamp(&cv.1).map(|time| iso8601(time).into()))),
        ("fromdate", v(0), |cv| bome(from_date(&cv.1))),
        ("gmtime", v(0), |cv| bome(timestamp(&cv.1).map(|time| broken_down(&time.to_zoned(TimeZone::UTC))))),
        ("mktime", v(0), |cv| bome(zoned(&cv.1).map(|time| seconds(time.timestamp())))),
        ("strftime", v(1), |cv| unary(cv, |time, format| formatted(&time, &format))),
        ("strptime", v(1), |cv| unary(cv, |text, format| parsed(&text, &format))),
    ]
}

fn now() -> Result<Val, Error> {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Error::str)?;
    Ok(since_epoch.as_secs_f64().into())
}

fn timestamp(seconds: &Val) -> Result<Timestamp, Error> {
    let out_of_range = || Error::str(format_args!("{seconds} is no time between the years -9999 and 9999"));
    let microseconds = (as_float(seconds)? * 1e6).round();
    if !microseconds.is_finite() {
        return Err(out_of_range());
    }
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range saturates and is refused by the type")]
    Timestamp::from_microsecond(microseconds as i64).map_err(|_| out_of_range())
}

fn seconds(time: Timestamp) -> Val {
    if time.subsec_nanosecond() == 0 {
        return Val::Num(jaq_json::Num::from_integral(time.as_second()));
    }
    #[expect(clippy::cast_precision_loss, reason = "jq counts time in floats")]
    Val::from(time.as_microsecond() as f64 / 1e6)
}

/// To the second, as jq writes it.
fn iso8601(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn from_date(text: &Val) -> Result<Val, Error> {
    let time = as_text(text)?.parse::<Timestamp>();
    time.map(seconds).map_err(|_| Error::str(format_args!("{text} is no date like \"2030-12-31T23:59:59Z\"")))
}

fn broken_down(time: &Zoned) -> Val {
    let second = f64::from(time.second()) + f64::from(time.subsec_nanosecond()) / 1e9;
    let second = if second.fract() == 0.0 { isize::from(time.second()).into() } else { Val::from(second) };
    let integers = |numbers: &[i16]| numbers.iter().map(|number| Val::from(isize::from(*number))).collect::<Vec<_>>();
    let day = [time.year(), i16::from(time.month()) - 1, time.day().into(), time.hour().into(), time.minute().into()];
    let of_week_and_year = [i16::from(time.weekday().to_sunday_zero_offset()), time.day_of_year() - 1];
    integers(&day).into_iter().chain([second]).chain(integers(&of_week_and_year)).collect()
}

/// A time that is given in seconds or broken down.
fn zoned(time: &Val) -> Result<Zoned, Error> {
    let Val::Arr(parts) = time else { return Ok(timestamp(time)?.to_zoned(TimeZone::UTC)) };
    let no_time = || Error::str(format_args!("{time} is no broken down time"));
    let part = |place: usize| parts.get(place).map_or_else(|| Err(no_time()), as_float);
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range saturates and is refused by the type")]
    let whole = |place: usize| part(place).map(|number| number as i8);
    #[expect(clippy::cast_possible_truncation, reason = "what is out of range saturates and is refused by the type")]
    let (year, nanosecond) = (part(0)? as i16, (part(5)?.fract() * 1e9) as i32);
    let date_time =
        DateTime::new(year, whole(1)?.saturating_add(1), whole(2)?, whole(3)?, whole(4)?, whole(5)?, nanosecond);
    date_time.and_then(|date_time| date_time.to_zoned(TimeZone::UTC)).map_err(|_| no_time())
}

fn formatted(time: &Val, format: &Val) -> Result<Val, Error> {
    let text = strtime::format(as_text(format)?.as_bytes(), &zoned(time)?);
    text.map(Val::from).map_err(|error| Error::str(format_args!("the time format {format} cannot be used: {error}")))
}

fn parsed(text: &Val, format: &Val) -> Result<Val, Error> {
    let time = strtime::BrokenDownTime::parse(as_text(format)?.as_bytes(), as_text(text)?.as_bytes());
    let zoned = time.and_then(|time| match time.to_timestamp() {
        Ok(timestamp) => Ok(timestamp.to_zoned(TimeZone::UTC)),
        // Without an offset it is UTC.
        Err(_) => time.to_datetime()?.to_zoned(TimeZone::UTC),
    });
    zoned
        .map(|time| broken_down(&time))
        .map_err(|error| Error::str(format_args!("{text} does not fit {format}: {error}")))
}
