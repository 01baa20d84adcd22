//! A forge of the test's own, in all the states that a sync can meet.

use std::{cell::RefCell, rc::Rc};

use trellis_sdk::{ErrorKind, fake, json};

use super::*;

const API: &str = "https://forge.example.com";

/// Lists issues by `since` and `page`, and commits by `page`, two to a page.
struct Small;

impl Forge for Small {
    fn issues_url(&self, since: Option<&str>) -> String {
        format!("{API}/issues?since={}&page=1", since.unwrap_or_default())
    }

    fn commits_url(&self, since: Option<&str>) -> String {
        format!("{API}/commits?since={}&page=1", since.unwrap_or_default())
    }

    fn request(&self, url: &str) -> http::Request {
        http::get(url)
    }

    fn issue(&self, element: &Value) -> Option<Issue> {
        let updated_at = element["updated_at"].as_str()?.to_owned();
        let body = element["body"].as_str().map(str::to_owned);
        let issue = Issue { number: Some(element["number"].as_u64()?), updated_at, body, ..Issue::default() };
        Some(Issue { source: "small:a/b".into(), ..issue })
    }

    fn commit(&self, element: &Value) -> Option<Commit> {
        let created_at = element["at"].as_str()?.to_owned();
        Some(Commit {
            id: element["id"].as_str()?.to_owned(),
            created_at,
            source: "small:a/b".into(),
            ..Commit::default()
        })
    }
}

fn plan() -> Plan {
    Plan {
        source: "small:a/b".into(),
        store: "sync".into(),
        issues: Some("issues".into()),
        commits: None,
        branch: None,
        pages_max: 10,
        overlap: Span::seconds(86_400),
        text_bytes_max: 100,
    }
}

fn time(second: usize) -> String {
    crate::time::rfc3339(1_000_000 + i64::try_from(second).expect("a small number"))
}

/// What the forge has: number and time of the last change of each issue.
type Shelf = Rc<RefCell<Vec<(u64, usize)>>>;

fn parameter(url: &str, name: &str) -> String {
    let (_, query) = url.split_once('?').expect("a query");
    query.split('&').find_map(|part| part.strip_prefix(&format!("{name}="))).unwrap_or_default().to_owned()
}

fn serve_issues(issues: &[(u64, usize)]) -> Shelf {
    let shelf: Shelf = Rc::new(RefCell::new(issues.to_vec()));
    let served = Rc::clone(&shelf);
    fake::http("GET", format!("{API}/issues*")).reply_with(move |request| {
        let (since, page) =
            (parameter(&request.url, "since"), parameter(&request.url, "page").parse::<usize>().expect("a page"));
        let mut found: Vec<_> = served.borrow().iter().copied().filter(|(_, at)| time(*at) >= since).collect();
        found.sort_by_key(|(number, at)| (*at, *number));
        let element = |(number, at): &(u64, usize)| json!({ "number": number, "updated_at": time(*at) });
        let elements: Vec<Value> = found.iter().skip(2 * (page - 1)).take(2).map(element).collect();
        let tag = format!("\"{elements:?}\"");
        if request.headers.iter().any(|(name, value)| name == "if-none-match" && *value == tag) {
            return Ok(fake::answer(304));
        }
        let answer = fake::answer(200).header("etag", tag).json(&elements);
        let next = format!("<{API}/issues?since={since}&page={}>; rel=\"next\"", page + 1);
        Ok(if found.len() > 2 * page { answer.header("link", next) } else { answer })
    });
    shelf
}

/// One call whose node is completed.
fn call(plan: &Plan) -> (Summary, Vec<String>) {
    let mut outcomes = run(&Small, plan).expect("synced").into_iter();
    fake::commit();
    let Some(Outcome::Synced(summary)) = outcomes.next() else { panic!("there is always a summary") };
    let keys = outcomes.flat_map(|outcome| match outcome {
        Outcome::Issues(keys) | Outcome::Commits(keys) => keys,
        Outcome::Synced(_) => Vec::new(),
    });
    (summary, keys.collect())
}

fn asked() -> usize {
    fake::requests().len()
}

