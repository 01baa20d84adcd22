//! Notices that a credential of a project was set, replaced or deleted, by asking: a deployment that was refused for want of one is
//! then worth another attempt. Learns names and times, never values.

use std::time::Duration;

use serde::Deserialize;

use crate::client::{Client, ClientError};

/// Between two looks. Somebody has just typed a command in another window.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Credentials looked at, at most: as many as the API lists at once, far more than a project needs.
const LISTED_MAX: usize = 500;

/// What is told of a project's credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Credentials {
    items: Vec<Credential>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Credential {
    name: String,
    updated_at: String,
}

/// Those that there are now; of a project that is not there yet, none.
///
/// # Errors
/// The host does not answer.
pub async fn list(client: &Client, project: &str) -> Result<Credentials, ClientError> {
    let listed = client.get(&["v1", "projects", project, "credentials"], &[("limit", LISTED_MAX.to_string())]).await;
    match listed {
        Err(error) if error.status() == Some(404) => Ok(Credentials::default()),
        listed => listed,
    }
}

/// Waits until there are others than those.
pub async fn changed(client: &Client, project: &str, before: &Credentials) {
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        // A look in vain is no change; the next one comes soon.
        if list(client, project).await.is_ok_and(|now| now != *before) {
            return;
        }
    }
}
