//! The fakes behave as the host does, as far as a transformer can tell.

use std::time::Duration;

use trellis_sdk::{event::Event, log::Level, *};

#[test]
fn writes_are_seen_at_once_and_have_a_revision_when_committed() {
    let store = storage::store("cache");
    store.set("a", "1").expect("a write");
    let entry = store.entry("a").expect("a read").expect("an entry");
    assert_eq!((entry.value, entry.revision), (b"1".to_vec(), 0));
    fake::commit();
    let revision = store.entry("a").expect("a read").expect("an entry").revision;
    assert_ne!(revision, 0);
    store.set("a", "2").expect("a write");
    fake::rollback();
    assert_eq!(store.get("a").expect("a read"), Some(b"1".to_vec()));
    assert_eq!(store.entry("a").expect("a read").expect("an entry").revision, revision);
}

#[test]
fn a_conditional_write_looks_at_the_committed_revision() {
    let store = storage::store("cache");
    store.write("a").if_absent().bytes("1").expect("absent");
    fake::commit();
    assert_eq!(store.write("a").if_absent().bytes("2"), Err(storage::Error::Conflict));
    let revision = store.entry("a").expect("a read").expect("an entry").revision;
    store.write("a").if_revision(revision).json(&3).expect("the committed revision");
    assert_eq!(store.get_json::<u8>("a").expect("a number"), Some(3));
    let error = Error::from(store.write("a").if_revision(revision + 1).json(&4).expect_err("another revision"));
    assert_eq!(error.kind(), ErrorKind::Retryable);
}

#[test]
fn a_condition_sees_what_the_same_run_has_written() {
    let store = storage::store("cache");
    store.write("a").if_absent().bytes("1").expect("absent");
    assert_eq!(store.write("a").if_absent().bytes("2"), Err(storage::Error::Conflict), "it has made it itself");
    assert_eq!(store.write("a").if_revision(0).bytes("2"), Err(storage::Error::Conflict));
    fake::storage("cache").put("b", "1");
    let revision = store.entry("b").expect("a read").expect("an entry").revision;
    store.write("b").if_revision(revision).bytes("2").expect("the committed revision");
    assert_eq!(store.write("b").if_revision(revision).bytes("3"), Err(storage::Error::Conflict), "it is no more");
    store.delete("b").expect("a key");
    store.write("b").if_absent().bytes("4").expect("this run has deleted it");
}

#[test]
fn a_deleted_key_is_gone_before_and_after_the_commit() {
    fake::storage("cache").put("a", "1");
    let store = storage::store("cache");
    store.delete("a").expect("a key");
    store.delete("b").expect("no key is no error");
    assert_eq!(store.get("a").expect("a read"), None);
    fake::commit();
    assert!(fake::storage("cache").keys().is_empty());
}

#[test]
fn additions_add_up_and_refuse_what_is_no_number() {
    let store = storage::store("counts");
    store.add("hits", 2).expect("absent is 0");
    fake::commit();
    store.add("hits", -5).expect("a number");
    assert_eq!(fake::storage("counts").get_json::<i64>("hits"), Some(-3));
    store.set("name", "ann").expect("a write");
    assert!(matches!(store.add("name", 1), Err(storage::Error::Invalid(_))));
    store.set("hits", i64::MAX.to_string()).expect("a write");
    assert!(matches!(store.add("hits", 1), Err(storage::Error::Invalid(_))));
}

#[test]
fn a_key_with_a_time_to_live_vanishes_after_the_commit() {
    let store = storage::store("cache");
    store.write("a").ttl(Duration::from_secs(60)).bytes("1").expect("a write");
    fake::advance(Duration::from_secs(600));
    assert!(store.get("a").expect("a read").is_some(), "time counts from the commit");
    fake::commit();
    fake::advance(Duration::from_secs(59));
    assert!(store.get("a").expect("a read").is_some());
    fake::advance(Duration::from_secs(1));
    assert_eq!(store.get("a").expect("a read"), None);
    assert_eq!(store.list("").count(), 0);
    store.write("a").if_absent().bytes("2").expect("a vanished key is absent");
}

#[test]
fn an_addition_leaves_the_time_to_live_alone() {
    let store = storage::store("counts");
    store.write("hits").ttl(Duration::from_secs(60)).bytes("1").expect("a write");
    store.add("hits", 1).expect("a number");
    fake::commit();
    store.add("hits", 1).expect("a number");
    fake::commit();
    assert_eq!(fake::storage("counts").get_json::<i64>("hits"), Some(3));
    fake::advance(Duration::from_secs(60));
    assert_eq!(store.get("hits").expect("a read"), None);
}

#[test]
fn keys_that_the_host_refuses_are_refused() {
    let store = storage::store("cache");
    for key in ["", "a\0b", &"x".repeat(513)] {
        assert!(matches!(store.set(key, "1"), Err(storage::Error::Invalid(_))), "{key:?}");
    }
    store.set(&"x".repeat(512), "1").expect("the longest key");
}

