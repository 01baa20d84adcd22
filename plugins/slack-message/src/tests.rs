//! Messages that are posted, changed and deleted, by answers of the shape that Slack's documentation shows.
#![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

use std::time::Duration;

use trellis_sdk::*;

use super::slack_message;

const POST: &str = "https://slack.com/api/chat.postMessage";
const UPDATE: &str = "https://slack.com/api/chat.update";
const DELETE: &str = "https://slack.com/api/chat.delete";

fn posted(ts: &str) -> Value {
    json!({ "ok": true, "channel": "C024BE91L", "ts": ts, "message": { "type": "message", "bot_id": "B1", "text": "x", "ts": ts } })
}

fn refused(error: &str) -> Value {
    json!({ "ok": false, "error": error })
}

fn call(inputs: Value, config: Value) -> Result<(String, Value)> {
    let mut merged = json!({ "channel": "C024BE91L" });
    merged.as_object_mut().expect("an object").extend(config.as_object().expect("an object").clone());
    let output = fake::call(slack_message, inputs, merged)?.pop_first().expect("one port");
    fake::commit();
    Ok(output)
}

/// Slack gives the messages that it is sent the `ts` 1.1, 2.2, …
fn slack_posts() {
    let mut count = 0;
    fake::http("POST", POST).reply_with(move |_| {
        count += 1;
        Ok(fake::answer(200).json(&posted(&format!("{count}.{count}"))))
    });
}

/// Publishes on the topic `build`, in a run of its own.
fn publish(run: &str, config: Value) -> Value {
    fake::event(event::Event { idempotency_key: run.into(), ..event::Event::default() });
    call(json!({ "text": "hello", "topic": "build" }), config).expect("published").1
}

fn sent(url: &str) -> Vec<Value> {
    let of_url = fake::requests().into_iter().filter(|request| request.url == url);
    of_url
        .map(|request| std::str::from_utf8(&request.body.expect("a body")).expect("text").parse().expect("JSON"))
        .collect()
}

#[test]
fn a_message_is_posted_with_all_it_has() {
    fake::http("POST", POST).reply_json(200, &posted("1503435956.000247"));
    let message = json!({ "text": "hi", "blocks": [{ "type": "divider" }], "thread": "1.2", "channel": "C9" });
    let (port, output) = call(json!({ "in": message }), json!({})).expect("published");
    let older = json!({ "removed": 0, "left": 0 });
    let expected = json!({ "channel": "C024BE91L", "ts": "1503435956.000247", "updated": false, "older": older });
    assert_eq!((port.as_str(), output), ("published", expected));
    let body = json!({ "text": "hi", "blocks": [{ "type": "divider" }], "thread_ts": "1.2", "channel": "C9" });
    assert_eq!(sent(POST), [body]);
    assert!(fake::storage("publications").keys().is_empty(), "without a topic nothing is remembered");
}

#[test]
fn a_new_message_of_a_topic_deletes_the_older_one_when_its_time_is_over() {
    slack_posts();
    fake::http("POST", DELETE).reply_json(200, &posted("1.1"));
    let at_once = json!({ "replace_after": "0s" });
    publish("run_1", at_once.clone());
    assert!(sent(DELETE).is_empty());
    assert_eq!(publish("run_2", at_once)["older"], json!({ "removed": 1, "left": 0 }));
    assert_eq!(sent(DELETE), [json!({ "channel": "C024BE91L", "ts": "1.1" })]);
    assert_eq!(publish("run_3", json!({ "replace_after": "1h" }))["older"]["removed"], json!(0));
    assert_eq!(sent(DELETE).len(), 1, "it stays for an hour");
    assert_eq!(publish("run_4", json!({}))["older"]["removed"], json!(0));
    assert_eq!(fake::storage("publications").keys().len(), 3);
}

#[test]
fn an_older_message_that_cannot_be_deleted_does_not_undo_the_new_one() {
    slack_posts();
    fake::http("POST", DELETE).reply_json(200, &refused("cant_delete_message"));
    let at_once = json!({ "replace_after": "0s" });
    publish("run_1", at_once.clone());
    let output = publish("run_2", at_once);
    assert_eq!((&output["ts"], &output["older"]), (&json!("2.2"), &json!({ "removed": 0, "left": 1 })));
    assert!(fake::logs()[0].message.contains("cant_delete_message"), "{:?}", fake::logs());
}

