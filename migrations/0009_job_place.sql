-- Where a job stands among the others of its account: on which of the account's shards, in which lane, and behind which
-- key. All of it is known when the event is accepted, so that a job is still written once and never moved.

-- 0 high, 1 normal, 2 keyed, 3 low. The cursor of a fetch is one for each lane.
alter table job
    add lane            smallint not null default 1 check (lane between 0 and 3),
    -- Hash of project, grid and value.
    add concurrency_key bigint,
    -- Null: one run holds the key from its start until its end. Else so many with this key are in flight at once.
    add key_runs_max    integer,
    add check ((lane = 2) = (concurrency_key is not null));
alter table job drop constraint job_pkey, add primary key (shard, account_id, lane, id);

-- The heads of all keys of an account, one probe each. What was begun before comes first: it holds its key already.
create index job_by_key on job (shard, account_id, concurrency_key, (not is_resumed), id)
    where concurrency_key is not null;

alter table job_later
    add lane            smallint not null default 1,
    add concurrency_key bigint,
    add key_runs_max    integer;

-- Whether a run that waits for its time holds a key.
create index job_later_by_key on job_later (shard, account_id, concurrency_key) where concurrency_key is not null;

-- An account that is too large for one host has its jobs on several shards.
alter table account
    add spread     smallint not null default 1 check (spread between 1 and 16),
    -- The highest there ever was: jobs may still lie on all of these shards.
    add spread_max smallint not null default 1 check (spread_max between 1 and 16);
