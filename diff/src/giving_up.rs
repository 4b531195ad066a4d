//! What an apply by itself would keep, or stumble over, and ought to give up: items that others put into lists of a strict
//! component, and fields that were applied in an API version that is gone.
//!
//! A server-side apply removes what its manager owned alone and does not send any more. So both are made ours alone, in a
//! version that is served, before the apply that gives them up; that write says who owns what, and changes nothing else. A
//! dry-run can't know of it (of a version that is gone it only says 500), so what the plan shows is computed here.

use std::collections::BTreeSet;

use serde_json::Value;
use tk8s_core::{Digest, Manifest, canonical_json};

use crate::cluster::{Cluster, Resource};
use crate::immutable::overlaid;
use crate::mask::Masker;
use crate::observe::secret_fields;
use crate::ownership::{Managed, Override, take_out, value_at};
use crate::sealed::{Action, Change};
use crate::{Error, text};

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

/// An object of which fields were written in versions that are gone.
#[derive(Debug)]
pub(crate) struct Stale {
    /// What is sent.
    pub(crate) body: Value,
    /// The object as it is.
    pub(crate) live: Value,
    pub(crate) managed: Managed,
    pub(crate) gone: Vec<String>,
}

impl Stale {
    /// Puts the versions right and applies, without force: whatever is in the way then is found by the next plan, which
    /// can ask.
    pub(crate) fn change(self, manifest: &Manifest, resource: &Resource, masker: &Masker) -> Change {
        let Stale { body, live, managed, gone } = self;
        let fields = secret_fields(&body, Some(&live));
        let (sent, live) = (masker.mask_also(body.clone(), &fields), masker.mask_also(live, &fields));
        let text = |field: &str| live["metadata"][field].as_str().map(String::from);
        let diff = text::unified(&manifest.key().to_string(), Some(&live), &migrated(&live, &managed, &sent));
        Change {
            key: manifest.key().clone(),
            resource: resource.clone(),
            action: Action::Configure,
            body,
            uid: text("uid"),
            overrides: Vec::new(),
            version: text("resourceVersion"),
            yielded: Vec::new(),
            takes_over: false,
            migrates: gone,
            desired: manifest.digest(),
            sent: Digest::of(canonical_json(&sent)),
            diff,
            warnings: Vec::new(),
        }
    }
}

/// An object as it will be after an apply of this body, once all that was ours is ours in a version that is served.
fn migrated(live: &Value, managed: &Managed, body: &Value) -> Value {
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
