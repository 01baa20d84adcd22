//! The threat model says of each attack which test shows that it fails. A test that is not there shows nothing.

use std::{collections::BTreeSet, fs, path::Path};

use crate::support::repository;

/// Words of a test's name at least: shorter code is no name of a test.
const WORDS_MIN: usize = 4;

/// The names of tests in a text, in the order of the alphabet.
fn named(text: &str) -> BTreeSet<&str> {
    let is_name = |code: &&str| {
        code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && code.split('_').count() >= WORDS_MIN
    };
    // What is between backticks is every second piece.
    text.split('`').skip(1).step_by(2).filter(is_name).collect()
}

/// Adds the names of all functions that are marked as tests below a folder.
fn collect_tests(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a readable folder").path();
        if path.is_dir() {
            collect_tests(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(tests_in(&fs::read_to_string(&path).expect("a text")));
        }
    }
}

fn tests_in(source: &str) -> Vec<String> {
    let mut lines = source.lines().map(str::trim);
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with("#[test") || line.starts_with("#[tokio::test") {
            let declared = lines.by_ref().find(|line| line.contains("fn "));
            let name = declared.and_then(|line| line.split_once("fn ")?.1.split(['(', '<']).next());
            found.extend(name.map(str::to_owned));
        }
    }
    found
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let text = fs::read_to_string(repository().join("host/THREAT-MODEL.md")).expect("the page is there");
    let mut there = BTreeSet::new();
    for folder in ["host", "sdk", "tests/tests"] {
        collect_tests(&repository().join(folder), &mut there);
    }
    let named = named(&text);
    assert!(named.len() > 40, "names are found at all: {named:?}");
    let missing: Vec<&str> = named.into_iter().filter(|name| !there.contains(*name)).collect();
    assert!(missing.is_empty(), "tests that are not there: {missing:#?}");
}

#[test]
fn names_of_tests_are_told_from_other_code() {
    assert_eq!(
        named("`a_b_c_d`, `log.filter`, `trellis::api`, a_b_c_d_e, `two_words`, `x_1_y_2`"),
        BTreeSet::from(["a_b_c_d", "x_1_y_2"])
    );
    let source = "#[tokio::test]\n#[ignore]\nasync fn one() {}\nfn two() {}\n    #[test]\n    fn three(x: u8) {}";
    assert_eq!(tests_in(source), ["one", "three"]);
}
