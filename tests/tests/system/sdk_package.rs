//! The SDK as a package by itself: whoever has it from a registry has nothing of this repository beside it.

use std::{fs, path::Path, process::Command};

use crate::support::repository;

/// What cargo would pack.
fn packed() -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["package", "--list", "--allow-dirty", "--offline", "-p", "trellis-sdk"])
        .current_dir(repository())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("paths are text").lines().map(str::to_owned).collect()
}

fn wit_files(folder: &Path, within: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = format!("{within}/{}", path.file_name().expect("entries have names").to_string_lossy());
        if path.is_dir() { wit_files(&path, &name, found) } else { found.push(name) }
    }
}

#[test]
fn the_contract_is_packed_with_the_sdk_as_it_stands_in_the_repository() {
    let (packed, mut contract) = (packed(), Vec::new());
    wit_files(&repository().join("wit"), "wit", &mut contract);
    assert!(contract.iter().any(|file| file == "wit/plugin.wit"), "{contract:?}");
    for file in contract {
        assert!(packed.contains(&file), "{file} is not packed with the SDK: {packed:?}");
        let (own, original) = (repository().join("sdk").join(&file), repository().join(&file));
        assert_eq!(fs::read(own).expect("readable"), fs::read(original).expect("readable"), "{file}");
    }
}

#[test]
fn nothing_in_the_sdk_leads_out_of_its_package() {
    for file in packed().iter().filter(|file| file.starts_with("src/")) {
        let text = fs::read_to_string(repository().join("sdk").join(file)).expect("readable");
        assert!(!text.contains("\"../"), "sdk/{file} names a file that is not packed with it");
    }
}

/// Public by their word alone: for the expansions of the macros, or behind a module that is not.
const NOT_SHOWN: [&str; 10] = [
    "FromJson",
    "ToJson",
    "InputPorts",
    "InputValues",
    "OutputPorts",
    "Emission",
    "Emissions",
    "assert_input",
    "assert_config",
    "assert_output",
];

/// What a file offers without showing how it is used: each function, type and trait with its documentation and attributes
/// above it, which no empty line parts from it.
fn without_example(text: &str) -> Vec<String> {
    let (mut found, mut block) = (Vec::new(), String::new());
    let mut within_hidden = false;
    for line in text.lines().take_while(|line| line.trim() != "#[cfg(test)]") {
        let code = line.trim();
        let offered = ["pub fn ", "pub struct ", "pub enum ", "pub trait ", "pub type "];
        let name = offered.iter().find_map(|word| code.strip_prefix(word));
        if let Some(rest) = name {
            let name: String = rest.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            within_hidden = NOT_SHOWN.contains(&name.as_str()) || within_hidden && line.starts_with(' ');
            if !within_hidden && !block.contains("```") {
                found.push(name);
            }
        } else if code.starts_with("impl") {
            let of = code.rsplit("impl").next().unwrap_or_default();
            within_hidden = NOT_SHOWN.iter().any(|hidden| of.trim_start().starts_with(hidden));
        }
        match code {
            "" => block.clear(),
            _ => block.push_str(line),
        }
    }
    found
}

#[test]
fn everything_that_the_sdk_offers_is_shown_in_use() {
    let files = packed().into_iter().filter(|file| file.starts_with("src/") && file.ends_with(".rs"));
    // What a component is made of is no part of what a plugin's author sees.
    let offering = files.filter(|file| !file.contains("guest") && file != "src/fake/host.rs");
    let mut silent = Vec::new();
    for file in offering {
        let text = fs::read_to_string(repository().join("sdk").join(&file)).expect("readable");
        silent.extend(without_example(&text).into_iter().map(|name| format!("sdk/{file}: {name}")));
    }
    assert!(silent.is_empty(), "without an example in their documentation:\n  {}", silent.join("\n  "));
}

#[test]
fn what_is_not_shown_in_use_is_found() {
    let text = "/// ```\n/// one();\n/// ```\npub fn one() {}\n\n/// Two.\n#[must_use]\npub fn two() {}\n\npub struct FromJson;\n";
    assert_eq!(without_example(text), ["two"]);
}
