//! The `managedFields` of an object: who owns what.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{Digest, FIELD_MANAGER, canonical_json, printable};

use super::fields::{FieldSet, Path, display};
use super::rules::{NOBODY, is_predecessor};

/// More entries than an API server keeps by far: it merges the oldest updates into one when there are ten.
const MOST_ENTRIES: usize = 1000;
/// How many foreign items are told of one object.
const MOST_FOREIGN: usize = 20;

/// One entry of `managedFields`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who.
    pub manager: String,
    /// Whether by server-side apply; otherwise by an update.
    pub applied: bool,
    /// Through which part of the object: `scale`, `status`; empty for the object itself.
    pub subresource: String,
    /// In which API version of the object: the names of its fields.
    pub api_version: String,
    /// What.
    pub fields: FieldSet,
}

impl Entry {
    /// Whether it is what we applied.
    pub fn is_ours(&self) -> bool {
        self.manager == FIELD_MANAGER && self.applied && self.subresource.is_empty()
    }

    /// The name for people: `kube-controller-manager (scale)`.
    pub fn name(&self) -> String {
        let manager = printable(&self.manager, 80);
        if self.subresource.is_empty() { manager } else { format!("{manager} ({})", printable(&self.subresource, 40)) }
    }
}

/// Everything that `managedFields` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Managed(Vec<Entry>);

/// What an object says about its owners, read once for all who ask: whose its fields are, and the digests that tell drift.
#[derive(Clone, Debug)]
pub struct Ownership {
    /// Who manages what.
    pub managed: Managed,
    /// The digest of the set of fields that we own, if we own any.
    pub fields: Option<Digest>,
    /// The digest of the values that these fields have.
    pub projection: Digest,
}

impl Ownership {
    /// Reads all of it.
    pub fn of(object: &Value) -> Ownership {
        Ownership::with(Managed::of(object), object)
    }

    /// The same, of an object of which it is known who manages what.
    pub(crate) fn with(managed: Managed, object: &Value) -> Ownership {
        Ownership { fields: managed.fingerprint(), projection: managed.projection(object), managed }
    }
}

/// An item that somebody else put into a list of which we own other items.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Foreign {
    /// Where, as the API server writes it.
    pub field: String,
    /// Who.
    pub manager: String,
    /// Whether it runs, or is there to be read by what runs: a container, an init container, a volume.
    pub grave: bool,
}

impl Managed {
    /// Reads an object's entries. What can't be read is not there.
    pub fn of(object: &Value) -> Managed {
        object.pointer("/metadata/managedFields").map(Managed::read).unwrap_or_default()
    }

    /// Reads `managedFields` itself.
    pub fn read(entries: &Value) -> Managed {
        let entries = entries.as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let entry = |entry: &Value| Entry {
            manager: text(entry, "manager"),
            applied: entry["operation"] == "Apply",
            subresource: text(entry, "subresource"),
            api_version: text(entry, "apiVersion"),
            fields: FieldSet::read(&entry["fieldsV1"]),
        };
        Managed(entries.iter().take(MOST_ENTRIES).map(entry).collect())
    }

    /// Whether it says of nobody what they own.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What we applied; empty if there is no entry of ours.
    pub fn ours(&self) -> &FieldSet {
        self.0.iter().find(|entry| entry.is_ours()).map_or(FieldSet::nothing(), |entry| &entry.fields)
    }

    /// The digest of what we applied, without time and version: only a change of ownership changes it. None if there is no
    /// entry of ours.
    pub fn fingerprint(&self) -> Option<Digest> {
        let ours = self.0.iter().find(|entry| entry.is_ours())?;
        Some(Digest::of(canonical_json(&ours.fields.to_value())))
    }

    /// The entries that are not what we applied. Of the status nobody asks: applying never touches it.
    pub fn others(&self) -> impl Iterator<Item = &Entry> {
        self.0.iter().filter(|entry| !entry.is_ours() && entry.subresource != "status")
    }

    /// What others own, all together.
    pub fn others_fields(&self) -> FieldSet {
        self.others().fold(FieldSet::default(), |all, entry| all.with(&entry.fields))
    }

