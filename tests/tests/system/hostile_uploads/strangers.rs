//! Two accounts with the same plugin: neither learns from its own upload that the other has it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::{
    bytes::{Upload, small},
    upload,
};
use crate::support::{Account, Answer, Stage, guest};

async fn timed(account: &Account, version: u32, bytes: Upload) -> (Answer, Duration) {
    let began = Instant::now();
    let answer = upload(account, "shared", version, bytes).await;
    (answer, began.elapsed())
}

/// All that an account is told, but for what is its own in any case.
fn told(mut view: Value) -> Value {
    for own in ["id", "created_at"] {
        view.as_object_mut().expect("a plugin").remove(own);
    }
    view
}

#[tokio::test]
async fn the_same_bytes_of_another_account_show_neither_in_the_answer_nor_in_its_time() {
    let stage = Stage::new().await;
    let (first, second) = (stage.account("first").await, stage.account("second").await);
    // Large enough to take its time, and seen by no host before: others of this test's runs may share the artefacts.
    let mark = format!("{:?}", std::time::SystemTime::now());
    let bytes = Upload::of(guest("filter").bytes.clone()).marked(&mark);
    let (of_first, first_took) = timed(&first, 1, bytes.clone()).await;
    let (of_second, second_took) = timed(&second, 1, bytes.clone()).await;
    let (again, again_took) = timed(&first, 2, bytes.clone()).await;
    println!("first {first_took:?}, the other account {second_took:?}, the first one again {again_took:?}");
    let (of_first, of_second) = (of_first.expect(201), of_second.expect(201));
    assert_eq!(told(of_first), told(of_second));
    again.expect(201);
    // No measure of speed: it has to take as long as the compiler took for the first one, which is most of it.
    assert!(second_took > first_took / 4, "{second_took:?} after {first_took:?}");
}

#[tokio::test]
async fn the_same_bytes_again_change_nothing() {
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let created = upload(&account, "same", 1, small()).await.expect(201);
    assert_eq!(upload(&account, "same", 1, small()).await.expect(200), created);
    let problem = upload(&account, "same", 1, small().marked("other")).await.problem(409);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("under a new version")), "{problem:#}");
    assert_eq!(account.api.get("/v1/plugins/same/1.0.0").await.expect(200), created);
}
