//! The grants of a node, as a manifest writes them.

use super::{
    check_count,
    document::{Item, ItemKind},
    reader::Faults,
};
use crate::grant::{
    CREDENTIALS_MAX, CredentialGrant, Grants, HeaderTemplate, HttpGrant, Origin, RecordsGrant, StorageGrant,
};

/// Grants of one kind of one node.
const GRANTS_MAX: usize = 64;

pub(super) fn read(faults: &mut Faults, item: &Item) -> Grants {
    let fields = faults.fields(item, &["http", "storage", "records", "emit", "credential", "secret"]);
    let http: Vec<HttpGrant> = fields.optional("http").map(|item| read_list(faults, item)).unwrap_or_default();
    let grants = Grants {
        storage: fields.optional("storage").map(|item| read_list::<StorageGrant>(faults, item)).unwrap_or_default(),
        records: fields.optional("records").map(|item| read_list::<RecordsGrant>(faults, item)).unwrap_or_default(),
        emit: fields.optional("emit").map(|item| read_list(faults, item)).unwrap_or_default(),
        credential: fields.optional("credential").map(|item| read_credentials(faults, item, &http)).unwrap_or_default(),
        secret: fields.optional("secret").map(|item| read_secrets(faults, item)).unwrap_or_default(),
        http,
    };
    let credentials = grants.credential_names().len();
    if credentials > CREDENTIALS_MAX {
        let fault = item
            .place
            .fault(format!("the node is granted {credentials} credentials, at most {CREDENTIALS_MAX} are allowed"));
        faults.push(fault.fix("share the work out among several nodes"));
    }
    grants
}

fn read_list<G>(faults: &mut Faults, item: &Item) -> Vec<G>
where
    G: std::str::FromStr,
    G::Err: std::fmt::Display,
{
    let items = faults.list(item);
    check_count(faults, item, items.len(), GRANTS_MAX, "grants");
    items.iter().take(GRANTS_MAX).filter_map(|item| faults.parsed(item)).collect()
}

/// Credentials whose text the node may read, by name.
fn read_secrets(faults: &mut Faults, item: &Item) -> Vec<String> {
    let names: Vec<String> = match &item.kind {
        ItemKind::Text(name) => vec![name.clone()],
        _ => read_list(faults, item),
    };
    for name in &names {
        faults.name(name, &item.place, "credential");
    }
    names
}