#[test]
fn all_issues_come_and_then_only_what_has_changed() {
    let shelf = serve_issues(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    let (summary, keys) = call(&plan());
    assert!(summary.complete && summary.issues == 5, "{summary:?}");
    assert_eq!(keys.len(), 5);
    assert_eq!(fake::collection("issues").keys().len(), 5);
    shelf.borrow_mut()[1].1 = 9;
    assert_eq!(call(&plan()).1, ["small:a/b#2"]);
    assert_eq!(call(&plan()).1.len(), 0);
}

#[test]
fn an_unchanged_list_is_asked_for_by_its_tag_and_costs_no_page() {
    serve_issues(&[(1, 1)]);
    call(&plan());
    call(&plan());
    let before = asked();
    let (summary, keys) = call(&plan());
    assert_eq!((summary.pages, keys.len(), asked() - before), (0, 0, 1));
}

#[test]
fn a_call_does_so_many_pages_and_the_next_goes_on() {
    serve_issues(&[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
    let small = Plan { pages_max: 1, ..plan() };
    let mut calls = 0;
    loop {
        calls += 1;
        let (summary, _) = call(&small);
        assert!(summary.pages <= 1, "{summary:?}");
        if summary.complete {
            break;
        }
        assert!(calls < 20, "it comes to no end");
    }
    assert_eq!(fake::collection("issues").keys().len(), 5);
    assert!(calls > 2);
}

#[test]
fn a_call_stays_within_what_it_may_do_with_records_however_many_pages_it_may_read() {
    let many: Vec<(u64, usize)> =
        (1..=600).map(|number| (number, usize::try_from(number).expect("a number"))).collect();
    serve_issues(&many);
    let (summary, _) = call(&Plan { pages_max: u32::MAX, ..plan() });
    assert!(!summary.complete && summary.pages as usize == ELEMENTS_ENOUGH / 2, "{summary:?}");
    while !call(&Plan { pages_max: u32::MAX, ..plan() }).0.complete {}
    assert_eq!(fake::collection("issues").keys().len(), 600);
}

#[test]
fn an_issue_that_moves_while_pages_are_read_lets_no_other_be_passed_over() {
    let shelf = serve_issues(&[(1, 1), (2, 2), (3, 3), (4, 4)]);
    let small = Plan { pages_max: 1, ..plan() };
    call(&small);
    // The first one moves to the end, so that the third one is on the first page now.
    shelf.borrow_mut()[0].1 = 10;
    while !call(&small).0.complete {}
    let known: Vec<Issue> = (1..=4)
        .map(|number| fake::collection("issues").get(&format!("small:a/b#{number}")).expect("it is known"))
        .collect();
    assert_eq!(known[0].updated_at, time(10));
}

#[test]
fn more_issues_of_one_second_than_a_page_holds_are_all_read() {
    serve_issues(&[(1, 1), (2, 7), (3, 7), (4, 7), (5, 7), (6, 7), (7, 8)]);
    for pages_max in [1, 10] {
        let small = Plan { pages_max, source: format!("small:{pages_max}"), ..plan() };
        let mut calls = 0;
        while !call(&small).0.complete {
            calls += 1;
            assert!(calls < 20, "it comes to no end");
        }
        assert_eq!(fake::collection("issues").keys().len(), 7);
    }
}

#[test]
fn what_was_read_before_trouble_is_kept_and_trouble_alone_is_a_failure() {
    serve_issues(&[(1, 1), (2, 2), (3, 3)]);
    let limit = || fake::answer(403).header("retry-after", "120");
    let commits = Plan { commits: Some("commits".into()), ..plan() };
    fake::http("GET", format!("{API}/commits*")).reply(limit());
    let (summary, keys) = call(&commits);
    assert_eq!((keys.len(), summary.complete, summary.retry_after_s), (3, false, Some(120)));
    assert!(summary.interrupted.is_some_and(|reason| reason.contains("403")));
    let error = run(&Small, &commits).expect_err("nothing was read this time");
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Retryable, Some(Duration::from_secs(120))));
}

#[test]
fn what_is_refused_for_good_is_a_failure_whatever_was_read() {
    serve_issues(&[(1, 1)]);
    fake::http("GET", format!("{API}/commits*")).reply(fake::answer(404));
    let error = run(&Small, &Plan { commits: Some("commits".into()), ..plan() }).expect_err("no such repository");
    assert_eq!(error.kind(), ErrorKind::Permanent);
}

#[test]
fn commits_come_once_and_those_that_are_merged_late_come_too() {
    let commits = Rc::new(RefCell::new(vec![("c3", 300_000), ("c2", 200_000), ("c1", 100_000)]));
    let served = Rc::clone(&commits);
    fake::http("GET", format!("{API}/commits*")).reply_with(move |request| {
        let (since, page) =
            (parameter(&request.url, "since"), parameter(&request.url, "page").parse::<usize>().expect("a page"));
        let found: Vec<_> = served.borrow().iter().copied().filter(|(_, at)| time(*at) >= since).collect();
        let element = |(id, at): &(&str, usize)| json!({ "id": id, "at": time(*at) });
        let elements: Vec<Value> = found.iter().skip(2 * (page - 1)).take(2).map(element).collect();
        let answer = fake::answer(200).json(&elements);
        let next = format!("<{API}/commits?since={since}&page={}>; rel=\"next\"", page + 1);
        Ok(if found.len() > 2 * page { answer.header("link", next) } else { answer })
    });
    let plan = Plan { issues: None, commits: Some("commits".into()), pages_max: 1, ..plan() };
    assert!(!call(&plan).0.complete);
    assert_eq!(call(&plan).1, ["small:a/b@c1"]);
    // One that is newer, and one that was made before the newest known one and is merged now.
    commits.borrow_mut().insert(0, ("c5", 350_000));
    commits.borrow_mut().insert(2, ("c4", 290_000));
    let mut keys = Vec::new();
    loop {
        let (summary, more) = call(&plan);
        keys.extend(more);
        if summary.complete {
            break;
        }
    }
    keys.sort();
    assert_eq!(keys, ["small:a/b@c4", "small:a/b@c5"]);
}

#[test]
fn long_texts_are_shortened_between_letters() {
    fake::http("GET", format!("{API}/issues*"))
        .reply_json(200, &json!([{ "number": 1, "updated_at": time(1), "body": "ü".repeat(100) }]));
    call(&plan());
    let issue: Issue = fake::collection("issues").get("small:a/b#1").expect("it is there");
    let body = issue.body.expect("a body");
    assert!(body.len() <= 100 && body.ends_with("ü…"), "{body}");
}

#[test]
fn a_grid_goes_on_only_where_there_is_more_and_nothing_says_to_wait() {
    let summary = |complete, interrupted: Option<&str>| {
        vec![Outcome::Synced(Summary { complete, interrupted: interrupted.map(str::to_owned), ..Summary::default() })]
    };
    for (outcomes, events) in [(summary(true, None), 0), (summary(false, Some("403")), 0), (summary(false, None), 1)] {
        fake::reset();
        go_on(&outcomes, Some("sync"), &json!({})).expect("emitted");
        assert_eq!(fake::emitted().len(), events);
        go_on(&outcomes, None, &json!({})).expect("nothing to do");
        assert_eq!(fake::emitted().len(), events);
    }
}
