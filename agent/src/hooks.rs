//! The hooks of a release that failed: the same calls as in the pipeline, 7 to 12, and no outcome of their own. How the
//! release ended is written down already, nothing is deleted after it, and whatever becomes of these hooks does not change
//! that.

use std::collections::HashSet;

use tk8s_deploy::{self as deploy, ApplyOptions, Settled};
use tk8s_diff as diff;
use tk8s_history::Desired;
use tokio::time::Instant;

use crate::disk::disk;
use crate::error::Error;
use crate::pipeline::{Run, may_write, now};

/// Runs those that have not run for this release. What is begun here is closed here, also where it went wrong.
pub async fn on_failure(run: &Run<'_>, desired: Desired) -> Result<(), Error> {
    for turn in diff::on_failure(desired, run.instance, &run.hooks)? {
        let deadline = Instant::now() + run.health_timeout;
        let observed = diff::observe(run.cluster, run.live, turn, run.memory, &run.rules, run.concurrency, deadline).await?;
        let approved = deploy::gate(diff::plan(observed), run.trigger, &(run.gate)())?;
        may_write(run)?;
        let begun = disk(|| run.history.begin(approved.intent(), now()))?;
        let options = ApplyOptions { concurrency: run.concurrency, deadline, fence: run.fence.clone() };
        let number = begun.intent().release.number;
        let heard = |answer: &deploy::Answer| run.memory.answered(answer, number, true);
        let applied = match deploy::apply(run.cluster, run.live, approved, begun, &options, &heard).await {
            Ok(applied) => applied,
            Err(failed) => {
                let objects = crate::memory::objects(&failed.answers, failed.begun.intent(), &HashSet::new());
                disk(|| run.history.applied(&failed.begun, &objects, now()))?;
                disk(|| run.history.hooks_ended(&failed.begun, &[], now()))?;
                return Err(failed.error.into());
            }
        };
        let made = crate::memory::objects(applied.answers(), applied.begun().intent(), &HashSet::new());
        let objects = [made, crate::memory::found(applied.plan())].concat();
        disk(|| run.history.applied(applied.begun(), &objects, now()))?;
        run.memory.confirm(applied.plan());
        (run.awaits)(&applied);
        tk8s_core::crash::point("P7");
        let settled = deploy::settle(run.live, applied, run.health_timeout, run.cancel.cancelled()).await;
        if run.stop.is_cancelled() && !settled.unhealthy().is_empty() {
            return Err(Error::Stopping);
        }
        may_write(run)?;
        disk(|| run.history.hooks_ended(settled.begun(), settled.ended(), now()))?;
        tell(run, &settled).await;
    }
    Ok(())
}

async fn tell(run: &Run<'_>, settled: &Settled) {
    let release = &settled.begun().intent().release;
    let causes = crate::causes::of((run.cluster, run.live), run.history, release, settled.unhealthy()).await;
    for hook in settled.ended().iter().filter(|hook| hook.succeeded) {
        tracing::info!(%release, hook = %hook.key, moment = %hook.moment, "the hook has done its work");
    }
    for (hook, health) in settled.unhealthy() {
        let message = format!("{}{}", health.message, crate::causes::behind(&causes, hook));
        tracing::warn!(%release, %hook, reason = health.reason, message, "the hook of the failure failed itself");
    }
}
