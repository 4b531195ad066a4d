//! The engine and its anchor: compared before anything runs, then kept up with what the history says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tk8s_core::{ComponentName, Pauses, ReleaseId, Timestamp, chain};
use tk8s_history::{FoundObject, Gap, Ran, SizeAndRoot};
use tokio::time::Instant;

use super::Engine;
use super::alarms::{Cause, Reason};
use crate::anchor::Anchor;
use crate::anchor::decide::{Behind, Decision, Found, Local, decide};
use crate::anchor::store::{self, Store, Written};
use crate::disk::disk;
use crate::error::Error;

/// Changes of the history are put together for so long.
const MERGED: Duration = Duration::from_secs(1);
/// After a try that failed.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long an anchor that can't be read is waited for, where the history can do without.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one request about it may take.
const ONE_REQUEST: Duration = Duration::from_secs(10);
/// How long the end of the process waits for it.
const AT_THE_END: Duration = Duration::from_secs(2);
/// How often it is looked whether a gap is still to be told.
const AGAIN: Duration = Duration::from_secs(60);
/// After how long without success people are told that the anchor is not kept.
const SILENT: Duration = Duration::from_secs(60);
/// How many kinds are named that could not be read.
const NAMED: usize = 5;
/// How long a gap is an alarm: long enough that nobody misses it over a night.
const TOLD: jiff::SignedDuration = jiff::SignedDuration::from_hours(24);

/// What is remembered of the anchor from one look to the next.
pub(super) struct Keeping {
    store: Store,
    /// Whether it was compared with the history: before that it is not overwritten.
    compared: bool,
    /// The ledger as it is anchored.
    anchored: Option<SizeAndRoot>,
    /// What of each component ran when it was looked last.
    ran: BTreeMap<ComponentName, Ran>,
    /// Since when it could not be read or written.
    failing: Option<Instant>,
    pauses: Pauses,
    /// How long it is until the next try.
    pause: Duration,
    /// Whether the agent may not read it.
    forbidden: bool,
    /// When it was last looked whether a gap is still to be told.
    told: Option<Instant>,
}

impl Keeping {
    fn of(store: Store) -> Keeping {
        Keeping {
            store,
            compared: false,
            anchored: None,
            ran: BTreeMap::new(),
            failing: None,
            pauses: PAUSES,
            pause: Duration::ZERO,
            forbidden: false,
            told: None,
        }
    }
}

impl Engine {
    /// Compares the anchor with the history, before anything runs. A history that holds something goes on without an answer
    /// after a while, or at once if it is not allowed to ask; a new one does not, because it may be one that was lost.
    pub(super) async fn compare_with_anchor(&self) -> Keeping {
        let namespace = crate::run::namespace(&self.config());
        let store = Store::new(self.cluster.client().clone(), &namespace, &self.instance);
        let mut keeping = Keeping::of(store);
        let begun = Instant::now();
        let is_new = disk(|| self.history.size_and_root()).size <= 1;
        while !self.try_to_compare(&mut keeping).await && (is_new || begun.elapsed() < PATIENCE && !keeping.forbidden) {
            tokio::time::sleep(keeping.pause).await;
        }
        keeping
    }

    async fn try_to_compare(&self, keeping: &mut Keeping) -> bool {
        match self.compare(keeping).await {
            Ok(()) => self.went_well(keeping),
            Err(error) => {
                keeping.forbidden = error.downcast_ref().is_some_and(store::Error::is_forbidden);
                self.went_wrong(keeping, &chain(&*error));
            }
        }
        keeping.compared
    }

