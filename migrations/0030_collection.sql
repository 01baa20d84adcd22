-- Managed data: the collections that projects declare, and the indexes that their records are found by. Changed by deployments
-- alone. Who changes them, or any record, holds the project's lock of storage until the end of the transaction: so that the
-- indexes of a record are always those that were declared when it was written.

create table collection (
    id          bigint generated always as identity primary key,
    account_id  bigint not null,
    project_id  bigint not null references project (id) on delete cascade,
    name        text not null collate "C",
    -- Whether the current revision declares it. If not, its records stay, and can be read and deleted.
    is_declared boolean not null default true,
    -- How many records it has: counted by those who write them, because nobody can count a million in passing.
    records     bigint not null default 0,
    unique (account_id, project_id, name)
) with (fillfactor = 70);

create table collection_index (
    id            bigint generated always as identity primary key,
    account_id    bigint not null,
    collection_id bigint not null references collection (id) on delete cascade,
    name          text not null,
    -- What it finds never changes: another pointer is another index.
    pointer       text not null,
    -- Written with every record from its declaration on; asked once the records before that are in it as well.
    is_ready      boolean not null,
    -- The key of the last of these that is.
    built_to      text,
    -- Not declared any more, and asked by nobody: its entries are deleted little by little, and then this row.
    is_dropped    boolean not null default false
);

create unique index collection_index_declared on collection_index (account_id, collection_id, name) where not is_dropped;
create index collection_index_unfinished on collection_index (id) where not is_ready or is_dropped;
