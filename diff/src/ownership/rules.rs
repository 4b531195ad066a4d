//! The table: what a field of somebody else is to us, and what is done about it.
//!
//! | we owned it after our last apply | now owned by | it is | what we do |
//! | --- | --- | --- | --- |
//! | yes | an autoscaler through `scale`, or a manager in `ignore` | yielded | leave it, and stop owning it |
//! | yes | anyone else | drift | `drift: repair`, `report` or `ignore` |
//! | no | a known predecessor | adopted | take it |
//! | no | an autoscaler, or a manager in `ignore` | yielded | leave it |
//! | no | anyone else | contested | `conflicts: report`, `force` or `yield` |

use globset::{Glob, GlobMatcher};
use serde_json::Value;
use tk8s_core::{Conflicts, DriftMode, ObjectKey};

use super::fields::{FieldSet, Path, display, put, take_out, value_at};
use super::managers::{Entry, Managed};

/// Managers that came before us: what they applied is taken over. `ancient-changes` is not one of them: that is whoever
/// wrote before there was room for a name.
const PREDECESSORS: &[&str] = &[
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-edit",
    "kubectl-create",
    "kubectl-replace",
    "argocd-controller",
    "kustomize-controller",
    "helm",
    "helm-controller",
    "Helm",
    NOBODY,
];

/// How the API server calls whoever wrote before anybody said their name.
pub(crate) const NOBODY: &str = "before-first-apply";

/// Fields that are left to others.
#[derive(Clone, Debug, Default)]
pub struct IgnoreRule {
    /// Of which kind; all if not given.
    pub kind: Option<String>,
    /// Of which objects, by a glob over their names; all if not given.
    pub name: Option<GlobMatcher>,
    /// These fields, as JSON pointers.
    pub pointers: Vec<String>,
    /// Whatever these managers own.
    pub managers: Vec<String>,
}

impl IgnoreRule {
    /// A glob for names.
    pub fn glob(text: &str) -> Option<GlobMatcher> {
        Glob::new(text).ok().map(|glob| glob.compile_matcher())
    }

    fn is_about(&self, key: &ObjectKey) -> bool {
        self.kind.as_ref().is_none_or(|kind| *kind == key.kind) && self.name.as_ref().is_none_or(|name| name.is_match(&key.name))
    }
}

/// What a component says about fields of others.
#[derive(Clone, Debug, Default)]
pub struct FieldRules {
    /// `drift`.
    pub drift: DriftMode,
    /// `conflicts`.
    pub conflicts: Conflicts,
    /// `ignore`.
    pub ignore: Vec<IgnoreRule>,
    /// `strict`: what others put into lists of ours is taken out.
    pub strict: bool,
}

/// The same for one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectRules {
    conflicts: Conflicts,
    pointers: Vec<String>,
    managers: Vec<String>,
    strict: bool,
}

impl FieldRules {
    /// Whether whatever this manager owns of an object is left to it.
    pub fn leaves_to(&self, key: &ObjectKey, manager: &str) -> bool {
        self.ignore.iter().any(|rule| rule.is_about(key) && rule.managers.iter().any(|left| left == manager))
    }

    /// What counts for an object: `tk8s.io/conflicts` on it wins over what its component says.
    pub fn of(&self, key: &ObjectKey, conflicts: Option<&str>) -> ObjectRules {
        let about = || self.ignore.iter().filter(|rule| rule.is_about(key));
        let conflicts = match conflicts {
            Some("report") => Conflicts::Report,
            Some("force") => Conflicts::Force,
            Some("yield") => Conflicts::Yield,
            _ => self.conflicts,
        };
        ObjectRules {
            conflicts,
            pointers: about().flat_map(|rule| rule.pointers.clone()).collect(),
            managers: about().flat_map(|rule| rule.managers.clone()).collect(),
            strict: self.strict,
        }
    }
}

impl ObjectRules {
    /// Whether what this manager owns is left to it, whatever it is.
    fn leaves_to(&self, entry: &Entry) -> bool {
        is_autoscaler(entry) || self.managers.contains(&entry.manager)
    }

    pub(crate) fn conflicts(&self) -> Conflicts {
        self.conflicts
    }

    /// Whether fields are named that are left to whoever owns them.
    pub(crate) fn has_pointers(&self) -> bool {
        !self.pointers.is_empty()
    }

