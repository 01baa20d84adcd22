-- What targets (services that take a limited number of requests) were sent lately: for the next owner of an account, so
-- that a shard that changes hands gives no burst away. Rows exist only for targets in use.

create table target_state (
    shard      smallint not null,
    account_id bigint not null,
    project_id bigint not null,
    -- The target's name in the manifest, and the host that the limit counts for; empty: all hosts of the target together.
    target     text not null,
    host       text not null,
    -- Under which the owner wrote it: one that came too late never overwrites its successor's.
    epoch      bigint not null,
    -- Written at a hand-over, after the last request. Otherwise requests may have followed that nobody counted.
    is_final   boolean not null,
    state      jsonb not null,
    primary key (shard, account_id, project_id, target, host)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);
