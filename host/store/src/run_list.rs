//! Lists of runs, newest first: finished and unfinished ones together, by the keys that an index has.
//!
//! History is read backwards in windows of days, each some times longer than the one before, so that a list touches the
//! partitions that it needs and no others: one statement where the newest day fills the page, a handful where an account
//! has been quiet for years. All are planned with their values, or no partition could be left out.

use std::collections::BTreeMap;

use trellis_model::{AccountId, ProjectId, RunId, run::RunState};

use crate::{
    Database, Result,
    runs::{RunSummary, SummaryRow, living_claims, read_summary, shards},
};

/// Which runs to list.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    pub project: Option<ProjectId>,
    pub grid: Option<String>,
    pub state: Option<RunState>,
    /// Only runs that were replayed, or only those that were not.
    pub replayed: Option<bool>,
    /// Runs older than this one.
    pub before: Option<RunId>,
    /// Runs accepted at this Unix time, in milliseconds, or later.
    pub accepted_from_ms: Option<i64>,
    /// Runs accepted earlier than this, in Unix milliseconds.
    pub accepted_until_ms: Option<i64>,
    pub limit: i64,
}

const DAY_MS: i64 = 86_400_000;
/// How much longer each window is than the one before.
const WINDOW_GROWTH: i64 = 4;

/// Ids from the first on, up to the last but not with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    first: RunId,
    behind: RunId,
}

impl Window {
    /// The days that this window lies in.
    fn whole_days(self) -> Self {
        let last_ms = RunId(self.behind.0.saturating_sub(1)).accepted_at_ms();
        let behind = RunId::first_at(day_start(last_ms) + DAY_MS).max(self.behind);
        Self { first: RunId::first_at(day_start(self.first.accepted_at_ms())), behind }
    }
}

impl RunFilter {
    fn window(&self) -> Window {
        let until = self.accepted_until_ms.map_or(RunId(i64::MAX), RunId::first_at);
        Window {
            first: self.accepted_from_ms.map_or(RunId(0), RunId::first_at),
            behind: self.before.map_or(until, |before| before.min(until)),
        }
    }

    fn lists_finished(&self) -> bool {
        self.state.is_none_or(RunState::is_final)
    }

    fn lists_unfinished(&self) -> bool {
        self.replayed != Some(true) && self.state.is_none_or(|state| !state.is_final())
    }

    fn finished_statement(&self) -> &'static str {
        match self.state {
            Some(RunState::Dead) if self.replayed == Some(false) => DEAD_LETTERS,
            Some(state) if state != RunState::Succeeded => UNSUCCESSFUL,
            _ if self.project.is_some() || self.grid.is_some() => BY_GRID,
            _ => BY_ARRIVAL,
        }
    }
}

/// The windows of a list, newest first: the day of `newest_ms` and all that follows, then 1 day, 4, 16, ….
fn windows(whole: Window, newest_ms: i64) -> impl Iterator<Item = Window> {
    let newest_ms = newest_ms.min(RunId(whole.behind.0.saturating_sub(1)).accepted_at_ms());
    let mut behind = whole.behind;
    let (mut day_ms, mut days) = (day_start(newest_ms), 1);
    std::iter::from_fn(move || {
        if behind <= whole.first {
            return None;
        }
        let first = RunId::first_at(day_ms).max(whole.first);
        let window = Window { first, behind };
        behind = first;
        (day_ms, days) = (day_ms - days * DAY_MS, days * WINDOW_GROWTH);
        Some(window)
    })
}

fn day_start(unix_ms: i64) -> i64 {
    unix_ms - unix_ms.rem_euclid(DAY_MS)
}

impl Database {
    /// Runs of an account, newest first, at most `filter.limit`. `now_ms` is Unix milliseconds: where to begin.
    ///
    /// A run that ends meanwhile is told as it was before or after, and never missed: unfinished ones are read first.
    pub async fn runs(&self, account: AccountId, filter: &RunFilter, now_ms: i64) -> Result<Vec<RunSummary>> {
        let wanted = usize::try_from(filter.limit).unwrap_or(0);
        let mut found: BTreeMap<RunId, RunSummary> = BTreeMap::new();
        if filter.lists_unfinished() {
            found.extend(self.unfinished_runs(account, filter).await?);
        }
        if filter.lists_finished() {
            for window in windows(filter.window(), now_ms) {
                found.extend(self.finished_runs(account, filter, window).await?);
                if found.range(window.first..).count() >= wanted {
                    break;
                }
            }
        }
        Ok(found.into_values().rev().take(wanted).collect())
    }

