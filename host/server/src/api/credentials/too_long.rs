//! Credentials that are longer together than one node may be granted: found when a project is deployed and when a value is set,
//! rather than by its runs.
//!
//! Knows lengths alone. A value and a deployment that come at the same moment may still miss each other: then calls are refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use trellis_model::{
    fault::Fault,
    grant::{Grants, SECRET_TEXT_BYTES_MAX},
    manifest::{Manifest, document::Item, reader::FAULTS_MAX},
    plan::GridPlan,
};
use trellis_operator::catalog::LoadedRevision;

/// Bytes by the names of credentials; one that is not there has none.
pub type Lengths = BTreeMap<String, usize>;

/// Nodes of a manifest that are granted too much.
pub fn faults(document: &Item, manifest: &Manifest, lengths: &Lengths) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (grid_name, grid) in &manifest.grids {
        for (node_name, node) in &grid.nodes {
            let Some(bytes) = too_much(&node.grants, lengths) else { continue };
            let place = document.place_of(&format!("/grids/{grid_name}/nodes/{node_name}/grants"));
            let fault = place.fault(format!(
                "the credentials of node `{node_name}` have {bytes} bytes together, at most {SECRET_TEXT_BYTES_MAX} are allowed"
            ));
            faults.push(fault.fix("grant it fewer, share them out to several nodes, or set shorter ones"));
        }
    }
    faults.truncate(FAULTS_MAX);
    faults
}

/// The credentials that some node is granted together with this one, itself included; none: no node is granted it.
pub fn granted_beside(revision: &LoadedRevision, name: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for grid in grids(revision) {
        for node in grid.nodes.iter().filter(|node| is_granted(&node.grants, name)) {
            names.extend(node.grants.credential_names().into_iter().map(str::to_owned));
        }
    }
    names
}

/// Why this credential cannot be as long as that, if some node would then be granted too much.
pub fn refusal(revision: &LoadedRevision, name: &str, lengths: &Lengths) -> Option<String> {
    grids(revision).find_map(|grid| {
        let mut granted = grid.nodes.iter().filter(|node| is_granted(&node.grants, name));
        let (node, bytes) = granted.find_map(|node| Some((&node.name, too_much(&node.grants, lengths)?)))?;
        Some(format!(
            "with this value the credentials of node `{node}` of grid `{}` have {bytes} bytes together, at most {SECRET_TEXT_BYTES_MAX} are allowed; set a shorter one, or deploy the project with fewer credentials for that node first",
            grid.name
        ))
    })
}

fn grids(revision: &LoadedRevision) -> impl Iterator<Item = Arc<GridPlan>> + '_ {
    revision.grid_names().into_iter().filter_map(|name| revision.grid(name))
}

fn is_granted(grants: &Grants, name: &str) -> bool {
    grants.credential_names().contains(&name)
}

fn too_much(grants: &Grants, lengths: &Lengths) -> Option<usize> {
    grants.too_much_secret_text(|name| lengths.get(name).copied().unwrap_or(0))
}
