//! Rows to text.

use std::collections::BTreeSet;

use trellis_sdk::{Error, Result, Value};

use crate::Config;

/// What makes a spreadsheet take a text for a formula.
const FORMULA_BEGINS: [char; 7] = ['=', '+', '-', '@', '\t', '\r', '\n'];

/// The text of some rows: objects, or arrays.
///
/// # Errors
/// Invalid input: a row is neither.
pub(crate) fn text(rows: &[Value], config: &Config) -> Result<String> {
    let delimiter = char::from(config.delimiter.byte()?);
    let columns: Vec<String> = match &config.columns {
        Some(columns) => columns.clone(),
        None => rows
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|row| row.keys().cloned())
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect(),
    };
    let mut text = String::new();
    if config.header && !columns.is_empty() {
        push_row(&mut text, delimiter, columns.iter().map(|name| guarded(name, config.guard_formulas)));
    }
    for (place, row) in rows.iter().enumerate() {
        let field = |value: Option<&Value>| field(value.unwrap_or(&Value::Null), config.guard_formulas);
        match row {
            Value::Object(members) => {
                push_row(&mut text, delimiter, columns.iter().map(|name| field(members.get(name))));
            }
            Value::Array(values) => push_row(&mut text, delimiter, values.iter().map(|value| field(Some(value)))),
            _ => {
                return Err(Error::invalid_input(format_args!(
                    "row {} is neither an object nor an array, so that it has no fields",
                    place + 1
                )));
            }
        }
    }
    Ok(text)
}

/// Null is empty; arrays and objects are JSON.
fn field(value: &Value, guard_formulas: bool) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => guarded(text, guard_formulas),
        other => other.to_string(),
    }
}

fn guarded(text: &str, guard_formulas: bool) -> String {
    if guard_formulas && text.starts_with(FORMULA_BEGINS) { format!("'{text}") } else { text.to_owned() }
}

fn push_row(text: &mut String, delimiter: char, fields: impl Iterator<Item = String>) {
    let begin = text.len();
    for (place, field) in fields.enumerate() {
        if place > 0 {
            text.push(delimiter);
        }
        push_field(text, delimiter, &field);
    }
    // A row of one empty field would read as no row at all.
    if text.len() == begin {
        text.push_str("\"\"");
    }
    text.push_str("\r\n");
}

fn push_field(text: &mut String, delimiter: char, field: &str) {
    let is_plain = |letter: char| letter != delimiter && !matches!(letter, '"' | '\r' | '\n');
    let has_blank_ends = field.starts_with(' ') || field.ends_with(' ');
    if field.chars().all(is_plain) && !has_blank_ends {
        text.push_str(field);
        return;
    }
    text.push('"');
    text.push_str(&field.replace('"', "\"\""));
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Delimiter;
    use trellis_sdk::{ErrorKind, json};

    fn written(rows: &Value, config: &Config) -> String {
        text(rows.as_array().expect("rows"), config).expect("a text")
    }

    #[test]
    fn columns_are_those_of_all_rows_or_of_the_config() {
        let rows = json!([{ "b": 1, "a": "x" }, { "c": null, "a": [1, { "y": 2 }] }]);
        assert_eq!(written(&rows, &Config::default()), "a,b,c\r\nx,1,\r\n\"[1,{\"\"y\"\":2}]\",,\r\n");
        let config = Config { columns: Some(vec!["c".into(), "a".into()]), header: false, ..Config::default() };
        assert_eq!(written(&json!([{ "a": 1.5, "b": 2, "c": true }]), &config), "true,1.5\r\n");
    }

    #[test]
    fn arrays_are_rows_too() {
        let config = Config { delimiter: Delimiter(';'), ..Config::default() };
        assert_eq!(
            written(&json!([["a;b", "c,d"], [" x", ""], [null]]), &config),
            "\"a;b\";c,d\r\n\" x\";\r\n\"\"\r\n"
        );
        assert_eq!(written(&json!([]), &config), "");
    }

    #[test]
    fn formulas_are_guarded_when_asked() {
        let rows = json!([["=1+1", "@x", "-5", -5, "a=b"]]);
        let guarded = Config { guard_formulas: true, ..Config::default() };
        assert_eq!(written(&rows, &guarded), "'=1+1,'@x,'-5,-5,a=b\r\n");
        assert_eq!(written(&rows, &Config::default()), "=1+1,@x,-5,-5,a=b\r\n");
        assert_eq!(written(&json!([{ "=1+1": "\n=2" }]), &guarded), "'=1+1\r\n\"'\n=2\"\r\n", "names, too");
    }

    #[test]
    fn a_row_without_fields_is_refused() {
        let error = text(&[json!({}), json!(1)], &Config::default()).expect_err("a number");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().starts_with("row 2 is neither"), "{error}");
    }
}
