-- History: written once, when a run ends. A dead letter is a row here with the state `dead`, its event kept whole.

create table run (
    account_id  bigint not null,
    -- Tells when the event was accepted; a list by id is a list by arrival.
    id          bigint not null,
    project_id  bigint not null,
    revision_id bigint not null,
    grid        text not null,
    state       text not null check (state in ('succeeded', 'dead')),
    started_at  timestamptz not null,
    ended_at    timestamptz not null default now(),
    error       text,
    -- The event as it was accepted: attributes and data, JSON.
    event       bytea not null,
    -- Array of node results: state, attempts, outputs, log, metering, JSON.
    nodes       bytea not null,
    primary key (account_id, id)
);

alter table run alter column event set compression lz4;
alter table run alter column nodes set compression lz4;

create index run_by_project on run (account_id, project_id, id);
create index run_dead on run (account_id, id) where state = 'dead';
