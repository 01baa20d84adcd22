//! Uncommitted writes laid over a page of what a query has found below them.

use std::collections::BTreeMap;

use serde_json::Value;
use trellis_model::records::Query;

use super::{FoundPage, FoundRecord, PageSize, Record};

/// A page of `query` with `writes` (key and JSON text, none where the record is deleted) laid over `below`: those that it
/// finds come in, whatever it had found of the same records goes out. No longer than `most` allows; the rest comes with
/// the next page.
#[must_use]
pub fn laid_over<'w>(
    below: FoundPage,
    query: &Query,
    writes: impl IntoIterator<Item = (&'w str, Option<&'w str>)>,
    most: PageSize,
) -> FoundPage {
    let writes: BTreeMap<&str, Option<&str>> = writes.into_iter().collect();
    if writes.is_empty() {
        return below;
    }
    let FoundPage { mut records, next } = below;
    records.retain(|found| !writes.contains_key(found.position.key.as_str()));
    let own = writes.iter().filter_map(|(key, json)| own_record(query, key, (*json)?));
    // Behind the end of a page that is not the last, own records belong to a later one.
    let is_here = |found: &FoundRecord| next.as_ref().is_none_or(|next| query.compare(&found.position, next).is_le());
    records.extend(own.filter(is_here));
    records.sort_by(|one, other| query.compare(&one.position, &other.position));
    FoundPage { records, next }.bounded(most)
}

fn own_record(query: &Query, key: &str, json: &str) -> Option<FoundRecord> {
    let data: Value = serde_json::from_str(json).ok()?;
    let record = || Record { json: json.to_owned(), revision: 0 };
    query.finds(key, &data).then(|| FoundRecord { position: query.position(key, &data), record: record() })
}

impl FoundPage {
    /// Its beginning, as much as it may have.
    #[must_use]
    pub fn bounded(mut self, most: PageSize) -> Self {
        let mut bytes = 0;
        let fits = |found: &&FoundRecord| {
            bytes += (found.position.key.len() + found.record.json.len()) as u64;
            bytes <= most.bytes
        };
        let fitting = self.records.iter().take(most.records as usize).take_while(fits).count().max(1);
        if fitting < self.records.len() {
            self.records.truncate(fitting);
            self.next = self.records.last().map(|found| found.position.clone());
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use trellis_model::records::{Order, Selection};

    use super::*;

    const MOST: PageSize = PageSize { records: 3, bytes: 1_000 };

    fn by_n() -> Query {
        let order = Some(Order { index: "n".to_owned(), descending: false });
        let indexes = BTreeMap::from([("n".to_owned(), "/n".to_owned())]);
        Query::new("things", &indexes, Selection { order, ..Selection::default() }).expect("a query")
    }

    fn page(query: &Query, records: &[(&str, i64)], is_last: bool) -> FoundPage {
        let found = |(key, n): &(&str, i64)| {
            let data = json!({ "n": n });
            let record = Record { json: data.to_string(), revision: 7 };
            FoundRecord { position: query.position(key, &data), record }
        };
        let records: Vec<FoundRecord> = records.iter().map(found).collect();
        let next = if is_last { None } else { records.last().map(|found| found.position.clone()) };
        FoundPage { records, next }
    }

    fn keys(page: &FoundPage) -> Vec<&str> {
        page.records.iter().map(|found| found.position.key.as_str()).collect()
    }

    #[test]
    fn own_records_come_in_their_place_and_deleted_ones_go() {
        let query = by_n();
        let below = page(&query, &[("a", 1), ("b", 2), ("c", 3)], true);
        let (first, moved) = (json!({ "n": 0 }).to_string(), json!({ "n": 9 }).to_string());
        let own = [("b", None), ("new", Some(first.as_str())), ("a", Some(moved.as_str()))];
        let page = laid_over(below, &query, own, MOST);
        assert_eq!(keys(&page), ["new", "c", "a"]);
        assert_eq!(page.records.iter().map(|found| found.record.revision).collect::<Vec<_>>(), [0, 7, 0]);
        assert_eq!(page.next, None);
    }

    #[test]
    fn what_comes_behind_a_full_page_is_left_to_the_next_one() {
        let query = by_n();
        let (behind, within) = (json!({ "n": 4 }).to_string(), json!({ "n": 2 }).to_string());
        let full = page(&query, &[("a", 1), ("b", 2), ("c", 3)], false);
        let own = [("late", Some(behind.as_str())), ("mid", Some(within.as_str()))];
        let page = laid_over(full, &query, own, MOST);
        assert_eq!(keys(&page), ["a", "b", "mid"]);
        assert_eq!(page.next.expect("there are more").key, "mid");
    }

    #[test]
    fn a_page_is_cut_by_its_bytes_but_has_one_record_at_least() {
        let query = by_n();
        let own = json!({ "n": 5 }).to_string();
        let below = || page(&query, &[("a", 1), ("b", 2)], true);
        let cut = laid_over(below(), &query, [("z", Some(own.as_str()))], PageSize { records: 9, bytes: 17 });
        assert_eq!((keys(&cut), cut.next.as_ref().map(|next| next.key.as_str())), (vec!["a", "b"], Some("b")));
        let one = laid_over(below(), &query, [("z", Some(own.as_str()))], PageSize { records: 9, bytes: 1 });
        assert_eq!(keys(&one), ["a"]);
    }
}
