//! Rules on issues that are kept in a collection.
#![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

use service::time;
use trellis_sdk::{records::issue::Issue, *};

use super::issue_rules;

fn days_ago(days: i64) -> String {
    time::rfc3339(time::now() - days * 86_400)
}

fn keep(number: u64, change: impl FnOnce(&mut Issue)) {
    let mut issue = Issue {
        id: format!("I_{number}"),
        number: Some(number),
        title: format!("Issue {number}"),
        created_at: days_ago(100),
        updated_at: days_ago(1),
        url: Some(format!("https://example.com/{number}")),
        author: Some("ada".into()),
        source: "github:acme/shop".into(),
        ..Issue::default()
    };
    change(&mut issue);
    fake::collection("issues").put(&issue.key(), &issue);
}

fn call(inputs: Value, config: Value) -> Result<std::collections::BTreeMap<String, Value>> {
    let outputs = fake::call(issue_rules, inputs, config)?;
    fake::commit();
    Ok(outputs)
}

fn rule(when: Value, more: Value) -> Value {
    let mut rule = json!({ "name": "r", "when": when, "notify": "{rule}: #{number} {title}" });
    rule.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "rules": [rule] })
}

/// Numbers of the issues that a condition holds for.
fn holding(when: Value) -> Vec<String> {
    let outputs = call(json!({}), rule(when, json!({}))).expect("checked");
    let store = fake::storage("issue-rules");
    let fired = outputs.get("notifications").and_then(Value::as_array).cloned().unwrap_or_default();
    for notification in &fired {
        let key = format!("fired/{}", notification["issue"].as_str().expect("a key"));
        assert!(store.get(&key).is_some(), "it is remembered");
        storage::store("issue-rules").delete(&key).expect("forgotten for the next case");
    }
    fake::commit();
    fired
        .iter()
        .map(|one| one["issue"].as_str().expect("a key").rsplit_once('#').expect("a number").1.to_owned())
        .collect()
}

#[test]
fn conditions_hold_for_the_issues_that_they_describe() {
    keep(1, |_| {});
    keep(2, |issue| issue.labels = vec!["Bug".into(), "ui".into()]);
    keep(3, |issue| issue.assignees = vec!["bob".into()]);
    keep(4, |issue| issue.updated_at = days_ago(40));
    keep(5, |issue| issue.state = records::issue::State::Closed);
    keep(6, |issue| {
        issue.created_at = days_ago(2);
        issue.author = Some("eve".into());
    });
    for (when, numbers) in [
        (json!({}), &["1", "2", "3", "4", "6"][..]),
        (json!({ "state": "closed" }), &["5"][..]),
        (json!({ "state": "any", "authors": ["eve"] }), &["6"][..]),
        (json!({ "labels_any": ["bug", "crash"] }), &["2"][..]),
        (json!({ "labels_none": ["UI"], "assigned": true }), &["3"][..]),
        (json!({ "labelled": true }), &["2"][..]),
        (json!({ "labelled": false, "assigned": false, "older_than": "30d" }), &["1", "4"][..]),
        (json!({ "idle_for": "30d" }), &["4"][..]),
        (json!({ "expression": ".labels | length > 1" }), &["2"][..]),
        (json!({ "expression": "empty" }), &[][..]),
    ] {
        assert_eq!(holding(when.clone()), numbers, "{when}");
    }
}

#[test]
fn a_rule_fires_once_as_long_as_it_holds_and_again_when_it_holds_again() {
    let config = rule(json!({ "labelled": false }), json!({}));
    let fired = || call(json!({}), config.clone()).expect("checked")["checked"]["fired"].clone();
    keep(1, |_| {});
    assert_eq!((fired(), fired()), (json!(1), json!(0)));
    keep(1, |issue| issue.labels = vec!["bug".into()]);
    assert_eq!(fired(), json!(0));
    keep(1, |_| {});
    assert_eq!((fired(), fired()), (json!(1), json!(0)));
}

#[test]
fn a_rule_reminds_after_its_time() {
    keep(1, |_| {});
    let config = rule(json!({}), json!({ "again_after": "7d" }));
    let fired = || call(json!({}), config.clone()).expect("checked")["checked"]["fired"].clone();
    assert_eq!((fired(), fired()), (json!(1), json!(0)));
    let key = "fired/github:acme/shop#1";
    fake::storage("issue-rules").put_json(key, &json!({ "r": time::now() - 8 * 86_400 }));
    assert_eq!((fired(), fired()), (json!(1), json!(0)));
}

