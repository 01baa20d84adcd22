-- The records of managed data, and the entries of their indexes. Written only in the commit of a node, or by the API.

create sequence record_version_seq;

create table record (
    account_id    bigint not null,
    collection_id bigint not null references collection (id) on delete cascade,
    key           text not null collate "C",
    -- JSON text as it was written: another form would lose numbers, NUL and the order of keys.
    data          text not null,
    -- From one sequence for all records, so that one that was deleted and made again never repeats a version.
    version       bigint not null,
    -- What the indexes find in it, side by side: so that a query looks at a record for all its conditions but the first, and
    -- so that the entries of a record can be found when it changes.
    index_ids     bigint[] not null,
    index_values  bytea[] not null,
    primary key (account_id, collection_id, key)
) with (fillfactor = 80);

-- One B-tree for all types: the bytes are in the order of the values.
create table record_index (
    account_id bigint not null,
    index_id   bigint not null,
    value      bytea not null,
    key        text not null collate "C",
    primary key (account_id, index_id, value, key)
);
