//! Credentials of a project: set, list by name, delete. What was set is never told again, to nobody.

use std::sync::Arc;

use axum::{
    Extension, Json,
    extract::{Request, State},
};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use trellis_model::{
    ProjectId,
    credential::{Secret, check_secret},
    description::check_name,
};
use trellis_operator::vault::{Resealed, VaultError};
use trellis_store::credentials::{CredentialInfo, CredentialName, Stored};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, Page},
    projects,
    request::{PathOf, QueryOf, at_most, read_body, text},
};

/// One byte of a secret may be six of JSON (`\u0001`); and some room for the object around it.
const JSON_FACTOR: usize = 6;
const JSON_ROOM_BYTES: usize = 1_024;
/// Credentials that one request seals anew: a second's work or so.
const RESEAL_MAX: u64 = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    value: String,
}

/// All that is told of a credential.
#[derive(Debug, Serialize)]
pub struct CredentialView {
    pub name: String,
    /// Which master key of the hosts it is sealed with.
    pub key_version: i32,
    pub created_at: String,
    /// When its value was last set.
    pub updated_at: String,
}

impl From<CredentialInfo> for CredentialView {
    fn from(info: CredentialInfo) -> Self {
        let CredentialInfo { name, key_version, created_at, updated_at } = info;
        Self { name, key_version, created_at: page::time(created_at), updated_at: page::time(updated_at) }
    }
}

/// `PUT /v1/projects/{project}/credentials/{credential}`: 201 for a new one, 204 for a new value. A project that does not
/// exist yet is made, for what is to be deployed there.
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, name)): PathOf<(String, String)>,
    request: Request,
) -> Result<StatusCode, Problem> {
    check_name(&name).map_err(|reason| Problem::bad_request(format!("credential name `{name}` {reason}")))?;
    let body_max = api.config.credential_bytes_max.saturating_mul(JSON_FACTOR).saturating_add(JSON_ROOM_BYTES);
    let secret = read_secret(&read_body(request.into_body(), body_max).await?)?;
    check_secret(secret.reveal(), api.config.credential_bytes_max)
        .map_err(|unfit| Problem::bad_request(unfit.to_string()))?;
    let of = CredentialName { account: caller.account()?, project: project_for(&api, &caller, &project).await?, name };
    match api.host.vault.put(&of, &secret, api.config.credentials_max).await? {
        Stored::Created => Ok(StatusCode::CREATED),
        Stored::Replaced => Ok(StatusCode::NO_CONTENT),
        Stored::Full => Err(Problem::conflict(format!(
            "project `{project}` has {} credentials, as many as it may have; delete one that nobody uses",
            api.config.credentials_max
        ))),
    }
}

/// What is wrong with the body is said without a word of it.
fn read_secret(body: &[u8]) -> Result<Secret, Problem> {
    let read: Result<NewCredential, _> = serde_json::from_str(text(body)?);
    let wrong = || Problem::bad_request("the body is not the JSON that is expected here: {\"value\": \"…\"}");
    read.map(|credential| Secret::from(credential.value)).map_err(|_| wrong())
}

/// A token of one project has no other projects, and makes none.
async fn project_for(api: &Api, caller: &Caller, name: &str) -> Result<ProjectId, Problem> {
    if caller.project.is_some() {
        return Ok(projects::find(api, caller, name).await?.id);
    }
    check_name(name).map_err(|reason| Problem::bad_request(format!("project name `{name}` {reason}")))?;
    Ok(api.host.database.ensure_project(caller.account()?, name).await?)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialsQuery {
    after: Option<String>,
    limit: Option<i64>,
}

/// `GET /v1/projects/{project}/credentials`: names, never values.
pub async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(project): PathOf<String>,
    QueryOf(query): QueryOf<CredentialsQuery>,
) -> Result<Json<Page<CredentialView>>, Problem> {
    let limit = page::limit(query.limit)?;
    at_most("after", query.after.as_deref(), trellis_model::description::NAME_BYTES_MAX)?;
    let project = projects::find(&api, &caller, &project).await?;
    let after = query.after.as_deref();
    let found = api.host.database.credential_infos(caller.account()?, project.id, after, limit + 1).await?;
    let views = found.into_iter().map(CredentialView::from).collect();
    Ok(Json(Page::new(views, limit, |view: &CredentialView| view.name.clone())))
}

/// `DELETE /v1/projects/{project}/credentials/{credential}`
pub async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, name)): PathOf<(String, String)>,
) -> Result<StatusCode, Problem> {
    let found = projects::find(&api, &caller, &project).await?;
    if api.host.database.delete_credential(caller.account()?, found.id, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(format!("project `{project}` has no credential `{name}`")))
    }
}

#[derive(Debug, Serialize)]
pub struct ResealedView {
    pub key_version: i32,
    pub resealed: u64,
    pub remaining: u64,
}

/// `POST /v1/credentials/reseal`: seals some credentials of all accounts anew, with the master key in use. To be asked
/// again while some remain and some were sealed.
pub async fn reseal(State(api): State<Arc<Api>>) -> Result<Json<ResealedView>, Problem> {
    let Resealed { key_version, resealed, remaining } = api.host.vault.reseal(RESEAL_MAX).await?;
    tracing::info!(key_version, resealed, remaining, "credentials were sealed anew");
    Ok(Json(ResealedView { key_version, resealed, remaining }))
}

impl From<VaultError> for Problem {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Store(error) => error.into(),
            VaultError::NoKeys | VaultError::Missing { .. } => Self::conflict(error.to_string()),
            VaultError::Sealed { .. } | VaultError::Randomness(_) => {
                tracing::error!(%error, "a credential cannot be used");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_that_is_not_understood_is_never_quoted() {
        for body in
            [r#"{"value":12345678}"#, r#"{"valeu":"12345678"}"#, r#""12345678""#, "12345678", r#"{"value":"12345678"#]
        {
            let problem = read_secret(body.as_bytes()).expect_err("refused");
            assert!(!problem.detail.contains("12345678") && !problem.detail.contains("valeu"), "{problem:?}");
        }
        assert_eq!(read_secret(br#"{"value":"12345678"}"#).expect("a secret").reveal(), "12345678");
    }
}
