//! What an instance owns, found in the cluster itself: every object that bears its labels and a field of its own. For the day
//! on which nobody remembers it any more.
//!
//! Asks discovery for every kind and lists each by label, once. A kind that can't be listed is named: what is of it is not
//! known, and is certainly not gone.

use std::collections::BTreeMap;

use serde_json::Value;
use tk8s_core::{COMPONENT_LABEL, ComponentName, INSTANCE_LABEL, InstanceName, ObjectKey, chain};

use crate::Error;
use crate::cluster::{Cluster, Resource};
use crate::live::{Scope, key_of, list};
use crate::ownership::Managed;

/// What was found.
#[derive(Debug, Default)]
pub struct Owned {
    /// Objects with their uids, by component.
    pub objects: BTreeMap<ComponentName, Vec<(ObjectKey, String)>>,
    /// Kinds that could not be listed, and why.
    pub unread: Vec<(String, String)>,
}

/// Objects that are taken note of. Beyond them something else is wrong than a lost memory.
const MOST: usize = 200_000;

/// Why a kind was not listed that could be.
const OUT_OF_SIGHT: &str = "the agent's file keeps it out of sight (`watch`)";

/// Looks for everything in a scope that bears the labels of an instance.
pub async fn owned(cluster: &Cluster, instance: &InstanceName, scope: &Scope) -> Result<Owned, Error> {
    let selector = format!("{INSTANCE_LABEL}={instance}");
    let (mut found, mut count) = (Owned::default(), 0);
    for resource in cluster.kinds().await? {
        let mut of_kind = Vec::new();
        // Where only some namespaces are looked at, no kind of the cluster's own is, and the file says so once for all.
        if !scope.looks_at(&resource) && (resource.namespaced || scope.namespaces().is_none()) {
            found.unread.push((resource.kind.to_string(), OUT_OF_SIGHT.into()));
        }
        for place in scope.places(&resource) {
            let namespace = place.namespace.as_deref();
            let each = |object| of_kind.extend(ours(&resource, &object));
            match list::pages(cluster, &resource, namespace, &selector, each).await {
                Ok(_) => {}
                // A version that discovery still names, or an object that is never listed.
                Err(Error::Refused { code: 404 | 405, .. }) => {}
                Err(error) => found.unread.push((resource.kind.to_string(), chain(&error))),
            }
        }
        for (component, key, uid) in of_kind {
            count += 1;
            if count <= MOST {
                found.objects.entry(component).or_default().push((key, uid));
            }
        }
    }
    Ok(found)
}

/// The labels alone don't make an object ours: anybody can write them.
fn ours(resource: &Resource, object: &Value) -> Option<(ComponentName, ObjectKey, String)> {
    Managed::of(object).fingerprint()?;
    let metadata = object.get("metadata")?;
    let component = metadata.pointer("/labels").and_then(|labels| labels.get(COMPONENT_LABEL)?.as_str()?.parse().ok())?;
    let uid = metadata.get("uid").and_then(Value::as_str)?.to_owned();
    Some((component, key_of(resource, object)?, uid))
}
