//! The pipeline, on one screen: the fourteen calls in their order. Each takes the result of the one before it, and is
//! the only one that can make its own.
//!
//! Triggers from Git enter at 1; rollback, drift and restart enter at 7 with a recalled release.

mod ending;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tk8s_core::{ComponentName, InstanceName, Removal, Timestamp};
use tk8s_deploy::{self as deploy, ApplyOptions, GateRules, Trigger};
use tk8s_diff::{self as diff, cluster::Cluster, fence::Fence, fence::Gate, live::Live};
use tk8s_gitsync::{self as gitsync, Accepted, OwnRevision, Policy, Source, Verification, VerifiedTree};
use tk8s_history::{Desired, History, LeftOut, Outcome, Status};
use tk8s_images::{self as images, Resolved};
use tk8s_render::{self as render, Component, Renderers};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::disk::disk;
use crate::error::Error;
use crate::memory::Remembered;
use crate::metrics::Metrics;
use ending::{causes, close, outcome, unpruned};

/// What a look at Git brings.
pub struct Looked {
    /// What was decided; its revisions are in the trees.
    pub verification: Verification,
    /// The verified trees, if the platform has one.
    pub trees: Option<Trees>,
    /// What other instances say.
    pub evidence: Vec<gitsync::Evidence>,
}

/// The tree that the platform comes from, and what components follow that are ahead of it.
pub struct Trees {
    pub platform: Arc<VerifiedTree>,
    /// A tree of its own; or none, where the component stays as it is.
    pub own: BTreeMap<ComponentName, Option<Arc<VerifiedTree>>>,
}

/// Steps 1 to 3, from the remote to verified trees: network and disk, no cluster. `names`: which components a tree has.
pub fn source(
    source: &Source,
    policy: &Policy,
    accepted: &Accepted,
    names: impl Fn(&VerifiedTree) -> Result<BTreeSet<ComponentName>, Error>,
) -> Result<Looked, Error> {
    let fetched = gitsync::fetch(source)?; //                                       1  network, disk
    let mut verification = gitsync::verify(&fetched, policy, accepted)?; //         2  pure, but for the mirror
    let evidence = gitsync::evidence(&fetched);
    let Some(revision) = verification.revision.take() else { return Ok(Looked { verification, trees: None, evidence }) };
    let revision = Arc::new(revision);
    let platform = Arc::new(gitsync::tree(&revision)?); //                          3  the mirror
    let mut own = BTreeMap::new();
    // Whoever rolls the tree out finds out for himself that its platform can't be read; what was refused is told all the same.
    let names = gitsync::has_component_tags(&fetched, accepted).then(|| names(&platform).ok()).flatten();
    if let Some(names) = names {
        let more = gitsync::verify_components(&fetched, policy, accepted, &revision, &names)?; // 2
        verification = verification.and(more);
        for (name, followed) in std::mem::take(&mut verification.components) {
            let tree = match followed {
                OwnRevision::Verified(revision) => Some(Arc::new(gitsync::tree(&Arc::new(*revision))?)), //     3
                OwnRevision::Kept => None,
            };
            own.insert(name, tree);
        }
    }
    Ok(Looked { verification, trees: Some(Trees { platform, own }), evidence })
}

/// Steps 4 and 5, from a verified tree to judged objects: no cluster.
pub fn build(
    tree: &Arc<VerifiedTree>,
    component: &Component,
    renderers: &Renderers,
    policy: images::Policy,
) -> Result<Resolved, Error> {
    let rendered = render::render(tree, component, renderers)?; //                  4  the mirror, a child process
    Ok(images::resolve(rendered, policy)?) //                                       5  nothing, for now
}

/// In place of steps 4 and 5, of a component that the tree takes away.
pub fn remove(tree: &VerifiedTree, component: &ComponentName, removal: Removal) -> Result<Resolved, Error> {
    Ok(images::resolve(render::removal(tree, component, removal), images::Policy::Unverified)?)
}

