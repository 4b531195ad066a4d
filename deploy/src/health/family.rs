//! Objects that are at hand together: where one is not well, the object below it that is to blame is named. Its state stays
//! its own: a Deployment whose pod crashes is what the Deployment says.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;
use tk8s_core::{Health, HealthState, printable};

use super::{Rules, items};

/// The longest message with what others said added to it.
const LONGEST: usize = 1000;

/// The health of each of these objects, with what those below it say.
pub fn judge_together(rules: &Rules, objects: &[Value]) -> Vec<Health> {
    let own: Vec<Health> = objects.iter().map(|object| rules.judge(object)).collect();
    let below = below(objects);
    own.iter()
        .enumerate()
        .map(|(index, health)| {
            if health.is_settled() {
                return health.clone();
            }
            let blamed = descendants(index, &below).filter(|&child| own[child].state >= HealthState::Progressing);
            match blamed.max_by_key(|&child| (own[child].state, std::cmp::Reverse(child))) {
                Some(child) => blaming(health, &objects[child], &own[child]),
                None => health.clone(),
            }
        })
        .collect()
}

fn blaming(health: &Health, child: &Value, its: &Health) -> Health {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let said = format!(
        "{}; {} {}: {}: {}",
        health.message,
        text(&child["kind"]),
        text(&child["metadata"]["name"]),
        its.reason,
        its.message
    );
    Health { message: printable(&said, LONGEST), ..health.clone() }
}

/// Of each object, those that say it owns them: by its UID, or by kind and name where UIDs were taken out.
fn below(objects: &[Value]) -> HashMap<usize, Vec<usize>> {
    let mut by_uid = HashMap::new();
    let mut by_name = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        let metadata = &object["metadata"];
        if let Some(uid) = metadata["uid"].as_str() {
            by_uid.insert(uid, index);
        }
        by_name.insert((object["kind"].as_str(), metadata["namespace"].as_str(), metadata["name"].as_str()), index);
    }
    let mut below: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, object) in objects.iter().enumerate() {
        let namespace = object["metadata"]["namespace"].as_str();
        for owner in items(&object["metadata"]["ownerReferences"]) {
            let known = owner["uid"].as_str().and_then(|uid| by_uid.get(uid));
            let named = || by_name.get(&(owner["kind"].as_str(), namespace, owner["name"].as_str()));
            if let Some(&owner) = known.or_else(named) {
                below.entry(owner).or_default().push(index);
            }
        }
    }
    below
}

/// All objects below one, whatever circles they say they form.
fn descendants(of: usize, below: &HashMap<usize, Vec<usize>>) -> impl Iterator<Item = usize> {
    let mut seen = HashSet::from([of]);
    let mut left = VecDeque::from([of]);
    let mut found = Vec::new();
    while let Some(next) = left.pop_front() {
        for &child in below.get(&next).into_iter().flatten().filter(|child| seen.insert(**child)) {
            found.push(child);
            left.push_back(child);
        }
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(kind: &str, name: &str, owner: &str, status: Value) -> Value {
        json!({
            "apiVersion": "example.com/v1", "kind": kind, "status": status,
            "metadata": {"name": name, "uid": name, "ownerReferences": [{"kind": "?", "name": "?", "uid": owner}]},
        })
    }

    #[test]
    fn the_worst_below_is_blamed_and_circles_end() {
        let objects = [
            object("Shop", "a", "c", json!({"phase": "Creating"})),
            object("Shelf", "b", "a", json!({"phase": "Creating"})),
            object("Board", "c", "b", json!({"phase": "Failed", "message": "no wood"})),
            object("Board", "d", "nobody", json!({"phase": "Failed"})),
        ];
        let health = judge_together(&Rules::default(), &objects);
        assert_eq!(health[0].state, HealthState::Progressing);
        assert!(health[0].message.ends_with("; Board c: Failed: its phase is Failed: no wood"), "{}", health[0].message);
        assert!(!health[3].message.contains("; "), "{}", health[3].message);
    }
}
