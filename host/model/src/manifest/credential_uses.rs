//! Which credentials a manifest needs, and where it says so: the one list of them, of nodes and of triggers.

use super::{Manifest, TriggerAuth};

/// A place of the manifest that needs a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse<'m> {
    /// A JSON Pointer.
    pub pointer: String,
    /// Who needs it, such as "node `order/send`".
    pub user: String,
    pub name: &'m str,
}

impl Manifest {
    /// All of them: triggers first, and each place by itself.
    pub fn credential_uses(&self) -> Vec<CredentialUse<'_>> {
        let mut uses = Vec::new();
        for (index, trigger) in self.triggers.iter().enumerate() {
            if let TriggerAuth::Signature(signature) = &trigger.http.auth {
                let user = format!("trigger `{}`", trigger.name);
                let used = |name| CredentialUse {
                    pointer: format!("/triggers/{index}/auth/credential"),
                    user: user.clone(),
                    name,
                };
                uses.extend(signature.credentials.iter().map(|name| used(name.as_str())));
            }
        }
        for (grid_name, grid) in &self.grids {
            for (node_name, node) in &grid.nodes {
                let used = |name| CredentialUse {
                    pointer: format!("/grids/{grid_name}/nodes/{node_name}/grants"),
                    user: format!("node `{grid_name}/{node_name}`"),
                    name,
                };
                uses.extend(node.grants.credential_names().into_iter().map(used));
            }
        }
        uses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_credentials_of_nodes_and_of_triggers_are_in_one_list() {
        let text = r#"
            [project]
            name = "shop"
            [plugins]
            map = "json-map@^1"
            [[triggers]]
            name = "in"
            kind = "http"
            grid = "main"
            path = "/in"
            auth = { scheme = "github", credential = ["sender", "next"] }
            [grids.main.nodes.told]
            plugin = "map"
            inputs = { in = "event" }
            grants = { secret = ["key"] }
        "#;
        let manifest = Manifest::from_toml(text).expect("valid");
        let uses: Vec<(String, &str)> =
            manifest.credential_uses().into_iter().map(|one| (one.pointer, one.name)).collect();
        let trigger = || "/triggers/0/auth/credential".to_owned();
        let node = "/grids/main/nodes/told/grants".to_owned();
        let users: Vec<String> = manifest.credential_uses().into_iter().map(|one| one.user).collect();
        assert_eq!(users, ["trigger `in`", "trigger `in`", "node `main/told`"]);
        assert_eq!(uses, [(trigger(), "sender"), (trigger(), "next"), (node, "key")]);
    }
}
