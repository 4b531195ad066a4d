//! What an apply by itself would keep, or stumble over, and ought to give up: items that others put into lists of a strict
//! component, and fields that were applied in an API version that is gone.
//!
//! A server-side apply removes what its manager owned alone and does not send any more. So both are made ours alone, in a
//! version that is served, before the apply that gives them up; that write says who owns what, and changes nothing else. A
//! dry-run can't know of it (of a version that is gone it only says 500), so what the plan shows is computed here.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::Error;
use crate::cluster::{Cluster, Resource};
use crate::immutable::overlaid;
use crate::ownership::{Managed, Override, take_out, value_at};

/// The versions in which fields of an object were written, and that the API server does not serve any more.
pub(crate) async fn gone_versions(cluster: &Cluster, managed: &Managed, resource: &Resource) -> Result<Vec<String>, Error> {
    let current = resource.kind.api_version();
    let mut gone = Vec::new();
    for version in managed.versions().into_iter().filter(|version| **version != current).collect::<BTreeSet<_>>() {
        if !cluster.serves(version, &resource.plural).await? {
            gone.push(version.to_owned());
        }
    }
    Ok(gone)
}

/// An object as it will be after an apply of this body, once all that was ours is ours in a version that is served.
pub(crate) fn migrated(live: &Value, managed: &Managed, body: &Value) -> Value {
    let mut after = overlaid(live, body);
    for path in managed.ours().minus(&managed.others_fields()).leaves() {
        if value_at(body, &path).is_none() {
            take_out(&mut after, &path);
        }
    }
    after
}

/// Takes items of others out of what a dry-run answered.
pub(crate) fn without_intruders(planned: &mut Value, intruders: &[Override]) {
    for intruder in intruders {
        take_out(planned, &intruder.path);
    }
}
