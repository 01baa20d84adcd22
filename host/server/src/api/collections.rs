//! Managed data: collections with how much is in them, and what a query finds there. Single records are in [`records`].

mod filter;
pub mod records;

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use trellis_model::{
    AccountId, ProjectId,
    description::NAME_BYTES_MAX,
    records::{Order, Query, Selection},
    token::Scope,
};
use trellis_operator::catalog::LoadedRevision;
use trellis_store::{
    collections::{CollectionInfo, IndexInfo},
    records::query::{FoundRecord, QueryAnswer, RecordPageSize},
};

use super::{
    Api, Problem,
    auth::Caller,
    page::{self, LIMIT_MAX, Page},
    projects,
    request::{PathOf, QueryOf, at_most},
    route::Route,
};

pub fn declared() -> Vec<Route> {
    let own = vec![
        Route::get("/v1/projects/{project}/collections", Scope::RunsRead, "List the collections of a project", list)
            .query::<CollectionsQuery>()
            .answers::<Page<CollectionView>>(200, "A page of collections"),
        Route::get(
            "/v1/projects/{project}/collections/{collection}",
            Scope::RunsRead,
            "Find records of a collection, in the order of an index or of their keys",
            query,
        )
        .query::<RecordsQuery>()
        .answers::<Page<RecordView>>(200, "A page of records; it may hold fewer than asked for though there are more")
        .problems(&[409]),
    ];
    [own, records::declared()].concat()
}

#[derive(Debug, Serialize, JsonSchema)]
struct CollectionView {
    name: String,
    /// Whether the current revision declares it; if not, its records can be read by key and deleted.
    declared: bool,
    /// How many it has.
    records: i64,
    indexes: Vec<IndexView>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct IndexView {
    name: String,
    /// Where its values stand in a record.
    pointer: String,
    /// Whether it can be asked; if not, it is being built.
    ready: bool,
}

impl From<CollectionInfo> for CollectionView {
    fn from(CollectionInfo { name, is_declared, records, indexes }: CollectionInfo) -> Self {
        let index = |IndexInfo { name, pointer, is_ready }| IndexView { name, pointer, ready: is_ready };
        Self { name, declared: is_declared, records, indexes: indexes.into_iter().map(index).collect() }
    }
}

/// A record that was found.
#[derive(Debug, Serialize, JsonSchema)]
struct RecordView {
    key: String,
    /// Changes with every write; the `ETag` of the record.
    revision: i64,
    /// The record as it was written.
    #[schemars(with = "serde_json::Value")]
    data: Box<RawValue>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CollectionsQuery {
    /// Collections behind this one: the `next` of the page before.
    #[schemars(length(max = NAME_BYTES_MAX))]
    after: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/projects/{project}/collections`
async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf(project): PathOf<String>,
    QueryOf(query): QueryOf<CollectionsQuery>,
) -> Result<Json<Page<CollectionView>>, Problem> {
    let limit = page::limit(query.limit)?;
    at_most("after", query.after.as_deref(), NAME_BYTES_MAX)?;
    let project = projects::find(&api, &caller, &project).await?;
    let after = query.after.as_deref();
    let found = api.host.database.collections(caller.account()?, project.id, after, limit + 1).await?;
    let views = found.into_iter().map(CollectionView::from).collect();
    Ok(Json(Page::new(views, limit, |view: &CollectionView| view.name.clone())))
}

/// The longest filter, in bytes: many choices of some length, which fit into an address however they are encoded.
const FILTER_BYTES_MAX: usize = 4 * 1024;
/// The longest cursor: a value of an index in hexadecimal digits, and a key.
const CURSOR_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RecordsQuery {
    /// JSON: an object of indexes and values, `{"state":"open"}`; or of indexes and comparisons,
    /// `{"updated":{"greater":"2026-02-01","less":"2026-03-01"}}`. There are `equal`, `less`, `less-or-equal`, `greater`,
    /// `greater-or-equal`, `one-of` (an array) and `starts-with`.
    #[schemars(length(max = FILTER_BYTES_MAX))]
    filter: Option<String>,
    /// An index; with `-` before it, descending. Without it records come by key.
    #[schemars(length(max = NAME_BYTES_MAX))]
    order: Option<String>,
    /// The `next` of the page before.
    #[schemars(length(max = CURSOR_BYTES_MAX))]
    after: Option<String>,
    #[schemars(range(min = 1, max = LIMIT_MAX))]
    limit: Option<i64>,
}

/// `GET /v1/projects/{project}/collections/{collection}`
async fn query(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    PathOf((project, collection)): PathOf<(String, String)>,
    QueryOf(asked): QueryOf<RecordsQuery>,
) -> Result<Json<Page<RecordView>>, Problem> {
    let limit = page::limit(asked.limit)?;
    at_most("filter", asked.filter.as_deref(), FILTER_BYTES_MAX)?;
    at_most("after", asked.after.as_deref(), CURSOR_BYTES_MAX)?;
    let account = caller.account()?;
    let place = place(&api, &caller, &project, &collection).await?;
    let indexes = place.revision.collections.get(&collection).map(|declared| declared.indexes.clone());
    let order = asked.order.map(|order| match order.strip_prefix('-') {
        Some(index) => Order { index: index.to_owned(), descending: true },
        None => Order { index: order, descending: false },
    });
    let filter = filter::read(asked.filter.as_deref()).map_err(Problem::bad_request)?;
    let selection = Selection { filter, order, after: asked.after };
    let query = Query::new(&collection, &indexes.unwrap_or_default(), selection)
        .map_err(|error| Problem::bad_request(error.to_string()))?;
    let most = RecordPageSize {
        records: u32::try_from(limit).unwrap_or(u32::MAX),
        bytes: api.host.budgets.of(account).record_page_bytes,
    };
    match api.host.database.query_records(account, place.project, &collection, &query, most).await? {
        QueryAnswer::Page(found) => {
            let items = found.records.into_iter().map(view).collect::<Result<_, Problem>>()?;
            Ok(Json(Page { items, next: found.next.map(|next| next.to_string()) }))
        }
        QueryAnswer::NotBuilt(index) => Err(Problem::conflict(format!(
            "index `{index}` of collection `{collection}` is being built; try again later"
        ))),
        QueryAnswer::NotDeclared(index) => Err(Problem::conflict(format!(
            "index `{index}` of collection `{collection}` was changed by a deployment at this moment; try again"
        ))),
    }
}

fn view(found: FoundRecord) -> Result<RecordView, Problem> {
    let data = RawValue::from_string(found.data).map_err(|error| {
        tracing::error!(%error, "a record is no JSON");
        Problem::internal()
    })?;
    Ok(RecordView { key: found.position.key, revision: found.version, data })
}

/// A collection that the caller may see.
struct Place {
    account: AccountId,
    project: ProjectId,
    revision: Arc<LoadedRevision>,
}

/// # Errors
/// 404: there is no such project, or it has no such collection and never had.
async fn place(api: &Api, caller: &Caller, project: &str, collection: &str) -> Result<Place, Problem> {
    let account = caller.account()?;
    let found = projects::find(api, caller, project).await?;
    let revision = projects::current_revision(api, caller, project).await?;
    let is_known = revision.collections.contains_key(collection)
        || api.host.database.has_collection(account, found.id, collection).await?;
    if !is_known {
        let known = revision.collections.keys().map(String::as_str);
        let near = trellis_model::fault::did_you_mean(collection, known);
        let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        return Err(Problem::not_found(format!("project `{project}` has no collection `{collection}`{hint}")));
    }
    Ok(Place { account, project: found.id, revision })
}
