//! Machine code for every plugin in use, before a run needs it: after a start, and when another host has taken an upload in.
//!
//! One component after another, in the background. A run whose plugin is not ready yet loads it by itself, through the same
//! compiler. Does not know what a plugin does, and loads nothing into memory that has machine code on disk.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use trellis_engine::{Digest, Engine};
use trellis_store::Database;

use crate::catalog::Catalog;

/// After a component could not be prepared, for whatever reason.
const RETRY: Duration = Duration::from_secs(60);

pub struct Preparer {
    pub database: Database,
    pub engine: Engine,
    pub catalog: Arc<Catalog>,
}

impl Preparer {
    pub async fn run(self, stop: CancellationToken) {
        tokio::select! {
            () = self.keep_prepared() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn keep_prepared(&self) {
        let mut prepared = HashSet::new();
        loop {
            let wanted = self.catalog.digests();
            // What is not used any more may be used again, when its machine code is long gone.
            prepared.retain(|digest| wanted.contains(digest));
            let mut all_are = true;
            for digest in wanted {
                if !prepared.contains(&digest) && self.prepare(digest).await {
                    prepared.insert(digest);
                }
                all_are &= prepared.contains(&digest);
            }
            let changed = self.catalog.changed();
            if all_are {
                changed.await;
            } else {
                // Too early or in time: either way it is looked at again.
                let _ = timeout(RETRY, changed).await;
            }
        }
    }

    async fn prepare(&self, digest: Digest) -> bool {
        let bytes = || async move {
            let found = self.database.component(&digest.0).await.map_err(|error| error.to_string())?;
            found.map(Into::into).ok_or_else(|| "its bytes are not in the database".to_owned())
        };
        let prepared = self.engine.prepare(digest, bytes).await;
        prepared
            .inspect_err(|error| tracing::warn!(%digest, %error, "a plugin in use has no machine code here"))
            .is_ok()
    }
}
