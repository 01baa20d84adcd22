-- A run that hosts were lost with more than once is run alone among its kind, and says so with a claim of its own: when its
-- host is lost again, it is the one to blame, and not whatever else that host was running.

alter table claim add is_alone boolean not null default false;
