//! Sending a plan: rank by rank, within a rank at the same time. Decides nothing about what is sent; stops at the first
//! answer that the plan did not foresee.
//!
//! Promises: nothing is sent before the ledger's entry for exactly this plan was shown; every answer is heard, also those
//! that come after something failed, and those that are not as planned. Doesn't wait for anything to become healthy.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::StatusCode;
use serde_json::{Value, json};
use tk8s_core::ObjectKey;
use tk8s_diff::cluster::{Cluster, Demands, apply_request, ownership_request};
use tk8s_diff::fence::Fence;
use tk8s_diff::live::Live;
use tk8s_diff::memory::only_we_wrote;
use tk8s_diff::ownership::{Managed, Ownership, altered};
use tk8s_diff::{Action, Change, images_as_sent, rank};
use tk8s_history::Begun;
use tokio::time::Instant;

use crate::Error;
use crate::sealed::{Answer, Applied, ApprovedPlan};

/// How a plan is sent.
#[derive(Clone, Debug)]
pub struct ApplyOptions {
    /// How many objects at the same time.
    pub concurrency: usize,
    /// Until when a server that asks for patience gets it.
    pub deadline: Instant,
    /// Whether this process may still write.
    pub fence: Fence,
}

/// A plan whose writes stopped halfway: what was answered, and why it stopped.
#[derive(Debug)]
pub struct ApplyFailed {
    /// What was written before, and together with, what failed.
    pub answers: Vec<Answer>,
    /// The entry to close.
    pub begun: Begun,
    /// Why: the first thing that failed.
    pub error: Error,
    /// What is as it was, beyond doubt: it was not sent, or the one request about it was refused.
    pub untouched: Vec<ObjectKey>,
}

/// Why one object was not written.
struct NotWritten {
    error: Error,
    /// Whether it is as it was, beyond doubt.
    untouched: bool,
}

/// Whatever was asked before it, nobody knows.
impl<E: Into<Error>> From<E> for NotWritten {
    fn from(error: E) -> NotWritten {
        NotWritten { error: error.into(), untouched: false }
    }
}

/// Sends every change of a plan, as the account that the plan names. `heard` hears each answer that is as planned, as soon as it is there: what is not has to
/// be looked at anew by the next plan, so nobody may take it for known.
///
/// After a failure, or when the fence is not open any more, nothing new is sent. What was under way is heard to its end: an answer that nobody hears is an object
/// that nobody remembers.
pub async fn apply(
    cluster: &Cluster,
    live: &Live,
    plan: ApprovedPlan,
    begun: Begun,
    options: &ApplyOptions,
    heard: &(dyn Fn(&Answer) + Sync),
) -> Result<Applied, Box<ApplyFailed>> {
    let mut plan = plan.plan;
    let intent = begun.intent();
    if intent.plan != plan.digest() || intent.release != plan.release().id || (intent.turn, intent.turns) != plan.position() {
        let error = Error::NotBegun { begun: intent.plan, plan: plan.digest() };
        return Err(Box::new(ApplyFailed { answers: Vec::new(), begun, error, untouched: Vec::new() }));
    }
    // The plan says as whom, not whoever carries it out.
    let cluster = &cluster.acting_as(plan.account());
    tk8s_core::crash::point("P4");
    let mut answers = Vec::new();
    let mut unsent: HashSet<&ObjectKey> = plan.changes().iter().map(|change| &change.key).collect();
    for rank in plan.changes().chunk_by(|a, b| rank(&a.key) == rank(&b.key)) {
        let mut waiting = rank.iter();
        let mut under_way = FuturesUnordered::new();
        let mut failed = None;
        loop {
            while failed.is_none()
                && options.fence.is_open()
                && under_way.len() < options.concurrency.max(1)
                && let Some(change) = waiting.next()
            {
                unsent.remove(&change.key);
                under_way.push(async move { (change, send(cluster, change, options).await) });
            }
            match under_way.next().await {
                None => break,
                Some((change, Err(NotWritten { error, untouched }))) => {
                    unsent.extend(untouched.then_some(&change.key));
                    failed = failed.or(Some(error));
                }
                Some((change, Ok(answer))) => {
                    tk8s_core::crash::point("P5");
                    hear(cluster, live, change, &answer);
                    match unforeseen(change, &answer) {
                        None => heard(&answer),
                        Some(error) => failed = failed.or(Some(error)),
                    }
                    // Everybody has heard what it says; ten thousand whole objects would fill the memory.
                    answers.push(Answer { object: Value::Null, ownership: None, ..answer });
                }
            }
        }
        drop(under_way);
        if let Some(error) = failed.or_else(|| (waiting.len() > 0).then_some(Error::Halted)) {
            let untouched = unsent.into_iter().cloned().collect();
            return Err(Box::new(ApplyFailed { answers, begun, error, untouched }));
        }
    }
    tk8s_core::crash::point("P6");
    plan.forget_bodies();
    Ok(Applied { plan, begun, answers })
}

