//! Which headers of a request are the guest's to set.
//!
//! Those about the connection are not, nor is the host, nor the length of a body that is not as long as it says: a server
//! would take the next request on the connection for the rest of it.

use http::{HeaderMap, HeaderName, header};

use super::outbound::OutboundBody;

/// Headers that are about one connection, not about the message, and `Host`, which must be the host that was checked.
const STRIPPED: [HeaderName; 12] = [
    header::CONNECTION,
    header::EXPECT,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Takes out what is not the guest's to set, and what it names in `Connection`.
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in STRIPPED.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Leaves a length only where the body that follows is held to it while it is sent.
pub(super) fn settle_length(headers: &mut HeaderMap, body: &OutboundBody) {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let is_one_number = match (lengths.next(), lengths.next()) {
        (Some(length), None) => length.as_bytes().iter().all(u8::is_ascii_digit),
        _ => false,
    };
    if !(is_one_number && matches!(body, OutboundBody::Stream(_))) {
        headers.remove(header::CONTENT_LENGTH);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http_body_util::{BodyExt as _, Empty};

    use super::*;

    fn stream() -> OutboundBody {
        OutboundBody::Stream(Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    fn kept(lengths: &[&'static str], body: &OutboundBody) -> usize {
        let mut headers = HeaderMap::new();
        for length in lengths {
            headers.append(header::CONTENT_LENGTH, HeaderValue::from_static(length));
        }
        settle_length(&mut headers, body);
        headers.len()
    }

    #[test]
    fn a_length_stays_only_where_the_body_is_held_to_it() {
        assert_eq!(kept(&["5"], &stream()), 1);
        assert_eq!(kept(&["5"], &OutboundBody::Empty), 0);
        assert_eq!(kept(&["5"], &OutboundBody::Full("abc".into())), 0);
        assert_eq!(kept(&["5", "6"], &stream()), 0);
        assert_eq!(kept(&["5, 5"], &stream()), 0);
        assert_eq!(kept(&["+5"], &stream()), 0);
    }
}
