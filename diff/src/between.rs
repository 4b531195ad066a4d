//! What differs between two recorded releases. Asks nobody.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tk8s_core::{ObjectKey, Placed};

use crate::mask::Masker;
use crate::observe::secret_fields;
use crate::text;

/// What became of an object from one release to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Became {
    /// Only the second has it.
    Added,
    /// Both have it, and it differs.
    Changed,
    /// Only the first has it.
    Removed,
}

/// One object that differs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Difference {
    /// Which object.
    pub object: String,
    /// What became of it.
    pub became: Became,
    /// A unified diff; secrets are masked.
    pub diff: String,
}

/// Every object that differs, in the order of their keys; `names` is what the two releases are called.
pub fn between(names: (&str, &str), before: &[Placed], after: &[Placed], masker: &Masker) -> Vec<Difference> {
    type Pair<'a> = (Option<&'a Placed>, Option<&'a Placed>);
    let mut pairs: BTreeMap<&ObjectKey, Pair<'_>> = BTreeMap::new();
    for placed in before {
        pairs.entry(placed.manifest.key()).or_default().0 = Some(placed);
    }
    for placed in after {
        pairs.entry(placed.manifest.key()).or_default().1 = Some(placed);
    }
    let differs = |(key, (before, after)): (&ObjectKey, Pair<'_>)| {
        let became = match (before, after) {
            (None, _) => Became::Added,
            (_, None) => Became::Removed,
            _ => Became::Changed,
        };
        let (before, after) = (before.map(|placed| placed.manifest.to_value()), after.map(|placed| placed.manifest.to_value()));
        // Secret is what either of the two says is.
        let fields = secret_fields(before.as_ref().or(after.as_ref())?, after.as_ref());
        let masked = |object| masker.mask_also(object, &fields);
        let headers = (format!("{}: {key}", names.0), format!("{}: {key}", names.1));
        let diff = text::between((&headers.0, &headers.1), before.map(masked).as_ref(), after.map(masked).as_ref());
        (!diff.is_empty()).then(|| Difference { object: key.to_string(), became, diff })
    };
    pairs.into_iter().filter_map(differs).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tk8s_core::{Manifest, Origin};

    use super::*;

    fn placed(kind: &str, name: &str, data: Value) -> Placed {
        let value = json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "shop"}, "data": data});
        Placed { layer: "1-test".parse().unwrap(), manifest: Manifest::new(value, Origin::default()).unwrap() }
    }

    #[test]
    fn two_releases_differ_in_what_came_what_went_and_what_changed_and_secrets_are_masked() {
        let before = [
            placed("ConfigMap", "gone", json!({"a": "1"})),
            placed("ConfigMap", "same", json!({"a": "1"})),
            placed("Secret", "token", json!({"k": "aHVudGVyMQ=="})),
        ];
        let after = [
            placed("ConfigMap", "same", json!({"a": "1"})),
            placed("ConfigMap", "new", json!({"a": "1"})),
            placed("Secret", "token", json!({"k": "aHVudGVyMg=="})),
        ];
        let found = between(("web@1", "web@2"), &before, &after, &Masker::new(&[7; 32]));
        let told: Vec<_> = found.iter().map(|one| (one.object.as_str(), one.became)).collect();
        let expected = [
            ("ConfigMap shop/gone", Became::Removed),
            ("ConfigMap shop/new", Became::Added),
            ("Secret shop/token", Became::Changed),
        ];
        assert_eq!(told, expected);
        assert!(found[0].diff.contains("--- web@1: ConfigMap shop/gone") && found[0].diff.contains("\n-kind: ConfigMap"));
        assert!(found[1].diff.contains("\n+kind: ConfigMap"), "{}", found[1].diff);
        assert!(found[2].diff.contains("-  k: (masked)\n+  k: (masked, changed)"), "{}", found[2].diff);
        assert!(!format!("{found:?}").contains("aHVudGVy"));
        assert!(between(("a", "b"), &after, &after, &Masker::new(&[7; 32])).is_empty());
    }
}
