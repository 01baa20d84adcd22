//! Looking for the run of an event that was accepted before, where a new one would be refused: of an account that is over
//! its limits. Reads alone; who is over which limit is not known here.

use std::sync::Arc;

use tokio::sync::Semaphore;
use trellis_model::AccountId;
use trellis_store::{
    Database,
    dedup::{Acceptance, KnownAs},
};

use super::{Accepted, EventKeys, IngestError, refusal};

/// Looks at the same time. An account that floods its host with keys must not take the connections that commits of others
/// need, and two read thousands of keys a second.
const LOOKS_MAX: usize = 2;

/// Handle to the looks of a host; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Repeats {
    database: Database,
    places: Arc<Semaphore>,
}

impl Repeats {
    pub fn new(database: Database) -> Self {
        Self { database, places: Arc::new(Semaphore::new(LOOKS_MAX)) }
    }

    /// The run that an event with these keys repeats. None also while many others are looked for: it is then refused as
    /// if it were new, and its sender tries again.
    pub async fn find(&self, account: AccountId, keys: &EventKeys) -> Result<Option<Accepted>, IngestError> {
        if keys.keys.is_empty() {
            return Ok(None);
        }
        let Ok(_place) = self.places.try_acquire() else { return Ok(None) };
        let known: Vec<KnownAs> =
            keys.keys.iter().map(|key| KnownAs { key: key.digest, is_strict: key.is_strict }).collect();
        let found = self.database.find_repeated(account, &known, keys.payload).await;
        match found.map_err(|error| refusal(&error))? {
            Acceptance::New => Ok(None),
            Acceptance::Repeat(run) => Ok(Some(Accepted { run, is_repeat: true })),
            Acceptance::KeyReused => Err(IngestError::KeyReused),
        }
    }
}
