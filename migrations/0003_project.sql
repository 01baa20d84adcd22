-- Deployed manifests. A revision is immutable; a run keeps the one it was accepted under.

create table project (
    id                  bigint generated always as identity primary key,
    account_id          bigint not null references account (id) on delete cascade,
    name                text not null,
    current_revision_id bigint,
    created_at          timestamptz not null default now(),
    unique (account_id, name)
);

create table revision (
    id         bigint generated always as identity primary key,
    account_id bigint not null,
    project_id bigint not null references project (id) on delete cascade,
    manifest   jsonb not null,
    -- Plugin name in the manifest → plugin id.
    plugins    jsonb not null,
    created_at timestamptz not null default now()
);

create index revision_by_project on revision (account_id, project_id, id);

alter table token add foreign key (project_id) references project (id) on delete cascade;
