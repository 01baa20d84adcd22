//! Pulling from registries that want a token, lie about what they have, or never end.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode as Status},
    response::{IntoResponse, Response as Answer},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;

/// What a registry of a test answers with.
struct Registry {
    manifest: Value,
    component: Vec<u8>,
    /// Some: nobody without this token is let in.
    token: Option<&'static str>,
    /// As what it gives its token out.
    token_names: &'static [&'static str],
    base: String,
}

impl Registry {
    fn open(manifest: Value, component: Vec<u8>, base: String) -> Self {
        Self { manifest, component, token: None, token_names: &["token"], base }
    }
}

fn manifest(component: &[u8], media_type: &str) -> Value {
    let digest = format!("sha256:{}", hexadecimal(component));
    json!({
        "schemaVersion": 2,
        "layers": [{ "mediaType": media_type, "digest": digest, "size": component.len(), "urls": ["http://127.0.0.1:1/"] }],
    })
}

async fn answer(State(registry): State<Arc<Registry>>, Path(path): Path<String>, headers: HeaderMap) -> Answer {
    if let Some(token) = registry.token
        && headers.get("authorization").is_none_or(|given| given.as_bytes() != format!("Bearer {token}").as_bytes())
    {
        let challenge = format!("Bearer realm=\"{}/token\",service=\"test\"", registry.base);
        return (Status::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    if path == "acme/split/manifests/1.0.0" || path.starts_with("acme/split/manifests/sha256:") {
        registry.manifest.to_string().into_response()
    } else if path.starts_with("acme/split/blobs/") {
        registry.component.clone().into_response()
    } else if path == "acme/endless/manifests/1.0.0" {
        let piece = || Some(Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 65_536])));
        Body::from_stream(futures_util::stream::iter(std::iter::from_fn(piece))).into_response()
    } else {
        Status::NOT_FOUND.into_response()
    }
}

async fn token(State(registry): State<Arc<Registry>>, headers: HeaderMap) -> Answer {
    // `user:secret`
    match headers.get("authorization").map(HeaderValue::as_bytes) {
        Some(b"Basic dXNlcjpzZWNyZXQ=") => {
            let answer: serde_json::Map<String, Value> =
                registry.token_names.iter().map(|name| ((*name).to_owned(), json!(registry.token))).collect();
            Json(answer).into_response()
        }
        _ => Status::UNAUTHORIZED.into_response(),
    }
}

/// Where it listens.
async fn serve(make: impl FnOnce(String) -> Registry) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("it listens").to_string();
    let registry = Arc::new(make(format!("http://{host}")));
    let router = Router::new();
    let router = router.route("/v2/{*path}", get(answer)).route("/token", get(token)).with_state(registry);
    tokio::spawn(async move { axum::serve(listener, router).await });
    host
}

fn options(bytes_max: usize) -> PullOptions {
    PullOptions { bytes_max, is_insecure: false, login: None }
}

async fn pulled(reference: &str, options: &PullOptions) -> Result<(Pulled, Vec<(u64, u64)>), PullError> {
    let mut heard = Vec::new();
    let reference = reference.parse().expect("a reference");
    let pulled = pull(&reference, options, &mut |so_far, total| heard.push((so_far, total))).await?;
    Ok((pulled, heard))
}

#[tokio::test]
async fn a_component_is_pulled_and_told_by_its_digests() {
    let component = b"a component, as far as a registry cares".to_vec();
    let manifest = manifest(&component, "application/wasm");
    let (expected, digest) = (component.clone(), hexadecimal(manifest.to_string().as_bytes()));
    let host = serve(|base| Registry::open(manifest, component, base)).await;
    let (found, heard) = pulled(&format!("oci://{host}/acme/split:1.0.0"), &options(1_000)).await.expect("it is there");
    assert_eq!((found.component, &found.manifest_digest), (Bytes::from(expected), &digest));
    assert_eq!(heard.last(), Some(&(39, 39)));
    pulled(&format!("oci://{host}/acme/split@sha256:{digest}"), &options(1_000)).await.expect("by its digest");

    let other = format!("oci://{host}/acme/split@sha256:{}", "0".repeat(64));
    let refused = pulled(&other, &options(1_000)).await.expect_err("other bytes");
    assert!(matches!(refused, PullError::Digest { what: "the manifest", .. }), "{refused}");
    let refused = pulled(&format!("oci://{host}/acme/none:1.0.0"), &options(1_000)).await.expect_err("not there");
    assert!(matches!(refused, PullError::NotFound(_)), "{refused}");
    let refused = pulled(&format!("oci://{host}/acme/split:1.0.0"), &options(38)).await.expect_err("too large");
    assert!(refused.to_string().contains("--max-size"), "{refused}");
}

