//! Published vectors of each scheme, and what must not pass for one of them.

use proptest::prelude::*;

use super::*;
use crate::credential::Secret;

/// A request as its sender has published it.
#[derive(Clone, Debug)]
struct Vector {
    scheme: Scheme,
    secret: &'static str,
    headers: Vec<(&'static str, String)>,
    body: &'static str,
    /// When it was signed, Unix seconds; 0 for schemes without a time.
    signed_s: i64,
}

const STRIPE_BODY: &str = r#"{
  "id": "evt_123",
  "object": "event",
  "account": "acct_123",
  "api_version": "2017-05-25",
  "created": 1533204620,
  "data": {
    "object": {
      "id": "ii_123",
      "object": "invoiceitem",
      "amount": 1000,
      "currency": "usd",
      "customer": "cus_123",
      "date": 1533204620,
      "description": "Test Invoice Item",
      "discountable": false,
      "invoice": "in_123",
      "livemode": false,
      "metadata": {},
      "period": {
        "start": 1533204620,
        "end": 1533204620
      },
      "plan": null,
      "proration": false,
      "quantity": null,
      "subscription": null
    }
  },
  "livemode": false,
  "pending_webhooks": 1,
  "request": {
    "id": "req_123",
    "idempotency_key": "idempotency-key-123"
  },
  "type": "invoiceitem.created"
}
"#;

const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                          &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                          &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554\
                          %2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";

