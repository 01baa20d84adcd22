//! How many patterns the schemas of one document may have together: each is a program that a host keeps in memory.

use serde_json::Value;

use super::bounds;

/// Patterns that are left for the schemas of a document.
#[derive(Debug)]
pub struct PatternBudget {
    left: u32,
}

impl PatternBudget {
    /// Of a manifest, for its triggers, and for its collections. 500: far more than forms of data have, and some ten MiB.
    pub const MANIFEST: u32 = 500;
    /// Of the plugins that a manifest names, while it is checked. 2,000: four such manifests.
    pub const PLUGINS: u32 = 2_000;

    pub fn new(most: u32) -> Self {
        Self { left: most }
    }

    /// Whether the patterns of a schema are among those that there may be. One that cannot be used at all has none.
    pub fn takes(&mut self, schema: &Value) -> bool {
        let patterns = bounds::measure(schema).map_or(0, |costs| costs.patterns);
        let left = self.left.checked_sub(patterns);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_patterns_of_all_schemas_are_counted_together() {
        let schema = json!({ "properties": { "a": { "pattern": "a" } }, "patternProperties": { "b": true } });
        let mut budget = PatternBudget::new(5);
        assert!(budget.takes(&schema) && budget.takes(&schema));
        assert!(!budget.takes(&schema), "one is left, and two are wanted");
        assert!(budget.takes(&json!({ "pattern": "c" })) && budget.takes(&json!({ "$ref": "#/none" })));
    }
}