    /// Whether a field, or what it is in, is named as one that is left to others.
    fn names(&self, object: &Value, all: &FieldSet, path: &[String]) -> bool {
        self.pointers.iter().filter_map(|pointer| all.path_of_pointer(object, pointer)).any(|named| path.starts_with(&named))
    }
}

/// Whoever writes through `scale` scales by itself; but a person with `kubectl scale` does not.
fn is_autoscaler(entry: &Entry) -> bool {
    entry.subresource == "scale" && !entry.manager.starts_with("kubectl")
}

/// Whether an entry is of one who managed objects before us.
pub(crate) fn is_predecessor(entry: &Entry) -> bool {
    PREDECESSORS.contains(&entry.manager.as_str())
}

/// What a field of somebody else is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// Left to its owner.
    Yielded,
    /// It was ours, and was taken.
    Drift,
    /// It belongs to one who came before us.
    Adopted,
    /// It is somebody else's.
    Contested,
    /// Somebody else put it into a list of ours, and it has to go.
    Intruder,
}

/// The table.
pub(crate) fn whose(entry: &Entry, was_ours: bool, rules: &ObjectRules) -> Whose {
    match (rules.leaves_to(entry), was_ours) {
        (true, _) => Whose::Yielded,
        (false, true) => Whose::Drift,
        (false, false) if is_predecessor(entry) => Whose::Adopted,
        (false, false) => Whose::Contested,
    }
}

/// A field that a forced apply takes from somebody.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Override {
    /// The field, as the API server writes it.
    pub field: String,
    /// From whom.
    pub manager: String,
    /// What it was to us.
    pub whose: Whose,
    #[serde(skip)]
    pub(crate) path: Path,
}

/// What others put into lists of ours, where that is not left to them: each with its path and who put it there.
pub(crate) fn intruders(managed: &Managed, object: &Value, rules: &ObjectRules) -> Vec<Override> {
    if !rules.strict {
        return Vec::new();
    }
    let all = managed.others_fields().with(managed.ours());
    let items = managed.items_of_others().into_iter();
    let unwanted = items.filter(|(path, entry)| !rules.leaves_to(entry) && !rules.names(object, &all, path));
    let mut found: Vec<Override> = Vec::new();
    for (path, entry) in unwanted {
        if !found.iter().any(|known| known.path == path) {
            found.push(Override { field: display(&path), manager: entry.name(), whose: Whose::Intruder, path });
        }
    }
    found
}

/// Takes out of a body what is left to others, as the object is now. A field that nobody else owns can't be left out, for
/// that would delete it: as long as it is so, it is sent as it is. Gives the fields.
pub(crate) fn give_way(body: &mut Value, live: &Value, managed: &Managed, rules: &ObjectRules) -> Vec<Path> {
    let mut left = Vec::new();
    for entry in managed.others().filter(|entry| rules.leaves_to(entry)) {
        for path in entry.fields.leaves() {
            if !is_key(&path) && take_out(body, &path) {
                left.push(path);
            }
        }
    }
    let others = managed.others_fields();
    let all = others.with(managed.ours());
    for pointer in &rules.pointers {
        // What is not there yet is made as we say.
        let Some(path) = all.path_of_pointer(live, pointer) else { continue };
        if value_at(body, &path).is_none() {
            continue;
        }
        match others.at(&path).is_some() {
            true => drop(take_out(body, &path)),
            false => put(body, &path, value_at(live, &path).cloned().unwrap_or_default()),
        }
        left.push(path);
    }
    left
}

/// A field by which its item is known can't be left out of it.
fn is_key(path: &[String]) -> bool {
    let [.., item, field] = path else { return false };
    let (Some(keys), Some(name)) = (item.strip_prefix("k:"), field.strip_prefix("f:")) else { return false };
    serde_json::from_str::<serde_json::Map<String, Value>>(keys).is_ok_and(|keys| keys.contains_key(name))
}

/// An object and who owns what of it, at one moment.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) object: &'a Value,
    pub(crate) managed: &'a Managed,
}

/// What an apply takes from whom: what others owned before it and don't own after it, and we do.
pub(crate) fn overridden(
    before: At<'_>,
    after: At<'_>,
    was_ours: impl Fn(&[String]) -> bool,
    rules: &ObjectRules,
) -> Vec<Override> {
    let ours = after.managed.ours();
    let mut found = Vec::new();
    if before.managed.is_empty() {
        // Whoever owned it is forgotten. The API server calls them by this name from the next apply on.
        for path in ours.leaves() {
            let was = value_at(before.object, &path);
            if was.is_some() && was != value_at(after.object, &path) {
                let whose = if was_ours(&path) { Whose::Drift } else { Whose::Adopted };
                found.push(Override { field: display(&path), manager: NOBODY.into(), whose, path });
            }
        }
    }
    let (before, after) = (before.managed, after.managed);
    for entry in before.others() {
        let kept = after.same(entry).map_or(FieldSet::nothing(), |entry| &entry.fields);
        for path in entry.fields.minus(kept).common(ours).leaves() {
            let whose = whose(entry, was_ours(&path), rules);
            found.push(Override { field: display(&path), manager: entry.name(), whose, path });
        }
    }
    found
}

