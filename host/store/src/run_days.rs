//! The days of history: partitions made ahead, and dropped whole when nobody keeps them any more.
//!
//! The statements themselves are functions of the schema, which moves old history with them too. Each gives up soon if a
//! lock is not to be had, so that commits never wait behind one; the caller tries again later.

use trellis_model::retention::DAYS_DEFAULT;

use crate::{Database, Result};

/// A day in UTC, as `2026-11-21`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day(String);

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Database {
    /// Makes the partitions of today and of so many days ahead that are missing; returns how many there were to make.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`] also when a lock was not to be had: what was made until then stays.
    pub async fn make_run_days(&self, days_ahead: i32) -> Result<usize> {
        let missing: Vec<String> = sqlx::query_scalar(
            "select day::text from (
                 select (now() at time zone 'UTC')::date + ahead as day from generate_series(0, $1) as ahead
             ) as wanted
             where to_regclass(run_day_name(day)) is null order by day",
        )
        .bind(days_ahead)
        .fetch_all(&self.relaxed)
        .await?;
        for day in &missing {
            sqlx::query("select make_run_day($1::date)").bind(day).execute(&self.relaxed).await?;
        }
        Ok(missing.len())
    }

    /// Days of which no account keeps anything any more, and those whose dropping was begun and not brought to its end;
    /// oldest first.
    pub async fn old_run_days(&self) -> Result<Vec<Day>> {
        let days: Vec<String> = sqlx::query_scalar(
            "select day::text from run_days()
             where not attached
                or day < (now() at time zone 'UTC')::date - (select coalesce(max(history_days), $1) from account)",
        )
        .bind(i32::from(DAYS_DEFAULT))
        .fetch_all(&self.relaxed)
        .await?;
        Ok(days.into_iter().map(Day).collect())
    }

    /// Drops a day. Runs of it that did not succeed and ended within the longest retention are kept all the same; returns
    /// how many. Between its two steps, which take milliseconds, these are not to be seen.
    ///
    /// # Errors
    /// [`crate::StoreError::Unavailable`] also when a lock was not to be had; nothing is lost by that, and the next call
    /// goes on where this one ended.
    pub async fn drop_run_day(&self, day: &Day) -> Result<i64> {
        sqlx::query("select detach_run_day($1::date)").bind(&day.0).execute(&self.relaxed).await?;
        Ok(sqlx::query_scalar(
            "select drop_run_day($1::date, now() - make_interval(days => coalesce(max(history_days), $2))) from account",
        )
        .bind(&day.0)
        .bind(i32::from(DAYS_DEFAULT))
        .fetch_one(&self.relaxed)
        .await?)
    }
}