#[test]
fn the_current_message_is_changed_and_posted_again_if_it_is_gone() {
    slack_posts();
    publish("run_1", json!({}));
    let update = json!({ "in": { "text": "now", "topic": "build", "action": "update" } });
    fake::http("POST", UPDATE).reply_json(200, &posted("1.1"));
    fake::http("POST", UPDATE).reply_json(200, &refused("message_not_found"));
    assert_eq!(call(update.clone(), json!({})).expect("changed").1["updated"], json!(true));
    assert_eq!(sent(UPDATE), [json!({ "text": "now", "channel": "C024BE91L", "ts": "1.1" })]);
    let output = call(update, json!({})).expect("posted").1;
    assert_eq!((&output["ts"], &output["updated"]), (&json!("2.2"), &json!(false)));
}

#[test]
fn all_messages_of_a_topic_are_deleted_on_request_and_what_is_gone_is_no_error() {
    slack_posts();
    publish("run_1", json!({ "replace_after": "1h" }));
    publish("run_2", json!({ "replace_after": "1h" }));
    fake::http("POST", DELETE).reply_json(200, &posted("1.1"));
    fake::http("POST", DELETE).reply_json(200, &refused("message_not_found"));
    let removed = call(json!({ "topic": "build" }), json!({ "action": "remove" })).expect("removed");
    assert_eq!(removed, ("cleaned".into(), json!({ "removed": 2, "left": 0 })));
    assert!(fake::storage("publications").keys().is_empty());
}

#[test]
fn cleaning_deletes_what_is_due_in_all_topics() {
    slack_posts();
    publish("run_1", json!({ "replace_after": "1h" }));
    publish("run_2", json!({ "replace_after": "1h" }));
    let clean = |config| call(json!({ "in": { "action": "clean" } }), config).expect("cleaned").1;
    assert_eq!(clean(json!({})), json!({ "removed": 0, "left": 0 }));
    let key = fake::storage("publications").keys().remove(1);
    assert!(key.contains("/~"), "{key}");
    fake::storage("publications")
        .put("build/~000000000001-run_1", fake::storage("publications").get(&key).expect("it"));
    fake::http("POST", DELETE).reply_json(200, &posted("1.1"));
    assert_eq!(clean(json!({})), json!({ "removed": 1, "left": 0 }));
}

#[test]
fn failures_have_their_classes() {
    for (answer, kind) in [
        (fake::answer(200).json(&refused("channel_not_found")), ErrorKind::Permanent),
        (fake::answer(200).json(&refused("invalid_auth")), ErrorKind::Permanent),
        (fake::answer(200).json(&refused("msg_too_long")), ErrorKind::InvalidInput),
        (fake::answer(200).json(&refused("internal_error")), ErrorKind::Retryable),
        (fake::answer(429).header("retry-after", "30"), ErrorKind::Retryable),
        (fake::answer(503), ErrorKind::Retryable),
        (fake::answer(404), ErrorKind::Permanent),
        (fake::answer(200).body("<html>"), ErrorKind::Permanent),
    ] {
        fake::reset();
        fake::http("POST", POST).reply(answer.clone());
        let error = call(json!({ "text": "hi" }), json!({})).expect_err("a failure");
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
    }
    fake::reset();
    fake::http("POST", POST).reply(fake::answer(429).header("retry-after", "30"));
    let error = call(json!({ "text": "hi" }), json!({})).expect_err("throttled");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
}

#[test]
fn what_is_missing_is_told_before_anything_is_sent() {
    for (inputs, config, message) in [
        (json!({}), json!({}), "the message is empty"),
        (json!({ "text": "" }), json!({}), "the message is empty"),
        (json!({ "text": "x" }), json!({ "channel": null }), "has no channel"),
        (json!({ "text": "x" }), json!({ "action": "update" }), "`update` needs a topic"),
        (json!({}), json!({ "action": "remove" }), "`remove` needs a topic"),
        (json!({ "text": "x", "topic": "" }), json!({}), "`topic` has 0 bytes"),
    ] {
        let error = call(inputs, config).expect_err("a failure");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    let error = call(json!({}), json!({ "replace_after": "later" })).expect_err("a bad config");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig);
    assert!(fake::requests().is_empty());
}