/// Fields that the API server's answer to an apply holds otherwise than they were sent, though they are ours: somebody on
/// the way overwrites them. An amount in another unit is the same amount. `managed` is what the answer says of its owners.
pub fn altered(sent: &Value, answer: &Value, managed: &Managed) -> Vec<String> {
    let differs = |path: &Path| match (value_at(sent, path), value_at(answer, path)) {
        (Some(sent), Some(answered)) => !same_value(sent, answered),
        (Some(sent), None) => !is_nothing(sent),
        (None, _) => false,
    };
    managed.ours().leaves().iter().filter(|path| differs(path)).map(|path| display(path)).collect()
}

/// What an API server does not keep, because it says nothing.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Object(fields) => fields.values().all(is_nothing),
        Value::Array(items) => items.is_empty(),
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
    }
}

/// Whether two values mean the same: what was filled in beside what was sent does not count.
fn same_value(sent: &Value, answered: &Value) -> bool {
    match (sent, answered) {
        (Value::Object(sent), Value::Object(answered)) => sent.iter().all(|(name, sent)| match answered.get(name) {
            Some(answered) => same_value(sent, answered),
            None => is_nothing(sent),
        }),
        (Value::Array(sent), Value::Array(answered)) => {
            sent.len() == answered.len() && sent.iter().zip(answered).all(|(sent, answered)| same_value(sent, answered))
        }
        _ if sent == answered => true,
        _ => {
            matches!((amount(sent), amount(answered)), (Some(sent), Some(answered)) if (sent - answered).abs() <= sent.abs() * 1e-12)
        }
    }
}

/// A quantity of Kubernetes as a number: `500m`, `1Gi`, `1e3`.
fn amount(value: &Value) -> Option<f64> {
    let text = match value {
        Value::Number(number) => return number.as_f64(),
        Value::String(text) => text,
        _ => return None,
    };
    const UNITS: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1.0));
    number.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| number * factor)
}

/// What became of fields that we owned and own no more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Taken, and by whom, if anybody has them now.
    pub(crate) taken: Vec<(String, Option<String>)>,
    /// Left to their owners.
    pub(crate) yielded: usize,
}

