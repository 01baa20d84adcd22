-- History by day. What is too old goes with its whole day, without a delete; a list reads only the days it asks for; and
-- the indexes that a commit writes to are those of one day, which fit into memory.
--
-- A run's id tells when it was accepted, so a day is a range of ids. Hosts make the days a week ahead. What no day covers
-- goes to `run_default`: no run is ever lost because a day is missing, or because its own was dropped before it ended.

-- The first id of that time or later.
create function run_id_at(at timestamptz) returns bigint
language sql immutable strict parallel safe
return greatest(0::bigint, floor(extract(epoch from at - timestamptz '2025-01-01 00:00:00+00') * 1000)::bigint) << 21;

create function run_accepted_at(id bigint) returns timestamptz
language sql stable strict parallel safe
return timestamptz '2025-01-01 00:00:00+00' + make_interval(secs => (id >> 21) / 1000.0);

alter table run rename to run_undivided;
alter index run_pkey rename to run_undivided_pkey;
drop index run_by_project, run_dead;

create table run (
    account_id  bigint not null,
    -- Tells when the event was accepted; a list by id is a list by arrival.
    id          bigint not null,
    project_id  bigint not null,
    revision_id bigint not null,
    -- Compared by bytes: it is part of an index that every commit writes.
    grid        text collate "C" not null,
    state       text not null constraint run_state_check check (state in ('succeeded', 'dead')),
    started_at  timestamptz not null,
    ended_at    timestamptz not null default now(),
    error       text,
    -- The event as it was accepted: attributes and data, JSON.
    event       bytea compression lz4 not null,
    -- Array of node results: state, attempts, outputs, log, metering, JSON.
    nodes       bytea compression lz4 not null,
    primary key (account_id, id)
) partition by range (id);

-- Lists of a project, of a grid, and of a grid in any project. The one index besides the key that every commit writes.
create index run_by_grid on run (account_id, project_id, grid, id);
-- The same for dead letters and whatever else did not succeed: few, so it costs a commit next to nothing.
create index run_unsuccessful on run (account_id, project_id, grid, id) where state <> 'succeeded';

create table run_default partition of run default;

create function run_day_name(day date) returns text
language sql immutable strict
return 'run_day_' || lpad((extract(year from day) * 10000 + extract(month from day) * 100 + extract(day from day))::text, 8, '0');

-- Makes the partition of a day in UTC; false: it is there already. Locks nothing that a commit needs, but for the default
-- partition, which commits do not write to as a rule; gives up rather than hold up those who wait behind it.
create function make_run_day(day date) returns boolean
language plpgsql strict set lock_timeout = '500ms' as $$
declare
    name text := run_day_name(day);
    first bigint := run_id_at(day::timestamp at time zone 'UTC');
    behind bigint := run_id_at((day + 1)::timestamp at time zone 'UTC');
begin
    -- Hosts that start at the same time make the same days.
    perform pg_advisory_xact_lock(hashtextextended('trellis.run_day', 0));
    if to_regclass(name) is not null then
        return false;
    end if;
    execute format('create table %I (like run including defaults including constraints including storage '
                   'including compression)', name);
    -- Runs that came before their day was made.
    lock table run_default in access exclusive mode;
    execute format('with early as (delete from run_default where id >= %s and id < %s returning *) '
                   'insert into %I select * from early', first, behind, name);
    execute format('alter table run attach partition %I for values from (%s) to (%s)', name, first, behind);
    return true;
end $$;

-- The days that have a table, oldest first. `attached` is false for a day that is being dropped.
create function run_days() returns table (day date, attached boolean)
language sql stable
begin atomic
    select to_date(substr(relname, 9), 'YYYYMMDD'), relispartition
    from pg_class
    where relnamespace = (select relnamespace from pg_class as parent where parent.oid = 'run'::regclass)
      and relkind = 'r' and relname ~ '^run_day_[0-9]{8}$'
    order by 1;
end;

-- The first step of dropping a day: from here on it is no part of history. Commits wait for this, so it does nothing else,
-- and gives up if it is not let in at once.
create function detach_run_day(day date) returns void
language plpgsql strict set lock_timeout = '200ms' as $$
begin
    if exists (select from run_days() where run_days.day = detach_run_day.day and attached) then
        execute format('alter table run detach partition %I', run_day_name(day));
    end if;
end $$;

-- The second step. Runs that did not succeed are kept if they ended at `kept_since` or later, however long ago they were
-- accepted: they go to the default partition. Returns how many.
create function drop_run_day(day date, kept_since timestamptz) returns bigint
language plpgsql strict set lock_timeout = '500ms' as $$
declare
    kept bigint;
begin
    perform pg_advisory_xact_lock(hashtextextended('trellis.run_day', 0));
    if to_regclass(run_day_name(day)) is null then
        return 0;
    end if;
    execute format('insert into run select * from %I where state <> ''succeeded'' and ended_at >= $1 '
                   'on conflict do nothing', run_day_name(day)) using kept_since;
    get diagnostics kept = row_count;
    execute format('drop table %I', run_day_name(day));
    return kept;
end $$;

-- What there is moves over. For what is older than a year no days are made: it goes to the default partition.
do $$
declare
    today constant date := (now() at time zone 'UTC')::date;
begin
    perform make_run_day(day) from (
        select (run_accepted_at(id) at time zone 'UTC')::date as day from run_undivided
        where id >= run_id_at(now() - interval '400 days')
        union
        select today + ahead from generate_series(0, 7) as ahead
    ) as days;
end $$;

insert into run (account_id, id, project_id, revision_id, grid, state, started_at, ended_at, error, event, nodes)
select account_id, id, project_id, revision_id, grid, state, started_at, ended_at, error, event, nodes from run_undivided;

drop table run_undivided;
