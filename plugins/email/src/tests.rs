//! Mails to several providers, by answers of the shape that their documentation shows.
#![allow(clippy::needless_pass_by_value, reason = "tests pass literals")]

use std::time::Duration;

use trellis_sdk::*;

use super::email;

const RESEND: &str = "https://api.resend.com/emails";
const POSTMARK: &str = "https://api.postmarkapp.com/email";
const SENDGRID: &str = "https://api.sendgrid.com/v3/mail/send";
const LATER: &str = "2999-05-01T14:00:00+02:00";

fn call(provider: &str, inputs: Value, more: Value) -> Result<(String, Value)> {
    let mut config = json!({ "provider": provider, "from": "Trellis <robot@example.com>" });
    config.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let output = fake::call(email, inputs, config)?.pop_first().expect("one port");
    fake::commit();
    Ok(output)
}

fn mail() -> Value {
    json!({
        "to": ["Ada <ada@example.com>"], "cc": ["b@example.com"], "reply_to": "help@example.com", "subject": "Hello",
        "text": "Hi", "html": "<p>Hi", "attachments": [{ "name": "a.txt", "text": "file" }],
    })
}

fn sent(url: &str) -> Vec<Value> {
    let of_url = fake::requests().into_iter().filter(|request| request.url == url);
    of_url
        .map(|request| std::str::from_utf8(&request.body.expect("a body")).expect("text").parse().expect("JSON"))
        .collect()
}

#[test]
fn resend_gets_a_mail_in_its_shape() {
    fake::http("POST", RESEND).reply_json(200, &json!({ "id": "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794" }));
    let (port, output) = call("resend", json!({ "in": mail(), "topic": "a/b" }), json!({})).expect("sent");
    assert_eq!((port.as_str(), &output["id"]), ("published", &json!("49a3999c-0ce1-4ea6-ab68-afcd6dc2e794")));
    let expected = json!({
        "from": "\"Trellis\" <robot@example.com>", "to": ["\"Ada\" <ada@example.com>"], "cc": ["b@example.com"],
        "reply_to": "help@example.com", "subject": "Hello", "text": "Hi", "html": "<p>Hi",
        "headers": { "References": "<a%2Fb@example.com>" },
        "attachments": [{ "filename": "a.txt", "content_type": "text/plain; charset=utf-8", "content": "ZmlsZQ==" }],
    });
    assert_eq!(sent(RESEND), [expected]);
}

#[test]
fn postmark_gets_a_mail_in_its_shape() {
    let answer = json!({ "To": "ada@example.com", "SubmittedAt": "2026-05-01T12:00:00Z", "MessageID": "0a129aee", "ErrorCode": 0, "Message": "OK" });
    fake::http("POST", POSTMARK).reply_json(200, &answer);
    assert_eq!(call("postmark", json!({ "in": mail() }), json!({})).expect("sent").1["id"], json!("0a129aee"));
    let expected = json!({
        "From": "\"Trellis\" <robot@example.com>", "To": "\"Ada\" <ada@example.com>", "Cc": "b@example.com",
        "ReplyTo": "help@example.com", "Subject": "Hello", "TextBody": "Hi", "HtmlBody": "<p>Hi",
        "Attachments": [{ "Name": "a.txt", "ContentType": "text/plain; charset=utf-8", "Content": "ZmlsZQ==" }],
    });
    assert_eq!(sent(POSTMARK), [expected]);
    let mut later = mail();
    later["send_at"] = json!(LATER);
    let error = call("postmark", json!({ "in": later }), json!({})).expect_err("not at once");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}

#[test]
fn sendgrid_gets_a_mail_in_its_shape() {
    fake::http("POST", SENDGRID).reply(fake::answer(202).header("X-Message-Id", "14c5d75ce93"));
    assert_eq!(call("sendgrid", json!({ "in": mail() }), json!({})).expect("sent").1["id"], json!("14c5d75ce93"));
    let expected = json!({
        "personalizations": [{ "to": [{ "email": "ada@example.com", "name": "Ada" }], "cc": [{ "email": "b@example.com" }] }],
        "from": { "email": "robot@example.com", "name": "Trellis" }, "reply_to": { "email": "help@example.com" },
        "subject": "Hello", "content": [{ "type": "text/plain", "value": "Hi" }, { "type": "text/html", "value": "<p>Hi" }],
        "attachments": [{ "filename": "a.txt", "type": "text/plain", "content": "ZmlsZQ==", "disposition": "attachment" }],
    });
    assert_eq!(sent(SENDGRID), [expected]);
}