#[test]
fn a_list_is_in_byte_order_over_all_pages() {
    for number in 0..1_203 {
        fake::storage("pages").put(&format!("k/{number:04}"), "");
    }
    fake::storage("pages").put("l", "");
    fake::storage("other").put("k/x", "");
    let store = storage::store("pages");
    store.set("k/2000", "").expect("an uncommitted write is listed");
    store.delete("k/0001").expect("an uncommitted deletion is not");
    let keys: Vec<String> = store.list("k/").collect::<Result<_, _>>().expect("keys");
    assert_eq!((keys.len(), keys[1].as_str(), keys[1_202].as_str()), (1_203, "k/0002", "k/2000"));
    assert!(keys.is_sorted());
}

#[test]
fn a_value_that_is_not_the_expected_json_is_an_error_that_names_it() {
    fake::storage("cache").put("a", "x");
    let error = storage::store("cache").get_json::<u8>("a").expect_err("no number").to_string();
    assert!(error.contains("key `a` in store `cache`"), "{error}");
}

#[test]
fn replies_come_in_order_and_the_last_one_again() {
    fake::http("GET", "https://example.com/").fail(http::Error::Timeout);
    fake::http("GET", "https://example.com/").reply_text(200, "hello");
    let get = || http::get("https://example.com/").send();
    assert_eq!(get(), Err(http::Error::Timeout));
    for _ in 0..2 {
        assert_eq!(get().expect("an answer").text(), Ok("hello"));
    }
    assert_eq!(fake::requests().len(), 3);
}

#[test]
fn a_request_that_nobody_answers_is_denied() {
    fake::http("GET", "https://example.com/users/*").reply_json(200, &json!([]));
    http::get("https://example.com/users/7").send().expect("the beginning matches");
    let error = http::post("https://example.com/users/7").send().expect_err("another method");
    assert!(
        matches!(&error, http::Error::Denied(reason) if reason.contains("POST https://example.com/users/7")),
        "{error}"
    );
}

#[test]
fn a_reply_may_look_at_the_request_and_use_the_fakes() {
    fake::http("PUT", "https://example.com/").reply_with(|request| {
        log::debug!("{} bytes", request.body.as_ref().map_or(0, Vec::len));
        Ok(fake::answer(201).body(request.body.clone().unwrap_or_default()))
    });
    let answer = http::put("https://example.com/").body("abc").send().expect("an answer");
    assert_eq!((answer.status, answer.text()), (201, Ok("abc")));
    assert_eq!(fake::logs()[0].message, "3 bytes");
}

#[test]
fn retry_after_reaches_the_error() {
    fake::http("GET", "https://example.com/").reply(fake::answer(429).header("Retry-After", "7"));
    let answer = http::get("https://example.com/").send().expect("an answer");
    let error = Error::from(answer.error_for_status().expect_err("too many requests"));
    assert_eq!((error.kind(), error.retry_after()), (ErrorKind::Retryable, Some(Duration::from_secs(7))));
}

#[test]
fn messages_keep_level_and_module() {
    log::trace!("a");
    log::warn!("{}", 1 + 1);
    log::error!("c");
    log::critical!("d");
    let logs = fake::logs();
    assert_eq!(
        logs.iter().map(|log| log.level).collect::<Vec<_>>(),
        [Level::Trace, Level::Warn, Level::Error, Level::Critical]
    );
    assert_eq!((logs[1].message.as_str(), logs[1].context.as_str()), ("2", "fakes"));
}

#[test]
fn event_and_config_are_what_the_test_says_until_a_reset() {
    let attributes = vec![("X-GitHub-Event".to_owned(), "push".to_owned())];
    fake::event(Event { run: "run_1".into(), attempt: 3, attributes, ..Event::default() });
    fake::config("region", "eu");
    fake::config("region", "us");
    assert_eq!((event::current().run.as_str(), event::current().attempt), ("run_1", 3));
    assert_eq!(event::current().attribute("x-github-event"), Some("push"));
    assert_eq!(config::get("region"), Ok(Some("us".into())));
    assert_eq!(config::all(), Ok(vec![("region".into(), "us".into())]));
    fake::reset();
    assert_eq!(event::current().attempt, 1);
    assert_eq!(config::get("region"), Ok(None));
}

#[test]
fn emitted_events_are_taken_back_with_the_writes_of_a_failed_node() {
    outbox::emit("pick", &json!({ "n": 1 })).expect("an event");
    fake::commit();
    outbox::event("audit").attribute("tenant", "7").emit("later").expect("an event");
    assert_eq!(fake::emitted().len(), 2);
    fake::rollback();
    let emitted = fake::emitted();
    assert_eq!((emitted.len(), emitted[0].grid.as_str(), &emitted[0].data), (1, "pick", &json!({ "n": 1 })));
}

#[test]
fn what_the_outbox_refuses_is_permanent() {
    let refused = Error::from(outbox::Error::HopLimit("16 emissions".into()));
    assert_eq!((refused.kind(), refused.message()), (ErrorKind::Permanent, "hop limit reached: 16 emissions"));
}

#[test]
fn a_time_to_live_of_nothing_is_refused() {
    let store = storage::store("cache");
    for ttl in [Duration::ZERO, Duration::from_micros(900), Duration::MAX] {
        let error = store.write("a").ttl(ttl).bytes("x").expect_err("no time to live");
        assert!(matches!(&error, storage::Error::Invalid(reason) if reason.contains("from 1 ms to")), "{error}");
    }
}