    async fn unfinished_runs(&self, account: AccountId, filter: &RunFilter) -> Result<Vec<(RunId, RunSummary)>> {
        let window = filter.window();
        let rows: Vec<SummaryRow> = sqlx::query_as(UNFINISHED)
            .bind(account.0)
            .bind(window.first.0)
            .bind(window.behind.0)
            .bind(filter.project.map(|project| project.0))
            .bind(filter.grid.as_deref())
            .bind(filter.state.map(RunState::name))
            .bind(filter.limit)
            .bind(shards(account))
            .persistent(false)
            .fetch_all(&self.durable)
            .await?;
        by_run(rows)
    }

    async fn finished_runs(
        &self,
        account: AccountId,
        filter: &RunFilter,
        window: Window,
    ) -> Result<Vec<(RunId, RunSummary)>> {
        let rows: Vec<SummaryRow> = sqlx::query_as(filter.finished_statement())
            .bind(account.0)
            .bind(window.first.0)
            .bind(window.behind.0)
            .bind(filter.project.map(|project| project.0))
            .bind(filter.grid.as_deref())
            .bind(filter.state.map(RunState::name))
            .bind(filter.limit)
            .bind(window.whole_days().first.0)
            .bind(window.whole_days().behind.0)
            .bind(filter.replayed)
            .persistent(false)
            .fetch_all(&self.durable)
            .await?;
        by_run(rows)
    }
}

fn by_run(rows: Vec<SummaryRow>) -> Result<Vec<(RunId, RunSummary)>> {
    rows.into_iter().map(|row| read_summary(row).map(|summary| (summary.run, summary))).collect()
}

// What all statements take: $1 account, $2 and $3 window, $4 project, $5 grid, $6 state, $7 limit; of finished runs also $10,
// whether they were replayed.

/// What a list shows of a finished run.
macro_rules! finished_columns {
    () => {
        "id, project_id, revision_id, grid, state,
         (extract(epoch from started_at) * 1000)::bigint as started_at_ms,
         (extract(epoch from ended_at) * 1000)::bigint as ended_at_ms, null::bigint as run_at_ms, error, replayed_as"
    };
}

/// The name of each run's project, added to at most a page of rows.
macro_rules! with_project_names {
    ($($rows:expr),+) => {
        concat!(
            "select run.*, project.name as project_name from (",
            $($rows),+,
            ") as run left join project on project.id = run.project_id"
        )
    };
}

/// By the key.
const BY_ARRIVAL: &str = with_project_names!(
    "select ",
    finished_columns!(),
    " from run
     where account_id = $1 and id >= $2 and id < $3 and ($6::text is null or state = $6)
       and ($10::bool is null or (replayed_as is not null) = $10)
     order by id desc limit $7"
);

/// By the index of dead letters that nobody has replayed.
const DEAD_LETTERS: &str = with_project_names!(
    "select ",
    finished_columns!(),
    " from run
     where account_id = $1 and id >= $2 and id < $3 and state = 'dead' and replayed_as is null
       and ($4::bigint is null or project_id = $4) and ($5::text is null or grid = $5)
     order by id desc limit $7"
);

/// By an index of grids: first which grids there are in these days, from one to the next, then the newest runs of each. The
/// days are looked at whole for that ($8 and $9): to look for the first run of a grid within a part of a day would be to
/// walk through all runs of the grid before it.
macro_rules! by_grid {
    ($which:literal) => {
        concat!(
            "with recursive stream as (
                 (select project_id, grid from run
                  where account_id = $1 and id >= $8 and id < $9 and ($4::bigint is null or project_id = $4) and ",
            $which,
            "     order by project_id, grid limit 1)
                 union all
                 select next.project_id, next.grid from stream, lateral (
                     select project_id, grid from run
                     where account_id = $1 and id >= $8 and id < $9 and ($4::bigint is null or project_id = $4) and ",
            $which,
            // A comparison of pairs is no place to begin at in the index where the first of the pair is given.
            "          and ($4::bigint is null and (project_id, grid) > (stream.project_id, stream.grid)
                            or $4::bigint is not null and grid > stream.grid)
                     order by project_id, grid limit 1
                 ) as next
             )",
            with_project_names!(
                "select found.* from stream, lateral (select ",
                finished_columns!(),
                " from run
                 where account_id = $1 and project_id = stream.project_id and grid = stream.grid and id >= $2 and id < $3
                   and ($6::text is null or state = $6) and ($10::bool is null or (replayed_as is not null) = $10) and ",
                $which,
                " order by id desc limit $7) as found
                 where $5::text is null or stream.grid = $5
                 order by found.id desc limit $7"
            )
        )
    };
}

const BY_GRID: &str = by_grid!("true");

/// The same over the index of what did not succeed, which is small.
const UNSUCCESSFUL: &str = by_grid!("state <> 'succeeded'");

