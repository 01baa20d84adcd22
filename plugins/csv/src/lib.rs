//! Reads and writes CSV (RFC 4180, and what spreadsheets make of it).
//!
//! How text is cut into fields is csv-core's part; what a table is in JSON, and how it is written, is this crate's.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod read;
mod write;

use trellis_sdk::*;

/// Which way, and what the text looks like.
#[data]
#[derive(Clone, Debug)]
#[serde(default)]
pub struct Config {
    /// Which way.
    pub direction: Direction,
    /// What lies between fields: one character of ASCII.
    pub delimiter: Delimiter,
    /// Names of the columns, in order. Reading: the text has no row of them. Writing: these columns and no others. Without it
    /// they are read from the first row, and written as the rows have them, in alphabetical order.
    pub columns: Option<Vec<String>>,
    /// Whether the first row of the text holds the names of the columns.
    pub header: bool,
    /// Reading: make numbers, booleans and null of fields that look so, empty ones being null.
    pub guess_types: bool,
    /// Reading: fill rows that are too short with empty fields, and leave out fields beyond the last column.
    pub ragged: bool,
    /// Writing: put `'` before texts that a spreadsheet would take for a formula.
    pub guard_formulas: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            direction: Direction::Read,
            delimiter: Delimiter(','),
            columns: None,
            header: true,
            guess_types: false,
            ragged: false,
            guard_formulas: false,
        }
    }
}

/// Which way.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Text to rows.
    Read,
    /// Rows to text.
    Write,
}

/// What lies between fields.
#[data]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delimiter(char);

impl Delimiter {
    /// The character as the byte that it is.
    fn byte(self) -> Result<u8> {
        let byte = u8::try_from(self.0).ok().filter(u8::is_ascii).filter(|byte| !b"\"\r\n".contains(byte));
        byte.ok_or_else(|| {
            Error::invalid_config(format_args!(
                "`delimiter`: {:?} cannot lie between fields; use one character of ASCII such as `,`, `;` or a tab",
                self.0
            ))
        })
    }
}

/// What comes of it.
#[derive(Ports, Debug, PartialEq)]
pub enum Outcome {
    /// An array of objects by column, or of arrays where columns have no names. When reading.
    Rows(Vec<Value>),
    /// The text. When writing.
    Text(String),
}

/// Reads and writes CSV.
#[transformer(title = "CSV")]
pub fn csv(input: Value, config: Config) -> Result<Outcome> {
    match config.direction {
        Direction::Read => {
            let Value::String(text) = &input else {
                return Err(Error::invalid_input(
                    "the input is no text; wire a text to `in`, or set `direction = \"write\"`",
                ));
            };
            Ok(Outcome::Rows(read::rows(text, &config)?))
        }
        Direction::Write => {
            let Value::Array(rows) = &input else {
                return Err(Error::invalid_input("the input is no array of rows, which writing takes"));
            };
            Ok(Outcome::Text(write::text(rows, &config)?))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_written_again() {
        let rows = json!([{ "a": "x,y", "b": "1" }, { "a": "line\nbreak", "b": "say \"hi\"" }]);
        let written = fake::call(csv, json!({ "in": rows }), json!({ "direction": "write" })).expect("a text");
        assert_eq!(written["text"], json!("a,b\r\n\"x,y\",1\r\n\"line\nbreak\",\"say \"\"hi\"\"\"\r\n"));
        let read = fake::call(csv, json!({ "in": written["text"] }), json!({})).expect("rows");
        assert_eq!(read["rows"], rows);
    }

    #[test]
    fn inputs_and_configs_that_do_not_fit_are_told() {
        for (input, config, kind, message) in [
            (json!([]), json!({}), ErrorKind::InvalidInput, "no text"),
            (json!("a"), json!({ "direction": "write" }), ErrorKind::InvalidInput, "no array"),
            (json!("a"), json!({ "delimiter": "\"" }), ErrorKind::InvalidConfig, "`delimiter`"),
            (json!("a"), json!({ "delimiter": "é" }), ErrorKind::InvalidConfig, "`delimiter`"),
            (json!("a"), json!({ "delimiter": ";;" }), ErrorKind::InvalidConfig, "delimiter"),
            (json!("a"), json!({ "seperator": ";" }), ErrorKind::InvalidConfig, "seperator"),
        ] {
            let error = fake::call(csv, json!({ "in": input }), config).expect_err("a failure");
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.message().contains(message), "{error}");
        }
    }
}
