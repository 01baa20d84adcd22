-- A host that is stopping still has a lease, which its last runs are committed under, but no share of the shards any more:
-- the others take over what it gives back while it finishes the rest.

alter table host add is_leaving boolean not null default false;
