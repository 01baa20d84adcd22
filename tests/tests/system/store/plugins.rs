//! Many plugins that say much of themselves: what is read of them to list them, and to choose one.

use serde_json::json;
use trellis_model::description::Description;
use trellis_store::{account_change::AccountChange, plugins::NewPlugin};

use super::stage;

#[tokio::test]
async fn a_page_of_plugins_is_bounded_by_what_they_say_of_themselves() {
    const PLUGINS: u64 = 30;
    let (_database, store) = stage().await;
    let account = store.change_account("acme", &AccountChange::default()).await.expect("an account").id;
    store.put_component(&[7; 32], b"bytes").await.expect("new");
    let title = json!({ "title": "x".repeat(100 * 1024) }).to_string();
    let description = Description::parse(&title).expect("a description");
    for minor in 0..PLUGINS {
        let version = format!("1.{minor}.0").parse().expect("a version");
        let plugin = NewPlugin {
            name: "split",
            version: &version,
            digest: [7; 32],
            description: &description,
            imports: &[],
            size_bytes: 5,
        };
        store.put_plugin(account, &plugin).await.expect("new");
    }
    let (mut seen, mut after) = (0, None);
    loop {
        let page = store.plugins(account, None, after, 20, 1024 * 1024).await.expect("a page");
        assert!((1..=10).contains(&page.plugins.len()), "{} plugins", page.plugins.len());
        (seen, after) = (seen + page.plugins.len() as u64, page.plugins.last().map(|plugin| plugin.id));
        if !page.has_more {
            break;
        }
    }
    assert_eq!(seen, PLUGINS, "each once");
    let one = store.plugins(account, None, None, 20, 1).await.expect("a page");
    assert_eq!((one.plugins.len(), one.has_more), (1, true), "one at least");
    let newest = store.resolve_plugin(account, "split", &"^1".parse().expect("a range")).await.expect("an answer");
    assert_eq!(newest.expect("it fits").version.to_string(), format!("1.{}.0", PLUGINS - 1));
    assert_eq!(store.plugin_names(account, 10).await.expect("names"), ["split"]);
}