/// What steps 6 to 14 need beside what they hand over.
pub struct Run<'a> {
    pub instance: &'a InstanceName,
    pub cluster: &'a Cluster,
    pub live: &'a Live,
    pub history: &'a History,
    pub memory: &'a Remembered,
    pub metrics: &'a Metrics,
    pub trigger: &'a Trigger,
    /// Asked before each turn: a person's word counts at once.
    pub gate: &'a (dyn Fn() -> GateRules + Sync),
    /// What no release may bring.
    pub own: deploy::Own,
    pub rules: diff::Rules,
    /// Which hooks of the release run.
    pub hooks: diff::Hooks,
    /// How the release failed by a hook that does not run again now: putting the rest right does not make that good.
    pub failed: Option<String>,
    pub concurrency: usize,
    pub health_timeout: Duration,
    /// How long all turns together may take; each may take `health_timeout` if nothing is said.
    pub run_timeout: Option<Duration>,
    /// Cancels waiting, never writing.
    pub cancel: CancellationToken,
    /// Whether the process ends: then what was begun stays begun, for the next one to finish.
    pub stop: &'a CancellationToken,
    /// Asked before each write: another process may be the writer by now.
    pub fence: Fence,
    /// Hears of each turn whose writes were all answered.
    pub applied: &'a (dyn Fn(&deploy::Applied) + Sync),
    /// Hears of each turn that is waited for from now on, those of the hooks of a failure too.
    pub awaits: &'a (dyn Fn(&deploy::Applied) + Sync),
}

/// How long a server that refuses for a passing reason is asked before anything is written. After that the run ends, so that
/// the status says why, and begins anew; what was begun gets the time that the component has.
const ASKING: Duration = Duration::from_secs(20);

/// Refuses a release that brings what it may not, before the cluster is asked about any of it.
fn admit(run: &Run<'_>, desired: &Desired) -> Result<(), Error> {
    let admission = deploy::Admission { confine: &run.rules.confine, comes_in: run.rules.comes_in, own: &run.own };
    for told in deploy::admit(desired, run.trigger, &admission)? {
        tracing::warn!(release = %desired.release().id, "{told}, and is put back all the same");
    }
    Ok(())
}

