//! A token's rights as a whole, for user interfaces.

use serde_json::{Map, Value, json};

use crate::acl::{CompiledAcl, CompiledRule, DenyMode};
use crate::constraints::Constraints;

impl CompiledAcl {
    /// The rights as `sys/internal/ui/resultant-acl` shows them: paths that
    /// match exactly and paths that match by wildcards, the latter without
    /// their trailing `*`.
    pub fn resultant(&self) -> Value {
        if self.is_root() {
            return json!({ "root": true });
        }
        let (mut exact, mut glob) = (Map::new(), Map::new());
        for rule in self.rules() {
            let pattern = rule.pattern();
            let paths = if pattern.is_exact() { &mut exact } else { &mut glob };
            paths.insert(pattern.text_without_glob().to_owned(), rule_json(rule));
        }
        json!({ "root": false, "exact_paths": exact, "glob_paths": glob })
    }

    /// True if the token may do anything at all on some path that starts with
    /// `prefix`, a mount's path with its trailing slash. Decides which mounts
    /// `sys/internal/ui/mounts` shows.
    pub fn has_any_access_under(&self, prefix: &str) -> bool {
        if self.is_root() {
            return true;
        }
        let shut = self.rules().iter().rposition(|rule| rule.denies() && rule.pattern().covers(prefix));
        // Rules are in ascending priority: where the most specific decides,
        // those after the one that shuts the whole prefix still count.
        let first = match (shut, self.mode()) {
            (Some(_), DenyMode::DenyWins) => return false,
            (Some(index), DenyMode::MostSpecific) => index,
            (None, _) => 0,
        };
        self.rules()
            .iter()
            .skip(first)
            .any(|rule| !rule.capabilities().grant_nothing() && rule.pattern().reaches_under(prefix))
    }
}

fn rule_json(rule: &CompiledRule) -> Value {
    let mut shown = Map::new();
    shown.insert("capabilities".to_owned(), json!(rule.capabilities().names()));
    if !rule.denies() {
        add_constraints(&mut shown, rule.constraints());
    }
    Value::Object(shown)
}

fn add_constraints(shown: &mut Map<String, Value>, constraints: &Constraints) {
    let mut add = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            shown.insert(key.to_owned(), value);
        }
    };
    let (allowed, denied) = (constraints.allowed_parameters(), constraints.denied_parameters());
    let (required, events) = (constraints.required_parameters(), constraints.subscribe_event_types());
    add("allowed_parameters", (!allowed.is_empty()).then(|| json!(allowed)));
    add("denied_parameters", (!denied.is_empty()).then(|| json!(denied)));
    add("required_parameters", (!required.is_empty()).then(|| json!(required)));
    add("subscribe_event_types", (!events.is_empty()).then(|| json!(events)));
    add("min_wrapping_ttl", constraints.min_wrapping_ttl().map(|ttl| json!(ttl.as_secs())));
    add("max_wrapping_ttl", constraints.max_wrapping_ttl().map(|ttl| json!(ttl.as_secs())));
}

#[cfg(test)]
mod tests;
