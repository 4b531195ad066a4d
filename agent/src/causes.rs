//! Why objects of a release are not healthy, without what the release keeps secret. Needs the cluster, and only then.

use std::collections::BTreeMap;

use tk8s_core::{Health, Hidden, ObjectKey, ReleaseId, chain};
use tk8s_deploy::{self as deploy, Cause};
use tk8s_diff::{cluster::Cluster, live::Live};
use tk8s_history::{Desired, History};

use crate::disk::disk;

/// Looks for them, if anything is not healthy.
pub async fn of(
    (cluster, live): (&Cluster, &Live),
    history: &History,
    release: &ReleaseId,
    unhealthy: &BTreeMap<ObjectKey, Health>,
) -> Vec<Cause> {
    if !unhealthy.keys().any(deploy::has_pods) {
        return Vec::new();
    }
    // What is secret is known by the release alone; without it nothing is told of what containers said.
    let hidden = match disk(|| history.recall(release)) {
        Ok(recalled) => Hidden::of(Desired::from(recalled).objects()),
        Err(error) => {
            tracing::debug!(%release, error = %chain(&error), "no causes are looked for");
            return Vec::new();
        }
    };
    // Read as the watches are: it is of Pods that the component's own workloads made.
    deploy::causes(&cluster.as_itself(), live, unhealthy, &hidden).await
}

/// What of these belongs to an object, as it follows a sentence about it.
pub fn behind(causes: &[Cause], object: &ObjectKey) -> String {
    causes.iter().find(|cause| cause.object == *object).map(|cause| format!(": {cause}")).unwrap_or_default()
}
