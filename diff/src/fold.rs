//! What of two objects a person need not read: what the API server filled in, and what others own and an apply does not
//! touch. Pure.
//!
//! Folded is only what an apply of ours has no part in. What changes is shown whoever owns it, and so is an item that
//! somebody on the way puts into a list: only what is filled in beside our own fields counts as filled in.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::ownership::{FieldSet, is_at};

/// How many fields are not shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Folded {
    /// Nobody owns them: the API server filled them in.
    pub defaulted: usize,
    /// Others own them.
    pub foreign: usize,
}

/// Both objects without what is folded. `ours` is what we own before or after the apply, `others` what others own.
pub(crate) fn fold(live: Option<&Value>, planned: &Value, ours: &FieldSet, others: &FieldSet) -> (Option<Value>, Value, Folded) {
    // Nobody owns what says which object it is.
    let identity = json!({"f:apiVersion": {}, "f:kind": {}, "f:metadata": {"f:name": {}, "f:namespace": {}}});
    let ours = ours.with(&FieldSet::read(&identity));
    let mut folded = Folded::default();
    let (before, after) = folded.pair(live, Some(planned), Some(&ours), Some(others));
    let empty = || Value::Object(Map::new());
    (live.map(|_| before.unwrap_or_else(empty)), after.unwrap_or_else(empty), folded)
}

/// What is shown of either side.
type Shown = (Option<Value>, Option<Value>);

impl Folded {
    fn pair(
        &mut self,
        live: Option<&Value>,
        planned: Option<&Value>,
        ours: Option<&FieldSet>,
        others: Option<&FieldSet>,
    ) -> Shown {
        let is = |kind: fn(&Value) -> bool| live.or(planned).is_some_and(kind) && planned.or(live).is_some_and(kind);
        match ours {
            Some(ours) if ours.is_whole() => (live.cloned(), planned.cloned()),
            _ if is(Value::is_object) => self.maps(live, planned, ours, others),
            Some(ours) if is(Value::is_array) && !ours.counts_items() => {
                let items = |side: Option<&'_ Value>| side.and_then(Value::as_array).cloned().unwrap_or_default();
                self.lists(&items(live), &items(planned), ours, others)
            }
            None if live == planned => self.count(others),
            // It comes, or goes, with what it belongs to. No API server fills in items: somebody on the way does.
            None if others.is_none() && (live.is_none() || planned.is_none()) && !planned.is_some_and(has_items) => {
                self.count(others)
            }
            _ => (live.cloned(), planned.cloned()),
        }
    }

    fn maps(
        &mut self,
        live: Option<&Value>,
        planned: Option<&Value>,
        ours: Option<&FieldSet>,
        others: Option<&FieldSet>,
    ) -> Shown {
        let sides = [live, planned].into_iter().flatten().filter_map(Value::as_object);
        let names: BTreeSet<&String> = sides.flat_map(Map::keys).collect();
        let (mut before, mut after) = (Map::new(), Map::new());
        for name in names {
            let step = format!("f:{name}");
            let (ours, others) = (ours.and_then(|ours| ours.step(&step)), others.and_then(|others| others.step(&step)));
            let of = |side: Option<&'_ Value>| side.and_then(|side| side.get(name)).cloned();
            let (shown_live, shown_planned) = self.pair(of(live).as_ref(), of(planned).as_ref(), ours, others);
            before.extend(shown_live.map(|value| (name.clone(), value)));
            after.extend(shown_planned.map(|value| (name.clone(), value)));
        }
        // An empty map that is ours says something.
        let shown = |fields: Map<String, Value>, side: Option<&Value>| {
            let said = ours.is_some() && side.and_then(Value::as_object).is_some_and(Map::is_empty);
            (said || !fields.is_empty()).then_some(Value::Object(fields))
        };
        (shown(before, live), shown(after, planned))
    }

    fn lists(&mut self, live: &[Value], planned: &[Value], ours: &FieldSet, others: Option<&FieldSet>) -> Shown {
        let (mut before, mut after, mut paired) = (BTreeMap::new(), Vec::new(), BTreeSet::new());
        for item in planned {
            let Some((step, ours)) = ours.item(item) else {
                match live.contains(item) {
                    true => drop(self.count(others.and_then(|others| Some(others.item(item)?.1)))),
                    false => after.push(item.clone()),
                }
                continue;
            };
            let others = others.and_then(|others| others.step(step));
            let place = live.iter().position(|item| is_at(item, step));
            let (shown_live, shown_planned) = self.pair(place.map(|place| &live[place]), Some(item), Some(ours), others);
            after.extend(shown_planned);
            if let Some(place) = place {
                paired.insert(place);
                before.extend(shown_live.map(|item| (place, item)));
            }
        }
        for (place, item) in live.iter().enumerate().filter(|(place, _)| !paired.contains(place)) {
            match ours.item(item) {
                Some((step, ours)) => {
                    let others = others.and_then(|others| others.step(step));
                    before.extend(self.pair(Some(item), None, Some(ours), others).0.map(|item| (place, item)));
                }
                None if planned.contains(item) => {}
                None => drop(before.insert(place, item.clone())),
            }
        }
        let shown = |items: Vec<Value>, side: &[Value]| (!items.is_empty() || side.is_empty()).then_some(Value::Array(items));
        (shown(before.into_values().collect(), live), shown(after, planned))
    }

