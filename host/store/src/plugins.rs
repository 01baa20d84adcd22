//! Uploaded plugins: name, version, description; an account's own.

use semver::{Version, VersionReq};
use trellis_model::{AccountId, PluginId, description::Description};

use crate::{Database, Result, StoreError};

#[derive(Clone, Debug)]
pub struct Plugin {
    pub id: PluginId,
    pub name: String,
    pub version: Version,
    pub digest: [u8; 32],
    pub description: Description,
    pub imports: Vec<String>,
    pub size_bytes: i64,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; some: new deployments do not find it.
    pub yanked_at: Option<i64>,
}

/// What there is of a plugin where no version of it can be deployed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NoneFits {
    /// Versions that could be deployed, the oldest first.
    pub others: Vec<Version>,
    /// Versions that would fit, if they were not yanked.
    pub yanked: Vec<Version>,
}

/// Some of an account's plugins.
#[derive(Clone, Debug)]
pub struct PluginPage {
    pub plugins: Vec<Plugin>,
    /// Whether there are others behind them.
    pub has_more: bool,
}

/// What an upload adds.
#[derive(Debug)]
pub struct NewPlugin<'a> {
    pub name: &'a str,
    pub version: &'a Version,
    pub digest: [u8; 32],
    pub description: &'a Description,
    pub imports: &'a [String],
    pub size_bytes: i64,
}

/// What became of an upload.
#[derive(Debug, PartialEq, Eq)]
pub enum PluginPut {
    Created(PluginId),
    /// The same bytes were there under this name and version.
    Unchanged(PluginId),
    /// Other bytes are there under this name and version: versions are immutable.
    Taken,
}

type PluginRow = (i64, String, String, Vec<u8>, serde_json::Value, Vec<String>, i64, i64, Option<i64>);

impl Database {
    /// Adds a plugin whose component is already kept.
    pub async fn put_plugin(&self, account: AccountId, plugin: &NewPlugin<'_>) -> Result<PluginPut> {
        let description =
            serde_json::to_value(plugin.description).map_err(|error| StoreError::unreadable("description", error))?;
        let created: Option<i64> = sqlx::query_scalar(
            "insert into plugin (account_id, name, version, digest, description, imports, size_bytes)
             values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing returning id",
        )
        .bind(account.0)
        .bind(plugin.name)
        .bind(plugin.version.to_string())
        .bind(plugin.digest.as_slice())
        .bind(description)
        .bind(plugin.imports)
        .bind(plugin.size_bytes)
        .fetch_optional(&self.durable)
        .await?;
        if let Some(id) = created {
            return Ok(PluginPut::Created(PluginId(id)));
        }
        let existing = self.plugin(account, plugin.name, plugin.version).await?;
        Ok(match existing {
            Some(existing) if existing.digest == plugin.digest => PluginPut::Unchanged(existing.id),
            _ => PluginPut::Taken,
        })
    }

    pub async fn plugin(&self, account: AccountId, name: &str, version: &Version) -> Result<Option<Plugin>> {
        let row: Option<PluginRow> = sqlx::query_as(
            "select id, name, version, digest, description, imports, size_bytes, extract(epoch from created_at)::bigint,
                    extract(epoch from yanked_at)::bigint
             from plugin where account_id = $1 and name = $2 and version = $3",
        )
        .bind(account.0)
        .bind(name)
        .bind(version.to_string())
        .fetch_optional(&self.durable)
        .await?;
        row.map(read_plugin).transpose()
    }

    /// The newest version that `versions` allows and that is not yanked.
    pub async fn resolve_plugin(
        &self,
        account: AccountId,
        name: &str,
        versions: &VersionReq,
    ) -> Result<Result<Plugin, NoneFits>> {
        // Of all that there are, no more than it takes to choose: what they say of themselves can be much.
        let rows: Vec<(String, bool)> =
            sqlx::query_as("select version, yanked_at is not null from plugin where account_id = $1 and name = $2")
                .bind(account.0)
                .bind(name)
                .fetch_all(&self.durable)
                .await?;
        let candidate = |(version, is_yanked): (String, bool)| {
            let version = version.parse().map_err(|error| StoreError::unreadable("plugin version", error))?;
            Ok(Candidate { version, is_yanked })
        };
        match newest_of(rows.into_iter().map(candidate).collect::<Result<_>>()?, versions) {
            Ok(version) => Ok(self.plugin(account, name, &version).await?.ok_or_else(NoneFits::default)),
            Err(none) => Ok(Err(none)),
        }
    }

    /// The names of an account's plugins, at most `limit`, in their order.
    pub async fn plugin_names(&self, account: AccountId, limit: i64) -> Result<Vec<String>> {
        let names = "select distinct name from plugin where account_id = $1 order by name limit $2";
        Ok(sqlx::query_scalar(names).bind(account.0).bind(limit).fetch_all(&self.durable).await?)
    }

    /// Yanks a version, or takes that back. None: there is no such version.
    pub async fn yank_plugin(
        &self,
        account: AccountId,
        name: &str,
        version: &Version,
        is_yanked: bool,
    ) -> Result<Option<Plugin>> {
        sqlx::query(
            "update plugin set yanked_at = case when $4 then coalesce(yanked_at, now()) end
             where account_id = $1 and name = $2 and version = $3",
        )
        .bind(account.0)
        .bind(name)
        .bind(version.to_string())
        .bind(is_yanked)
        .execute(&self.durable)
        .await?;
        self.plugin(account, name, version).await
    }

