//! Queries of records: how each is carried out so that its cost is bounded, whatever is asked and however many records there
//! are.
//!
//! A query *walks* in its order along an index, or along the keys, and looks at no more than `CANDIDATES_MAX` records for one
//! page; what it has not come to is the next page's. Where some condition leaves few enough records, it *gathers* these by
//! the condition's index and puts them in order. Everything is read in one snapshot, so that an index that is dropped
//! meanwhile is whole.

use sqlx::{PgConnection, Postgres, QueryBuilder};
use trellis_model::{
    AccountId, ProjectId,
    records::{IndexValue, Position, Query, Test},
};

use crate::{Database, Result, patient_pool::answered};

/// Records that are looked at for one page, at most: some ten milliseconds.
const CANDIDATES_MAX: i64 = 10_000;
/// Records that are gathered by a condition and put in order, at most.
const GATHERED_MAX: i64 = 1_000;

/// How much a page may have. It has one record at least, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct RecordPageSize {
    pub records: u32,
    pub bytes: u64,
}

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// In the order of the query.
    pub position: Position,
    /// JSON text.
    pub data: String,
    pub version: i64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecordPage {
    pub records: Vec<FoundRecord>,
    /// Where the search goes on; none: there are no more.
    pub next: Option<Position>,
}

/// What came of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryAnswer {
    Page(RecordPage),
    /// This index is being built.
    NotBuilt(String),
    /// The project does not declare this index any more, or has it look elsewhere in a record by now.
    NotDeclared(String),
}

/// A collection with its indexes.
struct Place {
    account: AccountId,
    collection: i64,
    indexes: Vec<Index>,
}

struct Index {
    name: String,
    pointer: String,
    id: i64,
    is_built: bool,
}

impl Place {
    /// What is asked of an index that cannot be asked: a run of an earlier revision may mean another one by the same name.
    fn refused(&self, query: &Query) -> Option<QueryAnswer> {
        query.indexes().find_map(|(name, pointer)| {
            match self.indexes.iter().find(|index| index.name == name && index.pointer == pointer) {
                None => Some(QueryAnswer::NotDeclared(name.to_owned())),
                Some(index) if !index.is_built => Some(QueryAnswer::NotBuilt(name.to_owned())),
                Some(_) => None,
            }
        })
    }

    fn index(&self, name: &str) -> i64 {
        self.indexes.iter().find(|index| index.name == name).map_or(0, |index| index.id)
    }
}

/// Where the records come from that are looked at.
enum Source<'q> {
    /// All of them, by key.
    Keys,
    /// The values of an index within these bounds, in their order.
    Walk { index: i64, from: &'q [u8], to: &'q [u8] },
    /// Those that a condition leaves, in any order.
    Gather(&'q Test),
}

type Row = (String, String, i64, Option<Vec<u8>>, i64);

impl Database {
    /// A page of what a query finds. A collection that does not exist has no records.
    pub async fn query_records(
        &self,
        account: AccountId,
        project: ProjectId,
        collection: &str,
        query: &Query,
        most: RecordPageSize,
    ) -> Result<QueryAnswer> {
        answered(self.query_records_at_once(account, project, collection, query, most)).await
    }

    async fn query_records_at_once(
        &self,
        account: AccountId,
        project: ProjectId,
        collection: &str,
        query: &Query,
        most: RecordPageSize,
    ) -> Result<QueryAnswer> {
        let mut snapshot = self.durable.begin_with("begin isolation level repeatable read read only").await?;
        let Some(place) = place(&mut snapshot, account, project, collection).await? else {
            return Ok(QueryAnswer::Page(RecordPage::default()));
        };
        if let Some(refused) = place.refused(query) {
            return Ok(refused);
        }
        let page = page(&mut snapshot, &place, query, most).await?;
        snapshot.commit().await?;
        Ok(QueryAnswer::Page(page))
    }
}

/// Collection, and name, pointer, id and readiness of one of its indexes.
type PlaceRow = (i64, Option<String>, Option<String>, Option<i64>, Option<bool>);

