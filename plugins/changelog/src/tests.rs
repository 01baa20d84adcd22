//! Releases of a repository whose commits and issues are kept.
#![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

use trellis_sdk::{
    fake,
    records::{
        changelog::Changelog,
        commit::Commit,
        issue::{Issue, State},
    },
    *,
};

use super::changelog;

const SOURCE: &str = "github:acme/shop";

fn collections() {
    fake::collection("commits").index("source", "/source").index("created", "/created_at");
    fake::collection("issues").index("source", "/source").index("closed", "/closed_at");
    fake::collection("changelogs").index("source", "/source").index("released", "/released_at");
}

fn day(day: u32) -> String {
    format!("2026-01-{day:02}T12:00:00Z")
}

fn commit(id: &str, on: u32, message: &str) {
    let title = message.lines().next().unwrap_or_default().to_owned();
    let commit = Commit {
        id: id.into(),
        title,
        message: message.contains('\n').then(|| message.to_owned()),
        author: Some("ada".into()),
        created_at: day(on),
        url: Some(format!("https://example.com/c/{id}")),
        source: SOURCE.into(),
        ..Commit::default()
    };
    fake::collection("commits").put(&commit.key(), &commit);
}

fn closed(number: u64, on: u32, title: &str, reason: &str) {
    let mut issue = Issue {
        id: number.to_string(),
        number: Some(number),
        title: title.into(),
        state: State::Closed,
        closed_at: Some(day(on)),
        url: Some(format!("https://example.com/i/{number}")),
        source: SOURCE.into(),
        ..Issue::default()
    };
    issue.details.insert("state_reason".into(), reason.into());
    fake::collection("issues").put(&issue.key(), &issue);
}

fn release(version: &str, until: u32, config: Value) -> Result<(Value, String)> {
    let mut merged = json!({ "source": SOURCE });
    merged.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let mut outputs = fake::call(changelog, json!({ "version": version, "until": day(until) }), merged)?;
    fake::commit();
    let markdown = outputs.remove("markdown").expect("markdown");
    Ok((outputs.remove("changelog").expect("a record"), markdown.as_str().expect("a text").to_owned()))
}

#[test]
fn a_release_tells_what_has_changed_since_the_one_before() {
    collections();
    commit("a000000001", 1, "feat: the first");
    release("1.0.0", 2, json!({})).expect("written");
    commit("b000000001", 3, "feat(cart): coupons (#12)");
    commit("b000000002", 4, "fix!: the door squeaks no more\n\nBREAKING CHANGE: oil it yourself\n\nCloses #7");
    commit("b000000003", 5, "chore: tidy up");
    commit("b000000004", 6, "Better words");
    commit("c000000001", 9, "feat: for the next one");
    closed(7, 4, "The door squeaks", "completed");
    closed(8, 5, "Where is the manual?", "completed");
    closed(9, 5, "No", "not_planned");
    let (record, markdown) = release("1.1.0", 8, json!({})).expect("written");
    let expected = "\
## 1.1.0 (2026-01-08)

### Breaking changes

- oil it yourself ([b000000](https://example.com/c/b000000002), [#7](https://example.com/i/7))

### Features

- cart: coupons ([b000000](https://example.com/c/b000000001), #12)

### Fixes

- the door squeaks no more ([b000000](https://example.com/c/b000000002), [#7](https://example.com/i/7))

### Other changes

- Better words ([b000000](https://example.com/c/b000000004))

### Closed issues

- Where is the manual? ([#8](https://example.com/i/8))
";
    assert_eq!(markdown, expected);
    assert_eq!((&record["previous"], &record["released_at"]), (&json!("1.0.0"), &json!(day(8))));
    let kept: Changelog = fake::collection("changelogs").get("github:acme/shop@1.1.0").expect("it is kept");
    assert_eq!(kept.body, expected);
    assert_eq!(kept.sections[1].changes[0].issues, ["github:acme/shop#12"]);
    assert!(kept.sections[2].changes[0].breaking);
}

#[test]
fn a_changelog_that_is_written_anew_is_the_same() {
    collections();
    commit("a000000001", 1, "feat: the first");
    release("1.0.0", 2, json!({})).expect("written");
    commit("b000000001", 3, "feat: the second");
    let (_, first) = release("1.1.0", 4, json!({})).expect("written");
    let (record, again) = release("1.1.0", 5, json!({})).expect("written");
    assert_eq!(again.replace("01-05", "01-04"), first);
    assert_eq!(record["previous"], json!("1.0.0"));
    assert_eq!(fake::collection("changelogs").keys().len(), 2);
}

#[test]
fn what_was_taken_back_within_the_release_and_merges_are_left_out() {
    collections();
    commit("a00000000000", 1, "feat: a mistake");
    commit("b00000000000", 2, "Revert \"feat: a mistake\"\n\nThis reverts commit a00000000000.");
    commit("c00000000000", 3, "Revert \"older\"\n\nThis reverts commit ffffffffffff.");
    let mut merge = Commit { id: "d0".into(), title: "Merge pull request #3".into(), ..Commit::default() };
    (merge.source, merge.created_at, merge.parents) = (SOURCE.into(), day(3), vec!["a".into(), "b".into()]);
    fake::collection("commits").put(&merge.key(), &merge);
    let (record, markdown) = release("1.0.0", 4, json!({})).expect("written");
    assert_eq!(record["sections"].as_array().map(Vec::len), Some(1), "{markdown}");
    assert!(markdown.contains("Revert \"older\"") && !markdown.contains("a mistake"), "{markdown}");
}

#[test]
fn sections_are_those_of_the_config() {
    collections();
    commit("a000000001", 1, "feat: x");
    commit("a000000002", 1, "docs: y");
    commit("a000000003", 1, "z");
    closed(8, 1, "q", "completed");
    let config =
        json!({ "sections": [{ "title": "Manual", "types": ["docs"] }], "others": null, "issues_closed": null });
    let (_, markdown) = release("1.0.0", 2, config).expect("written");
    assert_eq!(markdown, "## 1.0.0 (2026-01-02)\n\n### Manual\n\n- y ([a000000](https://example.com/c/a000000002))\n");
}

#[test]
fn other_sources_are_other_projects() {
    collections();
    let mut other = Commit { id: "x1".into(), title: "feat: elsewhere".into(), ..Commit::default() };
    (other.source, other.created_at) = ("gitlab:acme/shop".into(), day(1));
    fake::collection("commits").put(&other.key(), &other);
    let (_, markdown) = release("1.0.0", 2, json!({})).expect("written");
    assert!(markdown.contains("Nothing that users would notice"), "{markdown}");
}

#[test]
fn what_is_missing_or_wrong_is_told() {
    collections();
    (1..=3).for_each(|number| commit(&format!("a{number}"), number, "feat: x"));
    let error = release("1.0.0", 9, json!({ "commits_max": 2 })).expect_err("too many");
    assert_eq!(error.kind(), ErrorKind::Permanent);
    assert!(error.message().contains("more than 2 commits"), "{error}");
    let error = release(" ", 9, json!({})).expect_err("no version");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = release("1", 9, json!({ "source": null })).expect_err("no source");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    let inputs = json!({ "version": "1", "until": "now" });
    let error = fake::call(changelog, inputs, json!({ "source": SOURCE })).expect_err("no time");
    assert!(error.message().contains("`now` is no time"), "{error}");
}
