//! Files with JSON Schemas that a manifest names: put in its place before anything is sent, because a server has no files.

use std::{
    fs,
    io::Read as _,
    path::{Component, Path},
};

use serde_json::Value;
use trellis_model::{
    fault::Fault,
    manifest::document::{Item, ItemKind},
};

/// Largest file with a schema, in bytes: as much as a whole manifest.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Puts the schemas of triggers in that are given as files of the folder.
///
/// # Returns
/// What is wrong with those that could not be put in, at the places that name them.
pub fn include(document: &mut Item, dir: &Path) -> Vec<Fault> {
    let triggers = match document.find("/triggers").map(|item| &item.kind) {
        Some(ItemKind::List(items)) => items.len(),
        _ => 0,
    };
    let pointers = (0..triggers).map(|index| format!("/triggers/{index}/schema"));
    pointers.filter_map(|pointer| include_one(document.find_mut(&pointer)?, dir)).collect()
}

/// Puts one file in, if the item names one.
fn include_one(item: &mut Item, dir: &Path) -> Option<Fault> {
    let ItemKind::Text(path) = &item.kind else { return None };
    match read(dir, path) {
        Ok(schema) => {
            *item = Item::of_value(&schema, &item.place.clone());
            None
        }
        Err((message, fix)) => Some(item.place.fault(message).fix(fix)),
    }
}

fn read(dir: &Path, path: &str) -> Result<Value, (String, String)> {
    let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !is_inside || path.is_empty() {
        let fix = "name a file of the project's folder, such as \"schemas/order.json\"";
        return Err((format!("`{path}` is no file of the project's folder"), fix.to_owned()));
    }
    let unreadable = |error: std::io::Error| {
        let fix = format!("make the file, relative to {}", dir.display());
        (format!("cannot read the schema `{path}`: {error}"), fix)
    };
    let file = fs::File::open(dir.join(path)).map_err(unreadable)?;
    let mut text = String::new();
    file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let fix = format!("at most {FILE_BYTES_MAX} bytes are read");
        return Err((format!("the schema `{path}` is too large"), fix));
    }
    serde_json::from_str(&text).map_err(|error| {
        (format!("the schema `{path}` is not JSON: {error}"), "mend the file at the place that is named".to_owned())
    })
}
