-- When a host is lost while it ran a suspect alone, that one is to blame, and the other suspects of that host are excused. Its
-- shards go to several hosts, each of which sees a part of its claims: so they are marked where all of them are known, in the
-- statement that deletes the host.

alter table claim add is_excused boolean not null default false;
