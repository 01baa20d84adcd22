//! What is promised while things break: one file per kind of fault. The ledger says whether the promises were kept; each
//! guard is switched off once, to see that the test would notice.

mod rig;
mod schedule;

mod kills;
mod late_commit;
mod late_start;

mod clocks;
mod connections;
mod disk_full;
mod failover;

mod money;

mod durability;
mod fairness;
mod leases;
mod leaving;
mod stopping;
