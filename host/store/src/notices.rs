//! What hosts tell each other through the database: a hint to look, never the truth itself.

use std::time::Duration;

use sqlx::postgres::PgListener;
use trellis_model::{AccountId, RevisionId, Shard};

use crate::{Database, Result, patient_pool::answered};

const CHANNEL: &str = "trellis";
/// After so long without a notice the server is asked whether it is still there.
const QUIET_LONGEST: Duration = Duration::from_secs(20);

/// A hint. Whoever misses it finds out by polling, a little later.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Jobs were inserted into this shard.
    Jobs(Shard),
    /// A project of the account has a new revision.
    Deployed(AccountId, RevisionId),
    /// The limits of an account changed, or what else an operator sets of it.
    Limits(AccountId),
    /// Runs of this shard are to be cancelled.
    Cancel(Shard),
    /// The account's queue on this shard has no permit before this time, in Unix milliseconds of the database.
    Throttled(AccountId, Shard, i64),
    /// A module of the account was instantiated by another host than the owner of its queue on this shard, which counts it.
    Taken(AccountId, Shard),
    /// News of a run, for those who watch it: [`trellis_model::news::Told`] as text.
    Run(String),
    /// A host has come or gone, or has given shards back: every host looks at its share.
    Balance,
}

impl Notice {
    fn payload(&self) -> String {
        match self {
            Self::Jobs(shard) => format!("jobs:{shard}"),
            Self::Deployed(account, revision) => format!("deployed:{account}:{revision}"),
            Self::Limits(account) => format!("limits:{account}"),
            Self::Cancel(shard) => format!("cancel:{shard}"),
            Self::Throttled(account, shard, until_ms) => format!("throttled:{account}:{shard}:{until_ms}"),
            Self::Taken(account, shard) => format!("taken:{account}:{shard}"),
            Self::Run(text) => format!("run:{text}"),
            Self::Balance => "balance".to_owned(),
        }
    }

    fn parse(payload: &str) -> Option<Self> {
        if let Some(text) = payload.strip_prefix("run:") {
            return Some(Self::Run(text.to_owned()));
        }
        let mut parts = payload.split(':');
        let kind = parts.next()?;
        let mut number = || parts.next()?.parse::<i64>().ok();
        Some(match kind {
            "jobs" => Self::Jobs(Shard(number()?.try_into().ok()?)),
            "deployed" => Self::Deployed(AccountId(number()?), RevisionId(number()?)),
            "limits" => Self::Limits(AccountId(number()?)),
            "cancel" => Self::Cancel(Shard(number()?.try_into().ok()?)),
            "throttled" => Self::Throttled(AccountId(number()?), Shard(number()?.try_into().ok()?), number()?),
            "taken" => Self::Taken(AccountId(number()?), Shard(number()?.try_into().ok()?)),
            "balance" => Self::Balance,
            _ => return None,
        })
    }
}

/// Receives notices, over a connection of its own.
#[derive(Debug)]
pub struct Notices(PgListener);

impl Database {
    /// Tells all hosts, this one included. Always outside the transaction that it is about.
    pub async fn notify(&self, notices: &[Notice]) -> Result<()> {
        let payloads: Vec<String> = notices.iter().map(Notice::payload).collect();
        sqlx::query("select pg_notify($1, payload) from unnest($2::text[]) as payload")
            .bind(CHANNEL)
            .bind(payloads)
            .execute(&self.relaxed)
            .await?;
        Ok(())
    }

    pub async fn listen(&self) -> Result<Notices> {
        answered(async {
            let mut listener = PgListener::connect_with(&self.relaxed).await?;
            listener.listen(CHANNEL).await?;
            Ok(Notices(listener))
        })
        .await
    }
}

impl Notices {
    /// The next notice; none when the connection was lost and made anew, so that anything may have been missed.
    pub async fn next(&mut self) -> Result<Option<Notice>> {
        loop {
            match tokio::time::timeout(QUIET_LONGEST, self.0.try_recv()).await {
                Ok(received) => match received?.map(|notification| Notice::parse(notification.payload())) {
                    None => return Ok(None),
                    Some(Some(notice)) => return Ok(Some(notice)),
                    Some(None) => {}
                },
                Err(_) => self.look_alive().await?,
            }
        }
    }

    /// Nobody had anything to tell, or the connection is dead and was never told so.
    async fn look_alive(&mut self) -> Result<()> {
        answered(async { Ok(sqlx::query("select 1").execute(&mut self.0).await.map(drop)?) }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_written_as_they_are_read() {
        for notice in [
            Notice::Jobs(Shard(255)),
            Notice::Deployed(AccountId(3), RevisionId(7)),
            Notice::Limits(AccountId(9)),
            Notice::Cancel(Shard(1)),
            Notice::Throttled(AccountId(9), Shard(3), 1_800_000_000_000),
            Notice::Taken(AccountId(9), Shard(3)),
            Notice::Run("{\"a\":1}".to_owned()),
            Notice::Balance,
        ] {
            assert_eq!(Notice::parse(&notice.payload()), Some(notice));
        }
        assert_eq!(Notice::parse("jobs:x"), None);
    }
}
