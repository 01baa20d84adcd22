//! What is promised while things break: one file per kind of fault. The ledger says whether the promises were kept; each
//! guard is switched off once, to see that the test would notice.

mod schedule;

mod kills;
mod late_commit;
