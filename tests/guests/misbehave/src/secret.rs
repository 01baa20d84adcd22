//! Reading a secret, and telling it to everybody who listens.

use std::fmt::Write as _;

use serde_json::json;

use crate::bindings::{
    exports::trellis::plugin::transformer::{Emission, Failure},
    trellis::plugin::{
        outbox::{self, EmitOptions},
        secrets,
    },
    wasi::logging::logging::{self, Level},
};

/// Emits the secret's length; in the way that `tell` says, its text as well.
pub fn read(name: &str, tell: Option<&str>) -> Result<Vec<Emission>, Failure> {
    let secret = match secrets::get(name) {
        Ok(secret) => secret,
        Err(error) => return Ok(vec![emission(&json!({ "error": format!("{error:?}") }).to_string())]),
    };
    let told = spellings(&secret);
    match tell {
        None => Ok(vec![emission(&secret.len().to_string())]),
        Some("log") => {
            for text in &told {
                logging::log(Level::Info, text, &format!("it is {text}"));
                println!("out: {text}");
                eprintln!("err: {text}");
            }
            Ok(vec![emission("null")])
        }
        Some("emit") => {
            let escaped = told.iter().map(|text| escaped(text)).collect::<Vec<_>>().join(",");
            Ok(vec![emission(&format!("[{},{escaped}]", json!(told)))])
        }
        Some("outbox") => {
            let attributes = vec![("told".to_owned(), secret)];
            let emitted = outbox::emit("told", &json!(told).to_string(), &EmitOptions { attributes });
            Ok(vec![emission(&json!(emitted.is_ok()).to_string())])
        }
        Some("fail") => Err(Failure::Permanent(told.join(" "))),
        Some("panic") => panic!("{}", told.join(" ")),
        Some(other) => Err(Failure::InvalidInput(format!("`{other}` is no way to tell a secret"))),
    }
}

fn emission(data: &str) -> Emission {
    Emission { port: "out".to_owned(), data: data.to_owned() }
}

/// As it is, in hex, and percent-encoded.
fn spellings(secret: &str) -> Vec<String> {
    let (mut hex, mut percent) = (String::new(), String::new());
    for byte in secret.bytes() {
        // Into memory, which does not fail.
        _ = write!(hex, "{byte:02x}");
        _ = write!(percent, "%{byte:02X}");
    }
    vec![secret.to_owned(), format!("x{secret}x"), hex, percent]
}

/// A JSON string in which every letter is an escape.
fn escaped(text: &str) -> String {
    let letters: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{letters}\"")
}
