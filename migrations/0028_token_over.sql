-- Tokens that were revoked or have expired are deleted some time later: the oldest of them are found without looking at the
-- valid ones. Operators' own stay: one that a configuration still names must not be made again.
create index token_over on token (least(expires_at, revoked_at)) where account_id is not null;

-- Whoever deletes a token looks for the one that it replaced.
create index token_by_successor on token (replaced_by) where replaced_by is not null;
