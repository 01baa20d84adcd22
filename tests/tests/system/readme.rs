//! What the README says of the manifest, against what the reader of manifests knows.

use std::{collections::BTreeSet, fs};

use trellis_model::call_limits::{CALL_LIMITS, CallLimits, Unit};

use crate::support::repository;

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between two marks of the README.
fn marked(name: &str) -> String {
    let readme = read("README.md");
    let (_, rest) = readme.split_once(&format!("<!-- {name}:begin -->\n")).expect("the mark is there");
    rest.split_once(&format!("<!-- {name}:end -->")).expect("its end, too").0.to_owned()
}

/// The keys that the reader of manifests asks for, in its sources.
fn known_keys() -> BTreeSet<String> {
    let folder = repository().join("host/model/src/manifest");
    let mut keys = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the sources are there") {
        let path = entry.expect("readable").path();
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let text = text.split("#[cfg(test)]").next().unwrap_or_default().to_owned();
        // `faults.fields(item, &["a", "b"])`, and the one list that has a name.
        let calls = text.split("faults.fields(").skip(1).filter_map(|rest| rest.split_once("&[")?.1.split_once(']'));
        let named = text.split("const KEYS: ").skip(1).filter_map(|rest| rest.split_once('=')?.1.split_once("];"));
        for (list, _) in calls.chain(named) {
            keys.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
        }
    }
    assert!(keys.len() > 40, "{keys:?}");
    keys
}

#[test]
fn every_key_of_the_manifest_is_in_the_table_and_no_other() {
    let table = marked("manifest-keys");
    let rows = table.lines().filter_map(|line| line.strip_prefix('|')).skip(2);
    let in_rows = rows.filter_map(|row| row.split('|').nth(1).map(str::to_owned));
    let told: BTreeSet<String> = in_rows
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>())
        // A line with a name of the author's own.
        .filter(|key| !key.contains(' '))
        .collect();
    let known = known_keys();
    let (missing, unknown): (Vec<_>, Vec<_>) = (known.difference(&told).collect(), told.difference(&known).collect());
    assert!(missing.is_empty(), "keys that the README's table of the manifest lacks: {missing:?}");
    assert!(unknown.is_empty(), "keys in the README's table that no manifest has: {unknown:?}");
}

fn shown(unit: Unit, value: u64) -> String {
    let in_units = |units: &[(u64, &str)]| {
        let (size, name) =
            units.iter().find(|(size, _)| value >= *size && value.is_multiple_of(*size)).expect("1 fits");
        format!("{} {name}", value / size)
    };
    match unit {
        Unit::Bytes => in_units(&[(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1, "bytes")]),
        Unit::Milliseconds => in_units(&[(86_400_000, "d"), (60_000, "min"), (1_000, "s"), (1, "ms")]),
        Unit::Count => {
            let digits = value.to_string();
            let groups: Vec<&str> =
                digits.as_bytes().rchunks(3).rev().map(|group| std::str::from_utf8(group).expect("digits")).collect();
            groups.join(",")
        }
    }
}

#[test]
fn the_table_of_limits_is_what_the_host_has() {
    let (defaults, ceilings) = (CallLimits::default(), CallLimits::ceilings());
    let mut table = "\n| key | by default | ceiling |\n|---|---|---|\n".to_owned();
    for limit in CALL_LIMITS {
        let (standard, ceiling) = (shown(limit.unit, limit.of(&defaults)), shown(limit.unit, limit.of(&ceilings)));
        table.push_str(&format!("| `{}` | {standard} | {ceiling} |\n", limit.key));
    }
    table.push('\n');
    assert_eq!(marked("call-limits"), table, "put this between the marks of the README:\n{table}");
}
