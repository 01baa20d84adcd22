-- Uploaded components. The bytes are content-addressed: two accounts with the same bytes share them without knowing.

create table component (
    digest     bytea primary key,
    bytes      bytea not null,
    created_at timestamptz not null default now()
);

-- Wasm does not compress well enough to be worth the time at every load.
alter table component alter column bytes set storage external;

create table plugin (
    id          bigint generated always as identity primary key,
    account_id  bigint not null references account (id) on delete cascade,
    name        text not null,
    version     text not null,
    digest      bytea not null references component (digest),
    -- What `describe` returned: title, ports with schemas, config schema.
    description jsonb not null,
    imports     text[] not null,
    size_bytes  bigint not null,
    created_at  timestamptz not null default now(),
    unique (account_id, name, version)
);
