//! What the headers of a request claim, scheme by scheme; and whether it holds.

use subtle::{Choice, ConstantTimeEq as _};

use super::{
    Algorithm, Encoding, HmacScheme, Refusal, Scheme, SenderSignature, SigningKey,
    text::{decode, unix_seconds},
};

/// Longest header that is looked at, in bytes: room for a dozen signatures.
const HEADER_BYTES_MAX: usize = 4_096;
/// Signatures in one header at most, so that nobody can have thousands compared.
const SIGNATURES_MAX: usize = 16;

/// Somebody says to have signed this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    algorithm: Algorithm,
    /// Signed in front of the body.
    preamble: Vec<u8>,
    /// Any of them may be the one: while a secret is changed, senders sign with both.
    signatures: Vec<Vec<u8>>,
}

impl SenderSignature {
    /// Reads the headers, without the body. `header` gives one by its name in lower case, `now_s` is Unix seconds.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn claim<'h>(
        &self,
        header: impl Fn(&str) -> Result<Option<&'h [u8]>, Refusal>,
        now_s: i64,
    ) -> Result<Claim, Refusal> {
        let headers = Headers(header);
        let claim = match &self.scheme {
            Scheme::StandardWebhooks => self.standard(&headers, now_s)?,
            Scheme::Stripe => self.stripe(&headers, now_s)?,
            Scheme::Slack => self.slack(&headers, now_s)?,
            Scheme::Github => of_body(&headers, "x-hub-signature-256", "sha256=", Encoding::Hex)?,
            Scheme::Shopify => of_body(&headers, "x-shopify-hmac-sha256", "", Encoding::Base64)?,
            Scheme::Hmac(scheme) => plain(&headers, scheme)?,
        };
        Ok(claim)
    }

    fn standard<'h, H: Lookup<'h>>(&self, headers: &Headers<H>, now_s: i64) -> Result<Claim, Refusal> {
        const ID: &str = "webhook-id";
        const TIME: &str = "webhook-timestamp";
        const SIGNATURE: &str = "webhook-signature";
        let (id, time) = (headers.text(ID)?, headers.text(TIME)?);
        // The parts are joined by full stops: with one inside, the same signature would be good for another id and time.
        // What is signed is also the key by which a repeated event is known, byte by byte: nothing is left out of it.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.') {
            return Err(Refusal::Malformed(ID.to_owned()));
        }
        self.check_time(TIME, time, now_s)?;
        let entries = headers.text(SIGNATURE)?.split(' ');
        let own = entries.filter_map(|entry| entry.strip_prefix("v1,"));
        claim(SIGNATURE, format!("{id}.{time}."), Algorithm::Sha256, Encoding::Base64, own)
    }

    fn stripe<'h, H: Lookup<'h>>(&self, headers: &Headers<H>, now_s: i64) -> Result<Claim, Refusal> {
        const SIGNATURE: &str = "stripe-signature";
        let entries = || headers.text(SIGNATURE).map(|text| text.split(',').map(str::trim));
        let mut times = entries()?.filter_map(|entry| entry.strip_prefix("t="));
        let (Some(time), None) = (times.next(), times.next()) else {
            return Err(Refusal::Malformed(SIGNATURE.to_owned()));
        };
        self.check_time(SIGNATURE, time, now_s)?;
        let own = entries()?.filter_map(|entry| entry.strip_prefix("v1="));
        claim(SIGNATURE, format!("{time}."), Algorithm::Sha256, Encoding::Hex, own)
    }

    fn slack<'h, H: Lookup<'h>>(&self, headers: &Headers<H>, now_s: i64) -> Result<Claim, Refusal> {
        const TIME: &str = "x-slack-request-timestamp";
        const SIGNATURE: &str = "x-slack-signature";
        let time = headers.text(TIME)?;
        self.check_time(TIME, time, now_s)?;
        let own = headers.text(SIGNATURE)?.split(',').filter_map(|entry| entry.trim().strip_prefix("v0="));
        claim(SIGNATURE, format!("v0:{time}:"), Algorithm::Sha256, Encoding::Hex, own)
    }

    fn check_time(&self, header: &str, time: &str, now_s: i64) -> Result<(), Refusal> {
        let time_s = unix_seconds(time).ok_or_else(|| Refusal::Malformed(header.to_owned()))?;
        let tolerance_s = i64::try_from(self.tolerance_ms / 1_000).unwrap_or(i64::MAX);
        match now_s.saturating_sub(time_s) {
            age_s if age_s > tolerance_s => Err(Refusal::TooOld(age_s)),
            age_s if age_s < -tolerance_s => Err(Refusal::TooEarly(age_s.saturating_neg())),
            _ => Ok(()),
        }
    }
}

