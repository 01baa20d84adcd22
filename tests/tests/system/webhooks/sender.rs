//! A sender of webhooks as each scheme has them, and a project that takes them. Signs by itself, so that the host's own
//! reading of a scheme is not what it is tested with.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{Account, Answer, HostPlan, Stage, project};

pub const SCHEMES: [&str; 6] = ["standard-webhooks", "github", "stripe", "shopify", "slack", "hmac"];
/// Of 32 bytes; what stands for itself as text and as base64.
pub const SECRET: &str = "whsec_dGhlIHNlY3JldCBvZiBhIHByb2plY3QgaW4gdGVzdHM=";
pub const OTHER_SECRET: &str = "whsec_YW5vdGhlciBzZWNyZXQsIHdoaWNoIGNvbWVzIGxhdGVyIQ==";

/// A host that can keep credentials.
pub fn with_master_key(plan: HostPlan) -> HostPlan {
    plan.with_variable("TRELLIS_CREDENTIALS_MASTER_KEY", format!("1 {}", STANDARD.encode([7; 32])))
}

pub async fn stage() -> Stage {
    Stage::with(with_master_key).await
}

/// `auth` of a trigger with this scheme and these credentials.
pub fn auth(scheme: &str, credential: &Value) -> Value {
    let mut auth = json!({ "scheme": scheme, "credential": credential });
    if scheme == "hmac" {
        auth["header"] = json!("X-Signature");
        auth["prefix"] = json!("sha256=");
    }
    auth
}

/// The project `shop`, whose events come signed; with its credential `sender`.
pub async fn shop(account: &Account, scheme: &str) {
    set_secret(account, "sender", SECRET).await;
    deploy(account, &auth(scheme, &json!("sender"))).await;
}

pub async fn deploy(account: &Account, auth: &Value) {
    account.deploy(&manifest(auth)).await;
}

pub fn manifest(auth: &Value) -> Value {
    let nodes =
        json!({ "same": { "plugin": "json-map", "inputs": { "in": "event" }, "config": { "expression": "." } } });
    let mut manifest = project("shop", &nodes);
    manifest["triggers"][0]["auth"] = auth.clone();
    manifest
}

pub async fn set_secret(account: &Account, name: &str, secret: &str) {
    let path = format!("/v1/projects/shop/credentials/{name}");
    let answer = account.api.put(&path, &json!({ "value": secret })).await;
    assert!(matches!(answer.status, 201 | 204), "{answer:?}");
}

/// A request as a sender makes it, to be changed before it is sent.
#[derive(Clone)]
pub struct Signed {
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// Now, Unix seconds.
pub fn now_s() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs()
}

fn hmac(key: &[u8], parts: &[&str]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    parts.iter().for_each(|part| mac.update(part.as_bytes()));
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Signs an event, whose id is `id`, at a time.
pub fn sign(scheme: &str, secret: &str, id: &str, at_s: u64) -> Signed {
    sign_body(scheme, secret, id, at_s, json!({ "id": id, "event_id": id, "total": 7 }).to_string())
}

/// The same with another body.
pub fn sign_body(scheme: &str, secret: &str, id: &str, at_s: u64, body: String) -> Signed {
    let key = secret.as_bytes();
    let time = at_s.to_string();
    let headers = match scheme {
        "standard-webhooks" => {
            let key = STANDARD.decode(secret.trim_start_matches("whsec_")).expect("base64");
            let signature = STANDARD.encode(hmac(&key, &[id, ".", &time, ".", &body]));
            vec![
                ("webhook-id", id.to_owned()),
                ("webhook-timestamp", time),
                ("webhook-signature", format!("v1,{signature}")),
            ]
        }
        "github" => vec![
            ("x-github-delivery", id.to_owned()),
            ("x-hub-signature-256", format!("sha256={}", hex(&hmac(key, &[&body])))),
        ],
        "stripe" => {
            let signature = hex(&hmac(key, &[&time, ".", &body]));
            vec![("stripe-signature", format!("t={time},v1={signature}"))]
        }
        "shopify" => vec![
            ("x-shopify-webhook-id", id.to_owned()),
            ("x-shopify-hmac-sha256", STANDARD.encode(hmac(key, &[&body]))),
        ],
        "slack" => {
            let signature = hex(&hmac(key, &["v0:", &time, ":", &body]));
            vec![("x-slack-request-timestamp", time), ("x-slack-signature", format!("v0={signature}"))]
        }
        _ => vec![("x-signature", format!("sha256={}", hex(&hmac(key, &[&body]))))],
    };
    Signed { headers, body }
}

impl Signed {
    pub async fn send(&self, account: &Account) -> Answer {
        self.send_to(account, &account.hook("shop")).await
    }

    /// Without any token.
    pub async fn send_to(&self, account: &Account, path: &str) -> Answer {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = Bytes::copy_from_slice(self.body.as_bytes());
        account.api.with_token(None).send_with(Method::POST, path, &headers, body).await
    }

    /// With one more header, or another one in place of what is there.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(own, _)| *own != name);
        self.headers.push((name, value.into()));
        self
    }
}
