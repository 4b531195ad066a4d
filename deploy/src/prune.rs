//! Deleting what left the release, after it has settled: in reverse order, each only while it is still the object that we
//! made and that still bears our labels.
//!
//! After a turn that did not settle nothing is deleted. What hangs is reported and stays in the inventory.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tk8s_core::{COMPONENT_LABEL, ComponentName, INSTANCE_LABEL, ObjectKey};
use tk8s_diff::cluster::Cluster;
use tk8s_diff::fence::Fence;
use tk8s_diff::live::{Live, Seen};
use tk8s_diff::{Kept, Prune, rank};
use tk8s_history::Begun;
use tokio::time::Instant;

use crate::Error;
use crate::sealed::{Finished, Settled};

/// How long deletions are waited for, all together, before what holds them is left to itself. A Pod's usual grace.
const PATIENCE: Duration = Duration::from_secs(30);
/// What a rank is given at least, when those before it have used up the patience.
const LEAST: Duration = Duration::from_secs(5);
/// How many deletions at the same time.
const CONCURRENCY: usize = 8;
/// How often an object that changes under the deletion is read again.
const READS: usize = 10;

/// A turn whose deletions stopped halfway.
#[derive(Debug)]
pub struct PruneFailed {
    /// What is gone.
    pub gone: Vec<ObjectKey>,
    /// The entry to close.
    pub begun: Begun,
    /// Why: the first thing that failed.
    pub error: Error,
}

/// Deletes what the plan names, as the account that it names, and waits, within bounds and until `cancel`, until it is gone. What was to be deleted is
/// deleted all the same; only nobody waits for it then. When the fence is not open any more no further deletion is sent.
pub async fn prune(
    cluster: &Cluster,
    live: &Live,
    settled: Settled,
    deadline: Instant,
    fence: &Fence,
    cancel: impl Future<Output = ()>,
) -> Result<Finished, Box<PruneFailed>> {
    let mut cancel = std::pin::pin!(cancel);
    let mut waiting = true;
    let Settled { plan, begun, unhealthy, .. } = settled;
    let hooks = plan.hooks().map(|(moment, _)| moment);
    if !unhealthy.is_empty() {
        let stays = |prune: &Prune| kept(&prune.key, "the release is not healthy, and nothing is deleted after a failure");
        let left = plan.prune().iter().map(stays).collect();
        return Ok(Finished { begun, gone: Vec::new(), released: Vec::new(), left, pending: Vec::new(), unhealthy, hooks });
    }
    let patience = Instant::now() + PATIENCE;
    let cluster = &cluster.acting_as(plan.account());
    let component = &plan.release().id.component;
    let deletion = Deletion { cluster, live, component, fence, deadline: deadline.max(patience) };
    let (mut gone, mut left, mut deleting) = (Vec::new(), Vec::new(), Vec::new());
    let mut released = plan.released().to_vec();
    let mut leaving: Vec<&Prune> = plan.prune().iter().collect();
    leaving.sort_by(|a, b| (rank(&b.key), &b.key).cmp(&(rank(&a.key), &a.key)));
    for same_rank in leaving.chunk_by(|a, b| rank(&a.key) == rank(&b.key)) {
        let mut deletions = Vec::new();
        for prune in same_rank {
            deletions.push(deletion.delete(prune));
        }
        let mut fates = stream::iter(deletions).buffer_unordered(CONCURRENCY);
        let mut failed = None;
        while let Some((prune, fate)) = fates.next().await {
            match fate {
                Ok(Fate::Gone) => gone.push(prune.key.clone()),
                Ok(Fate::Deleting) => deleting.push(prune),
                Ok(Fate::Released(why)) => released.push(kept(&prune.key, why)),
                Ok(Fate::Left(why)) => left.push(kept(&prune.key, why)),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        drop(fates);
        if let Some(error) = failed {
            return Err(Box::new(PruneFailed { gone, begun, error }));
        }
        // What this rank held (instances, members) goes before what held it (definitions, namespaces).
        if waiting {
            tokio::select! {
                () = vanish(live, &mut deleting, &mut gone, patience.max(Instant::now() + LEAST)) => {}
                () = &mut cancel => waiting = false,
            }
        }
    }
    let pending = deleting.iter().map(|prune| kept(&prune.key, &what_holds(live, prune))).collect();
    tk8s_core::crash::point("P10");
    Ok(Finished { begun, gone, released, left, pending, unhealthy, hooks })
}

fn kept(key: &ObjectKey, why: &str) -> Kept {
    tracing::warn!(object = %key, why, "it left the release and is still there");
    Kept { key: key.clone(), why: why.into() }
}

/// What became of an object that was to be deleted.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// It is not there any more.
    Gone,
    /// The API server agreed; grace periods and finalizers take their time.
    Deleting,
    /// It is not ours any more, and why.
    Released(&'static str),
    /// It is ours and still there, and why.
    Left(&'static str),
}

/// An object as it is just before it is deleted.
struct Standing {
    uid: String,
    resource_version: String,
    deleting: bool,
    ours: bool,
}

struct Deletion<'a> {
    cluster: &'a Cluster,
    live: &'a Live,
    component: &'a ComponentName,
    fence: &'a Fence,
    deadline: Instant,
}

impl Deletion<'_> {
    async fn delete<'p>(&self, prune: &'p Prune) -> (&'p Prune, Result<Fate, Error>) {
        let fate = if self.fence.is_open() { self.decide(prune).await } else { Err(Error::Halted) };
        if matches!(fate, Ok(Fate::Gone)) {
            self.live.gone(&prune.key, &prune.uid);
        }
        (prune, fate)
    }

    /// Deletes the object as it was read, and reads it again if it changed meanwhile: what counts is that our labels
    /// stand on the very version that is deleted.
    async fn decide(&self, prune: &Prune) -> Result<Fate, Error> {
        let mut standing = self.watched(&prune.key);
        for _ in 0..READS {
            if standing.is_none() {
                standing = self.read(prune).await?;
            }
            let Some(found) = standing.take() else { return Ok(Fate::Gone) };
            if let Some(fate) = without_asking(&found, &prune.uid) {
                return Ok(fate);
            }
            let reply = self.cluster.write_until(|| request(prune, &found), self.deadline, self.fence).await?;
            tk8s_core::crash::point("P9");
            match reply.status {
                _ if reply.is_not_found() => return Ok(Fate::Gone),
                StatusCode::CONFLICT => {}
                _ => return Ok(answered(&reply.yes(&prune.key)?.body)),
            }
        }
        Ok(Fate::Left("it changes all the time; it is tried again with the next release"))
    }

    /// As the watches have it. What they don't have may be there without our labels, so it is read.
    fn watched(&self, key: &ObjectKey) -> Option<Standing> {
        let Seen::Present(seen) = self.live.seen(key) else { return None };
        Some(Standing {
            ours: seen.component.as_ref() == Some(self.component),
            uid: seen.uid.clone(),
            resource_version: seen.resource_version.clone(),
            deleting: seen.deleting,
        })
    }

    async fn read(&self, prune: &Prune) -> Result<Option<Standing>, Error> {
        let Some(object) = self.cluster.get(&prune.resource, &prune.key).await? else { return Ok(None) };
        let metadata = &object["metadata"];
        let label = |name: &str| metadata["labels"][name].as_str();
        let text = |field: &str| metadata[field].as_str().map(String::from).ok_or_else(|| Error::NoObject(prune.key.clone()));
        Ok(Some(Standing {
            uid: text("uid")?,
            resource_version: text("resourceVersion")?,
            deleting: metadata["deletionTimestamp"].is_string(),
            ours: label(COMPONENT_LABEL) == Some(self.component.as_str())
                && label(INSTANCE_LABEL) == Some(self.live.instance().as_str()),
        }))
    }
}

