-- A version that should not be used any more is yanked: new deployments do not find it, and revisions that were deployed with
-- it go on. Never deleted: runs keep the revision that they started with.

alter table plugin add yanked_at timestamptz;