impl Claim {
    /// Whether one of the signatures is that of one of the keys over the body. Takes as long for a wrong one as for a right
    /// one.
    pub fn holds(&self, body: &[u8], keys: &[SigningKey]) -> bool {
        let mut holds = Choice::from(0);
        for key in keys {
            let own = key.sign(self.algorithm, [&self.preamble, body]);
            for claimed in &self.signatures {
                holds |= own.ct_eq(claimed);
            }
        }
        holds.into()
    }
}

trait Lookup<'h>: Fn(&str) -> Result<Option<&'h [u8]>, Refusal> {}

impl<'h, F: Fn(&str) -> Result<Option<&'h [u8]>, Refusal>> Lookup<'h> for F {}

/// The headers of a request.
struct Headers<H>(H);

impl<'h, H: Lookup<'h>> Headers<H> {
    /// One that must be there, once, of a sensible length, of visible ASCII and blanks. As it came: whoever else reads it,
    /// reads the same.
    fn text(&self, name: &str) -> Result<&'h str, Refusal> {
        let value = (self.0)(name)?.ok_or_else(|| Refusal::Missing(name.to_owned()))?;
        let is_plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let plain = Some(value).filter(|value| value.len() <= HEADER_BYTES_MAX && value.iter().all(is_plain));
        plain.and_then(|plain| std::str::from_utf8(plain).ok()).ok_or_else(|| Refusal::Malformed(name.to_owned()))
    }
}

/// A claim with those of the signatures that can be read; one that cannot is none.
fn claim<'t>(
    header: &str,
    preamble: String,
    algorithm: Algorithm,
    encoding: Encoding,
    signatures: impl Iterator<Item = &'t str>,
) -> Result<Claim, Refusal> {
    let signatures: Vec<Vec<u8>> = signatures
        .take(SIGNATURES_MAX)
        .filter_map(|text| decode(encoding, text))
        .filter(|own| !own.is_empty())
        .collect();
    if signatures.is_empty() {
        return Err(Refusal::Malformed(header.to_owned()));
    }
    Ok(Claim { algorithm, preamble: preamble.into_bytes(), signatures })
}

/// A signature of the body alone.
fn of_body<'h, H: Lookup<'h>>(
    headers: &Headers<H>,
    header: &str,
    prefix: &str,
    encoding: Encoding,
) -> Result<Claim, Refusal> {
    listed(headers, header, prefix, Algorithm::Sha256, encoding)
}

fn plain<'h, H: Lookup<'h>>(headers: &Headers<H>, scheme: &HmacScheme) -> Result<Claim, Refusal> {
    listed(headers, &scheme.header, &scheme.prefix, scheme.algorithm, scheme.encoding)
}

/// One signature or several, with commas between them.
fn listed<'h, H: Lookup<'h>>(
    headers: &Headers<H>,
    header: &str,
    prefix: &str,
    algorithm: Algorithm,
    encoding: Encoding,
) -> Result<Claim, Refusal> {
    let own = headers.text(header)?.split(',').filter_map(|entry| entry.trim().strip_prefix(prefix));
    claim(header, String::new(), algorithm, encoding, own)
}
