//! Sending a plan: rank by rank, within a rank at the same time. Decides nothing about what is sent; stops at the first
//! answer that the plan did not foresee.

use futures::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::Value;
use tk8s_diff::cluster::{Cluster, apply_request};
use tk8s_diff::live::Live;
use tk8s_diff::{Action, Change, rank};
use tk8s_history::Begun;
use tokio::time::Instant;

use crate::Error;
use crate::sealed::{Answer, Applied, ApprovedPlan};

/// How a plan is sent.
#[derive(Clone, Copy, Debug)]
pub struct ApplyOptions {
    /// How many objects at the same time.
    pub concurrency: usize,
    /// Until when a server that asks for patience gets it.
    pub deadline: Instant,
}

/// A plan whose writes stopped halfway: what was answered, and why it stopped.
#[derive(Debug)]
pub struct ApplyFailed {
    /// What was answered before.
    pub answers: Vec<Answer>,
    /// The entry to close.
    pub begun: Begun,
    /// Why.
    pub error: Error,
}

/// Sends every change of a plan. `heard` hears each answer as soon as it is there.
pub async fn apply(
    cluster: &Cluster,
    live: &Live,
    plan: ApprovedPlan,
    begun: Begun,
    options: &ApplyOptions,
    heard: &(dyn Fn(&Answer) + Sync),
) -> Result<Applied, Box<ApplyFailed>> {
    let plan = plan.plan;
    let (turn, intent) = (plan.position(), begun.intent());
    if intent.plan != plan.digest() || intent.release != plan.release().id || (intent.turn, intent.turns) != turn {
        let error = Error::NotBegun { begun: intent.plan, plan: plan.digest() };
        return Err(Box::new(ApplyFailed { answers: Vec::new(), begun, error }));
    }
    tk8s_core::crash::point("P4");
    let mut answers = Vec::new();
    for rank in plan.changes().chunk_by(|a, b| rank(&a.key) == rank(&b.key)) {
        let mut sends = Vec::new();
        for change in rank {
            sends.push(send(cluster, change, options));
        }
        let mut sent = stream::iter(sends).buffer_unordered(options.concurrency.max(1));
        let mut failed = None;
        // What is under way is always heard to its end: an answer that is not heard is an object that is not remembered.
        while let Some(result) = sent.next().await {
            match result {
                Ok((change, answer)) => {
                    tk8s_core::crash::point("P5");
                    live.answered(&change.resource, &answer.object);
                    heard(&answer);
                    answers.push(answer);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        drop(sent);
        if let Some(error) = failed {
            return Err(Box::new(ApplyFailed { answers, begun, error }));
        }
        for change in rank.iter().filter(|change| change.key.kind == "CustomResourceDefinition") {
            if let Some(group) = change.body.pointer("/spec/group").and_then(Value::as_str) {
                cluster.forget(group);
            }
        }
    }
    tk8s_core::crash::point("P6");
    Ok(Applied { plan, begun, answers })
}

async fn send<'a>(cluster: &Cluster, change: &'a Change, options: &ApplyOptions) -> Result<(&'a Change, Answer), Error> {
    let key = &change.key;
    let request = || apply_request(&change.resource, key, &change.body, change.uid.as_deref(), change.force, false);
    let reply = cluster.exchange_until(request, options.deadline).await?;
    let planned_create = change.action == Action::Create;
    if !planned_create
        && change.uid.is_some()
        && matches!(reply.status, StatusCode::CONFLICT | StatusCode::NOT_FOUND)
        && is_about_uid(&reply.body)
    {
        return Err(Error::Vanished(key.clone()));
    }
    let created = reply.status == StatusCode::CREATED;
    let reply = reply.yes(key)?;
    let uid = reply.body.pointer("/metadata/uid").and_then(Value::as_str).ok_or_else(|| Error::NoObject(key.clone()))?.to_owned();
    if planned_create && !created && !made_just_now(&reply.body) {
        return Err(Error::MadeByOther(key.clone()));
    }
    same_images(change, &reply.body)?;
    let answer = Answer {
        key: key.clone(),
        resource: change.resource.clone(),
        uid,
        created: planned_create,
        object: reply.body,
        desired: change.desired,
        warnings: reply.warnings,
    };
    Ok((change, answer))
}

/// Whether a refusal says that the UID is another one, and not that fields are contested.
fn is_about_uid(status: &Value) -> bool {
    let conflicts = status["details"]["causes"]
        .as_array()
        .is_some_and(|causes| causes.iter().any(|cause| cause["reason"] == "FieldManagerConflict"));
    !conflicts
}

/// A creation whose answer was lost is sent again and then answered by "it is there": it is ours if nobody but us, and the
/// API server's own controllers, has applied anything to it.
fn made_just_now(object: &Value) -> bool {
    let managers = object.pointer("/metadata/managedFields").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    managers.iter().any(|entry| entry["manager"] == tk8s_core::FIELD_MANAGER)
        && managers.iter().all(|entry| entry["operation"] != "Apply" || entry["manager"] == tk8s_core::FIELD_MANAGER)
}

/// Compares the images of what was sent with what was stored.
fn same_images(change: &Change, stored: &Value) -> Result<(), Error> {
    const TEMPLATES: [&str; 3] = ["/spec", "/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    for (template, list) in TEMPLATES.iter().flat_map(|template| ["containers", "initContainers"].map(|list| (template, list))) {
        let containers =
            |object: &Value| object.pointer(&format!("{template}/{list}")).and_then(Value::as_array).cloned().unwrap_or_default();
        let stored = containers(stored);
        for sent in containers(&change.body) {
            let twin = stored.iter().find(|container| container["name"] == sent["name"]);
            if let (Some(sent), Some(stored)) = (sent["image"].as_str(), twin.and_then(|twin| twin["image"].as_str()))
                && sent != stored
            {
                let shown = |image: &str| tk8s_core::printable(image, 200);
                return Err(Error::ImageReplaced { key: change.key.clone(), sent: shown(sent), stored: shown(stored) });
            }
        }
    }
    Ok(())
}
