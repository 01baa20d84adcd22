-- A revision that goes back to an earlier one says which: it has the same manifest and plugins, and a number of its own, so
-- that numbers only ever grow.

alter table revision add column made_from bigint;