/// What needs no request, because it is decided already.
fn without_asking(found: &Standing, uid: &str) -> Option<Fate> {
    match found {
        // The one that we made is gone, and its name was used again.
        found if found.uid != uid => Some(Fate::Released("another object has its name now")),
        found if !found.ours => Some(Fate::Released("our labels were taken off it: it is somebody else's now")),
        found if found.deleting => Some(Fate::Deleting),
        _ => None,
    }
}

fn request(prune: &Prune, found: &Standing) -> Request<Vec<u8>> {
    let options = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": prune.propagation.as_str(),
        "preconditions": {"uid": found.uid, "resourceVersion": found.resource_version},
    });
    Request::delete(prune.resource.path_of(&prune.key))
        .header("content-type", "application/json")
        .body(options.to_string().into_bytes())
        .expect("because the path is made of valid names")
}

/// A deletion that is done is answered by a Status, one that takes its time by the object.
fn answered(body: &Value) -> Fate {
    if body["kind"] == "Status" && body["metadata"]["uid"].is_null() { Fate::Gone } else { Fate::Deleting }
}

/// Waits until what is being deleted is gone; what is not in time stays in the list.
async fn vanish(live: &Live, deleting: &mut Vec<&Prune>, gone: &mut Vec<ObjectKey>, patience: Instant) {
    if deleting.is_empty() {
        return;
    }
    for prune in deleting.iter() {
        live.watch(&prune.resource);
    }
    let mut changes = live.changes();
    let watched = async {
        loop {
            changes.borrow_and_update();
            deleting.retain(|prune| {
                let there = is_there(&live.seen(&prune.key), &prune.uid);
                if !there {
                    gone.push(prune.key.clone());
                }
                there
            });
            // What is out of sight is not waited for: the next run asks for it.
            if deleting.iter().all(|prune| !live.scope().sees(&prune.key)) || changes.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::time::timeout_at(patience, watched).await.ok();
}

/// A watch that has not answered yet does not say that something is gone.
fn is_there(seen: &Seen, uid: &str) -> bool {
    match seen {
        Seen::Present(seen) => seen.uid == uid,
        Seen::Unwatched | Seen::OutOfSight => true,
        Seen::Absent => false,
    }
}

fn what_holds(live: &Live, prune: &Prune) -> String {
    match live.seen(&prune.key) {
        Seen::Present(seen) if seen.deleting => seen.health.message.clone(),
        Seen::OutOfSight => "its deletion was accepted, and whether it is gone is out of sight: the next run asks".into(),
        _ => "its deletion was accepted, and the watches have not said that it is gone".into(),
    }
}

#[cfg(test)]
mod tests;