/// What is being run is told by the living claims of the shards: looked up once, not row by row. $8 are the shards
/// that the account can have jobs on; each lane of each is read backwards by the key.
const UNFINISHED: &str = concat!(
    "with part as materialized (
         select unnest(($8::smallint[])[1:(select spread_max from account where id = $1)]) as shard
     ), claimed as materialized (
         select distinct claim.shard, u.id
         from ",
    living_claims!(),
    " join part using (shard), unnest(claim.accounts, claim.ids) as u (account_id, id)
         where u.account_id = $1
     )",
    with_project_names!(
        "(select running.id, running.project_id, running.revision_id, running.grid, 'running' as state,
                 null::bigint as started_at_ms, null::bigint as ended_at_ms, null::bigint as run_at_ms,
                 null::text as error, null::bigint as replayed_as
          from claimed, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
              select * from job
              where job.shard = claimed.shard and job.account_id = $1 and job.lane = line.lane and job.id = claimed.id
              limit 1
          ) as running
          where running.id >= $2 and running.id < $3 and ($4::bigint is null or running.project_id = $4)
            and ($5::text is null or running.grid = $5) and ($6::text is null or $6 = 'running')
          order by running.id desc limit $7)
         union all
         (select queued.* from part, unnest('{0,1,2,3}'::smallint[]) as line (lane), lateral (
              select id, project_id, revision_id, grid, 'queued', null::bigint, null::bigint, null::bigint, null::text, null::bigint
              from job
              where shard = part.shard and account_id = $1 and lane = line.lane and id >= $2 and id < $3
                and ($4::bigint is null or project_id = $4) and ($5::text is null or grid = $5)
                and ($6::text is null or $6 = 'queued') and id not in (select id from claimed)
              order by id desc limit $7
          ) as queued)
         union all
         (select later.* from part, lateral (
              select id, project_id, revision_id, grid, 'waiting', null::bigint, null::bigint,
                     (extract(epoch from run_at) * 1000)::bigint, last_error, null::bigint
              from job_later
              where shard = part.shard and account_id = $1 and id >= $2 and id < $3
                and ($4::bigint is null or project_id = $4) and ($5::text is null or grid = $5)
                and ($6::text is null or $6 = 'waiting')
              order by id desc limit $7
          ) as later)"
    ),
    " order by run.id desc limit $7"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn at_day(day: i64) -> RunId {
        RunId::first_at(RunId::EPOCH_MS + day * DAY_MS)
    }

    fn days(window: Window, newest_ms: i64) -> Vec<(i64, i64)> {
        let day = |id: RunId| (id.accepted_at_ms() - RunId::EPOCH_MS).div_euclid(DAY_MS);
        windows(window, newest_ms).map(|window| (day(window.first), day(window.behind))).collect()
    }

    #[test]
    fn windows_grow_from_the_newest_day_to_the_first() {
        let now_ms = RunId::EPOCH_MS + 100 * DAY_MS + 5;
        let windows = days(Window { first: RunId(0), behind: at_day(101) }, now_ms);
        assert_eq!(windows, [(100, 101), (99, 100), (95, 99), (79, 95), (15, 79), (0, 15)]);
    }

    #[test]
    fn windows_begin_where_the_page_does_and_end_with_the_asked_time() {
        let now_ms = RunId::EPOCH_MS + 100 * DAY_MS + 5;
        let whole = Window { first: RunId(at_day(47).0 + 3), behind: RunId(at_day(50).0 + 7) };
        assert_eq!(days(whole, now_ms), [(50, 50), (49, 50), (47, 49)]);
        assert_eq!(windows(whole, now_ms).last().map(|window| window.first), Some(whole.first));
        assert!(days(Window { first: at_day(5), behind: at_day(5) }, now_ms).is_empty());
    }

    #[test]
    fn a_window_lies_in_whole_days() {
        let window = Window { first: RunId(at_day(3).0 + 9), behind: RunId(at_day(4).0 + 9) };
        assert_eq!(window.whole_days(), Window { first: at_day(3), behind: at_day(5) });
        let days = Window { first: at_day(3), behind: at_day(5) };
        assert_eq!(days.whole_days(), days);
        let open = Window { first: RunId(0), behind: RunId(i64::MAX) };
        assert_eq!(open.whole_days(), open);
    }

    #[test]
    fn ids_ahead_of_the_clock_are_in_the_first_window() {
        let whole = Window { first: RunId(0), behind: RunId(i64::MAX) };
        let first = windows(whole, RunId::EPOCH_MS + 3 * DAY_MS).next().expect("there is one");
        assert_eq!(first, Window { first: at_day(3), behind: RunId(i64::MAX) });
    }
}
