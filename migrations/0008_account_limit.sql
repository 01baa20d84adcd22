-- The limiter's settings per account, and a snapshot of its windows for the next owner of the account.

create table account_limit (
    account_id bigint primary key references account (id) on delete cascade,
    -- Burst and long window, mode; null: the host's defaults.
    limits     jsonb,
    -- Window start and count, burst and long; at most a few seconds old.
    windows    jsonb
) with (fillfactor = 70);
