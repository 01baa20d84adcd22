-- The secrets of projects. Only sealed ones are stored: whoever reads this table, or a dump of it, cannot use what is in
-- it without a master key, which is never in the database. Who moves a row to another account, project or name cannot
-- have it opened either, because the seal covers those.

create table credential (
    account_id  bigint not null references account (id) on delete cascade,
    project_id  bigint not null references project (id) on delete cascade,
    name        text not null,
    -- Which master key it is sealed with.
    key_version integer not null,
    nonce       bytea not null,
    sealed      bytea not null,
    created_at  timestamptz not null default now(),
    updated_at  timestamptz not null default now(),
    primary key (account_id, project_id, name)
);

-- For sealing anew what is sealed with an old master key.
create index credential_by_key on credential (key_version, account_id, project_id, name);
