-- Cancelling: whoever wants a run to end says so here, and the owner of its shard, which alone may write, ends it.

create table cancel_request (
    shard        smallint not null,
    account_id   bigint not null,
    id           bigint not null,
    requested_at timestamptz not null default now(),
    primary key (shard, account_id, id)
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

alter table run drop constraint if exists run_state_check;
alter table run add constraint run_state_check check (state in ('succeeded', 'dead', 'cancelled'));
