//! Whether the credentials are there that the triggers of a manifest check signatures with. One that is missing would only be
//! noticed by senders, who are told nothing.

use std::collections::BTreeSet;

use trellis_model::{
    AccountId,
    fault::Fault,
    manifest::{Manifest, TriggerAuth, document::Item},
};

use super::{Api, Problem};

/// A fault for each credential that the project does not have.
pub async fn missing(
    api: &Api,
    account: AccountId,
    project: &str,
    document: &Item,
    manifest: &Manifest,
) -> Result<Vec<Fault>, Problem> {
    let wanted = wanted(manifest);
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<&str> = wanted.iter().map(|(_, name)| *name).collect();
    let there: BTreeSet<String> = match api.host.database.project(account, project).await? {
        Some(project) => {
            let found = api.host.database.credentials(account, project.id, &names).await?;
            found.into_iter().map(|credential| credential.of.name).collect()
        }
        None => BTreeSet::new(),
    };
    let fault = |(trigger, name): (usize, &str)| {
        let place = document.place_of(&format!("/triggers/{trigger}/auth/credential"));
        let fault = place.fault(format!("the project has no credential `{name}`"));
        fault.fix(format!("set it first: `trellis credential set {name} --project {project}`"))
    };
    Ok(wanted.into_iter().filter(|(_, name)| !there.contains(*name)).map(fault).collect())
}

/// The index of a trigger, and the name of one of its credentials.
fn wanted(manifest: &Manifest) -> Vec<(usize, &str)> {
    let mut wanted = Vec::new();
    for (index, trigger) in manifest.triggers.iter().enumerate() {
        if let TriggerAuth::Signature(signature) = &trigger.http.auth {
            wanted.extend(signature.credentials.iter().map(|name| (index, name.as_str())));
        }
    }
    wanted
}
