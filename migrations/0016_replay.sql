-- Replay: the one thing that happens to a run after its end. The last run that was made of it tells a dead letter that
-- somebody has to look at from one that somebody has dealt with.

alter table run add column replayed_as bigint;

drop index if exists run_dead;
create index run_dead on run (account_id, id) where state = 'dead' and replayed_as is null;
