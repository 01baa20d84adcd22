//! The effective configuration as a TOML file.

use super::sources::Origin;

/// One setting as it is in force.
#[derive(Clone, Debug)]
pub(super) struct EffectiveSetting {
    /// Dotted.
    pub key: String,
    /// Without its secret part. None if it is not set and has no default.
    pub value: Option<toml::Value>,
    pub origin: Origin,
}

/// A file that would give the same settings. Top-level keys come first, as they must in TOML.
pub(super) fn to_toml(settings: &[EffectiveSetting]) -> String {
    let mut text = String::new();
    let mut open_section = "";
    for setting in settings {
        let (section, name) = setting.key.split_once('.').unwrap_or(("", &setting.key));
        if section != open_section {
            text.push_str(&format!("\n[{section}]\n"));
            open_section = section;
        }
        text.push_str(&line(name, setting));
    }
    text
}

fn line(name: &str, setting: &EffectiveSetting) -> String {
    match (&setting.value, &setting.origin) {
        (None, _) => format!("# {name} is not set\n"),
        (Some(value), Origin::Default) => format!("{name} = {value}\n"),
        (Some(value), origin) => format!("{name} = {value}  # from {}\n", one_line(&origin.to_string())),
    }
}

/// A comment ends with its line: a line break in a file's name must not begin a setting.
fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
