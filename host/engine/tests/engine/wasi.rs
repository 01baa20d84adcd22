//! WASI is linked whole and gives away nothing.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde_json::json;
use trellis_engine::{Call, LogLevel, WallClock};

use crate::support::{Fixture, effects};

#[tokio::test]
async fn a_guest_finds_no_environment_no_files_and_no_network() {
    let fixture = Fixture::new().await;
    let seen = fixture.output(json!({"do": "environment"})).await;
    assert_eq!(
        seen,
        json!({
            "variables": 0,
            "arguments": 0,
            "root_listed": false,
            "here_listed": false,
            "file_written": false,
            "tcp_connected": false,
            "udp_bound": false,
            "name_resolved": false,
            "stdin_bytes": 0,
        })
    );
}

#[tokio::test]
async fn standard_streams_and_messages_go_to_the_log() {
    let fixture = Fixture::new().await;
    for (action, level, context) in [
        (json!({"do": "log", "message": "hello", "times": 1}), LogLevel::Info, "misbehave"),
        (json!({"do": "print", "line": "hello", "times": 1}), LogLevel::Info, "stdout"),
        (json!({"do": "print-error", "line": "hello", "times": 1}), LogLevel::Warn, "stderr"),
    ] {
        let lines = fixture.call(action).await.log.lines;
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = &lines[0];
        assert_eq!((line.level, line.context.as_str(), line.message.as_str()), (level, context, "hello"));
    }
}

#[tokio::test]
async fn the_time_of_day_can_be_given() {
    struct Fixed;
    impl WallClock for Fixed {
        fn now(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)
        }
    }
    let fixture = Fixture::new().await;
    let call = Call { clock: Some(Arc::new(Fixed)), ..fixture.call_of(&json!({"do": "clock"})) };
    let emitted = effects(fixture.transformer.call(call).await).emissions;
    assert_eq!(emitted[0].json.get(), "1000000000");
}

#[tokio::test]
async fn config_values_are_served_one_by_one() {
    let fixture = Fixture { config: Arc::from(r#"{"url":"https://example.com","n":1}"#), ..Fixture::new().await };
    let seen = fixture.output(json!({"do": "config"})).await;
    assert_eq!(seen, json!({"all": [["n", "1"], ["url", "https://example.com"]], "url": "https://example.com"}));
}
