//! Whether the grants of nodes cover what their plugins import: what is imported and not granted is refused at every call.
//!
//! A component that imports everything there is was linked against the whole world, as Python's tools do: that says nothing
//! of what it uses. So it is with the imports of WASI, which toolchains bring along.

use std::collections::BTreeMap;

use crate::{
    fault::Fault,
    manifest::{
        Manifest,
        document::{Item, pointer_join},
        reader::FAULTS_MAX,
    },
};

/// An interface, the grants that it takes, and how they are written.
const CAPABILITIES: [(&str, &str, &str); 6] = [
    ("trellis:plugin/web", "http", "http = [\"GET https://api.example.com/*\"]"),
    ("trellis:plugin/storage", "storage", "storage = [\"name:rw\"]"),
    ("wasi:keyvalue/store", "storage", "storage = [\"name:rw\"]"),
    ("trellis:plugin/outbox", "emit", "emit = [\"grid\"]"),
    ("trellis:plugin/secrets", "secret", "secret = [\"credential\"]"),
    ("trellis:plugin/records", "records", "records = [\"collection:rw\"]"),
];

/// Whoever imports all of these was linked against the whole world.
const WHOLE_WORLD: [&str; 4] =
    ["trellis:plugin/web", "trellis:plugin/storage", "trellis:plugin/outbox", "trellis:plugin/secrets"];

/// What plugins import and nodes are not granted. A kind of grant that is written, as an empty list even, is the author's
/// decision. `imports` are those of each plugin, by its name in the manifest.
pub fn faults(document: &Item, manifest: &Manifest, imports: &BTreeMap<String, Vec<String>>) -> Vec<Fault> {
    let nodes = manifest.grids.iter().flat_map(|(grid, definition)| {
        let pointer = pointer_join("/grids", grid);
        definition.nodes.iter().map(move |(name, node)| (format!("{pointer}/nodes/{name}/grants"), node))
    });
    let of_node = |(grants, node): (String, &crate::manifest::NodeDefinition)| {
        let imported = imports.get(&node.plugin).map_or(&[][..], Vec::as_slice);
        let plugin = node.plugin.clone();
        needed(imported).into_iter().filter_map(move |(interface, key, example)| {
            let pointer = format!("{grants}/{key}");
            if document.find(&pointer).is_some() {
                return None;
            }
            let message = format!("plugin `{plugin}` imports `{interface}`, and the node has no grant of `{key}`");
            let fix = format!("add `{example}` to `grants`, or `{key} = []` if it is to have none");
            Some(document.place_of(&pointer).fault(message).fix(fix))
        })
    };
    nodes.flat_map(of_node).take(FAULTS_MAX).collect()
}

/// The capabilities that a component was linked for.
fn needed(imports: &[String]) -> Vec<(&'static str, &'static str, &'static str)> {
    let is_imported =
        |interface: &str| imports.iter().any(|import| import.split('@').next().is_some_and(|name| name == interface));
    if WHOLE_WORLD.iter().all(|interface| is_imported(interface)) {
        return Vec::new();
    }
    CAPABILITIES.into_iter().filter(|(interface, ..)| is_imported(interface)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::document;

    fn check(imports: &[&str], grants: &str, expected: &[&str]) {
        let text = format!(
            "[project]\nname = \"p\"\n[plugins]\nx = \"x@1\"\n[grids.g.nodes.n]\nplugin = \"x\"\ngrants = {{ {grants} }}\n"
        );
        let document = document::from_toml(&text).expect("TOML");
        let (manifest, _) = Manifest::read_as_far_as_possible(&document);
        let imports = imports.iter().map(|name| format!("{name}@0.1.0")).collect();
        let faults = faults(&document, &manifest, &BTreeMap::from([("x".to_owned(), imports)]));
        let found: Vec<&str> = faults.iter().map(|fault| fault.pointer.rsplit('/').next().expect("a key")).collect();
        assert_eq!(found, expected, "{grants}: {faults:?}");
        assert!(faults.iter().all(|fault| fault.line == Some(7) && fault.fix.is_some()), "{faults:?}");
    }

    #[test]
    fn what_a_plugin_imports_is_granted_or_said_not_to_be() {
        let both = ["trellis:plugin/web", "trellis:plugin/storage"];
        check(&both, "", &["http", "storage"]);
        check(&both, "storage = [\"s:r\"]", &["http"]);
        check(&both, "storage = [\"s:r\"], http = []", &[]);
        check(&["wasi:keyvalue/store"], "", &["storage"]);
        check(&["trellis:plugin/outbox", "trellis:plugin/secrets"], "secret = []", &["emit"]);
        check(&["trellis:plugin/events", "wasi:http/outgoing-handler", "wasi:random/random"], "", &[]);
    }

    #[test]
    fn a_component_of_the_whole_world_says_nothing_of_what_it_uses() {
        let whole = ["trellis:plugin/web", "trellis:plugin/storage", "trellis:plugin/outbox", "trellis:plugin/secrets"];
        check(&whole, "", &[]);
        check(&whole[..3], "", &["http", "storage", "emit"]);
    }
}