    async fn compare(&self, keeping: &mut Keeping) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let text = tokio::time::timeout(ONE_REQUEST, keeping.store.read()).await??;
        let local = Anchor::of(&self.history, &mut keeping.ran);
        let found = match text.as_deref().map(|text| Anchor::read(text, &self.history)) {
            None => Found::Nothing,
            Some(Ok(anchor)) => Found::Proven(Box::new(anchor)),
            Some(Err(error)) => Found::Unproven(error.to_string()),
        };
        let root_then = match &found {
            Found::Proven(anchor) if anchor.ledger.size == local.ledger.size => Some(local.ledger.root.clone()),
            Found::Proven(anchor) => disk(|| self.history.root_at(anchor.ledger.size))?,
            _ => None,
        };
        let as_it_is = matches!(&found, Found::Proven(anchor) if **anchor == local);
        let ledger = local.ledger.clone();
        match decide(found, Local { anchor: local, root_then }) {
            Decision::First => {}
            Decision::Whole => keeping.anchored = as_it_is.then_some(ledger),
            Decision::Missing => self.say("AnchorMissing", "the cluster held no anchor: it is written anew".into())?,
            Decision::Unproven(why) => {
                let message = format!("the anchor in the cluster is not believed, and written anew: {why}");
                self.say("AnchorUnproven", message.clone())?;
                self.alarm(Reason::AnchorUnproven, None, vec![self.about_anchor(message)]);
            }
            Decision::Behind(behind) => self.go_behind(*behind).await?,
        }
        keeping.compared = true;
        Ok(())
    }

    /// Puts the limits of the anchor in force, and what is found in the cluster into the inventory.
    async fn go_behind(&self, behind: Behind) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Behind { lost, anchored, limits, accepted, own: components } = behind;
        tracing::error!(reason = lost.reason(), anchored = anchored.size, "the history does not hold what was anchored");
        let owned = tk8s_diff::owned(&self.cluster, &self.instance, self.live.scope()).await?;
        let object = |(key, uid)| FoundObject { key, uid };
        let found: BTreeMap<_, Vec<_>> =
            owned.objects.into_iter().map(|(name, objects)| (name, objects.into_iter().map(object).collect())).collect();
        let count: usize = found.values().map(Vec::len).sum();
        let mut message = format!(
            "the history on this volume does not hold the {} events that were anchored: {} components are kept as they are until \
             Git brings them anew; {count} objects were found in the cluster",
            anchored.size,
            limits.len()
        );
        for (position, (kind, why)) in owned.unread.iter().enumerate() {
            tracing::error!(kind, why, "could not look for objects of this kind");
            if position < NAMED {
                message.push_str(&format!("; {kind} could not be read"));
            }
        }
        // An agent without other rights than it needs may not look at most kinds.
        if let Some(more @ 1..) = owned.unread.len().checked_sub(NAMED) {
            message.push_str(&format!("; nor could {more} other kinds, which the log names"));
        }
        let (reason, anchored) = (lost.reason().to_owned(), Some(anchored));
        disk(|| self.history.mend(Gap { reason, message, anchored, limits, accepted, components, found }, Timestamp::now()))?;
        self.memory.doubt_everything();
        self.tell_of_gap();
        Ok(())
    }

    /// Writes down what was found out and changes nothing.
    fn say(&self, reason: &str, message: String) -> Result<(), tk8s_history::Error> {
        tracing::warn!(reason, "{message}");
        let (limits, accepted, components, found) = Default::default();
        disk(|| {
            self.history.mend(
                Gap { reason: reason.into(), message, anchored: None, limits, accepted, components, found },
                Timestamp::now(),
            )
        })
    }

    /// Keeps the anchor up with the history until told to stop, and once more then. Nothing waits for it.
    pub(super) async fn keep_anchor(self: Arc<Self>, mut keeping: Keeping) -> Keeping {
        loop {
            let pause = if keeping.failing.is_some() { keeping.pause } else { MERGED };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => return keeping,
            }
            if self.tenure.check().is_ok() && (keeping.compared || self.try_to_compare(&mut keeping).await) {
                self.anchor(&mut keeping).await;
            }
        }
    }

    /// Anchors how the process ends.
    pub(super) async fn anchor_once_more(&self, mut keeping: Keeping) {
        if keeping.compared && self.tenure.check().is_ok() {
            tokio::time::timeout(AT_THE_END, self.anchor(&mut keeping)).await.ok();
        }
    }

    /// Writes what is not anchored yet. In a steady state that is nothing.
    async fn anchor(&self, keeping: &mut Keeping) {
        if keeping.told.is_none_or(|told| told.elapsed() > AGAIN) {
            keeping.told = Some(Instant::now());
            self.tell_of_gap();
        }
        if keeping.anchored.as_ref() == Some(&disk(|| self.history.size_and_root())) {
            return;
        }
        let anchor = disk(|| Anchor::of(&self.history, &mut keeping.ran));
        let text = disk(|| anchor.sign(&self.history));
        match tokio::time::timeout(ONE_REQUEST, keeping.store.write(text)).await {
            Ok(Ok(Written::Yes)) => {
                keeping.anchored = Some(anchor.ledger);
                self.went_well(keeping);
            }
            Ok(Ok(Written::Overtaken)) => {
                let message = "somebody else wrote to the anchor while this process kept it: it is written anew".to_owned();
                self.alarm(Reason::AnchorUnproven, None, vec![self.about_anchor(message)]);
                if let Ok(Err(error)) = tokio::time::timeout(ONE_REQUEST, keeping.store.read()).await {
                    self.went_wrong(keeping, &chain(&error));
                }
            }
            Ok(Err(error)) => self.went_wrong(keeping, &chain(&error)),
            Err(_) => self.went_wrong(keeping, "the API server did not answer in time"),
        }
    }

    fn went_well(&self, keeping: &mut Keeping) {
        keeping.failing = None;
        keeping.pauses.begin_anew();
        self.alarm(Reason::AnchorNotKept, None, Vec::new());
    }

    fn went_wrong(&self, keeping: &mut Keeping, why: &str) {
        tracing::warn!(why, "could not keep the anchor");
        keeping.pause = keeping.pauses.after_failure(rand::random());
        let since = *keeping.failing.get_or_insert_with(Instant::now);
        if since.elapsed() >= SILENT || !keeping.compared {
            self.alarm(Reason::AnchorNotKept, None, vec![self.about_anchor(why.into())]);
        }
    }

    fn about_anchor(&self, message: String) -> Cause {
        let key = crate::anchor::store::key(&crate::run::namespace(&self.config()), &self.instance);
        Cause { object: key.to_string(), message }
    }

    /// A gap is told for a day, also by the next process.
    fn tell_of_gap(&self) {
        let gap = disk(|| self.history.gap()).filter(|gap| Timestamp::now().duration_since(gap.at) < TOLD);
        self.alarm(
            Reason::HistoryGap,
            None,
            gap.map(|gap| Cause { object: gap.reason, message: gap.message }).into_iter().collect(),
        );
    }

    /// Whether a release may not run by itself, because something else ran after it that this history does not hold.
    pub(super) fn is_behind(&self, release: &ReleaseId) -> bool {
        disk(|| self.history.limit_on(release)).is_some()
    }

    /// Refuses to run it by itself.
    pub(super) fn not_behind(&self, release: &ReleaseId) -> Result<(), Error> {
        match disk(|| self.history.limit_on(release)) {
            None => Ok(()),
            Some(limit) => Err(Error::Behind { release: release.clone(), ran: limit.current.map(|ran| ran.release) }),
        }
    }
}
