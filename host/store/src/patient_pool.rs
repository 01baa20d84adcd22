//! A pool of connections whose statements are given up when the server says nothing for too long.
//!
//! A connection whose other end is gone without a word (a machine that lost its power, a switch, a firewall that forgot it)
//! is never told so, and whoever waits for it would wait for ever. The driver has no such limit and lets nobody set the
//! socket's own. Knows nothing of the statements.

use std::{io, ops::Deref, time::Duration};

use futures_util::{StreamExt as _, future::BoxFuture, stream, stream::BoxStream};
use sqlx::{
    Connection as _, Describe, Either, Error, Execute, Executor, PgPool, Postgres, SqlStr,
    postgres::{PgPoolOptions, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};

use crate::{Result, StoreError};

/// The longest silence of a server that is alive: far beyond any statement of the host, under the time a client waits.
const SILENCE_LONGEST: Duration = Duration::from_secs(10);
/// Before a connection that somebody has let go of in the middle of a statement is thrown away.
const RELEASE_LONGEST: Duration = Duration::from_secs(2);

/// A pool to be used like any other.
#[derive(Clone, Debug)]
pub(crate) struct PatientPool(PgPool);

impl PatientPool {
    pub fn new(pool: PgPool) -> Self {
        Self(pool)
    }

    /// Options of such a pool: a connection that does not answer takes no place in it.
    pub fn options() -> PgPoolOptions {
        PgPoolOptions::new().test_before_acquire(false).after_release(|connection, _| {
            Box::pin(async move {
                let answer = tokio::time::timeout(RELEASE_LONGEST, connection.ping()).await;
                answer.unwrap_or_else(|_| Err(silence())).map(|()| true)
            })
        })
    }
}

/// Waits for a transaction or whatever else asks more than one statement.
///
/// # Errors
/// Its own, or [`StoreError::Unavailable`] when the server has been silent for too long: nothing is known of the outcome.
pub(crate) async fn answered<T>(asked: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(SILENCE_LONGEST, asked).await.unwrap_or_else(|_| Err(StoreError::from(silence())))
}

fn silence() -> Error {
    let text = format!("the server has not answered for {} s", SILENCE_LONGEST.as_secs());
    Error::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

async fn in_time<T>(asked: BoxFuture<'_, Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(SILENCE_LONGEST, asked).await.unwrap_or_else(|_| Err(silence()))
}

/// For acquiring connections, transactions and closing.
impl Deref for PatientPool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.0
    }
}

impl<'p> Executor<'p> for &'_ PatientPool {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        let rows = (&self.0).fetch_many(query);
        stream::unfold(Some(rows), |rows| async {
            let mut rows = rows?;
            match tokio::time::timeout(SILENCE_LONGEST, rows.next()).await {
                Ok(row) => row.map(|row| (row, Some(rows))),
                // The connection is let go of, and thrown away.
                Err(_) => Some((Err(silence()), None)),
            }
        })
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
    where
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(in_time((&self.0).fetch_optional(query)))
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [PgTypeInfo]) -> BoxFuture<'e, Result<PgStatement, Error>>
    where
        'p: 'e,
    {
        let pool = self.0.clone();
        Box::pin(async move { in_time(Box::pin((&pool).prepare_with(sql, parameters))).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
    where
        'p: 'e,
    {
        let pool = self.0.clone();
        Box::pin(async move { in_time(Box::pin((&pool).describe(sql))).await })
    }
}
