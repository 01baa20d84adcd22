-- Keys of accepted events: a repeat within the retention is answered with the run that there is already. Written in the
-- transaction that commits the event, so that there is a run for each key and a key for each run that was given one.

create table dedup (
    account_id bigint not null,
    -- SHA-256 of the key and of where it is good: a project's trigger or grid.
    key        bytea not null,
    run_id     bigint not null,
    -- SHA-256 of the body that came with it: the same key with another body is a mistake of the sender.
    payload    bytea not null,
    expires_at timestamptz not null,
    primary key (account_id, key)
) with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.2);

-- For the deletion of what has expired.
create index dedup_by_expiry on dedup (expires_at);