    /// The digest of the values that an object has at the fields that we own.
    pub fn projection(&self, object: &Value) -> Digest {
        Digest::of(canonical_json(&self.ours().project(object, &self.others_fields())))
    }

    /// The entry of the same manager, by the same way.
    pub(crate) fn same(&self, entry: &Entry) -> Option<&Entry> {
        self.0.iter().find(|other| {
            other.manager == entry.manager && other.applied == entry.applied && other.subresource == entry.subresource
        })
    }

    /// Whether nothing happened between this and what an apply of ours left but that apply: nobody new, nobody with more,
    /// and who has less lost it to us.
    pub(crate) fn leads_to(&self, after: &Managed) -> bool {
        let ours = after.ours();
        // Of whoever wrote when nobody was named the first apply makes an entry.
        let forgotten = |entry: &Entry| entry.manager == NOBODY && self.is_empty();
        let nobody_new = after
            .others()
            .filter(|entry| !forgotten(entry))
            .all(|entry| self.same(entry).is_some_and(|was| entry.fields.minus(&was.fields).is_empty()));
        nobody_new
            && self.others().all(|was| {
                let kept = after.same(was).map_or(FieldSet::nothing(), |entry| &entry.fields);
                was.fields.minus(kept).minus(ours).leaves().is_empty()
            })
    }

    /// Whether those who came before us own fields that we own too.
    pub fn has_predecessors_beside_us(&self) -> bool {
        let ours = self.ours();
        self.others().any(|entry| is_predecessor(entry) && !entry.fields.common(ours).is_empty())
    }

    /// `managedFields` without what those who came before us share with us: from now on it is ours alone. What only they
    /// own stays theirs.
    pub fn taken_over(entries: &Value) -> Value {
        let managed = Managed::read(entries);
        let ours = managed.ours();
        let mut left = Vec::new();
        for entry in entries.as_array().into_iter().flatten() {
            let mut entry = entry.clone();
            let read = Managed::read(&Value::Array(vec![entry.clone()])).0;
            if let Some(read) = read.first().filter(|read| !read.is_ours() && is_predecessor(read)) {
                let fields = read.fields.minus(ours);
                if fields.is_empty() {
                    continue;
                }
                entry["fieldsV1"] = fields.to_value();
            }
            left.push(entry);
        }
        Value::Array(left)
    }

    /// The API versions in which the entries are.
    pub(crate) fn versions(&self) -> BTreeSet<&str> {
        let entries = self.0.iter().filter(|entry| entry.subresource != "status");
        entries.map(|entry| entry.api_version.as_str()).filter(|version| !version.is_empty()).collect()
    }

    /// The items that others put into lists of ours, and who. What came with a request of ours (a policy put it there) is
    /// not among them: it would come again. Nor are the lists of an object's metadata: finalizers and owners belong to
    /// whoever wrote them.
    pub(crate) fn items_of_others(&self) -> Vec<(Path, &Entry)> {
        let ours = self.ours();
        let others = self.others().filter(|entry| entry.manager != FIELD_MANAGER);
        let items = others.flat_map(|entry| {
            let items = entry.fields.minus(ours).items_beside(ours);
            items.into_iter().map(move |path| (path, entry))
        });
        items.filter(|(path, _)| path.first().is_some_and(|step| step != "f:metadata")).collect()
    }

    /// `managedFields` as they have to be before an apply that gives up what it would keep otherwise: these items are
    /// ours and nobody else's, and what was written in versions that are gone was written in this one.
    pub fn to_be_given_up(entries: &Value, items: &[Path], gone: &[String], api_version: &str) -> Value {
        let managed = Managed::read(entries);
        let taken = |entry: &Entry| items.iter().fold(FieldSet::default(), |all, path| all.with(&entry.fields.only(path)));
        let all_taken = managed.others().fold(FieldSet::default(), |all, entry| all.with(&taken(entry)));
        let mut left = Vec::new();
        for (index, raw) in entries.as_array().into_iter().flatten().enumerate() {
            let mut raw = raw.clone();
            let Some(entry) = managed.0.get(index) else {
                left.push(raw);
                continue;
            };
            if gone.contains(&entry.api_version) {
                raw["apiVersion"] = api_version.into();
            }
            if entry.is_ours() {
                raw["fieldsV1"] = entry.fields.with(&all_taken).to_value();
            } else if entry.subresource != "status" {
                let fields = entry.fields.minus(&taken(entry));
                if fields.is_empty() {
                    continue;
                }
                raw["fieldsV1"] = fields.to_value();
            }
            left.push(raw);
        }
        Value::Array(left)
    }