/// Steps 7 to 14, from what is wanted to a recorded outcome. A release runs as several turns where a CRD or a namespace
/// has to exist before what needs it can be planned.
pub async fn deploy(run: &Run<'_>, desired: Desired) -> Result<Outcome, Error> {
    let (mut last, mut left_out) = (None, Vec::new());
    admit(run, &desired)?;
    let turns = diff::turns(desired, run.instance, &run.hooks)?;
    let ends = run.run_timeout.map(|timeout| Instant::now() + timeout);
    let time_left =
        || ends.map_or(run.health_timeout, |ends| run.health_timeout.min(ends.saturating_duration_since(Instant::now())));
    let asking = || Instant::now() + time_left().min(ASKING);
    // What is refused in any case is refused before the first write.
    let later = turns.get(1..).unwrap_or_default();
    let rehearsed = diff::rehearse(run.cluster, run.live, later, run.memory, &run.rules, run.concurrency, asking());
    let rehearsed = asked(run, Box::pin(rehearsed)).await?;
    rehearsed.iter().try_for_each(|rehearsed| deploy::foresee(rehearsed, run.trigger, &(run.gate)()))?;
    for turn in turns {
        let (index, of) = turn.position();
        if let Some(timeout) = run.run_timeout.filter(|_| time_left().is_zero()) {
            return Err(Error::OutOfTime { timeout, turn: index, turns: of });
        }
        let deadline = Instant::now() + time_left();
        let observing = diff::observe(run.cluster, run.live, turn, run.memory, &run.rules, run.concurrency, asking()); // 7  watch cache, dry-runs
        let observed = asked(run, Box::pin(observing)).await?;
        let plan = diff::plan(observed); //                                                                           8  pure
        run.metrics.planned(&plan);
        let approved = deploy::gate(plan, run.trigger, &(run.gate)())?; //                                            9  pure
        may_write(run)?;
        if run.trigger.is_a_persons() && run.rules.left_out.is_empty() {
            let left = approved.plan().rejected().iter();
            left_out.extend(left.map(|left| LeftOut { object: left.key.clone(), reason: left.why.clone() }));
            disk(|| run.history.leave_out(&approved.plan().release().id, &left_out, now()))?;
        }
        let begun = disk(|| run.history.begin(approved.intent(), now()))?; //                                         10 disk
        let options = ApplyOptions { concurrency: run.concurrency, deadline, fence: run.fence.clone() };
        let handed = run.memory.handed_over(begun.intent());
        let known = run.memory.begun(begun.intent());
        let (number, hook) = (begun.intent().release.number, approved.plan().hooks().is_some());
        let heard = |answer: &deploy::Answer| run.memory.answered(answer, number, hook);
        let applied = match deploy::apply(run.cluster, run.live, approved, begun, &options, &heard).await {
            Ok(applied) => applied, //                                                                                11 WRITES
            Err(failed) => {
                run.memory.untouched(failed.untouched.iter().filter(|key| known.contains(key)));
                let objects = crate::memory::objects(&failed.answers, failed.begun.intent(), &handed);
                return Err(close(run, &objects, failed.begun, failed.error, (index, of)));
            }
        };
        let objects =
            [crate::memory::objects(applied.answers(), applied.begun().intent(), &handed), crate::memory::found(applied.plan())]
                .concat();
        disk(|| run.history.applied(applied.begun(), &objects, now()))?;
        run.memory.confirm(applied.plan());
        run.memory.leave(applied.plan());
        run.metrics.applied(&applied);
        // Whoever waits for the writes hears of them now: the cache may be behind, the ledger is not.
        (run.applied)(&applied);
        disk(|| run.memory.keep());
        tk8s_core::crash::point("P7");
        (run.awaits)(&applied);
        let settled = deploy::settle(run.live, applied, time_left(), run.cancel.cancelled()).await; //                     12 watches
        tk8s_core::crash::point("P8");
        if run.stop.is_cancelled() && !settled.unhealthy().is_empty() {
            return Err(Error::Stopping);
        }
        if !settled.ended().is_empty() {
            disk(|| run.history.hooks_ended(settled.begun(), settled.ended(), now()))?;
        }
        if let Some(suspension) = (run.gate)().suspended.filter(|_| !run.trigger.is_a_persons()) {
            return Err(Error::Suspended(suspension));
        }
        let finished = match deploy::prune(run.cluster, run.live, settled, deadline, &run.fence, run.cancel.cancelled()).await {
            Ok(finished) => finished, //                                                                              13 DELETES
            Err(failed) => return unpruned(run, *failed, (index, of)),
        };
        let forgotten = finished.forgotten();
        disk(|| run.history.pruned(finished.begun(), &forgotten, now()))?;
        run.memory.forget(&finished.begun().intent().release.component, &forgotten);
        run.metrics.pruned(&finished);
        let causes = causes(run, &finished).await;
        let outcome = outcome(run, &finished, &causes, (index, of));
        let status = outcome.status;
        let _ = disk(|| run.history.record(finished.into_begun(), outcome.clone(), now()))?; //                               14 disk
        last = Some(outcome);
        if status != Status::Healthy {
            break;
        }
    }
    last.ok_or(Error::NoTurns)
}

/// What the cluster answers; the end of the process does not wait for it. The question lies on the heap: a run that waits for
/// its turn would be twice as large by it.
async fn asked<T>(run: &Run<'_>, asking: Pin<Box<impl Future<Output = Result<T, diff::Error>>>>) -> Result<T, Error> {
    tokio::select! {
        answered = asking => Ok(answered?),
        () = run.stop.cancelled() => Err(Error::Stopping),
    }
}

/// Refuses to go on where nothing new may be begun: what was begun so far stays begun, for whoever writes next.
pub(crate) fn may_write(run: &Run<'_>) -> Result<(), Error> {
    match run.fence.gate() {
        Gate::Open => Ok(()),
        Gate::Closing => Err(Error::Stopping),
        Gate::Closed => Err(Error::NotLeading),
    }
}

pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
