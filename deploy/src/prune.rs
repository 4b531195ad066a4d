//! Deleting what left the release, after it has settled: in reverse order, each with the UID that it must still have.

use std::time::Duration;

use http::{Request, StatusCode};
use serde_json::json;
use tk8s_core::ObjectKey;
use tk8s_diff::cluster::Cluster;
use tk8s_diff::live::{Live, Seen};
use tk8s_diff::{Prune, rank};
use tk8s_history::Begun;
use tokio::time::Instant;

use crate::Error;
use crate::sealed::{Finished, Settled};

/// How long a deletion may take before it is left to its finalizers. It stays in the inventory and is looked at again.
const PATIENCE: Duration = Duration::from_secs(30);

/// A turn whose deletions stopped halfway.
#[derive(Debug)]
pub struct PruneFailed {
    /// What is gone.
    pub gone: Vec<ObjectKey>,
    /// The entry to close.
    pub begun: Begun,
    /// Why.
    pub error: Error,
}

/// Deletes what the plan names. After a turn that did not settle nothing is deleted.
pub async fn prune(cluster: &Cluster, live: &Live, settled: Settled, deadline: Instant) -> Result<Finished, Box<PruneFailed>> {
    let Settled { plan, begun, unhealthy } = settled;
    let mut gone = Vec::new();
    if unhealthy.is_empty() {
        let mut leaving: Vec<&Prune> = plan.prune().iter().collect();
        leaving.sort_by(|a, b| (rank(&b.key), &b.key).cmp(&(rank(&a.key), &a.key)));
        for prune in leaving {
            match delete(cluster, live, prune, deadline).await {
                Ok(true) => {
                    tk8s_core::crash::point("P9");
                    gone.push(prune.key.clone());
                }
                Ok(false) => {
                    tracing::warn!(object = %prune.key, "it is still there: something holds it, or another object has its name; it is looked at again")
                }
                Err(error) => return Err(Box::new(PruneFailed { gone, begun, error })),
            }
        }
        tk8s_core::crash::point("P10");
    }
    Ok(Finished { begun, gone, unhealthy })
}

/// Deletes one object; true once it is gone.
async fn delete(cluster: &Cluster, live: &Live, prune: &Prune, deadline: Instant) -> Result<bool, Error> {
    let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background", "preconditions": {"uid": prune.uid}}).to_string();
    let request = || {
        Request::delete(prune.resource.path_of(&prune.key))
            .header("content-type", "application/json")
            .body(body.clone().into_bytes())
            .expect("because the path is made of valid names")
    };
    let reply = cluster.exchange_until(request, deadline).await?;
    match reply.status {
        StatusCode::NOT_FOUND => live.gone(&prune.key),
        // The object that has this name now is not the one that we made.
        StatusCode::CONFLICT => return Ok(false),
        _ => {
            reply.yes(&prune.key)?;
        }
    }
    let mut changes = live.changes();
    let vanished = async {
        loop {
            changes.borrow_and_update();
            let there = matches!(live.seen(&prune.key), Seen::Present(seen) if seen.uid == prune.uid);
            if !there || changes.changed().await.is_err() {
                return;
            }
        }
    };
    Ok(tokio::time::timeout(PATIENCE, vanished).await.is_ok())
}