/// One credential or several.
fn read_credentials(faults: &mut Faults, item: &Item, http: &[HttpGrant]) -> Vec<CredentialGrant> {
    let items = match &item.kind {
        ItemKind::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    check_count(faults, item, items.len(), GRANTS_MAX, "grants");
    let mut grants: Vec<CredentialGrant> = Vec::new();
    for item in items.iter().take(GRANTS_MAX) {
        let Some(grant) = read_credential(faults, item, http) else { continue };
        if !http.iter().any(|granted| grant.is_reached_by(granted)) {
            let fault = item
                .place
                .fault(format!("no request that this node is granted could carry credential `{}`", grant.name));
            faults.push(fault.fix("grant requests to its host in `http`, or leave the credential out"));
        }
        if let Some(other) = grants.iter().find(|other| other.collides_with(&grant)) {
            let (name, header) = (&grant.name, grant.header_name());
            let fault = item
                .place
                .fault(format!("credentials `{}` and `{name}` would both set the header `{header}`", other.name));
            faults.push(fault.fix("give each a host or a header of its own"));
        }
        grants.push(grant);
    }
    grants
}

/// A name, then everything else follows from the node's HTTP grants; or a table.
fn read_credential(faults: &mut Faults, item: &Item, http: &[HttpGrant]) -> Option<CredentialGrant> {
    if let ItemKind::Text(name) = &item.kind {
        faults.name(name, &item.place, "credential");
        let origin = only_origin(faults, item, http)?;
        return Some(CredentialGrant::new(name.clone(), origin, HeaderTemplate::default()));
    }
    let fields = faults.fields(item, &["name", "host", "header"]);
    let name_item = fields.required(faults, "name", "add `name = \"…\"`, a credential of the project");
    let name = name_item.and_then(|item| faults.text(item));
    if let (Some(item), Some(name)) = (name_item, &name) {
        faults.name(name, &item.place, "credential");
    }
    let origin = match fields.optional("host") {
        Some(host) => faults.parsed::<Origin>(host),
        None => only_origin(faults, item, http),
    };
    let header = match fields.optional("header") {
        Some(header) => faults.parsed::<HeaderTemplate>(header),
        None => Some(HeaderTemplate::default()),
    };
    Some(CredentialGrant::new(name?, origin?, header?))
}

/// Where the credential goes if nobody says so: to the one host that the node may reach, and encrypted.
fn only_origin(faults: &mut Faults, item: &Item, http: &[HttpGrant]) -> Option<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    for origin in http.iter().map(HttpGrant::origin) {
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    match origins.as_slice() {
        [origin] if origin.is_encrypted() => return Some(origin.clone()),
        [origin] => {
            let fault = item.place.fault("the credential would go out unencrypted");
            faults.push(fault.fix(format!("grant https, or say that it is meant: `host = \"{origin}\"`")));
        }
        _ => {
            let fault = item
                .place
                .fault(format!("the node may reach {} hosts; which of them is the credential for?", origins.len()));
            faults.push(fault.fix("write `{ name = \"…\", host = \"api.example.com\" }`"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::document;

    fn check(grants: &str, expected: Result<&str, &str>) {
        let document = document::from_toml(&format!("grants = {grants}")).expect("TOML");
        let mut faults = Faults::default();
        let read = read(&mut faults, document.find("/grants").expect("there"));
        let faults = faults.into_vec();
        match expected {
            Ok(json) => {
                assert!(faults.is_empty(), "{grants}: {faults:?}");
                assert_eq!(serde_json::to_string(&read.credential).expect("plain"), json, "{grants}");
            }
            Err(text) => assert!(faults.iter().any(|fault| fault.to_string().contains(text)), "{grants}: {faults:?}"),
        }
    }

    #[test]
    fn a_bare_name_is_for_the_one_host_that_the_node_may_reach() {
        check(
            r#"{ http = ["GET https://api.example.com/a/*", "POST https://api.example.com/b"], credential = "key" }"#,
            Ok(r#"[{"name":"key","host":"api.example.com","header":"authorization: Bearer {secret}"}]"#),
        );
        check(
            r#"{ http = ["GET https://a.example.com/*", "GET https://b.example.com/*"], credential = "key" }"#,
            Err("2 hosts"),
        );
        check(r#"{ credential = "key" }"#, Err("0 hosts"));
        check(r#"{ http = ["GET http://a.example.com/*"], credential = "key" }"#, Err("unencrypted"));
    }

    #[test]
    fn a_table_says_host_and_header() {
        check(
            r#"{ http = ["GET https://*.example.com/*"], credential = [{ name = "key", host = "a.example.com", header = "X-Key: {secret}" }] }"#,
            Ok(r#"[{"name":"key","host":"a.example.com","header":"x-key: {secret}"}]"#),
        );
        check(
            r#"{ http = ["GET http://127.0.0.1:8080/*"], credential = { name = "key", host = "http://127.0.0.1:8080" } }"#,
            Ok(r#"[{"name":"key","host":"http://127.0.0.1:8080","header":"authorization: Bearer {secret}"}]"#),
        );
        check(
            r#"{ http = ["GET https://a.example.com/*"], credential = { host = "a.example.com" } }"#,
            Err("`name` is missing"),
        );
    }

    #[test]
    fn credentials_that_cannot_be_meant_are_faults() {
        let http = r#"http = ["GET https://a.example.com/*"]"#;
        check(
            &format!(r#"{{ {http}, credential = {{ name = "key", host = "b.example.com" }} }}"#),
            Err("could carry credential `key`"),
        );
        check(
            &format!(r#"{{ {http}, credential = ["one", "two"] }}"#),
            Err("`one` and `two` would both set the header"),
        );
        check(&format!(r#"{{ {http}, credential = "a b" }}"#), Err("credential name `a b`"));
        check(
            &format!(r#"{{ {http}, credential = {{ name = "key", header = "host: {{secret}}" }} }}"#),
            Err("`host` is the host's"),
        );
        check(r#"{ secret = ["a b"] }"#, Err("credential name `a b`"));
        check(r#"{ secret = 3 }"#, Err("expected an array"));
    }

    #[test]
    fn a_node_is_granted_no_more_credentials_than_can_be_kept_out_of_its_outputs() {
        let http = r#"http = ["GET https://a.example.com/*"], credential = "key-0""#;
        let secrets = |count: usize| (0..count).map(|number| format!("\"key-{number}\"")).collect::<Vec<_>>().join(",");
        let key = r#"[{"name":"key-0","host":"a.example.com","header":"authorization: Bearer {secret}"}]"#;
        check(&format!("{{ {http}, secret = [{}] }}", secrets(CREDENTIALS_MAX)), Ok(key));
        check(&format!("{{ {http}, secret = [{}] }}", secrets(CREDENTIALS_MAX + 1)), Err("granted 33 credentials"));
    }
}
