//! Named stores of a project: committed entries. Nodes write them only through [`crate::commit`]. An expired entry is absent
//! from the moment on that it expires; that its row goes later makes no difference to anybody.

use trellis_model::{AccountId, ProjectId};

use crate::{Database, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub value: Vec<u8>,
    /// Changes with every committed write.
    pub version: i64,
}

impl Database {
    pub async fn entry(&self, account: AccountId, project: ProjectId, store: &str, key: &str) -> Result<Option<Entry>> {
        let row: Option<(Vec<u8>, i64)> = sqlx::query_as(
            "select value, version from keyvalue
             where account_id = $1 and project_id = $2 and store = $3 and key = $4
               and (expires_at is null or expires_at > now())",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(store)
        .bind(key)
        .fetch_optional(&self.durable)
        .await?;
        Ok(row.map(|(value, version)| Entry { value, version }))
    }

    /// Keys with a prefix, in byte order, behind `after`, with their versions.
    pub async fn keys(
        &self,
        account: AccountId,
        project: ProjectId,
        store: &str,
        prefix: &str,
        after: Option<&str>,
        limit: i64,
    ) -> Result<Vec<(String, i64)>> {
        Ok(sqlx::query_as(
            "select key, version from keyvalue
             where account_id = $1 and project_id = $2 and store = $3
               and key >= $4 and ($7::text is null or key < $7) and starts_with(key, $4) and key > coalesce($5, '')
               and (expires_at is null or expires_at > now())
             order by key limit $6",
        )
        .bind(account.0)
        .bind(project.0)
        .bind(store)
        .bind(prefix)
        .bind(after)
        .bind(limit)
        .bind(behind_prefix(prefix))
        .fetch_all(&self.durable)
        .await?)
    }
}

/// The first text behind all that begin with `prefix`, so that the index is left where they end; none if there is none.
pub(crate) fn behind_prefix(prefix: &str) -> Option<String> {
    let mut letters: Vec<char> = prefix.chars().collect();
    while let Some(last) = letters.pop() {
        // Surrogates are no letters: the one behind them follows the one before.
        let next = if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            letters.push(next);
            return Some(letters.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::behind_prefix;

    #[test]
    fn the_end_of_a_prefix_lies_behind_all_its_keys() {
        assert_eq!(behind_prefix("user/").as_deref(), Some("user0"));
        assert_eq!(behind_prefix("a\u{10FFFF}").as_deref(), Some("b"));
        assert_eq!(behind_prefix("\u{D7FF}").as_deref(), Some("\u{E000}"));
        assert_eq!(behind_prefix(""), None);
        assert_eq!(behind_prefix("\u{10FFFF}"), None);
    }
}
