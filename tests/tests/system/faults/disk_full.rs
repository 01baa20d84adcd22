//! A disk that is full under Postgres: events are refused, not lost, and all goes on when there is room again.

use std::time::Duration;

use super::rig::Rig;
use crate::support::{Database, SmallDisk, eventually, private_postgres_with};

const DISK_MEBIBYTES: u32 = 256;
/// Little of it is kept in reserve.
const SETTINGS: [(&str, &str); 2] = [("min_wal_size", "32MB"), ("max_wal_size", "64MB")];
const REFUSED: usize = 10;

#[tokio::test]
async fn a_full_disk_refuses_events_and_loses_none() {
    let Some(disk) = SmallDisk::mount("small", DISK_MEBIBYTES) else {
        // A right and not a program: nothing that could be installed would change that.
        return eprintln!("skipped: this process may not mount a file system");
    };
    let folder = disk.path().join("postgres");
    let mut postgres = private_postgres_with(&folder, &SETTINGS).await;
    let mut rig = Rig::on(Database::at(postgres.url().to_owned()), 2, |plan| plan).await;
    let postgres = rig
        .under_load(async {
            eventually("runs end", async || (rig.database.ended_count().await > 50).then_some(())).await;
            let unanswered = rig.ledger.unanswered_count();
            eventually("events are refused", async || {
                disk.fill();
                // The log needs room before the tables do. A server that dies of it says nothing.
                drop(sqlx::query("select pg_switch_wal()").execute(&rig.database.pool).await);
                (rig.ledger.unanswered_count() >= unanswered + REFUSED).then_some(())
            })
            .await;
            disk.free();
            // It may have died of it, as it should rather than forget, and cannot start where there is no room.
            let is_dead = tokio::time::timeout(Duration::from_secs(5), postgres.ended()).await.is_ok();
            if is_dead {
                drop(postgres);
                postgres = private_postgres_with(&folder, &SETTINGS).await;
                rig.proxy.lead_to(postgres.url());
            }
            let accepted = rig.ledger.accepted_count();
            eventually("events are accepted again", async || {
                (rig.ledger.accepted_count() > accepted + REFUSED).then_some(())
            })
            .await;
            eprintln!("the server {} of a full disk", if is_dead { "has died" } else { "has not died" });
            postgres
        })
        .await;
    rig.database = Database::at(postgres.url().to_owned());
    rig.balance("a full disk").await;
}