#[test]
fn a_scheduled_mail_is_taken_back_when_a_new_one_replaces_it() {
    fake::http("POST", RESEND).reply_json(200, &json!({ "id": "m1" }));
    let cancel = "https://api.resend.com/emails/m1/cancel";
    fake::http("POST", cancel).reply_json(200, &json!({ "object": "email", "id": "m1" }));
    let mut later = mail();
    later["send_at"] = json!(LATER);
    let config = json!({ "topic": "digest", "replace_after": "0s" });
    call("resend", json!({ "in": later }), config.clone()).expect("scheduled");
    assert_eq!(sent(RESEND)[0]["scheduled_at"], json!("2999-05-01T12:00:00Z"));
    fake::event(event::Event { idempotency_key: "run_2".into(), ..event::Event::default() });
    let output = call("resend", json!({ "in": mail() }), config.clone()).expect("sent").1;
    assert_eq!(output["older"], json!({ "removed": 1, "left": 0 }));
    assert_eq!(sent(cancel).len(), 1);

    let removed = call("resend", json!({ "in": { "action": "remove" } }), config).expect("removed");
    assert_eq!(removed, ("cleaned".into(), json!({ "removed": 1, "left": 0 })));
    assert_eq!(sent(cancel).len(), 1, "what is sent is only forgotten");
    assert!(fake::storage("publications").keys().is_empty());
}

#[test]
fn sendgrid_takes_a_scheduled_mail_back_by_its_batch() {
    fake::http("POST", "https://api.sendgrid.com/v3/mail/batch").reply_json(201, &json!({ "batch_id": "b1" }));
    fake::http("POST", SENDGRID).reply(fake::answer(202));
    let cancel = "https://api.sendgrid.com/v3/user/scheduled_sends";
    fake::http("POST", cancel).reply_json(201, &json!({ "batch_id": "b1", "status": "cancel" }));
    let mut later = mail();
    later["send_at"] = json!(LATER);
    call("sendgrid", json!({ "in": later, "topic": "digest" }), json!({})).expect("scheduled");
    assert_eq!(
        (&sent(SENDGRID)[0]["batch_id"], &sent(SENDGRID)[0]["send_at"]),
        (&json!("b1"), &json!(32_482_555_200_i64))
    );
    call("sendgrid", json!({ "topic": "digest" }), json!({ "action": "remove" })).expect("removed");
    assert_eq!(sent(cancel), [json!({ "batch_id": "b1", "status": "cancel" })]);
}

#[test]
fn failures_have_their_classes() {
    let inactive =
        json!({ "ErrorCode": 406, "Message": "You tried to send to a recipient that has been marked as inactive." });
    for (answer, kind) in [
        (fake::answer(422).json(&inactive), ErrorKind::Permanent),
        (fake::answer(401), ErrorKind::Permanent),
        (fake::answer(429).header("retry-after", "2"), ErrorKind::Retryable),
        (fake::answer(500), ErrorKind::Retryable),
        (fake::answer(200).json(&json!({})), ErrorKind::Permanent),
    ] {
        fake::reset();
        fake::http("POST", POSTMARK).reply(answer.clone());
        let error = call("postmark", json!({ "in": mail() }), json!({})).expect_err("a failure");
        assert_eq!(error.kind(), kind, "{answer:?}: {error}");
    }
    fake::reset();
    fake::http("POST", RESEND).reply(fake::answer(429).header("retry-after", "2"));
    let error = call("resend", json!({ "in": mail() }), json!({})).expect_err("throttled");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
}

#[test]
fn what_is_missing_or_wrong_is_told_before_anything_is_sent() {
    for (change, message) in [
        (json!({ "to": [] }), "has no receiver"),
        (json!({ "to": ["ada"] }), "`to`: `ada` is no address"),
        (json!({ "bcc": ["a@b.c, d@e.f"] }), "`bcc`: "),
        (json!({ "subject": "" }), "`subject` is empty"),
        (json!({ "subject": "a\r\nbcc: x@example.com" }), "or has a line break"),
        (json!({ "text": null, "html": "" }), "the mail is empty"),
        (json!({ "send_at": "tomorrow" }), "`tomorrow` is no time"),
        (json!({ "attachments": [{ "name": "a" }] }), "either `text` or `base64`"),
        (json!({ "attachments": [{ "name": "a\r\nx: y", "text": "" }] }), "has a line break"),
    ] {
        let mut wrong = mail();
        wrong.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let error = call("resend", json!({ "in": wrong }), json!({})).expect_err("a failure");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    let error = call("resend", json!({}), json!({ "action": "remove" })).expect_err("no topic");
    assert!(error.message().contains("needs a topic"), "{error}");
    for (more, message) in
        [(json!({ "from": "robot" }), "`from`: `robot` is no address"), (json!({ "provider": "pigeon" }), "pigeon")]
    {
        let error = call("resend", json!({ "in": mail() }), more).expect_err("a bad config");
        assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    let mut nobody = mail();
    nobody["to"] = json!([]);
    let error = call("resend", json!({ "in": nobody }), json!({ "to": ["ada"] })).expect_err("a bad config");
    assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{error}");
    assert!(fake::requests().is_empty());
}
