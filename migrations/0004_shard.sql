-- Who runs whose jobs. Accounts are sliced into 256 shards; a host owns shards for as long as its lease lasts.
--
-- The lease is the host's, not each shard's: one row to renew, one row to fence on. A host whose lease ran out is deleted
-- by whoever notices, and its shards become free in the same transaction; a paused host that wakes up finds no row to
-- lock, so none of its late commits can pass.

create table host (
    id         uuid primary key,
    -- Part of run ids: no two live hosts share one.
    number     smallint not null unique check (number between 0 and 255),
    expires_at timestamptz not null,
    started_at timestamptz not null default now()
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

create table shard (
    shard smallint primary key,
    owner uuid,
    -- Raised whenever the shard changes hands.
    epoch bigint not null default 0
) with (fillfactor = 50);

insert into shard (shard) select generate_series(0, 255);
