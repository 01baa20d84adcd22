//! `auth` of a trigger: whose requests it takes.

use super::{
    TriggerAuth,
    document::{Item, ItemKind},
    reader::{Faults, Fields},
};
use crate::signature::{
    Algorithm, CREDENTIALS_MAX, Encoding, HmacScheme, Scheme, SenderSignature, TOLERANCE_DEFAULT_MS,
};

/// A tolerance that no clock and no way keep to would refuse everybody.
const TOLERANCE_MS_MIN: u64 = 1_000;
/// Beyond it keys of events are forgotten before the request is too old to be repeated.
const TOLERANCE_MS_MAX: u64 = 3_600_000;
/// Bytes of the name of a header, and of what stands before a signature in it.
const HEADER_BYTES_MAX: usize = 128;

/// Keys that only a plain HMAC has.
const OF_HMAC: [&str; 4] = ["header", "algorithm", "encoding", "prefix"];

pub(super) fn read(faults: &mut Faults, item: &Item) -> Option<TriggerAuth> {
    match &item.kind {
        ItemKind::Text(word) if scheme_words().any(|scheme| scheme == word) => {
            let fault = item.place.fault(format!("the scheme `{word}` needs a secret to check signatures with"));
            let fix = format!("write `auth = {{ scheme = \"{word}\", credential = \"…\" }}`, the name of a credential");
            faults.push(fault.fix(fix));
            None
        }
        ItemKind::Table(_) => read_signature(faults, item).map(TriggerAuth::Signature),
        _ => faults.text(item).is_some().then(|| read_word(faults, item)).flatten(),
    }
}

fn read_word(faults: &mut Faults, item: &Item) -> Option<TriggerAuth> {
    faults.word(item, &[("token", true), ("none", false)]).map(|is_token| match is_token {
        true => TriggerAuth::Token,
        false => TriggerAuth::None,
    })
}

fn scheme_words() -> impl Iterator<Item = &'static str> {
    Scheme::PRESETS.into_iter().map(|(word, _)| word).chain([Scheme::HMAC])
}

fn read_signature(faults: &mut Faults, item: &Item) -> Option<SenderSignature> {
    let fields =
        faults.fields(item, &["scheme", "credential", "tolerance", "header", "algorithm", "encoding", "prefix"]);
    let credentials = fields.required(faults, "credential", "add `credential = \"…\"`, the name of a credential");
    let credentials = credentials.map(|item| read_credentials(faults, item)).unwrap_or_default();
    let scheme = fields.required(faults, "scheme", "add `scheme = \"standard-webhooks\"`, or another one")?;
    let words: Vec<(&str, &str)> = scheme_words().map(|word| (word, word)).collect();
    let word = faults.word(scheme, &words)?;
    let scheme = match Scheme::PRESETS.into_iter().find(|(preset, _)| *preset == word) {
        Some((_, preset)) => {
            refuse(faults, fields, &OF_HMAC, &format!("means nothing to the scheme `{word}`"));
            preset
        }
        None => Scheme::Hmac(read_hmac(faults, fields)),
    };
    if !scheme.has_time() {
        refuse(faults, fields, &["tolerance"], &format!("means nothing to the scheme `{word}`, which signs no time"));
    }
    let tolerance = fields.optional("tolerance");
    let tolerance_ms = tolerance.and_then(|item| faults.duration_ms(item, TOLERANCE_MS_MIN, TOLERANCE_MS_MAX));
    Some(SenderSignature { scheme, credentials, tolerance_ms: tolerance_ms.unwrap_or(TOLERANCE_DEFAULT_MS) })
}

fn refuse(faults: &mut Faults, fields: Fields<'_>, names: &[&str], why: &str) {
    for name in names {
        if let Some(item) = fields.optional(name) {
            faults.push(item.place.fault(format!("`{name}` {why}")).fix("leave it out"));
        }
    }
}

/// One name, or several: a signature with any of them counts.
fn read_credentials(faults: &mut Faults, item: &Item) -> Vec<String> {
    let items = match &item.kind {
        ItemKind::Text(_) => std::slice::from_ref(item),
        _ => faults.list(item),
    };
    if matches!(item.kind, ItemKind::List(_)) && !(1..=CREDENTIALS_MAX).contains(&items.len()) {
        let fault = item.place.fault(format!("{} credentials; from 1 to {CREDENTIALS_MAX} are allowed", items.len()));
        faults.push(fault.fix("name the secret in use, and the one that takes its place"));
    }
    let mut names = Vec::new();
    for item in items.iter().take(CREDENTIALS_MAX) {
        if let Some(name) = faults.text(item) {
            faults.name(&name, &item.place, "credential");
            names.push(name);
        }
    }
    names
}

fn read_hmac(faults: &mut Faults, fields: Fields<'_>) -> HmacScheme {
    let header = fields.required(faults, "header", "add `header = \"…\"`, where the signature is");
    let algorithms = [("sha256", Algorithm::Sha256), ("sha512", Algorithm::Sha512), ("sha1", Algorithm::Sha1)];
    let encodings = [("hex", Encoding::Hex), ("base64", Encoding::Base64)];
    let prefix = fields.optional("prefix").and_then(|item| read_prefix(faults, item));
    HmacScheme {
        header: header.and_then(|item| read_header(faults, item)).unwrap_or_default(),
        algorithm: fields
            .optional("algorithm")
            .and_then(|item| faults.word(item, &algorithms))
            .unwrap_or(Algorithm::Sha256),
        encoding: fields.optional("encoding").and_then(|item| faults.word(item, &encodings)).unwrap_or(Encoding::Hex),
        prefix: prefix.unwrap_or_default(),
    }
}

fn read_header(faults: &mut Faults, item: &Item) -> Option<String> {
    let name = faults.text(item)?;
    if name.len() > HEADER_BYTES_MAX || !super::dedupe::is_header_name(&name) {
        let fault = item.place.fault(format!("`{name}` is no name of a header"));
        faults.push(fault.fix(format!("write it like \"X-Signature\", at most {HEADER_BYTES_MAX} bytes")));
        return None;
    }
    Some(name.to_ascii_lowercase())
}

fn read_prefix(faults: &mut Faults, item: &Item) -> Option<String> {
    let prefix = faults.text(item)?;
    // Signatures are split at commas, and spaces around them are nothing.
    let is_plain = prefix.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',');
    if !is_plain || prefix.len() > HEADER_BYTES_MAX {
        let fault = item.place.fault(format!("`{}` cannot stand before a signature", prefix.escape_debug()));
        faults.push(fault.fix(format!(
            "write it like \"sha256=\": printable ASCII without spaces and commas, at most {HEADER_BYTES_MAX} bytes"
        )));
        return None;
    }
    Some(prefix)
}
