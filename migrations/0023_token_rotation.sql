-- A token is rotated by making its successor and letting it expire a little later: a list tells which tokens are on their
-- way out, and that one which was rotated already is not rotated once more.
alter table token add column replaced_by bigint references token (id) on delete set null;

-- Operator tokens belong to no account: they are listed, counted and looked for by themselves.
create index token_of_operators on token (id) where account_id is null;
