//! Images, compared: what was sent with what the API server made of it. A mutating webhook that exchanges one has changed
//! what was verified.
//!
//! Pure. Looks at what was sent only: a container that a webhook adds is somebody else's field, and shows up as such.

use serde_json::Value;
use tk8s_core::{ObjectKey, printable};

use crate::Error;

/// Where containers stand, at any depth: pod templates of custom kinds are seen too.
const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Refuses an answer, to a dry-run or to an apply, that holds another image than was sent.
pub fn images_as_sent(key: &ObjectKey, sent: &Value, stored: &Value) -> Result<(), Error> {
    let Some((sent, stored)) = replaced_image(sent, stored) else { return Ok(()) };
    let stored = printable(stored.unwrap_or("none"), 200);
    Err(Error::ImageReplaced { key: key.clone(), sent: printable(sent, 200), stored })
}

/// The first image that was sent and not stored as it was, and what is stored in its place, if anything.
fn replaced_image<'a>(sent: &'a Value, stored: &'a Value) -> Option<(&'a str, Option<&'a str>)> {
    match sent {
        Value::Object(fields) => fields.iter().find_map(|(name, value)| {
            let twin = &stored[name.as_str()];
            match value {
                Value::Array(containers) if LISTS.contains(&name.as_str()) => in_containers(containers, twin),
                _ => replaced_image(value, twin),
            }
        }),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .find_map(|(at, item)| replaced_image(item, twin_of(item, at, stored).unwrap_or(&Value::Null))),
        _ => None,
    }
}

fn in_containers<'a>(containers: &'a [Value], stored: &'a Value) -> Option<(&'a str, Option<&'a str>)> {
    containers.iter().enumerate().find_map(|(at, container)| {
        let sent = container["image"].as_str()?;
        let stored = twin_of(container, at, stored).and_then(|twin| twin["image"].as_str());
        (stored != Some(sent)).then_some((sent, stored))
    })
}

/// The item of the same name; where items have none, the one at the same place.
fn twin_of<'a>(item: &Value, at: usize, stored: &'a Value) -> Option<&'a Value> {
    let stored = stored.as_array()?;
    match item["name"].as_str() {
        Some(name) => stored.iter().find(|twin| twin["name"] == name),
        None => stored.get(at),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn pod(containers: Value) -> Value {
        json!({"spec": {"containers": containers}})
    }

    #[test]
    fn an_exchanged_image_is_found_whatever_was_added_around_it() {
        let sent = pod(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]));
        let added = pod(
            json!([{"name": "proxy", "image": "p:1"}, {"name": "b", "image": "b:1"}, {"name": "a", "image": "a:1", "env": []}]),
        );
        assert_eq!(replaced_image(&sent, &added), None);
        let exchanged = pod(json!([{"name": "a", "image": "a:1"}, {"name": "b", "image": "mirror/b:1"}]));
        assert_eq!(replaced_image(&sent, &exchanged), Some(("b:1", Some("mirror/b:1"))));
        let dropped = pod(json!([{"name": "a", "image": "a:1"}]));
        assert_eq!(replaced_image(&sent, &dropped), Some(("b:1", None)));
        assert_eq!(replaced_image(&sent, &json!({})), Some(("a:1", None)));
    }

    #[test]
    fn pod_templates_are_found_at_any_depth() {
        for wrap in [
            (|pod: Value| json!({"spec": {"jobTemplate": {"spec": {"template": pod}}}})) as fn(Value) -> Value,
            |pod| json!({"spec": {"steps": [{"name": "x"}, {"name": "y", "template": pod}]}}),
            |pod| json!({"spec": {"deep": [[{"template": pod}]]}}),
        ] {
            let at = |image: &str| wrap(json!({"spec": {"initContainers": [{"name": "i", "image": image}]}}));
            assert_eq!(replaced_image(&at("a:1"), &at("a:1")), None);
            assert_eq!(replaced_image(&at("a:1"), &at("a:2")), Some(("a:1", Some("a:2"))));
        }
    }

    #[test]
    fn what_is_called_image_elsewhere_is_no_container() {
        assert_eq!(
            replaced_image(&json!({"spec": {"image": "a:1", "x": [{"image": "b"}]}}), &json!({"spec": {"image": "a:2"}})),
            None
        );
        assert_eq!(replaced_image(&pod(json!([{"name": "a"}])), &pod(json!([{"name": "a", "image": "default:1"}]))), None);
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![Just(Value::Null), any::<i64>().prop_map(Value::from), "[a-c]".prop_map(Value::from)];
        let field = proptest::sample::select(&["containers", "initContainers", "name", "image", "spec", "template"][..]);
        leaf.prop_recursive(6, 48, 4, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((field.clone(), inner), 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
            ]
        })
    }

    /// Every name in a list once, as the API server demands of containers.
    fn named_once(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.values().all(named_once),
            Value::Array(items) => {
                let mut names: Vec<_> = items.iter().filter_map(|item| item["name"].as_str()).collect();
                let count = names.len();
                names.sort_unstable();
                names.dedup();
                names.len() == count && items.iter().all(named_once)
            }
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn what_was_stored_as_it_was_sent_was_not_replaced(value in any_json().prop_filter("names twice", named_once)) {
            prop_assert_eq!(replaced_image(&value, &value), None);
        }

        #[test]
        fn no_shape_makes_the_comparison_panic(sent in any_json(), stored in any_json()) {
            replaced_image(&sent, &stored);
        }
    }
}
