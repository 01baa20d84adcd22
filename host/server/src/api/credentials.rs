//! Credentials of a project: set, list by name, delete. What was set is never told again, to nobody.

mod too_long;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use axum::{
    Extension, Json,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trellis_model::{
    AccountId, ProjectId, RevisionId,
    credential::{SECRET_BYTES_MIN, Secret, check_secret},
    description::check_name,
    fault::Fault,
    manifest::{
        CredentialUse, Manifest,
        document::{self, Item},
        reader::FAULTS_MAX,
    },
    token::Scope,
};
use trellis_operator::vault::{Resealed, VaultError};
use trellis_store::credentials::{CredentialInfo, CredentialName, Stored};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    projects,
    request::{PathOf, QueryOf, at_most, parse, read_body, text},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    const ALL: &str = "/v1/projects/{project}/credentials";
    const ONE: &str = "/v1/projects/{project}/credentials/{credential}";
    vec![
        Route::get(ALL, Scope::CredentialsWrite, "List the credentials of a project by name, never their values", list)
            .query::<CredentialsQuery>()
            .answers::<Page<CredentialView>>(200, "A page of credentials"),
        Route::put(ONE, Scope::CredentialsWrite, "Set a credential; its value is never told again", put)
            .json::<NewCredential>()
            .answers::<CredentialSet>(201, "It is new")
            .answers_nothing(204, "It has a new value")
            .problems(&[409]),
        Route::delete(ONE, Scope::CredentialsWrite, "Delete a credential that nothing deployed needs", delete)
            .query::<DeleteQuery>()
            .answers_nothing(204, "It is gone")
            .problems(&[409]),
        Route::post(
            "/v1/credentials/reseal",
            Scope::Operator,
            "Seal some credentials of all accounts anew, with the master key in use",
            reseal,
        )
        .answers::<ResealedView>(200, "How many were sealed, and how many remain")
        .problems(&[409]),
    ]
}

/// One byte of a secret may be six of JSON (`\u0001`); and some room for the object around it.
const JSON_FACTOR: usize = 6;
const JSON_ROOM_BYTES: usize = 1_024;
/// Fewest letters that come to [`SECRET_BYTES_MIN`]: a letter has four bytes at the most.
const SECRET_LETTERS_MIN: usize = SECRET_BYTES_MIN.div_ceil(4);
/// Credentials that one request seals anew: a second's work or so.
const RESEAL_MAX: u64 = 1_000;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NewCredential {
    /// At least eight bytes of UTF-8.
    #[schemars(length(min = SECRET_LETTERS_MIN))]
    value: String,
}

/// All that is told of a credential.
#[derive(Debug, Serialize, JsonSchema)]
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

/// What is told of a credential that is new.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CredentialSet {
    pub project: String,
    pub name: String,
    /// Nothing was deployed to the project yet, and the credential waits for that.
    pub awaits_deployment: bool,
    /// A deployed project with a name so similar that it may have been meant, if this one awaits its deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similar_project: Option<String>,
}

/// `PUT /v1/projects/{project}/credentials/{credential}`: 201 for a new one, 204 for a new value. A project that does not
/// exist yet is made, for what is to be deployed there.
pub async fn put(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, name)): PathOf<(String, String)>,
    request: Request,
) -> Result<Response, Problem> {
    check_name(&name).map_err(|reason| Problem::bad_request(format!("credential name `{name}` {reason}")))?;
    let body_max = api.config.credential_bytes_max.saturating_mul(JSON_FACTOR).saturating_add(JSON_ROOM_BYTES);
    let secret = read_secret(&read_body(request.into_body(), body_max).await?)?;
    check_secret(secret.reveal(), api.config.credential_bytes_max)
        .map_err(|unfit| Problem::bad_request(unfit.to_string()))?;
    let of = CredentialName { account: caller.account()?, project: project_for(&api, &caller, &project).await?, name };
    fits_its_nodes(&api, &caller, &project, &of, secret.reveal().len()).await?;
    match api.host.vault.put(&of, &secret, api.config.credentials_max).await? {
        Stored::Created => {
            let set = told(&api, &caller, project, of.name).await?;
            Ok((StatusCode::CREATED, Json(set)).into_response())
        }
        Stored::Replaced => Ok(StatusCode::NO_CONTENT.into_response()),
        Stored::Full => Err(Problem::conflict(format!(
            "project `{project}` has {} credentials, as many as it may have; delete one that nobody uses",
            api.config.credentials_max
        ))),
    }
}