/// Sorts what we owned and own no more.
pub(crate) fn lost(owned: &FieldSet, managed: &Managed, live: &Value, rules: &ObjectRules) -> Lost {
    let ours = managed.ours();
    let others = managed.others_fields();
    let all = others.with(owned);
    let mut lost = Lost::default();
    for path in owned.minus(ours).leaves() {
        let owners: Vec<_> = managed.others().filter(|entry| entry.fields.at(&path).is_some()).collect();
        let left = owners.iter().any(|entry| whose(entry, true, rules) == Whose::Yielded);
        if left || rules.names(live, &all, &path) {
            lost.yielded += 1;
        } else {
            lost.taken.push((display(&path), owners.first().map(|entry| entry.name())));
        }
    }
    lost
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn entry(manager: &str, subresource: &str, applied: bool, fields: Value) -> Value {
        let operation = if applied { "Apply" } else { "Update" };
        json!({"manager": manager, "operation": operation, "subresource": subresource, "fieldsV1": fields})
    }

    fn managed(entries: &[Value]) -> Managed {
        Managed::read(&Value::Array(entries.to_vec()))
    }

    fn one(manager: &str, subresource: &str) -> Entry {
        let all = managed(&[entry(manager, subresource, false, json!({"f:spec": {"f:replicas": {}}}))]);
        all.others().next().unwrap().clone()
    }

    fn replicas() -> Path {
        vec!["f:spec".into(), "f:replicas".into()]
    }

    fn rules(managers: &[&str], pointers: &[&str]) -> ObjectRules {
        let text = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        ObjectRules { conflicts: Conflicts::Report, pointers: text(pointers), managers: text(managers), strict: true }
    }

    #[test]
    fn the_table_decides_by_who_owned_it_and_who_owns_it() {
        for (manager, subresource, was_ours, expected) in [
            ("kube-controller-manager", "scale", true, Whose::Yielded),
            ("operator", "", true, Whose::Yielded),
            ("kubectl", "scale", true, Whose::Drift),
            ("kubectl-edit", "", true, Whose::Drift),
            ("somebody", "", true, Whose::Drift),
            ("kubectl-client-side-apply", "", false, Whose::Adopted),
            ("argocd-controller", "", false, Whose::Adopted),
            ("before-first-apply", "", false, Whose::Adopted),
            ("kubectl", "scale", false, Whose::Adopted),
            ("kube-controller-manager", "scale", false, Whose::Yielded),
            ("operator", "", false, Whose::Yielded),
            ("somebody", "", false, Whose::Contested),
            ("ancient-changes", "", false, Whose::Contested),
        ] {
            let found = whose(&one(manager, subresource), was_ours, &rules(&["operator"], &[]));
            assert_eq!(found, expected, "{manager} {subresource} {was_ours}");
        }
    }

    #[test]
    fn what_an_autoscaler_owns_is_not_sent() {
        let mut body = json!({"spec": {"replicas": 1, "paused": false}});
        let live = json!({"spec": {"replicas": 7}});
        let managed = managed(&[entry("kube-controller-manager", "scale", false, json!({"f:spec": {"f:replicas": {}}}))]);
        assert_eq!(give_way(&mut body, &live, &managed, &ObjectRules::default()), [replicas()]);
        assert_eq!(body, json!({"spec": {"paused": false}}));
    }

    #[test]
    fn an_ignored_field_that_only_we_own_is_sent_as_it_is_and_left_out_once_another_owns_it() {
        let ours = entry("tk8s-agent", "", true, json!({"f:spec": {"f:replicas": {}}}));
        let theirs = entry("somebody", "", false, json!({"f:spec": {"f:replicas": {}}}));
        let live = json!({"spec": {"replicas": 10}});
        let rules = rules(&[], &["/spec/replicas"]);
        let sent = |entries: &[Value]| {
            let mut body = json!({"spec": {"replicas": 1, "paused": false}});
            give_way(&mut body, &live, &managed(entries), &rules);
            body
        };
        assert_eq!(sent(std::slice::from_ref(&ours)), json!({"spec": {"replicas": 10, "paused": false}}));
        assert_eq!(sent(&[ours, theirs]), json!({"spec": {"paused": false}}));
        let mut body = json!({"spec": {"replicas": 1}});
        give_way(&mut body, &json!({"spec": {}}), &managed(&[]), &rules);
        assert_eq!(body, json!({"spec": {"replicas": 1}}), "what is not there yet is made as we say");
    }

    #[test]
    fn an_item_keeps_the_field_that_names_it() {
        let fields = json!({"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}}}});
        let managed = managed(&[entry("operator", "", false, fields)]);
        let mut body = json!({"containers": [{"name": "web", "image": "a", "tty": true}]});
        give_way(&mut body, &json!({}), &managed, &rules(&["operator"], &[]));
        assert_eq!(body, json!({"containers": [{"name": "web", "tty": true}]}));
    }

    #[test]
    fn what_an_apply_takes_is_named_with_its_owner() {
        let fields = json!({"f:data": {"f:a": {}, "f:b": {}}});
        let before = managed(&[
            entry("kubectl-edit", "", false, fields.clone()),
            entry("somebody", "", false, json!({"f:data": {"f:c": {}}})),
        ]);
        let after = managed(&[
            entry("kubectl-edit", "", false, json!({"f:data": {"f:b": {}}})),
            entry("tk8s-agent", "", true, json!({"f:data": {"f:a": {}, "f:b": {}, "f:c": {}}})),
        ]);
        let (object, was_a) = (json!({}), |path: &[String]| path.last().is_some_and(|step| step == "f:a"));
        let at = |managed| At { object: &object, managed };
        let found = overridden(at(&before), at(&after), was_a, &ObjectRules::default());
        let found: Vec<_> = found.iter().map(|one| (one.field.as_str(), one.manager.as_str(), one.whose)).collect();
        assert_eq!(found, [(".data.a", "kubectl-edit", Whose::Drift), (".data.c", "somebody", Whose::Contested)]);
    }

    #[test]
    fn what_somebody_overwrites_on_the_way_is_told_and_another_spelling_is_not() {
        let spec = |cpu: Value, image: &str| json!({"cpu": cpu, "image": image, "paused": false, "memory": "1Gi"});
        let fields = json!({"f:spec": {"f:cpu": {}, "f:image": {}, "f:paused": {}, "f:memory": {}}});
        let answer = |cpu: &str, image: &str| {
            let mut answer = json!({"spec": spec(cpu.into(), image)});
            answer["spec"].as_object_mut().unwrap().remove("paused");
            answer["metadata"]["managedFields"] = json!([entry("tk8s-agent", "", true, fields.clone())]);
            answer
        };
        let altered = |sent: &Value, answer: &Value| altered(sent, answer, &Managed::of(answer));
        let sent = json!({"spec": spec("1000m".into(), "web:1")});
        assert_eq!(altered(&sent, &answer("1", "web:1")), Vec::<String>::new());
        assert_eq!(altered(&sent, &answer("2", "mirror/web:1")), [".spec.cpu", ".spec.image"]);
        assert_eq!(altered(&json!({"spec": spec(1.into(), "web:1")}), &answer("1", "web:1")), Vec::<String>::new());
    }

    #[test]
    fn of_what_nobody_is_known_to_own_any_more_the_changes_are_named() {
        let (before, after) = (json!({"data": {"a": "1", "b": "1"}}), json!({"data": {"a": "2", "b": "1", "c": "1"}}));
        let ours = managed(&[entry("tk8s-agent", "", true, json!({"f:data": {"f:a": {}, "f:b": {}, "f:c": {}}}))]);
        let nobody = Managed::default();
        let before = At { object: &before, managed: &nobody };
        let found = overridden(before, At { object: &after, managed: &ours }, |_| false, &ObjectRules::default());
        assert_eq!(found.iter().map(|one| (one.field.as_str(), one.whose)).collect::<Vec<_>>(), [(".data.a", Whose::Adopted)]);
    }

    #[test]
    fn an_item_that_somebody_put_in_has_to_go_unless_it_is_left_to_them() {
        let list = |name: &str| json!({"f:spec": {"f:ports": {format!("k:{{\"name\":\"{name}\"}}"): {".": {}, "f:name": {}}}}});
        let held = json!({"f:metadata": {"f:finalizers": {"v:\"theirs\"": {}}}});
        let managed = managed(&[
            entry(
                "tk8s-agent",
                "",
                true,
                json!({"f:spec": list("web")["f:spec"], "f:metadata": {"f:finalizers": {"v:\"ours\"": {}}}}),
            ),
            entry("tk8s-agent", "", false, list("by-a-policy")),
            entry("somebody", "", false, list("spy")),
            entry("a-controller", "", false, held),
        ]);
        let live = json!({"spec": {"ports": [{"name": "web"}, {"name": "spy"}, {"name": "by-a-policy"}]}});
        let found = |rules: &ObjectRules| {
            intruders(&managed, &live, rules).into_iter().map(|one| (one.field, one.manager)).collect::<Vec<_>>()
        };
        assert_eq!(found(&rules(&[], &[])), [(".spec.ports[name=\"spy\"]".to_owned(), "somebody".to_owned())]);
        assert_eq!(found(&rules(&["somebody"], &[])), []);
        assert_eq!(found(&rules(&[], &["/spec/ports/1"])), []);
        assert_eq!(found(&ObjectRules::default()), []);
    }

    #[test]
    fn what_was_lost_is_drift_unless_it_is_left_to_its_owner() {
        let owned = FieldSet::read(&json!({"f:spec": {"f:replicas": {}, "f:paused": {}}}));
        let live = json!({"spec": {"replicas": 7, "paused": true}});
        let scaled = entry("kube-controller-manager", "scale", false, json!({"f:spec": {"f:replicas": {}}}));
        let edited = entry("kubectl-edit", "", false, json!({"f:spec": {"f:paused": {}}}));
        let left = managed(&[scaled, edited]);
        let paused = (".spec.paused".to_owned(), Some("kubectl-edit".to_owned()));
        assert_eq!(lost(&owned, &left, &live, &ObjectRules::default()), Lost { taken: vec![paused], yielded: 1 });
        let named = lost(&owned, &left, &live, &rules(&[], &["/spec/paused"]));
        assert_eq!(named, Lost { taken: Vec::new(), yielded: 2 });
        let gone = lost(&owned, &managed(&[]), &json!({}), &ObjectRules::default());
        assert!(gone.taken.iter().all(|(_, manager)| manager.is_none()) && gone.taken.len() == 2);
    }
}
