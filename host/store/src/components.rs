//! The bytes of uploaded components, by their SHA-256.

use crate::{Database, Result};

impl Database {
    /// Keeps the bytes; the same bytes twice are kept once.
    pub async fn put_component(&self, digest: &[u8; 32], bytes: &[u8]) -> Result<()> {
        sqlx::query("insert into component (digest, bytes) values ($1, $2) on conflict do nothing")
            .bind(digest.as_slice())
            .bind(bytes)
            .execute(&self.durable)
            .await?;
        Ok(())
    }

    pub async fn component(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar("select bytes from component where digest = $1")
            .bind(digest.as_slice())
            .fetch_optional(&self.durable)
            .await?)
    }
}
