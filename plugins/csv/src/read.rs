//! Text to rows.

use std::collections::BTreeSet;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use trellis_sdk::{Error, Result, Value};

use crate::Config;

/// Columns of one row: more than any spreadsheet has.
const FIELDS_MAX: usize = 20_000;

/// The rows of a text.
///
/// # Errors
/// Invalid input: a row has another number of fields than there are columns, or two columns have the same name.
pub(crate) fn rows(text: &str, config: &Config) -> Result<Vec<Value>> {
    let mut records = Records::new(text, config.delimiter.byte()?);
    let columns = match &config.columns {
        Some(columns) => Some(columns.clone()),
        None if config.header => match records.next().transpose()? {
            Some(names) => Some(names),
            None => return Ok(Vec::new()),
        },
        None => None,
    };
    if let Some(columns) = &columns {
        check_names(columns)?;
    }
    let mut rows = Vec::new();
    while let Some(fields) = records.next().transpose()? {
        rows.push(row(fields, columns.as_deref(), records.number, config)?);
    }
    Ok(rows)
}

fn check_names(columns: &[String]) -> Result<()> {
    let mut known = BTreeSet::new();
    match columns.iter().find(|name| !known.insert(name.as_str())) {
        Some(name) => Err(Error::invalid_input(format_args!(
            "two columns are called `{name}`; give them names of their own with `columns`, or set `header = false` for arrays"
        ))),
        None => Ok(()),
    }
}

fn row(mut fields: Vec<String>, columns: Option<&[String]>, number: usize, config: &Config) -> Result<Value> {
    let value = |field: String| if config.guess_types { guess(field) } else { Value::String(field) };
    let Some(columns) = columns else { return Ok(fields.into_iter().map(value).collect()) };
    if config.ragged {
        fields.resize(columns.len(), String::new());
    } else if fields.len() != columns.len() {
        return Err(Error::invalid_input(format_args!(
            "record {number} has {} fields, but there are {} columns; mend it, or set `ragged = true`",
            fields.len(),
            columns.len()
        )));
    }
    Ok(columns.iter().cloned().zip(fields.into_iter().map(value)).collect())
}

/// Only what JSON writes in this very way is a number: `007` and `1.` stay what they are.
fn guess(field: String) -> Value {
    match field.as_str() {
        "" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        text => match text.parse::<serde_json::Number>() {
            Ok(number) if text.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-') => {
                Value::Number(number)
            }
            _ => Value::String(field),
        },
    }
}

/// The records of a text, one after the other.
struct Records<'a> {
    reader: Reader,
    rest: &'a [u8],
    /// How many were read.
    number: usize,
    output: Vec<u8>,
    ends: Vec<usize>,
}

impl<'a> Records<'a> {
    fn new(text: &'a str, delimiter: u8) -> Self {
        let reader = ReaderBuilder::new().delimiter(delimiter).build();
        Self { reader, rest: text.as_bytes(), number: 0, output: vec![0; 1024], ends: vec![0; 64] }
    }

    fn read(&mut self) -> Result<Option<Vec<String>>> {
        let (mut written, mut fields) = (0, 0);
        loop {
            let (result, read, more_written, more_fields) =
                self.reader.read_record(self.rest, &mut self.output[written..], &mut self.ends[fields..]);
            self.rest = &self.rest[read..];
            written += more_written;
            fields += more_fields;
            match result {
                // The next call sees an empty rest, which means the end.
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() >= FIELDS_MAX => {
                    return Err(Error::invalid_input(format_args!(
                        "record {} has more than {FIELDS_MAX} fields",
                        self.number + 1
                    )));
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    self.number += 1;
                    return Ok(Some(self.fields(fields)));
                }
                ReadRecordResult::End => return Ok(None),
            }
        }
    }

    fn fields(&self, count: usize) -> Vec<String> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let spans = starts.zip(&self.ends[..count]);
        // The text is UTF-8 and is cut at characters of ASCII alone.
        spans.map(|(start, end)| String::from_utf8_lossy(&self.output[start..*end]).into_owned()).collect()
    }
}

impl Iterator for Records<'_> {
    type Item = Result<Vec<String>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Delimiter;
    use trellis_sdk::{ErrorKind, json};

    fn read(text: &str) -> Value {
        rows(text, &Config::default()).expect("rows").into()
    }

    #[test]
    fn rows_are_objects_by_column() {
        let expected = json!([{ "name": "Ada", "city": "London" }, { "name": "Øre, \"Ö\"", "city": "" }]);
        for text in [
            "name,city\nAda,London\n\"Øre, \"\"Ö\"\"\",\n",
            "name,city\r\nAda,London\r\n\r\n\"Øre, \"\"Ö\"\"\",",
            "\u{feff}name,city\rAda,London\r\"Øre, \"\"Ö\"\"\",\r",
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
        assert_eq!(read("a\n\"x\ny\"\n"), json!([{ "a": "x\ny" }]));
        assert_eq!(read(""), json!([]));
        assert_eq!(read("a,b\n"), json!([]));
    }

    #[test]
    fn columns_come_from_the_config_or_not_at_all() {
        let named = Config { columns: Some(vec!["x".into(), "y".into()]), ..Config::default() };
        assert_eq!(Value::from(rows("1,2\n", &named).expect("rows")), json!([{ "x": "1", "y": "2" }]));
        let nameless = Config { header: false, delimiter: Delimiter(';'), ..Config::default() };
        assert_eq!(Value::from(rows("1;2\n3\n", &nameless).expect("rows")), json!([["1", "2"], ["3"]]));
    }

    #[test]
    fn types_are_guessed_when_asked() {
        let config = Config { guess_types: true, header: false, ..Config::default() };
        let read = rows("1,-2.5e3,007,1.,+1,true,FALSE,,x,12345678901234567890123\n", &config).expect("rows");
        let expected = json!([[1, -2500.0, "007", "1.", "+1", true, "FALSE", null, "x", 1.234_567_890_123_456_8e22]]);
        assert_eq!(Value::from(read), expected);
    }

    #[test]
    fn rows_of_another_length_are_refused_unless_they_may_be() {
        let error = rows("a,b\n1,2\n1\n", &Config::default()).expect_err("a short row");
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.message().starts_with("record 3 has 1 fields, but there are 2 columns"), "{error}");
        let ragged = Config { ragged: true, ..Config::default() };
        let read = rows("a,b\n1\n1,2,3\n", &ragged).expect("rows");
        assert_eq!(Value::from(read), json!([{ "a": "1", "b": "" }, { "a": "1", "b": "2" }]));
    }

    #[test]
    fn two_columns_of_one_name_are_refused() {
        let error = rows("a,b,a\n", &Config::default()).expect_err("twice");
        assert!(error.message().starts_with("two columns are called `a`"), "{error}");
    }

    #[test]
    fn long_fields_and_many_columns_are_read() {
        let long = "é".repeat(5_000);
        assert_eq!(read(&format!("a\n{long}\n")), json!([{ "a": long }]));
        let nameless = Config { header: false, ..Config::default() };
        let wide = vec!["1"; 1_000].join(",");
        assert_eq!(rows(&wide, &nameless).expect("rows")[0].as_array().map(Vec::len), Some(1_000));
        let too_wide = vec!["1"; FIELDS_MAX * 2].join(",");
        assert!(rows(&too_wide, &nameless).expect_err("too wide").message().contains("more than 20000 fields"));
    }
}