async fn told(api: &Api, caller: &Caller, project: String, name: String) -> Result<CredentialSet, Problem> {
    let found = api.host.database.project(caller.account()?, &project).await?;
    let awaits_deployment = found.is_none_or(|found| found.revision.is_none());
    let similar_project = if awaits_deployment { projects::near(api, caller, &project).await? } else { None };
    Ok(CredentialSet { project, name, awaits_deployment, similar_project })
}

/// What is wrong with the body is said without a word of it.
fn read_secret(body: &[u8]) -> Result<Secret, Problem> {
    let read: Result<NewCredential, _> = parse(text(body)?.as_bytes());
    let wrong = || Problem::bad_request("the body is not the JSON that is expected here: {\"value\": \"…\"}");
    read.map(|credential| Secret::from(credential.value)).map_err(|_| wrong())
}

/// A token of one project has no other projects, and makes none.
async fn project_for(api: &Api, caller: &Caller, name: &str) -> Result<ProjectId, Problem> {
    if caller.project.is_some() {
        return Ok(projects::find(api, caller, name).await?.id);
    }
    check_name(name).map_err(|reason| Problem::bad_request(format!("project name `{name}` {reason}")))?;
    let most = api.config.account_projects_max;
    let project = api.host.database.ensure_project(caller.account()?, name, most).await?;
    project.ok_or_else(|| projects::too_many(most))
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialsQuery {
    after: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
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

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteQuery {
    /// Even if the current revision needs it.
    #[serde(default)]
    force: bool,
}

/// `DELETE /v1/projects/{project}/credentials/{credential}`: refused while the current revision needs it.
pub async fn delete(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, name)): PathOf<(String, String)>,
    QueryOf(query): QueryOf<DeleteQuery>,
) -> Result<StatusCode, Problem> {
    let found = projects::find(&api, &caller, &project).await?;
    if !query.force {
        let users = users(&api, &caller, found.revision, &name).await?;
        if !users.is_empty() {
            let users = users.join(", ");
            return Err(Problem::conflict(format!(
                "credential `{name}` is needed by {users} of project `{project}`; deploy without it first, or delete it all the same with `force`"
            )));
        }
    }
    if api.host.database.delete_credential(caller.account()?, found.id, &name).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem::not_found(format!("project `{project}` has no credential `{name}`")))
    }
}

/// Nodes and triggers shown that need a credential.
const USERS_MAX: usize = 10;

/// Who needs the credential in a revision.
async fn users(api: &Api, caller: &Caller, revision: Option<RevisionId>, name: &str) -> Result<Vec<String>, Problem> {
    let Some(revision) = revision else { return Ok(Vec::new()) };
    let stored = api.host.database.revision(caller.account()?, revision).await?;
    let document = stored.and_then(|stored| document::from_stored_json(&stored.manifest.to_string()).ok());
    // One that cannot be read any more runs nothing either.
    let Some(manifest) = document.map(|document| Manifest::read_as_far_as_possible(&document).0) else {
        return Ok(Vec::new());
    };
    let mut users: Vec<String> =
        manifest.credential_uses().into_iter().filter(|used| used.name == name).map(|used| used.user).collect();
    users.dedup();
    let more = users.len().saturating_sub(USERS_MAX);
    users.truncate(USERS_MAX);
    if more > 0 {
        users.push(format!("{more} more"));
    }
    Ok(users)
}

/// What keeps a manifest from being deployed to a project: credentials that are not there, or that this host cannot open,
/// for nodes or for triggers. One that is missing would be noticed late: by runs, or by senders, who are told nothing.
///
/// # Errors
/// The database is away.
pub async fn faults(
    api: &Api,
    account: AccountId,
    project: &str,
    document: &Item,
    manifest: &Manifest,
) -> Result<Vec<Fault>, Problem> {
    let uses = manifest.credential_uses();
    if uses.is_empty() {
        return Ok(Vec::new());
    }
    // A project that is not there yet has no credentials either.
    let id = api.host.database.project(account, project).await?.map_or(ProjectId(0), |project| project.id);
    let names: BTreeSet<&str> = uses.iter().map(|used| used.name).collect();
    let names: Vec<&str> = names.into_iter().collect();
    let unusable = api.host.vault.unusable(account, id, &names).await?;
    let mut faults = faults_of(&uses, &unusable, project, document);
    faults.extend(too_long::faults(document, manifest, &api.host.vault.lengths(account, id, &names).await?));
    Ok(faults)
}