/// The specification's, GitHub's and Slack's documentation, Stripe's library; Shopify publishes none that is complete.
fn vectors() -> Vec<Vector> {
    let standard = |secret, id, time: i64, body, signature: &str| Vector {
        scheme: Scheme::StandardWebhooks,
        secret,
        headers: vec![
            ("webhook-id", String::from(id)),
            ("webhook-timestamp", time.to_string()),
            ("webhook-signature", signature.to_owned()),
        ],
        body,
        signed_s: time,
    };
    let of_body = |scheme, secret, header, signature: &str, body| Vector {
        scheme,
        secret,
        headers: vec![(header, signature.to_owned())],
        body,
        signed_s: 0,
    };
    vec![
        standard(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            r#"{"test": 2432232314}"#,
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
        standard(
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1_731_705_121,
            r#"{"event_type":"ping","data":{"success":true}}"#,
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
        of_body(
            Scheme::Github,
            "It's a Secret to Everybody",
            "x-hub-signature-256",
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
            "Hello, World!",
        ),
        Vector {
            scheme: Scheme::Stripe,
            secret: "webhook_secret",
            headers: vec![(
                "stripe-signature",
                "t=1533204620,v1=f0bdba6d4eacbd8ad8a3bbadd7248e633ec1477f7899c124c51b39405fa36613,\
                 v0=63f3a72374a733066c4be69ed7f8e5ac85c22c9f0a6a612ab9a025a9e4ee7eef"
                    .to_owned(),
            )],
            body: STRIPE_BODY,
            signed_s: 1_533_204_620,
        },
        of_body(
            Scheme::Shopify,
            "test-webhook-secret",
            "x-shopify-hmac-sha256",
            "QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=",
            r#"{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}"#,
        ),
        Vector {
            scheme: Scheme::Slack,
            secret: "8f742231b10e8888abcd99yyyzzz85a5",
            headers: vec![
                ("x-slack-request-timestamp", "1531420618".to_owned()),
                ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503".to_owned()),
            ],
            body: SLACK_BODY,
            signed_s: 1_531_420_618,
        },
        hmac(Algorithm::Sha1, "sha1=", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        hmac(Algorithm::Sha256, "", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        hmac(
            Algorithm::Sha512,
            "v=",
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554\
             9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ]
}

/// Test case 2 of RFC 2202 and RFC 4231.
fn hmac(algorithm: Algorithm, prefix: &str, signature: &str) -> Vector {
    let (header, encoding) = ("x-signature".to_owned(), Encoding::Hex);
    Vector {
        scheme: Scheme::Hmac(HmacScheme { header, algorithm, encoding, prefix: prefix.to_owned() }),
        secret: "Jefe",
        headers: vec![("x-signature", format!("{prefix}{signature}"))],
        body: "what do ya want for nothing?",
        signed_s: 0,
    }
}

impl Vector {
    fn claim_at(&self, now_s: i64) -> Result<Claim, Refusal> {
        let signature = SenderSignature {
            scheme: self.scheme.clone(),
            credentials: vec!["sender".to_owned()],
            tolerance_ms: TOLERANCE_DEFAULT_MS,
        };
        let header = |name: &str| {
            let mut values = self.headers.iter().filter(|(own, _)| *own == name).map(|(_, value)| value.as_bytes());
            match (values.next(), values.next()) {
                (value, None) => Ok(value),
                _ => Err(Refusal::Twice(name.to_owned())),
            }
        };
        signature.claim(header, now_s)
    }

    fn claim(&self) -> Result<Claim, Refusal> {
        self.claim_at(self.signed_s)
    }

    fn key(&self, secret: &str) -> SigningKey {
        SigningKey::new(&self.scheme, &Secret::from(secret.to_owned())).expect("a fit secret")
    }

    fn holds(&self) -> bool {
        self.claim().is_ok_and(|claim| claim.holds(self.body.as_bytes(), &[self.key(self.secret)]))
    }

    fn with(&self, header: &str, value: impl Into<String>) -> Self {
        let mut changed = self.clone();
        let value = value.into();
        changed.headers.iter_mut().filter(|(name, _)| *name == header).for_each(|(_, own)| own.clone_from(&value));
        changed
    }

    /// The header with the signature, and its value.
    fn signature(&self) -> (&'static str, &str) {
        let (name, value) = self.headers.last().expect("each has one");
        (name, value)
    }
}

#[test]
fn published_signatures_hold() {
    for vector in vectors() {
        assert!(vector.holds(), "{:?}", vector.scheme);
    }
}

#[test]
fn nothing_holds_with_another_secret_or_another_body() {
    for vector in vectors() {
        let claim = vector.claim().expect("a claim");
        let (key, other) = (vector.key(vector.secret), vector.key("c29tZWJvZHkgZWxzZQ=="));
        assert!(!claim.holds(vector.body.as_bytes(), std::slice::from_ref(&other)), "{:?}", vector.scheme);
        assert!(!claim.holds(vector.body.as_bytes(), &[]), "{:?}", vector.scheme);
        for body in [format!("{} ", vector.body), vector.body[1..].to_owned(), String::new()] {
            assert!(!claim.holds(body.as_bytes(), &[vector.key(vector.secret)]), "{:?}", vector.scheme);
        }
        // While the secret is changed, either counts.
        assert!(claim.holds(vector.body.as_bytes(), &[other, key]), "{:?}", vector.scheme);
    }
}

#[test]
fn one_of_several_signatures_is_enough() {
    let wrong_hex = "00".repeat(32);
    for vector in vectors() {
        let (header, right) = vector.signature();
        let several = match &vector.scheme {
            Scheme::StandardWebhooks => format!("v1,AAAA v1a,AAAA {right} nonsense"),
            Scheme::Stripe => format!("v1={wrong_hex},{right}"),
            Scheme::Slack => format!("v0={wrong_hex},{right}"),
            Scheme::Github => format!("sha256={wrong_hex}, {right}"),
            Scheme::Shopify => format!("AAAA,{right}"),
            Scheme::Hmac(HmacScheme { prefix, .. }) => format!("{prefix}{wrong_hex}, {right}"),
        };
        assert!(vector.with(header, several).holds(), "{:?}", vector.scheme);
        let many = std::iter::repeat_n(right, 200).collect::<Vec<_>>().join(",");
        assert_eq!(vector.with(header, many).claim(), Err(Refusal::Malformed(header.to_owned())), "far too long");
    }
}

#[test]
fn no_more_than_a_few_signatures_are_looked_at() {
    let vector = hmac(Algorithm::Sha256, "", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    let (header, right) = vector.signature();
    let behind = |count: usize| vector.with(header, format!("{}{right}", "00,".repeat(count)));
    assert!(behind(15).holds());
    assert!(!behind(16).holds());
}

#[test]
fn old_requests_and_those_from_the_future_are_refused() {
    for vector in vectors().into_iter().filter(|vector| vector.scheme.has_time()) {
        let at = |offset: i64| vector.claim_at(vector.signed_s + offset).map(|_| ());
        assert_eq!((at(300), at(-300)), (Ok(()), Ok(())), "{:?}", vector.scheme);
        assert_eq!(at(301), Err(Refusal::TooOld(301)), "{:?}", vector.scheme);
        assert_eq!(at(-301), Err(Refusal::TooEarly(301)), "{:?}", vector.scheme);
        assert!(vector.claim_at(i64::MAX).is_err() && vector.claim_at(i64::MIN).is_err());
    }
}

#[test]
fn a_time_or_an_id_that_was_not_signed_does_not_count() {
    let standard = &vectors()[0];
    assert!(!standard.with("webhook-timestamp", "1614265331").holds());
    assert!(!standard.with("webhook-id", "msg_other").holds());
    let slack = vectors().into_iter().find(|vector| vector.scheme == Scheme::Slack).expect("there is one");
    assert!(!slack.with("x-slack-request-timestamp", "1531420619").holds());
    let stripe = vectors().into_iter().find(|vector| vector.scheme == Scheme::Stripe).expect("there is one");
    let (header, right) = stripe.signature();
    assert!(!stripe.with(header, right.replace("t=1533204620", "t=1533204621")).holds());
    for times in ["t=1533204620,t=1533204621,v1=00", "v1=00", "t=,v1=00", "t=now,v1=00"] {
        assert_eq!(stripe.with(header, times).claim(), Err(Refusal::Malformed(header.to_owned())), "{times}");
    }
}

#[test]
fn parts_that_are_joined_cannot_be_split_anew() {
    // Of the id `a`, the time 1 and the body `2.3`, somebody makes the id `a.1`, the time 2 and the body `3`.
    let vector = vectors()[0].with("webhook-id", "msg.1");
    assert_eq!(vector.claim(), Err(Refusal::Malformed("webhook-id".to_owned())));
    assert_eq!(vectors()[0].with("webhook-id", "").claim(), Err(Refusal::Malformed("webhook-id".to_owned())));
}

#[test]
fn an_id_with_blanks_around_it_is_not_taken_for_the_same_id() {
    // Two spellings of a signed id would be two keys, and the same event two events.
    let vector = &vectors()[0];
    let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    for blank in ["\u{a0}", "\u{85}", "\u{2003}", "\u{3000}", "\u{feff}", " ", "\t", "\r", "\u{b}", "\0", "\u{7f}"] {
        for spelling in [format!("{id}{blank}"), format!("{blank}{id}"), format!("{blank}{id}{blank}")] {
            let claim = vector.with("webhook-id", spelling.as_str()).claim();
            assert_eq!(claim, Err(Refusal::Malformed("webhook-id".to_owned())), "{spelling:?}");
        }
    }
}

#[test]
fn a_header_that_is_missing_or_twice_or_cut_off_is_refused() {
    for vector in vectors() {
        for (name, value) in &vector.headers {
            let mut without = vector.clone();
            without.headers.retain(|(own, _)| own != name);
            assert_eq!(without.claim(), Err(Refusal::Missing((*name).to_owned())), "{:?}", vector.scheme);
            let mut twice = vector.clone();
            twice.headers.push((name, value.clone()));
            assert_eq!(twice.claim(), Err(Refusal::Twice((*name).to_owned())), "{:?}", vector.scheme);
        }
        let (name, value) = vector.signature();
        let at = value.find(",v0=").unwrap_or(value.len());
        for end in 0..at {
            // Without padding it is the same text.
            let is_whole = value[end..at].bytes().all(|byte| byte == b'=');
            assert!(is_whole || !vector.with(name, &value[..end]).holds(), "{:?}: {}", vector.scheme, &value[..end]);
        }
    }
}

#[test]
fn a_secret_that_is_none_of_its_scheme_is_no_key() {
    let key = |scheme: &Scheme, text: &str| SigningKey::new(scheme, &Secret::from(text.to_owned())).err();
    assert_eq!(key(&Scheme::StandardWebhooks, "whsec_not base64"), Some(UnfitKey::NoBase64));
    assert_eq!(key(&Scheme::StandardWebhooks, "whsec_"), Some(UnfitKey::Empty));
    assert_eq!(key(&Scheme::StandardWebhooks, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), None, "without its prefix");
    assert_eq!(key(&Scheme::Github, ""), Some(UnfitKey::Empty));
    let shown = format!("{:?}", SigningKey::new(&Scheme::Github, &Secret::from("correct horse".to_owned())));
    assert_eq!(shown, "Ok(SigningKey(…))");
}

fn schemes() -> impl Strategy<Value = Vector> {
    (0..vectors().len()).prop_map(|index| vectors().swap_remove(index))
}

proptest! {
    #[test]
    fn whatever_headers_say_nothing_panics_and_nothing_holds(
        vector in schemes(),
        values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 3),
        body in prop::collection::vec(any::<u8>(), 0..200),
        now_s in any::<i64>(),
    ) {
        let signature =
            SenderSignature { scheme: vector.scheme.clone(), credentials: Vec::new(), tolerance_ms: u64::MAX };
        let names: Vec<&str> = vector.headers.iter().map(|(name, _)| *name).collect();
        let header = |name: &str| Ok(names.iter().position(|own| *own == name).map(|at| values[at].as_slice()));
        if let Ok(claim) = signature.claim(header, now_s) {
            prop_assert!(!claim.holds(&body, &[vector.key(vector.secret)]));
        }
    }

    #[test]
    fn one_changed_byte_of_a_header_or_of_the_body_is_enough(
        vector in schemes(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        is_body in any::<bool>(),
    ) {
        let (name, value) = vector.signature();
        let text = if is_body { vector.body } else { value };
        let mut changed = text.as_bytes().to_vec();
        let at = at.index(changed.len());
        // The same text in the other case, another kind of signature, and what pads it are not signed.
        let is_same = changed[at].eq_ignore_ascii_case(&byte) && !is_body;
        let is_unsigned = !is_body && (text.find(",v0=").is_some_and(|end| at >= end) || changed[at] == b'=' || byte == b'=');
        prop_assume!(!is_same && !is_unsigned && changed[at] != byte);
        changed[at] = byte;
        if is_body {
            let claim = vector.claim().expect("a claim");
            prop_assert!(!claim.holds(&changed, &[vector.key(vector.secret)]));
        } else if let Ok(changed) = String::from_utf8(changed) {
            // The last letter before the padding holds bits that stand for nothing.
            let is_last = value.trim_end_matches('=').len() == at + 1 && value.ends_with('=');
            prop_assert!(is_last || !vector.with(name, changed).holds());
        }
    }
}
