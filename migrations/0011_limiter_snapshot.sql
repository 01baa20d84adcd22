-- The limiter's snapshots: for the next owner of a queue the windows as the last one left them, for all hosts until when
-- the queue is throttled. One row for each queue of an account; an account that is spread over several shards has several.

create table limiter_snapshot (
    account_id      bigint not null references account (id) on delete cascade,
    shard           smallint not null,
    -- The epoch under which the owner held the shard, and the number of its snapshot: a late one never undoes a newer one.
    snap_epoch      bigint not null,
    snap_number     bigint not null,
    -- Window starts and counts, burst and long; at most a few seconds old. Null: only `throttled_until` was written so far.
    windows         jsonb,
    throttled_until timestamptz,
    primary key (account_id, shard)
) with (fillfactor = 70);

-- Every account was on its home shard: the upper 8 bits of its id times an odd number, modulo 2^64.
insert into limiter_snapshot (account_id, shard, snap_epoch, snap_number, windows)
select account_id, floor(mod(account_id::numeric * 11400714819323198485, 18446744073709551616) / 72057594037927936), 0, 0, windows
from account_limit where windows is not null;

alter table account_limit drop column windows;
delete from account_limit where limits is null;