/// Whether a value of so many bytes leaves every node of what the project runs within the text that it may be granted.
async fn fits_its_nodes(
    api: &Api,
    caller: &Caller,
    project: &str,
    of: &CredentialName,
    bytes: usize,
) -> Result<(), Problem> {
    let revision = match projects::current_revision(api, caller, project).await {
        Ok(revision) => revision,
        // It was never deployed: that is when the next look is taken.
        Err(problem) if problem.status == StatusCode::NOT_FOUND.as_u16() => return Ok(()),
        Err(problem) => return Err(problem),
    };
    let names = too_long::granted_beside(&revision, &of.name);
    if names.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut lengths = api.host.vault.lengths(of.account, of.project, &names).await?;
    lengths.insert(of.name.clone(), bytes);
    too_long::refusal(&revision, &of.name, &lengths).map_or(Ok(()), |refusal| Err(Problem::conflict(refusal)))
}

fn faults_of(
    uses: &[CredentialUse<'_>],
    unusable: &BTreeMap<&str, VaultError>,
    project: &str,
    document: &Item,
) -> Vec<Fault> {
    let fault = |used: &CredentialUse<'_>| {
        let (name, error) = (used.name, unusable.get(used.name)?);
        let place = document.place_of(&used.pointer);
        Some(match error {
            VaultError::Missing { .. } => place
                .fault(format!("the project has no credential `{name}`"))
                .fix(format!("set it with `trellis credential set {name} --project {project}`")),
            error => place.fault(error.to_string()),
        })
    };
    // Only what is told is bounded: a credential that is missing is found however many others there are.
    uses.iter().filter_map(fault).take(FAULTS_MAX).collect()
}

#[derive(Debug, Serialize, JsonSchema)]
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
    fn a_credential_that_is_missing_is_found_behind_any_number_of_others_and_few_are_told_of() {
        let names: Vec<String> = (0..3 * FAULTS_MAX).map(|number| format!("key-{number}")).collect();
        let used = |name| CredentialUse { pointer: "/grids/main".to_owned(), user: String::new(), name };
        let uses: Vec<CredentialUse<'_>> = names.iter().map(|name| used(name.as_str())).collect();
        let missing = |name: &str| VaultError::Missing { name: name.to_owned() };
        let document = document::from_toml("").expect("an empty document");
        let faults = |unusable: &[&str]| {
            let unusable = unusable.iter().map(|name| (*name, missing(name))).collect();
            faults_of(&uses, &unusable, "shop", &document)
        };
        let last = names.last().expect("there are names").as_str();
        let found = faults(&[last]);
        assert_eq!(found.len(), 1);
        assert!(found[0].to_string().contains(last), "{found:?}");
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(faults(&all).len(), FAULTS_MAX);
    }

    #[test]
    fn a_body_that_is_not_understood_is_never_quoted() {
        let bodies = [
            r#"{"value":12345678}"#,
            r#"{"valeu":"12345678"}"#,
            r#"{"value":"12345678","value":"12345678"}"#,
            r#"["12345678"]"#,
            r#""12345678""#,
            "12345678",
            r#"{"value":"12345678"#,
        ];
        for body in bodies {
            let problem = read_secret(body.as_bytes()).expect_err("refused");
            assert!(!problem.detail.contains("12345678") && !problem.detail.contains("valeu"), "{problem:?}");
        }
        assert_eq!(check_secret(&"\u{10348}".repeat(SECRET_LETTERS_MIN), 16), Ok(()), "what is declared can be true");
        assert!(check_secret(&"\u{10348}".repeat(SECRET_LETTERS_MIN - 1), 16).is_err());
        assert_eq!(read_secret(br#"{"value":"12345678"}"#).expect("a secret").reveal(), "12345678");
    }
}
