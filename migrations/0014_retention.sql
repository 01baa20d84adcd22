-- What is kept of an account's runs, and for how long; and finding what has had its time.

-- `full`: every run; `failed`: those that did not succeed; `none`: dead letters alone.
alter table account add column history text not null default 'full' check (history in ('full', 'failed', 'none'));
alter table account add column history_days integer not null default 30 check (history_days between 1 and 3650);

-- Every commit asks who does not keep everything. As a rule nobody: that is a look at an empty index.
create index account_with_less_history on account (id) include (history) where history <> 'full';

-- Entries with a time to live, by their end. Those without one are not in it.
create index keyvalue_expiry on keyvalue (expires_at) where expires_at is not null;