    pub async fn plugins_by_id(&self, wanted: &[(AccountId, PluginId)]) -> Result<Vec<Plugin>> {
        let (accounts, ids): (Vec<i64>, Vec<i64>) =
            wanted.iter().map(|(account, plugin)| (account.0, plugin.0)).unzip();
        let rows: Vec<PluginRow> = sqlx::query_as(
            "select id, name, version, digest, description, imports, size_bytes, extract(epoch from created_at)::bigint,
                    extract(epoch from yanked_at)::bigint
             from plugin where (account_id, id) in (select * from unnest($1::bigint[], $2::bigint[]))",
        )
        .bind(accounts)
        .bind(ids)
        .fetch_all(&self.durable)
        .await?;
        rows.into_iter().map(read_plugin).collect()
    }

    /// At most `limit` plugins with ids behind `after`, of one name or of all, whose descriptions have `bytes` together at the
    /// most; one at least, if there is one.
    pub async fn plugins(
        &self,
        account: AccountId,
        name: Option<&str>,
        after: Option<PluginId>,
        limit: i64,
        bytes: i64,
    ) -> Result<PluginPage> {
        let rows: Vec<PluginRow> = sqlx::query_as(
            "select id, name, version, digest, description, imports, size_bytes, created, yanked from (
                 select *, extract(epoch from created_at)::bigint as created, extract(epoch from yanked_at)::bigint as yanked,
                        sum(own_bytes) over (order by id) as bytes
                 from (
                     select *, octet_length(description::text) as own_bytes from plugin
                     where account_id = $1 and id > $2 and ($3::text is null or name = $3) order by id limit $4
                 ) as listed
             ) as summed
             where bytes <= $5 or bytes = own_bytes order by id",
        )
        .bind(account.0)
        .bind(after.map_or(0, |plugin| plugin.0))
        .bind(name)
        .bind(limit)
        .bind(bytes)
        .fetch_all(&self.durable)
        .await?;
        let plugins = rows.into_iter().map(read_plugin).collect::<Result<Vec<_>>>()?;
        let Some(last) = plugins.last().map(|plugin| plugin.id) else {
            return Ok(PluginPage { plugins, has_more: false });
        };
        let more = "select exists (
                        select from plugin where account_id = $1 and id > $2 and ($3::text is null or name = $3))";
        let more = sqlx::query_scalar(more).bind(account.0).bind(last.0).bind(name);
        let has_more = more.fetch_one(&self.durable).await?;
        Ok(PluginPage { plugins, has_more })
    }
}

/// A version that could be chosen.
struct Candidate {
    version: Version,
    is_yanked: bool,
}

/// The newest that fits and is not yanked.
fn newest_of(mut candidates: Vec<Candidate>, versions: &VersionReq) -> std::result::Result<Version, NoneFits> {
    candidates.sort_by(|a, b| a.version.cmp(&b.version));
    let fits = |candidate: &Candidate| versions.matches(&candidate.version);
    if let Some(newest) = candidates.iter().rposition(|candidate| fits(candidate) && !candidate.is_yanked) {
        return Ok(candidates.swap_remove(newest).version);
    }
    let yanked = candidates.iter().filter(|candidate| fits(candidate)).map(|one| one.version.clone()).collect();
    let others = candidates.into_iter().filter(|candidate| !candidate.is_yanked).map(|one| one.version).collect();
    Err(NoneFits { others, yanked })
}

fn read_plugin(
    (id, name, version, digest, description, imports, size_bytes, created_at, yanked_at): PluginRow,
) -> Result<Plugin> {
    Ok(Plugin {
        id: PluginId(id),
        name,
        version: version.parse().map_err(|error| StoreError::unreadable("plugin version", error))?,
        digest: digest.try_into().map_err(|_| StoreError::unreadable("plugin digest", "not 32 bytes"))?,
        description: serde_json::from_value(description)
            .map_err(|error| StoreError::unreadable("plugin description", error))?,
        imports,
        size_bytes,
        created_at,
        yanked_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(version: &str, is_yanked: bool) -> Candidate {
        Candidate { version: version.parse().expect("a version"), is_yanked }
    }

    fn resolved(versions: &str) -> std::result::Result<String, NoneFits> {
        let all = [("1.10.0", true), ("1.2.0", false), ("1.9.0", false), ("2.0.0", true)];
        let candidates = all.into_iter().map(|(version, is_yanked)| candidate(version, is_yanked)).collect();
        newest_of(candidates, &versions.parse().expect("a range")).map(|version| version.to_string())
    }

    fn versions(texts: &[&str]) -> Vec<Version> {
        texts.iter().map(|text| text.parse().expect("a version")).collect()
    }

    #[test]
    fn the_newest_that_fits_and_is_not_yanked_is_found() {
        assert_eq!(resolved("^1"), Ok("1.9.0".to_owned()));
        assert_eq!(resolved("=1.2.0"), Ok("1.2.0".to_owned()));
        let others = versions(&["1.2.0", "1.9.0"]);
        assert_eq!(resolved("=1.10.0"), Err(NoneFits { others: others.clone(), yanked: versions(&["1.10.0"]) }));
        assert_eq!(resolved("^3"), Err(NoneFits { others, yanked: Vec::new() }));
    }
}