    /// What others put beside ours: items in lists of which we own items.
    pub fn foreign(&self) -> Vec<Foreign> {
        let ours = self.ours();
        let mut found = Vec::new();
        for entry in self.others() {
            for path in entry.fields.minus(ours).items_beside(ours) {
                found.push(Foreign { field: display(&path), manager: entry.name(), grave: is_grave(&path) });
            }
        }
        found.sort();
        found.dedup();
        found.truncate(MOST_FOREIGN);
        found
    }
}

fn is_grave(path: &Path) -> bool {
    let list = path.len().checked_sub(2).map(|index| path[index].as_str());
    matches!(list, Some("f:containers" | "f:initContainers" | "f:ephemeralContainers" | "f:volumes"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_to_be_given_up_is_ours_alone_and_in_a_version_that_is_served() {
        let path: Path = ["f:spec", "f:template", "f:spec", "f:containers", "k:{\"name\":\"spy\"}"].map(String::from).into();
        let mut object = object();
        object["metadata"]["managedFields"][0]["apiVersion"] = "apps/v1beta1".into();
        object["metadata"]["managedFields"][1]["apiVersion"] = "apps/v1".into();
        let items = Managed::of(&object).items_of_others().into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        assert_eq!(items, std::slice::from_ref(&path));
        let gone = ["apps/v1beta1".to_owned()];
        let entries = Managed::to_be_given_up(&object["metadata"]["managedFields"], &items, &gone, "apps/v2");
        let managed = Managed::read(&entries);
        assert_eq!(managed.versions(), BTreeSet::from(["apps/v1", "apps/v2"]));
        assert!(managed.ours().at(&path).is_some());
        assert!(managed.others().all(|entry| entry.fields.at(&path).is_none()));
        // What it has in our own items stays its own.
        assert!(!managed.others().next().unwrap().fields.is_empty());
        assert_eq!(entries.as_array().unwrap().len(), 3);
    }

    fn object() -> Value {
        let container = |name: &str| format!("k:{{\"name\":\"{name}\"}}");
        let spec = |fields: Value| json!({"f:spec": {"f:template": {"f:spec": fields}}});
        json!({"metadata": {"managedFields": [
            {"manager": "tk8s-agent", "operation": "Apply", "time": "now", "fieldsType": "FieldsV1", "fieldsV1":
                spec(json!({"f:containers": {container("web"): {".": {}, "f:name": {}, "f:image": {}}}}))},
            {"manager": "injector", "operation": "Update", "fieldsV1":
                spec(json!({"f:containers": {container("spy"): {".": {}, "f:name": {}, "f:image": {}},
                    container("web"): {"f:env": {container("X"): {".": {}, "f:name": {}}}}}}))},
            {"manager": "kube-controller-manager", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
        ]}})
    }

    #[test]
    fn what_others_put_beside_ours_is_told_and_what_runs_is_grave() {
        let foreign = Managed::of(&object()).foreign();
        let field = ".spec.template.spec.containers[name=\"spy\"]".to_owned();
        assert_eq!(foreign, [Foreign { field, manager: "injector".into(), grave: true }]);
    }

    #[test]
    fn the_fingerprint_is_about_our_entry_only() {
        let mut changed = object();
        let before = Managed::of(&changed).fingerprint();
        changed["metadata"]["managedFields"][0]["time"] = "later".into();
        changed["metadata"]["managedFields"][1]["fieldsV1"] = json!({"f:x": {}});
        assert_eq!(Managed::of(&changed).fingerprint(), before);
        changed["metadata"]["managedFields"][0]["fieldsV1"] = json!({"f:x": {}});
        assert_ne!(Managed::of(&changed).fingerprint(), before);
        assert_eq!(Managed::of(&json!({"metadata": {"managedFields": "nonsense"}})).fingerprint(), None);
        assert!(Managed::of(&json!(null)).ours().is_empty());
    }
}
