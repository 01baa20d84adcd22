//! `trellis plugin pull` from a registry that others have written.

use std::{path::PathBuf, process::Stdio};

use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::process::{Child, Command};

use crate::support::{Stage, command, eventually, guest, project, scratch, skip};

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/bin")]);
    folders.find_map(|folder| Some(folder.join("docker-registry")).filter(|program| program.is_file()))
}

/// A registry on this machine, with nothing in it. Ends with the test.
struct Registry {
    host: String,
    http: reqwest::Client,
    _process: Child,
}

impl Registry {
    async fn start(program: PathBuf) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let folder = scratch().join("registry");
        std::fs::create_dir_all(&folder).expect("the scratch folder is ours");
        let config = folder.join("config.yml");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp: {{ addr: \"{port}\" }}\n",
            folder.join("data").display()
        );
        std::fs::write(&config, text).expect("the scratch folder is ours");
        let mut command = Command::new(program);
        command.arg("serve").arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.kill_on_drop(true).spawn().expect("the registry starts");
        let registry = Self { host: port.to_string(), http: reqwest::Client::new(), _process: process };
        eventually("the registry answers", async || {
            let answer = registry.http.get(format!("http://{}/v2/", registry.host)).send().await.ok()?;
            (answer.status() == StatusCode::OK).then_some(())
        })
        .await;
        registry
    }

    /// Puts bytes there, and hands back how a manifest names them.
    async fn put_blob(&self, bytes: &[u8], media_type: &str) -> Value {
        let digest: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let begun =
            self.http.post(format!("http://{}/v2/acme/same/blobs/uploads/", self.host)).send().await.expect("it is up");
        let place = begun.headers()["location"].to_str().expect("an address").to_owned();
        let mut url: url::Url = place.parse().expect("an address");
        url.query_pairs_mut().append_pair("digest", &format!("sha256:{digest}"));
        let put = self.http.put(url).body(bytes.to_vec()).send().await.expect("it is up");
        assert_eq!(put.status(), StatusCode::CREATED);
        json!({ "mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len() })
    }

    async fn put_component(&self, tag: &str, bytes: &[u8]) {
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": kind,
            "config": self.put_blob(b"{}", "application/vnd.wasm.config.v0+json").await,
            "layers": [self.put_blob(bytes, "application/wasm").await],
        });
        let url = format!("http://{}/v2/acme/same/manifests/{tag}", self.host);
        let put = self.http.put(url).header("content-type", kind).body(manifest.to_string()).send().await;
        assert_eq!(put.expect("it is up").status(), StatusCode::CREATED);
    }
}

#[tokio::test]
async fn a_component_in_a_registry_becomes_a_plugin_by_one_command() {
    let Some(program) = program() else { return skip("there is no docker-registry") };
    // Clients of a test make TLS known as well.
    let stage = Stage::new().await;
    let account = stage.account("acme").await;
    let registry = Registry::start(program).await;
    registry.put_component("1.4.0", &guest("json-map").bytes).await;
    let reference = format!("oci://{}/acme/same:1.4.0", registry.host);

    let output = command(&account, &["plugin", "pull", &reference, "--push", "--name", "json-map", "--json"]).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["plugin"], "json-map@1.4.0", "{report:#}");
    let uploaded = account.api.get("/v1/plugins/json-map/1.4.0").await.expect(200);
    assert_eq!(uploaded["digest"], report["digest"], "{report:#}");
    let node = json!({ "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } });
    let mut manifest = project("shop", &json!({ "same": node }));
    manifest["plugins"]["json-map"] = json!("json-map@=1.4.0");
    account.api.put("/v1/projects/shop", &manifest).await.expect(201);
    account.run("shop", &json!(1)).await;

    let pinned = report["pinned"].as_str().expect("a reference with a digest").to_owned();
    let file = scratch().join("pulled.wasm").display().to_string();
    let kept = command(&account, &["plugin", "pull", &pinned, "-o", &file]).await;
    assert!(kept.status.success(), "{}", String::from_utf8_lossy(&kept.stderr));
    assert_eq!(std::fs::read(&file).expect("it is there"), guest("json-map").bytes);
    let too_large = command(&account, &["plugin", "pull", &reference, "--max-size", "1KiB", "-o", &file]).await;
    assert_eq!(too_large.status.code(), Some(4), "{}", String::from_utf8_lossy(&too_large.stderr));
    let missing = format!("oci://{}/acme/same:9.9.9", registry.host);
    assert_eq!(command(&account, &["plugin", "pull", &missing, "-o", &file]).await.status.code(), Some(3));
}
