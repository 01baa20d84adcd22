-- Expired entries are absent to everybody at once; this index is for those who then take them away, so that they find them
-- without looking through the entries that stay.

create index keyvalue_expiry on keyvalue (expires_at) where expires_at is not null;