/// What others are told of an answer at once: the watches, for which it is newer than what they said, and the list of
/// kinds, which a CRD makes longer.
fn hear(cluster: &Cluster, live: &Live, change: &Change, answer: &Answer) {
    if let Some(ownership) = &answer.ownership {
        live.answered(&change.resource, &answer.object, ownership);
    }
    if change.key.kind == "CustomResourceDefinition"
        && let Some(group) = change.body.pointer("/spec/group").and_then(Value::as_str)
    {
        cluster.forget(group);
    }
}

async fn send(cluster: &Cluster, change: &Change, options: &ApplyOptions) -> Result<Answer, NotWritten> {
    let key = &change.key;
    if change.action == Action::Recreate {
        remove(cluster, change, options).await?;
    }
    let version = gain(cluster, change, options).await?;
    let tries = AtomicU32::new(0);
    let request = || {
        tries.fetch_add(1, Ordering::Relaxed);
        let demands = change.demands();
        apply_request(&change.resource, key, &change.body, Demands { version: version.as_deref().or(demands.version), ..demands })
    };
    let reply = cluster.write_until(request, options.deadline, &options.fence).await?;
    let unserved = reply.status == StatusCode::NOT_FOUND && !reply.is_not_found();
    if let Some(error) = overtaken(change, reply.status, &reply.body).filter(|_| !unserved) {
        return Err(error.into());
    }
    let status = reply.status;
    let sent_twice = tries.into_inner() > 1;
    let untouched = !sent_twice && version.is_none() && change.action != Action::Recreate;
    let reply = reply.yes_to(key, &change.body).map_err(|error| NotWritten { error: error.into(), untouched })?;
    let uid = reply.body.pointer("/metadata/uid").and_then(Value::as_str).ok_or_else(|| Error::NoObject(key.clone()))?;
    let uid = uid.to_owned();
    let created =
        // A creation whose answer was lost is sent again, and then answered by "it is there".
        status == StatusCode::CREATED || (makes(change.action) && sent_twice && only_we_wrote(&reply.body));
    let object = if change.takes_over { take_over(cluster, change, reply.body, options).await? } else { reply.body };
    let ownership = Ownership::of(&object);
    Ok(Answer {
        key: key.clone(),
        resource: change.resource.clone(),
        uid,
        created,
        desired: change.desired,
        warnings: reply.warnings,
        altered: altered(&change.body, &object, &ownership.managed),
        ownership: Some(ownership),
        object,
    })
}

/// Makes ours what the apply gives up and would keep otherwise, of exactly the version that was planned; the version that
/// the object has then, if that was needed. Whoever dies after it leaves an object that is otherwise than it was left, so
/// that it is planned again.
async fn gain(cluster: &Cluster, change: &Change, options: &ApplyOptions) -> Result<Option<String>, Error> {
    let (key, resource) = (&change.key, &change.resource);
    if change.ownership(&Value::Null).is_none() {
        return Ok(None);
    }
    let object = cluster.get(resource, key).await?.ok_or_else(|| Error::Vanished(key.clone()))?;
    let version = object["metadata"]["resourceVersion"].as_str();
    let (Some(version), Some(fields)) = (version, change.ownership(&object["metadata"]["managedFields"])) else {
        return Err(Error::NoObject(key.clone()));
    };
    if change.version.as_deref() != Some(version) {
        return Err(Error::Overtaken(key.clone()));
    }
    let request = || ownership_request(resource, key, version, &fields);
    let reply = cluster.write_until(request, options.deadline, &options.fence).await?;
    if matches!(reply.status, StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY) {
        return Err(Error::Overtaken(key.clone()));
    }
    Ok(reply.yes(key)?.body["metadata"]["resourceVersion"].as_str().map(String::from))
}