    fn count(&mut self, others: Option<&FieldSet>) -> Shown {
        match others {
            Some(_) => self.foreign += 1,
            None => self.defaulted += 1,
        }
        (None, None)
    }
}

fn has_items(value: &Value) -> bool {
    value.as_array().is_some_and(|items| items.iter().any(|item| !item.is_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(value: Value) -> FieldSet {
        FieldSet::read(&value)
    }

    fn deployment(containers: Value, replicas: u64, strategy: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "annotations": {"theirs": "x"}},
            "spec": {"replicas": replicas, "strategy": {"type": strategy}, "containers": containers, "args": ["a", "b"]}})
    }

    fn ours(containers: &[&str]) -> FieldSet {
        let item = json!({".": {}, "f:name": {}, "f:image": {}});
        let items: Map<_, _> = containers.iter().map(|name| (format!("k:{{\"name\":\"{name}\"}}"), item.clone())).collect();
        set(json!({"f:spec": {"f:containers": items, "f:args": {}}}))
    }

    #[test]
    fn what_is_filled_in_and_what_others_own_is_counted_and_what_is_ours_is_shown() {
        let web = |image: &str| json!({"name": "web", "image": image, "policy": "Always"});
        let live = deployment(json!([web("1"), {"name": "spy"}]), 7, "Rolling");
        let planned = deployment(json!([web("2"), {"name": "spy"}]), 7, "Rolling");
        let others = set(json!({"f:spec": {"f:replicas": {}}, "f:metadata": {"f:annotations": {"f:theirs": {}}}}));
        let (before, after, folded) = fold(Some(&live), &planned, &ours(&["web"]), &others);
        let shown = |image: &str| {
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
                "spec": {"containers": [{"name": "web", "image": image}], "args": ["a", "b"]}})
        };
        assert_eq!((before, after), (Some(shown("1")), shown("2")));
        assert_eq!(folded, Folded { defaulted: 3, foreign: 2 }, "strategy, policy, and the spy that nobody owns");
    }

    #[test]
    fn what_changes_is_shown_whoever_owns_it() {
        let (live, planned) = (deployment(json!([]), 7, "Rolling"), deployment(json!([]), 9, "Recreate"));
        let others = set(json!({"f:spec": {"f:replicas": {}}}));
        let (before, after, _) = fold(Some(&live), &planned, &FieldSet::default(), &others);
        let spec = |replicas: u64, strategy: &str| json!({"replicas": replicas, "strategy": {"type": strategy}});
        assert_eq!((&before.unwrap()["spec"], &after["spec"]), (&spec(7, "Rolling"), &spec(9, "Recreate")));
    }

    #[test]
    fn an_item_that_somebody_puts_in_on_the_way_is_shown_and_so_is_one_that_goes() {
        let item = |name: &str| json!({"name": name, "image": "1", "policy": "Always"});
        let live = deployment(json!([item("old"), item("web")]), 1, "Rolling");
        let planned = deployment(json!([item("web"), item("injected")]), 1, "Rolling");
        let (before, after, folded) = fold(Some(&live), &planned, &ours(&["old", "web"]), &FieldSet::default());
        let short = |name: &str| json!({"name": name, "image": "1"});
        assert_eq!(before.unwrap()["spec"]["containers"], json!([short("old"), short("web")]));
        assert_eq!(after["spec"]["containers"], json!([short("web"), item("injected")]));
        assert_eq!(folded.defaulted, 5, "replicas, strategy, theirs, and the policies of old and web");
    }

    #[test]
    fn of_what_is_new_only_the_defaults_are_folded() {
        let planned = deployment(json!([{"name": "web", "image": "1", "policy": "Always"}]), 1, "Rolling");
        let (before, after, folded) = fold(None, &planned, &ours(&["web"]), &FieldSet::default());
        assert_eq!((before, &after["spec"]["containers"]), (None, &json!([{"name": "web", "image": "1"}])));
        assert_eq!(folded, Folded { defaulted: 4, foreign: 0 });
        let mut injected = planned;
        injected["spec"]["initContainers"] = json!([{"name": "spy"}]);
        let (_, after, _) = fold(None, &injected, &ours(&["web"]), &FieldSet::default());
        assert_eq!(after["spec"]["initContainers"], json!([{"name": "spy"}]), "a list that nobody sent is no default");
    }
}
