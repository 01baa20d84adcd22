//! The bytes of uploaded components, by their SHA-256.

use trellis_model::AccountId;

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

    /// Whether a plugin of this account, of any name and version, is made of these bytes.
    pub async fn has_component(&self, account: AccountId, digest: &[u8; 32]) -> Result<bool> {
        Ok(sqlx::query_scalar("select exists (select 1 from plugin where account_id = $1 and digest = $2)")
            .bind(account.0)
            .bind(digest.as_slice())
            .fetch_one(&self.durable)
            .await?)
    }

    pub async fn component(&self, digest: &[u8; 32]) -> Result<Option<Vec<u8>>> {
        Ok(sqlx::query_scalar("select bytes from component where digest = $1")
            .bind(digest.as_slice())
            .fetch_optional(&self.durable)
            .await?)
    }
}