/// Whether a change makes an object that is not there, or not any more.
fn makes(action: Action) -> bool {
    matches!(action, Action::Create | Action::Recreate)
}

/// How often it is looked whether an object is gone.
const LOOKS: std::time::Duration = std::time::Duration::from_millis(200);

/// Deletes the object that is made anew, exactly the one that was planned, with all that belongs to it, and waits until it
/// is gone.
async fn remove(cluster: &Cluster, change: &Change, options: &ApplyOptions) -> Result<(), Error> {
    let (key, resource) = (&change.key, &change.resource);
    let uid = change.uid.as_deref();
    let deletion = json!({
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "propagationPolicy": "Foreground",
        "preconditions": {"uid": uid},
    });
    let request = || {
        http::Request::delete(resource.path_of(key))
            .header("content-type", "application/json")
            .body(deletion.to_string().into_bytes())
            .expect("because the path is made of valid names")
    };
    let reply = cluster.write_until(request, options.deadline, &options.fence).await?;
    match reply.status {
        _ if reply.is_not_found() => return Ok(()),
        StatusCode::CONFLICT => return Err(Error::Vanished(key.clone())),
        _ => drop(reply.yes(key)?),
    }
    loop {
        match cluster.get(resource, key).await? {
            Some(found) if found["metadata"]["uid"].as_str() == uid => {}
            Some(_) => return Err(Error::MadeByOther(key.clone())),
            None => return Ok(()),
        }
        if Instant::now() + LOOKS >= options.deadline {
            return Err(Error::NotGone(key.clone()));
        }
        tokio::time::sleep(LOOKS).await;
    }
}

/// How often who owns what is read again, when somebody writes to the object meanwhile.
const READS: usize = 10;

/// Takes the fields that we own now out of the entries of those who managed the object before us. As long as both own a
/// field, it stays when we give it up.
async fn take_over(cluster: &Cluster, change: &Change, mut object: Value, options: &ApplyOptions) -> Result<Value, Error> {
    let (key, resource) = (&change.key, &change.resource);
    for _ in 0..READS {
        if !Managed::of(&object).has_predecessors_beside_us() {
            break;
        }
        let version = object.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
        let fields = Managed::taken_over(&object["metadata"]["managedFields"]);
        let request = || ownership_request(resource, key, version, &fields);
        let reply = cluster.write_until(request, options.deadline, &options.fence).await?;
        object = match reply.status {
            StatusCode::CONFLICT | StatusCode::UNPROCESSABLE_ENTITY => {
                cluster.get(resource, key).await?.ok_or_else(|| Error::Vanished(key.clone()))?
            }
            _ => reply.yes(key)?.body,
        };
    }
    Ok(object)
}

/// A refusal that says no more than that the cluster is not as it was when it was planned.
fn overtaken(change: &Change, status: StatusCode, answer: &Value) -> Option<Error> {
    let causes = answer["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let contested = || causes.iter().any(|cause| cause["reason"] == "FieldManagerConflict");
    match (change.action, status) {
        // Of a planned creation there was nobody whose fields could be in the way. A quota that is being counted answers
        // 409 too, and means something else by it.
        (Action::Create | Action::Recreate, StatusCode::CONFLICT) => {
            (contested() || answer["reason"] == "AlreadyExists").then(|| Error::MadeByOther(change.key.clone()))
        }
        (Action::Create | Action::Recreate, _) => None,
        (_, StatusCode::CONFLICT) if contested() || change.version.is_some() => Some(Error::Overtaken(change.key.clone())),
        // The UID is another one, or gone.
        (_, StatusCode::CONFLICT) => change.uid.is_some().then(|| Error::Vanished(change.key.clone())),
        (_, StatusCode::UNPROCESSABLE_ENTITY) => {
            causes.iter().any(|cause| cause["field"] == "metadata.uid").then(|| Error::Vanished(change.key.clone()))
        }
        (_, StatusCode::NOT_FOUND) => Some(Error::Vanished(change.key.clone())),
        _ => None,
    }
}

/// What an answer that says yes has to say besides. It was written all the same, so it is in the answers.
fn unforeseen(change: &Change, answer: &Answer) -> Option<Error> {
    if makes(change.action) && !answer.created {
        return Some(Error::MadeByOther(change.key.clone()));
    }
    images_as_sent(&change.key, &change.body, &answer.object).err().map(Error::from)
}

#[cfg(test)]
mod tests;