#[tokio::test]
async fn a_registry_that_lies_is_found_out() {
    let component = b"what was promised".to_vec();
    let kinds = manifest(&component, "application/vnd.oci.image.layer.v1.tar+gzip");
    let host = serve(|base| Registry::open(kinds, component, base)).await;
    let refused = pulled(&format!("oci://{host}/acme/split:1.0.0"), &options(1_000)).await.expect_err("a container");
    assert!(refused.to_string().contains("tar+gzip"), "{refused}");
    let refused = pulled(&format!("oci://{host}/acme/endless:1.0.0"), &options(1_000)).await.expect_err("endless");
    assert!(matches!(refused, PullError::TooLarge { what: "a manifest", .. }), "{refused}");

    for component in [&b"something else...."[..], b"something that is longer than was promised"] {
        let promised = manifest(b"what was promised!", "application/wasm");
        let host = serve(|base| Registry::open(promised, component.to_vec(), base)).await;
        let refused =
            pulled(&format!("oci://{host}/acme/split:1.0.0"), &options(1_000)).await.expect_err("other bytes");
        let is_found_out =
            matches!(refused, PullError::Digest { what: "the component", .. } | PullError::TooLarge { .. });
        assert!(is_found_out, "{refused}");
    }
}

#[tokio::test]
async fn what_a_registry_says_is_told_shortened() {
    let long = "x".repeat(100_000);
    let manifest = manifest(b"", &long);
    let host = serve(|base| Registry::open(manifest, Vec::new(), base)).await;
    let refused = pulled(&format!("oci://{host}/acme/split:1.0.0"), &options(1_000)).await.expect_err("no component");
    assert!(refused.to_string().len() < 1_000, "{} bytes", refused.to_string().len());
}

/// Docker Hub and others give the same token under both names.
#[tokio::test]
async fn a_registry_that_wants_a_token_is_given_one_for_the_login() {
    for token_names in [&["token"][..], &["access_token"], &["token", "access_token"]] {
        let component = b"private".to_vec();
        let manifest = manifest(&component, "application/wasm");
        let private =
            |base| Registry { token: Some("let-me-in"), token_names, ..Registry::open(manifest, component, base) };
        let reference = format!("oci://{}/acme/split:1.0.0", serve(private).await);
        let refused = pulled(&reference, &options(1_000)).await.expect_err("nobody");
        assert!(refused.to_string().contains("--username"), "{refused}");
        let login = Login { username: "user".to_owned(), password: zeroize::Zeroizing::new("secret".to_owned()) };
        let with_login = PullOptions { login: Some(login), ..options(1_000) };
        pulled(&reference, &with_login).await.unwrap_or_else(|error| panic!("{token_names:?}: {error}"));
    }
}

#[tokio::test]
async fn a_registry_elsewhere_does_not_lead_to_this_machine() {
    let reference: Reference = "oci://registry.example.com/acme/split:1.0.0".parse().expect("a reference");
    let options = options(1);
    let mut session = Session::new(&reference, &options).expect("a client");
    for realm in ["http://127.0.0.1:9/token", "https://localhost/token", "http://[::1]:9/token"] {
        let challenge = HeaderValue::try_from(format!("Bearer realm=\"{realm}\"")).expect("a header");
        let headers = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, challenge)]);
        let refused = session.log_in(&headers).await.expect_err(realm);
        assert!(matches!(refused, PullError::LeadsHere { .. }), "{realm}: {refused}");
    }
}

#[tokio::test]
async fn plain_http_stays_on_this_machine_unless_it_is_allowed() {
    let reference: Reference = "oci://registry.example.com/acme/split:1.0.0".parse().expect("a reference");
    let base = |is_insecure| {
        let options = PullOptions { is_insecure, ..options(1) };
        Session::new(&reference, &options).expect("a client").base.to_string()
    };
    assert_eq!(base(false), "https://registry.example.com/v2/");
    assert_eq!(base(true), "http://registry.example.com/v2/");
    let here: Reference = "oci://localhost:5000/acme/split:1.0.0".parse().expect("a reference");
    assert_eq!(Session::new(&here, &options(1)).expect("a client").base.as_str(), "http://localhost:5000/v2/");
}
