//! Credentials that the host adds to a request: after it has passed all checks, for their own host alone, and in place of
//! whatever the guest has put there.
//!
//! A redirect is a new request of the guest, which gets what its own host is to get.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use trellis_model::grant::{CredentialGrant, Grants};
use url::Url;

use super::outbound::SendError;
use crate::secrets::Secrets;

/// What one call may have added to its requests.
pub(crate) struct Injection {
    grants: Arc<Grants>,
    secrets: Arc<Secrets>,
}

impl Injection {
    pub fn new(grants: Arc<Grants>, secrets: Arc<Secrets>) -> Self {
        Self { grants, secrets }
    }

    /// Adds the credentials that a request to this URL is to carry.
    ///
    /// # Errors
    /// One of them is not there, or fits into no header; the message names it, and shows nothing of it.
    pub fn add(&self, url: &Url, headers: &mut HeaderMap) -> Result<(), SendError> {
        for grant in self.grants.credential.iter().filter(|grant| grant.covers(url)) {
            let (name, value) = self.header(grant)?;
            headers.insert(name, value);
        }
        Ok(())
    }

    fn header(&self, grant: &CredentialGrant) -> Result<(HeaderName, HeaderValue), SendError> {
        let name = &grant.name;
        let secret = self.secrets.get(name).ok_or_else(|| {
            SendError::Denied(format!("credential `{name}` is not there; set it with `trellis credential set {name}`"))
        })?;
        let unfit = || {
            SendError::Invalid(format!(
                "credential `{name}` has characters that no header can carry, such as a line break"
            ))
        };
        let mut value = HeaderValue::try_from(grant.header_value(secret).as_str()).map_err(|_| unfit())?;
        // Kept out of the compression tables of HTTP/2, and out of debug output.
        value.set_sensitive(true);
        let header = HeaderName::try_from(grant.header_name()).expect("the grant was read as a header's name");
        Ok((header, value))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use http::header;
    use trellis_model::credential::Secret;

    use super::*;

    fn injection(secret: &str) -> Injection {
        let grant =
            serde_json::json!({ "name": "key", "host": "api.example.com", "header": "authorization: Bearer {secret}" });
        let credential = vec![serde_json::from_value(grant).expect("a grant")];
        let secrets = BTreeMap::from([("key".to_owned(), Secret::from(secret.to_owned()))]);
        Injection::new(Arc::new(Grants { credential, ..Grants::default() }), Arc::new(Secrets::new(secrets)))
    }

    fn headers(injection: &Injection, url: &str) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("mine"))]);
        injection.add(&url.parse().expect("a URL"), &mut headers).expect("added");
        headers
    }

    #[test]
    fn a_credential_replaces_what_the_guest_has_put_there() {
        let headers = headers(&injection("s3cret-text"), "https://api.example.com/a");
        let values: Vec<_> = headers.get_all(header::AUTHORIZATION).iter().collect();
        assert_eq!(values, ["Bearer s3cret-text"]);
        assert!(!format!("{headers:?}").contains("s3cret"), "{headers:?}");
    }

    #[test]
    fn another_host_gets_none() {
        for url in [
            "https://example.com/",
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.net/",
        ] {
            assert_eq!(headers(&injection("s3cret-text"), url)[header::AUTHORIZATION], "mine", "{url}");
        }
    }

    #[test]
    fn a_credential_that_fits_into_no_header_is_named_and_not_shown() {
        let url = "https://api.example.com/".parse().expect("a URL");
        for secret in ["line\nbreak", "s3cret\rtext"] {
            let refused = injection(secret).add(&url, &mut HeaderMap::new()).expect_err("refused").to_string();
            assert!(refused.contains("credential `key`") && !refused.contains(secret), "{refused}");
        }
    }
}
