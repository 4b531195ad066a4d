//! How a turn ends: what is written down where its writes, or its deletions, stopped halfway, and what its outcome says.

use tk8s_core::{Classified as _, Health, Moment, ObjectKey, chain};
use tk8s_deploy as deploy;
use tk8s_history::{AppliedObject, Begun, Outcome, Status};

use super::{Run, now};
use crate::disk::disk;
use crate::error::Error;

/// A release that is healthy and of whose former objects some could not be deleted. It runs; what is left is tried again.
pub(super) fn unpruned(run: &Run<'_>, failed: deploy::PruneFailed, (turn, turns): (u32, u32)) -> Result<Outcome, Error> {
    let message = format!("not all that left it could be deleted: {}", chain(&failed.error));
    let outcome = Outcome { status: Status::Healthy, turn, turns, message, trigger: run.trigger.as_str().into() };
    disk(|| run.history.pruned(&failed.begun, &failed.gone, now()))?;
    run.memory.forget(&failed.begun.intent().release.component, &failed.gone);
    if failed.error.is_halt() {
        return Err(failed.error.into());
    }
    let _ = disk(|| run.history.record(failed.begun, outcome.clone(), now()))?;
    Ok(outcome)
}

/// Writes down how a turn ended whose writes stopped halfway: what was answered is in the inventory, the rest is not.
pub(super) fn close(run: &Run<'_>, objects: &[AppliedObject], begun: Begun, error: deploy::Error, turn: (u32, u32)) -> Error {
    let message = format!("{}: {}", error.reason(), chain(&error));
    let outcome = Outcome { status: Status::Failed, turn: turn.0, turns: turn.1, message, trigger: run.trigger.as_str().into() };
    let written: Result<(), tk8s_history::Error> = disk(|| {
        run.history.applied(&begun, objects, now())?;
        // What did not fail has no outcome: it stays begun, and whoever writes next goes on with it, without Git.
        if !error.is_halt() {
            let _ = run.history.record(begun, outcome, now())?;
        }
        Ok(())
    });
    match written {
        Ok(()) => error.into(),
        Err(history) => history.into(),
    }
}

/// What is behind it that a turn did not settle; a newer one is not held up by that.
pub(super) async fn causes(run: &Run<'_>, finished: &deploy::Finished) -> Vec<deploy::Cause> {
    let release = &finished.begun().intent().release;
    tokio::select! {
        causes = crate::causes::of((run.cluster, run.live), run.history, release, finished.unhealthy()) => causes,
        () = run.cancel.cancelled() => Vec::new(),
    }
}

pub(super) fn outcome(
    run: &Run<'_>,
    finished: &deploy::Finished,
    causes: &[deploy::Cause],
    (turn, turns): (u32, u32),
) -> Outcome {
    let failed = run.failed.clone().filter(|_| turn + 1 == turns);
    let status = match finished.unhealthy() {
        unhealthy if unhealthy.is_empty() && failed.is_none() => Status::Healthy,
        _ if run.cancel.is_cancelled() => Status::Superseded,
        // Nothing else of the release was written.
        _ if finished.hooks() == Some(Moment::BeforeApply) => Status::Failed,
        _ => Status::Unhealthy,
    };
    let told = |(key, health): (&ObjectKey, &Health)| {
        format!("{key}: {} {}{}", health.reason, health.message, crate::causes::behind(causes, key))
    };
    let unhealthy = finished.unhealthy().iter().take(5).map(told);
    let pending = finished.pending().iter().take(5).map(|kept| format!("{} is not gone yet: {}", kept.key, kept.why));
    let message: Vec<_> = failed.into_iter().chain(unhealthy).chain(pending).collect();
    Outcome { status, turn, turns, message: message.join("; "), trigger: run.trigger.as_str().into() }
}
