-- The tenants and their access tokens.

create table account (
    id         bigint generated always as identity primary key,
    name       text not null unique,
    created_at timestamptz not null default now()
);

-- A token is stored as the SHA-256 of its text: whoever reads this table cannot use what is in it.
create table token (
    id         bigint generated always as identity primary key,
    -- Null: an operator token, good for every account.
    account_id bigint references account (id) on delete cascade,
    -- Set: good for this project alone.
    project_id bigint,
    digest     bytea not null unique,
    name       text not null,
    scopes     text[] not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz
);

create index token_by_account on token (account_id, id);