async fn place(
    connection: &mut PgConnection,
    account: AccountId,
    project: ProjectId,
    collection: &str,
) -> Result<Option<Place>> {
    let rows: Vec<PlaceRow> = sqlx::query_as(
        "select c.id, i.name, i.pointer, i.id, i.is_ready from collection c
         left join collection_index i on i.account_id = c.account_id and i.collection_id = c.id and not i.is_dropped
         where c.account_id = $1 and c.project_id = $2 and c.name = $3",
    )
    .bind(account.0)
    .bind(project.0)
    .bind(collection)
    .fetch_all(connection)
    .await?;
    let Some(&(collection, ..)) = rows.first() else { return Ok(None) };
    let index = |(_, name, pointer, id, is_ready): PlaceRow| {
        Some(Index { name: name?, pointer: pointer?, id: id?, is_built: is_ready? })
    };
    let indexes = rows.into_iter().filter_map(index);
    Ok(Some(Place { account, collection, indexes: indexes.collect() }))
}

async fn page(connection: &mut PgConnection, place: &Place, query: &Query, most: RecordPageSize) -> Result<RecordPage> {
    let limit = i64::from(most.records.max(1));
    let source = source(connection, place, query).await?;
    // One more than the page holds, to know whether there are more.
    let rows = Statement { place, query, source: &source }.fetch(connection, limit + 1, most.bytes).await?;
    let (shown, found) = (rows.len(), rows.first().map_or(0, |row| row.4));
    let mut records: Vec<FoundRecord> = rows.into_iter().map(|row| read(row, query)).collect();
    records.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    let is_cut = records.len() < shown || shown < usize::try_from(found).unwrap_or(usize::MAX);
    let next = if is_cut {
        records.last().map(|record| record.position.clone())
    } else {
        Statement { place, query, source: &source }.last_candidate(connection, limit + 1).await?
    };
    Ok(RecordPage { records, next })
}

fn read((key, data, version, value, _): Row, query: &Query) -> FoundRecord {
    let value = query.order.as_ref().and(value).map(IndexValue::from_bytes);
    FoundRecord { position: Position { value, key }, data, version }
}

/// The bounds of all values that the tests of one index leave.
fn bounds<'q>(query: &'q Query, index: &str) -> Option<(&'q [u8], &'q [u8])> {
    let of_test = |test: &'q Test| {
        let from = test.ranges.iter().map(trellis_model::records::ValueRange::from).min();
        let to = test.ranges.iter().map(trellis_model::records::ValueRange::to).max();
        // No range at all: nothing can be found.
        (from.unwrap_or(&[]), to.unwrap_or(&[]))
    };
    let tests = query.tests.iter().filter(|test| test.index == index).map(of_test);
    tests.reduce(|(from, to), (other_from, other_to)| (from.max(other_from), to.min(other_to)))
}

/// Behind all values.
const END: &[u8] = &[0xFF];

async fn source<'q>(connection: &mut PgConnection, place: &Place, query: &'q Query) -> Result<Source<'q>> {
    let ordered_by = query.order.as_ref().map(|order| order.index.as_str());
    if ordered_by.is_none() {
        // Records with one value of an index come by key there, too.
        let exact = query.tests.iter().find(|test| matches!(test.ranges.as_slice(), [one] if one.is_exact()));
        if let Some(test) = exact {
            let range = &test.ranges[0];
            return Ok(Source::Walk { index: place.index(&test.index), from: range.from(), to: range.to() });
        }
    }
    for test in query.tests.iter().filter(|test| Some(test.index.as_str()) != ordered_by) {
        if leaves_few(connection, place, test).await? {
            return Ok(Source::Gather(test));
        }
    }
    Ok(match ordered_by {
        None => Source::Keys,
        Some(index) => {
            let (from, to) = bounds(query, index).unwrap_or((&[], END));
            Source::Walk { index: place.index(index), from, to }
        }
    })
}

async fn leaves_few(connection: &mut PgConnection, place: &Place, test: &Test) -> Result<bool> {
    let mut statement = QueryBuilder::new("select count(*) from (");
    push_entries(&mut statement, place, test, GATHERED_MAX + 1);
    statement.push(") as entry");
    let count: i64 = statement.build_query_scalar().persistent(false).fetch_one(connection).await?;
    Ok(count <= GATHERED_MAX)
}