#[test]
fn actions_say_what_is_missing_and_no_more() {
    keep(7, |issue| {
        issue.labels = vec!["bug".into(), "new".into()];
        issue.assignees = vec!["bob".into()];
        issue.title = "{number} {oops".into();
    });
    let actions = json!({
        "label": ["bug", "triage"], "unlabel": ["new", "gone"], "assign": ["bob", "cleo"],
        "comment": "Hello {author}, see {url}. {unknown}", "notify": "{title}!",
    });
    let outputs = call(json!({ "keys": ["github:acme/shop#7", "github:acme/shop#8"] }), rule(json!({}), actions))
        .expect("checked");
    let about = |more: Value| {
        let mut one = json!({ "issue": "github:acme/shop#7", "repository": "acme/shop", "number": 7 });
        one.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        json!([one])
    };
    assert_eq!(outputs["labels"], about(json!({ "add": ["triage"], "remove": ["new"] })));
    assert_eq!(outputs["assignees"], about(json!({ "assign": ["cleo"] })));
    assert_eq!(outputs["comments"], about(json!({ "body": "Hello ada, see https://example.com/7. {unknown}" })));
    assert_eq!(outputs["notifications"][0]["text"], json!("{number} {oops!"));
    assert_eq!(outputs["checked"], json!({ "issues": 1, "fired": 1, "complete": true }));
}

#[test]
fn more_keys_than_a_call_checks_are_not_told_as_all() {
    (1..=3).for_each(|number| keep(number, |_| {}));
    let keys: Vec<String> = (1..=3).map(|number| format!("github:acme/shop#{number}")).collect();
    let mut config = rule(json!({}), json!({}));
    for (most, checked, complete) in [(2, 2, false), (3, 3, true)] {
        config["issues_max"] = json!(most);
        let outputs = call(json!({ "keys": keys }), config.clone()).expect("checked");
        assert_eq!(outputs["checked"]["issues"], json!(checked));
        assert_eq!(outputs["checked"]["complete"], json!(complete));
    }
}

#[test]
fn nothing_to_do_leaves_the_ports_empty() {
    keep(1, |issue| issue.labels = vec!["bug".into()]);
    let outputs = call(json!({}), rule(json!({}), json!({ "notify": null, "label": ["bug"] }))).expect("checked");
    assert_eq!(outputs.into_keys().collect::<Vec<_>>(), ["checked"]);
}

#[test]
fn a_sweep_goes_on_where_the_last_one_has_ended() {
    (1..=5).for_each(|number| keep(number, |_| {}));
    let mut config = rule(json!({}), json!({}));
    config["issues_max"] = json!(2);
    let summaries: Vec<Value> =
        (0..4).map(|_| call(json!({}), config.clone()).expect("checked")["checked"].clone()).collect();
    let seen: Vec<_> = summaries
        .iter()
        .map(|one| (one["issues"].as_u64(), one["fired"].as_u64(), one["complete"].as_bool()))
        .collect();
    let expected = [(2, 2, false), (2, 2, false), (1, 1, true), (2, 0, false)];
    assert_eq!(seen, expected.map(|(issues, fired, complete)| (Some(issues), Some(fired), Some(complete))));
}

#[test]
fn with_an_index_only_open_issues_are_read() {
    fake::collection("issues").index("state", "/state");
    keep(1, |_| {});
    keep(2, |issue| issue.state = records::issue::State::Closed);
    let mut config = rule(json!({ "state": "any" }), json!({}));
    config["state_index"] = json!("state");
    assert_eq!(call(json!({}), config).expect("checked")["checked"]["issues"], json!(1));
}

#[test]
fn a_bad_config_is_named() {
    for (config, message) in [
        (json!({ "rules": [] }), "`rules` is empty"),
        (json!({ "rules": [{ "notify": "x" }] }), "`rules[0]` (``): it has no `name`"),
        (json!({ "rules": [{ "name": "a" }] }), "`rules[0]` (`a`): it does nothing"),
        (
            json!({ "rules": [{ "name": "a", "notify": "x" }, { "name": "a", "notify": "x" }] }),
            "`rules[1]` (`a`): another rule",
        ),
        (rule(json!({ "expression": ". >" }), json!({})), "rule `r`: `when.expression`: line 1"),
        (rule(json!({ "idle_for": "long" }), json!({})), "`long` is no duration"),
        (rule(json!({ "label": ["x"] }), json!({})), "label"),
    ] {
        let error = call(json!({}), config).expect_err("a bad config");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    keep(1, |_| {});
    let error = call(json!({}), rule(json!({ "expression": ".title.x" }), json!({}))).expect_err("it fails");
    assert_eq!(error.kind(), ErrorKind::Permanent);
}
