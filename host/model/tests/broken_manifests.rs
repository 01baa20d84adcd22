//! Manifests that somebody has broken, one slip each: every fault has its place and its fix, and there are no others.
//!
//! The cases are data, in `broken_manifests.toml`.

use std::{collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use trellis_model::{
    PluginId,
    description::Description,
    fault::Fault,
    manifest::{Manifest, document},
    plan::{ResolvedPlugin, ResolvedPlugins},
    wiring::all_faults,
};

#[derive(Deserialize)]
struct Cases {
    manifest: String,
    /// Name in the manifest → what the plugin says of itself.
    plugins: BTreeMap<String, String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    /// Pieces, each with what stands in its place.
    change: Vec<[String; 2]>,
    faults: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    /// Text that begins at the place.
    at: String,
    /// Where the place is not the beginning of a text: its column.
    column: Option<usize>,
    says: String,
    fix: String,
}

fn cases() -> Cases {
    toml::from_str(include_str!("broken_manifests.toml")).expect("the cases are readable")
}

fn plugins(cases: &Cases) -> ResolvedPlugins {
    let plugin = |(number, (name, description)): (i64, (&String, &String))| {
        let description = Arc::new(Description::parse(description).expect("a description"));
        (name.clone(), ResolvedPlugin { id: PluginId(number), description })
    };
    (1..).zip(&cases.plugins).map(plugin).collect()
}

fn faults(text: &str, plugins: &ResolvedPlugins) -> Vec<Fault> {
    match document::from_toml(text) {
        Ok(document) => {
            let (manifest, read) = Manifest::read_as_far_as_possible(&document);
            all_faults(&document, &manifest, read, plugins)
        }
        Err(faults) => faults,
    }
}

/// Line and column of the only place where a text begins.
fn place(text: &str, piece: &str, name: &str) -> (usize, usize) {
    let mut found = text.match_indices(piece);
    let (at, _) = found.next().unwrap_or_else(|| panic!("{name}: `{piece}` is not in it"));
    assert_eq!(found.next(), None, "{name}: `{piece}` is in it more than once");
    let before = &text[..at];
    (before.matches('\n').count() + 1, before.len() - before.rfind('\n').map_or(0, |at| at + 1) + 1)
}

fn mismatch(found: &[Fault], text: &str, case: &Case) -> Option<String> {
    let mut told = String::new();
    if found.len() != case.faults.len() {
        told.push_str(&format!("{} faults, expected {}\n", found.len(), case.faults.len()));
    }
    for (fault, expected) in found.iter().zip(&case.faults) {
        let (line, column) = place(text, &expected.at, &case.name);
        let column = expected.column.unwrap_or(column);
        let fix = fault.fix.as_deref().unwrap_or_default();
        if (fault.line, fault.column) != (Some(line), Some(column)) {
            told.push_str(&format!("not at line {line}, column {column}\n"));
        }
        if !fault.message.contains(&expected.says)
            || !fix.contains(&expected.fix)
            || fix.is_empty() != expected.fix.is_empty()
        {
            told.push_str(&format!("expected `{}`; `{}`\n", expected.says, expected.fix));
        }
    }
    let all: Vec<String> = found.iter().map(|fault| format!("    {fault}")).collect();
    (!told.is_empty()).then(|| format!("{}:\n{told}{}\n", case.name, all.join("\n")))
}

#[test]
fn the_manifest_that_is_broken_here_is_good_itself() {
    let cases = cases();
    assert_eq!(faults(cases.manifest.trim_start(), &plugins(&cases)), []);
}

#[test]
fn every_fault_of_a_broken_manifest_has_its_place_and_its_fix() {
    let cases = cases();
    let plugins = plugins(&cases);
    let mut mismatches = Vec::new();
    for case in &cases.cases {
        let mut text = cases.manifest.trim_start().to_owned();
        for [piece, instead] in &case.change {
            assert_eq!(text.matches(piece.as_str()).count(), 1, "{}: `{piece}`", case.name);
            text = text.replace(piece, instead);
        }
        mismatches.extend(mismatch(&faults(&text, &plugins), &text, case));
    }
    assert!(cases.cases.len() >= 40, "{} cases", cases.cases.len());
    assert!(mismatches.is_empty(), "{} of {} cases:\n\n{}", mismatches.len(), cases.cases.len(), mismatches.join("\n"));
}
