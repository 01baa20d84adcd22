-- The queue. A job is inserted once and deleted once; on the hot path it is never updated, and it has one index.

create table job (
    shard       smallint not null,
    account_id  bigint not null,
    -- The run's id, which tells when the event was accepted.
    id          bigint not null,
    project_id  bigint not null,
    revision_id bigint not null,
    grid        text not null,
    -- Hosts that were lost while they ran this run.
    lost_hosts  smallint not null default 0,
    -- Whether the run was begun before: there may be a checkpoint.
    is_resumed  boolean not null default false,
    payload     bytea not null,
    primary key (shard, account_id, id)
) with (
    -- Rows come and go by the thousand a second: vacuum early, and never sleep on it.
    autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.2,
    autovacuum_vacuum_cost_delay = 0
);

alter table job alter column payload set compression lz4;

-- Jobs that cannot run before `run_at`: a retry, or a run that met its account's limit half way.
create table job_later (
    shard       smallint not null,
    run_at      timestamptz not null,
    account_id  bigint not null,
    id          bigint not null,
    project_id  bigint not null,
    revision_id bigint not null,
    grid        text not null,
    lost_hosts  smallint not null,
    last_error  text,
    payload     bytea not null,
    primary key (shard, run_at, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

create index job_later_by_account on job_later (shard, account_id, id);

-- What the nodes of an unfinished run have come to: written at commit points, deleted with the job.
create table checkpoint (
    shard      smallint not null,
    account_id bigint not null,
    id         bigint not null,
    -- Which commit of the run wrote this: a commit whose answer was lost is not applied again.
    sequence   integer not null,
    -- Array of node results, JSON.
    nodes      bytea not null,
    primary key (shard, account_id, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

-- One row for each batch of jobs that a host fetched: tells after a crash which runs it was running.
create table claim (
    shard    smallint not null,
    id       bigint generated always as identity,
    epoch    bigint not null,
    at       timestamptz not null default now(),
    accounts bigint[] not null,
    ids      bigint[] not null,
    primary key (shard, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);