/// The keys that a condition leaves, each range with its own look at the index.
fn push_entries(statement: &mut QueryBuilder<Postgres>, place: &Place, test: &Test, limit: i64) {
    statement.push("select entry.key from unnest(");
    statement.push_bind(test.ranges.iter().map(|range| range.from().to_vec()).collect::<Vec<_>>());
    statement.push("::bytea[], ");
    statement.push_bind(test.ranges.iter().map(|range| range.to().to_vec()).collect::<Vec<_>>());
    statement
        .push("::bytea[]) as bound (low, high) cross join lateral (select key from record_index where account_id = ");
    statement.push_bind(place.account.0);
    statement.push(" and index_id = ");
    statement.push_bind(place.index(&test.index));
    statement.push(" and value >= bound.low and value < bound.high order by value, key limit ");
    statement.push_bind(limit);
    statement.push(") as entry limit ");
    statement.push_bind(limit);
}

/// The statement of one query.
struct Statement<'q> {
    place: &'q Place,
    query: &'q Query,
    source: &'q Source<'q>,
}

impl Statement<'_> {
    async fn fetch(&self, connection: &mut PgConnection, limit: i64, bytes: u64) -> Result<Vec<Row>> {
        let mut statement = QueryBuilder::new(
            "select key, data, version, value, found from (
                 select page.*, count(*) over () as found,
                        sum(octet_length(data) + octet_length(key)) over (order by place) as bytes,
                        octet_length(data) + octet_length(key) as own_bytes
                 from (select found.*, row_number() over () as place from (",
        );
        self.push_page(&mut statement, limit);
        statement.push(") as found) as page) as counted where bytes <= ");
        statement.push_bind(i64::try_from(bytes).unwrap_or(i64::MAX));
        statement.push(" or bytes = own_bytes order by place");
        Ok(statement.build_query_as().persistent(false).fetch_all(connection).await?)
    }

    /// The first records that are found, in their order.
    fn push_page(&self, statement: &mut QueryBuilder<Postgres>, limit: i64) {
        statement.push("select record.key, record.data, record.version, ");
        let value = match (&self.query.order, self.source) {
            (None, _) => "null::bytea".to_owned(),
            (Some(_), Source::Walk { .. }) => "candidate.value".to_owned(),
            (Some(order), _) => found_by(self.place.index(&order.index)),
        };
        statement.push(format_args!("{value} as value from ("));
        self.push_candidates(statement, CANDIDATES_MAX.max(limit));
        // Looked up one by one, whatever the planner believes of the table: most are not needed when the page is full.
        statement.push(") as candidate cross join lateral (select * from record where account_id = ");
        statement.push_bind(self.place.account.0);
        statement.push(" and collection_id = ");
        statement.push_bind(self.place.collection);
        statement.push(" and key = candidate.key offset 0) as record where true");
        for test in &self.query.tests {
            self.push_test(statement, test);
        }
        if let (Source::Gather(_), Some(after)) = (self.source, &self.query.after) {
            let values = if self.query.order.is_some() { value.as_str() } else { "''::bytea" };
            push_behind(statement, (values, "record.key"), after, self.query.is_descending());
        }
        // A walk is told in its own words, also where all have one value: what is sorted anew is looked up to its end.
        let by_value = matches!(self.source, Source::Walk { .. }).then_some("candidate.value");
        let by_value = by_value.or(self.query.order.as_ref().map(|_| value.as_str()));
        let order = match by_value {
            None => "candidate.key".to_owned(),
            Some(value) if self.query.is_descending() => format!("{value} desc, candidate.key desc"),
            Some(value) => format!("{value}, candidate.key"),
        };
        statement.push(format_args!(" order by {order} limit "));
        statement.push_bind(limit);
    }

    /// Those that are looked at.
    fn push_candidates(&self, statement: &mut QueryBuilder<Postgres>, limit: i64) {
        match self.source {
            Source::Gather(test) => {
                statement.push("select distinct key from (");
                push_entries(statement, self.place, test, GATHERED_MAX);
                statement.push(") as entry");
            }
            Source::Keys => {
                statement.push("select key from record where account_id = ");
                statement.push_bind(self.place.account.0);
                statement.push(" and collection_id = ");
                statement.push_bind(self.place.collection);
                if let Some(after) = &self.query.after {
                    statement.push(" and key > ");
                    statement.push_bind(after.key.clone());
                }
                statement.push(" order by key limit ");
                statement.push_bind(limit);
            }
            Source::Walk { index, from, to } => self.push_walk(statement, (*index, from, to), limit),
        }
    }

    fn push_walk(&self, statement: &mut QueryBuilder<Postgres>, (index, from, to): (i64, &[u8], &[u8]), limit: i64) {
        statement.push("select value, key from record_index where account_id = ");
        statement.push_bind(self.place.account.0);
        statement.push(" and index_id = ");
        statement.push_bind(index);
        statement.push(" and value >= ");
        statement.push_bind(from.to_vec());
        statement.push(" and value < ");
        statement.push_bind(to.to_vec());
        let is_descending = self.query.is_descending();
        if let Some(after) = &self.query.after {
            // By key alone: all have the one value that the walk is about.
            let value = after.value.as_ref().map_or(from, IndexValue::as_bytes);
            let after = Position { value: Some(IndexValue::from_bytes(value.to_vec())), key: after.key.clone() };
            push_behind(statement, ("value", "key"), &after, is_descending);
        }
        statement.push(if is_descending {
            " order by value desc, key desc limit "
        } else {
            " order by value, key limit "
        });
        statement.push_bind(limit);
    }

    fn push_test(&self, statement: &mut QueryBuilder<Postgres>, test: &Test) {
        let found = found_by(self.place.index(&test.index));
        if test.ranges.iter().all(trellis_model::records::ValueRange::is_exact) {
            statement.push(format_args!(" and {found} = any ("));
            statement.push_bind(test.ranges.iter().map(|range| range.from().to_vec()).collect::<Vec<_>>());
            statement.push("::bytea[])");
            return;
        }
        for range in &test.ranges {
            statement.push(format_args!(" and {found} >= "));
            statement.push_bind(range.from().to_vec());
            statement.push(format_args!(" and {found} < "));
            statement.push_bind(range.to().to_vec());
        }
    }

    /// The last record that was looked at, if there may be more behind it.
    async fn last_candidate(&self, connection: &mut PgConnection, limit: i64) -> Result<Option<Position>> {
        // Without conditions everything that was looked at was found.
        if self.query.tests.is_empty() || matches!(self.source, Source::Gather(_)) {
            return Ok(None);
        }
        let value = if matches!(self.source, Source::Keys) { "null::bytea" } else { "value" };
        let mut statement = QueryBuilder::new(format!("select {value}, key from ("));
        self.push_candidates(&mut statement, CANDIDATES_MAX.max(limit));
        statement.push(") as candidate offset ");
        statement.push_bind(CANDIDATES_MAX.max(limit) - 1);
        let last: Option<(Option<Vec<u8>>, String)> =
            statement.build_query_as().persistent(false).fetch_optional(connection).await?;
        Ok(last.map(|(value, key)| {
            let value = self.query.order.as_ref().and(value).map(IndexValue::from_bytes);
            Position { value, key }
        }))
    }
}

/// What an index has found in a record, kept with it. The id is a number of ours.
fn found_by(index: i64) -> String {
    format!("record.index_values[array_position(record.index_ids, {index}::bigint)]")
}

fn push_behind(
    statement: &mut QueryBuilder<Postgres>,
    (value, key): (&str, &str),
    after: &Position,
    is_descending: bool,
) {
    let sign = if is_descending { '<' } else { '>' };
    statement.push(format_args!(" and ({value}, {key}) {sign} ("));
    statement.push_bind(after.value.as_ref().map(|value| value.as_bytes().to_vec()).unwrap_or_default());
    statement.push(", ");
    statement.push_bind(after.key.clone());
    statement.push(")");
}
