//! Where the secret of a trigger must not be found: in answers, logs and the database, however it is written.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::json;
use sqlx::AssertSqlSafe;

use super::sender::{OTHER_SECRET, SCHEMES, SECRET, now_s, shop, sign, with_master_key};
use crate::support::{Database, Stage};

/// A text in all the ways that it may be written.
fn spellings(secret: &str) -> Vec<String> {
    let key = secret.trim_start_matches("whsec_");
    let raw = STANDARD.decode(key).expect("base64");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let encoded: String = url::form_urlencoded::byte_serialize(key.as_bytes()).collect();
    let mut spellings = vec![
        key.to_owned(),
        String::from_utf8(raw.clone()).expect("the tests' secrets are text"),
        hex(&raw),
        hex(secret.as_bytes()),
        STANDARD.encode(secret),
        STANDARD.encode(secret).trim_end_matches('=').to_owned(),
        encoded,
    ];
    spellings.dedup();
    spellings
}

/// Every row of every table, as text.
async fn dump(database: &Database) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
         where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&database.pool)
    .await
    .expect("the server is up");
    assert!(tables.iter().any(|table| table == "public.credential"), "{tables:?}");
    let mut dump = String::new();
    for table in tables {
        let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(format!("select (t.*)::text from {table} as t")))
            .fetch_all(&database.pool)
            .await
            .expect("a table of ours");
        dump.extend(rows);
    }
    dump
}

#[tokio::test]
async fn the_secret_of_a_trigger_is_found_nowhere() {
    let stage = Stage::with(|plan| with_master_key(plan).set("log.filter", "trellis=trace,sqlx=debug,info")).await;
    let mut answers = String::new();
    for scheme in SCHEMES {
        let account = stage.account(&format!("of-{scheme}")).await;
        shop(&account, scheme).await;
        let accepted = sign(scheme, SECRET, "evt_1", now_s()).send(&account).await;
        let refused = sign(scheme, OTHER_SECRET, "evt_1", now_s()).send(&account).await;
        assert_eq!((accepted.status, refused.status), (202, 401), "{scheme}");
        let shown = account.succeeded(accepted.body["run"].as_str().expect("a run")).await;
        let project = account.api.get("/v1/projects/shop").await.expect(200);
        let listed = account.api.get("/v1/projects/shop/credentials").await.expect(200);
        answers += &json!([accepted.body, refused.body, shown, project, listed]).to_string();
    }
    let (log, dump) = (stage.host.log(), dump(&stage.database).await);
    assert!(log.contains("a sender is not known"), "the log tells of refusals");
    assert!(dump.contains("credential") || !dump.is_empty());
    for spelling in [SECRET, OTHER_SECRET].into_iter().flat_map(spellings) {
        for (place, text) in [("an answer", &answers), ("the log", &log), ("the database", &dump)] {
            assert!(!text.contains(&spelling), "{spelling} in {place}");
            // Rows hold bytes in hex.
            let in_hex: String = spelling.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!text.contains(&in_hex), "{spelling}, in hex, in {place}");
        }
    }
}
