-- The `storage` capability: named stores of a project. Written only in the commit of a node, or by the API.

create sequence keyvalue_version_seq;

create table keyvalue (
    account_id bigint not null,
    project_id bigint not null references project (id) on delete cascade,
    store      text not null,
    key        text not null collate "C",
    value      bytea not null,
    -- From one sequence for all keys, so that a key that was deleted and made again never repeats a version.
    version    bigint not null,
    expires_at timestamptz,
    primary key (account_id, project_id, store, key)
) with (fillfactor = 80);
