//! Takes expired entries of storage away, some at a time.
//!
//! Only tidies: for reads, lists and commits an entry is absent from the moment on that it expires. Every host does it; two
//! at once get different rows.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use trellis_store::Database;

/// How often there is a look for them. Rows wait for this long at most, which costs nothing but their place.
const INTERVAL: Duration = Duration::from_secs(60);
/// Entries of one statement: a lock held for some milliseconds.
const ENTRIES_MAX: i64 = 1_000;

/// Runs until it is told to stop.
pub async fn run(database: Database, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => tidy(&database, &stop).await,
            () = stop.cancelled() => return,
        }
    }
}

/// Goes on while there are many.
async fn tidy(database: &Database, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match database.delete_expired(ENTRIES_MAX).await {
            Ok(deleted) if deleted >= ENTRIES_MAX.cast_unsigned() => {}
            Ok(_) => return,
            Err(error) => return tracing::debug!(%error, "expired entries were not taken away; they are next time"),
        }
    }
}
