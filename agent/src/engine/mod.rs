//! The engine: it owns what runs, and decides when the pipeline is entered and with what.
//!
//! Three things wake it: a change in Git (rollout), a change in the cluster (drift), a person (rollback, hold, resume).
//! Each component has a [`Slot`]: one run at a time, a person's before a queued one, and what waits can be cancelled,
//! never what writes.

mod account;
mod ahead;
mod alarms;
mod anchoring;
mod attention;
mod awaiting;
mod causes;
pub(crate) mod confining;
mod distrust;
mod freshness;
mod fullcheck;
mod hooks;
mod incidents;
mod judging;
mod leaving;
mod looks;
mod operator;
mod own;
mod places;
pub(crate) mod platform;
mod promoting;
mod rendering;
mod repairs;
mod rollout;
mod run;
mod slot;
mod standing;
mod status;
mod taking_up;
mod telling;
mod undoing;
mod wanted;
mod watchdog;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tk8s_config::AgentConfig;
use tk8s_core::{Classified as _, ComponentName, Environment, InstanceName, chain};
use tk8s_diff::{cluster::Cluster, live::Live};
use tk8s_history::History;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use incidents::IncidentView;
pub use operator::{
    Asked, ComponentPlan, Fate, Held, LeftAlone, Resumed, RollbackPlan, RollbackRequest, RolledBack, RolledBackMany, Suspended,
};
use platform::Units;
pub use promoting::{Evidence, EvidenceView};
pub use rendering::Rendering;
pub use run::NOT_HEALTHY;
use slot::Slot;
pub use status::{ComponentStatus, InstanceStatus, ProblemView, State, SyncState, WarningView};

use crate::disk::disk;
use crate::error::Error;
use crate::identity::Identity;
use crate::lease::Tenure;
use crate::memory::Remembered;
use crate::metrics::Metrics;
use crate::report::Report;
use crate::rules::Judge;

/// How far the ledger's files may be behind while much is appended: they are written together.
const PUBLISHED: Duration = Duration::from_secs(1);

/// Everything a run needs, made once in `run.rs` of the process.
pub struct Engine {
    pub instance: InstanceName,
    config: RwLock<Arc<AgentConfig>>,
    pub history: Arc<History>,
    pub memory: Arc<Remembered>,
    pub cluster: Cluster,
    pub live: Live,
    judge: Judge,
    pub tenure: Tenure,
    /// Who the agent is; found out by the first run.
    identity: tokio::sync::OnceCell<Identity>,
    pub metrics: Metrics,
    /// What the cluster is told.
    pub report: Report,
    alarms: alarms::Alarms,
    causes: causes::Causes,
    rendering: Rendering,
    steadiness: promoting::Steadiness,
    /// Ends everything that waits.
    pub stop: CancellationToken,
    /// Of a GitHub App, from one look at Git to the next.
    tokens: tk8s_gitsync::TokenCache,
    slots: Mutex<BTreeMap<ComponentName, Arc<Slot>>>,
    places: places::Places,
    world: RwLock<World>,
    /// The objects that Git brought last for a component, while its release is on the way.
    wanted: RwLock<wanted::Wanted>,
    wake: Notify,
    looks: looks::Looks,
    asked: std::sync::atomic::AtomicBool,
    /// Components that may have drifted while nobody could look.
    attention: Mutex<attention::Attention>,
    /// Taken by a rollout: two never decide at the same time.
    deciding: tokio::sync::Mutex<()>,
}

/// What the last look at Git brought.
#[derive(Default)]
struct World {
    units: Option<Arc<Units>>,
    /// Components that are being taken away.
    leaving: Vec<Arc<platform::Unit>>,
    refused: Vec<tk8s_gitsync::Refusal>,
    /// Tags of components that the platform's release of this commit has reached.
    passed: Option<(tk8s_core::CommitId, std::collections::BTreeSet<tk8s_core::TagId>)>,
    /// Releases that people still have to say yes to.
    unapproved: Vec<tk8s_gitsync::Unapproved>,
    /// Who may sign, as the last look at Git read it.
    signers: Option<Arc<tk8s_gitsync::Signers>>,
    /// What other instances say of releases.
    told: Arc<promoting::Told>,
    /// Refs that are not what they were; none before Git was looked at.
    incidents: Option<Vec<incidents::Standing>>,
    /// Why the agent's file, as it is now, is not in force.
    misconfigured: Option<(String, String)>,
    /// Why the last look at Git brought nothing.
    problem: Option<(String, String)>,
    synced_at: Option<tk8s_core::Timestamp>,
    last_look: freshness::LastLook,
    /// Components whose directory could not be rendered, and why.
    broken: BTreeMap<ComponentName, (String, String)>,
}

impl Engine {
    /// An engine that has not looked at anything yet.
    #[expect(clippy::too_many_arguments, reason = "each is one collaborator, named once, in one place")]
    pub fn new(
        config: AgentConfig,
        history: Arc<History>,
        memory: Arc<Remembered>,
        cluster: Cluster,
        live: Live,
        judge: Judge,
        tenure: Tenure,
        metrics: Metrics,
        rendering: Rendering,
        stop: CancellationToken,
    ) -> Arc<Engine> {
        let units = platform::remembered(&config, &history);
        let last_look = freshness::LastLook::remembered(&history, tk8s_core::Timestamp::now());
        Arc::new(Engine {
            instance: config.instance.clone(),
            config: RwLock::new(Arc::new(config)),
            history,
            memory,
            cluster,
            live,
            judge,
            tenure,
            identity: tokio::sync::OnceCell::new(),
            report: Report::new(metrics.clone()),
            metrics,
            alarms: alarms::Alarms::default(),
            causes: causes::Causes::default(),
            rendering,
            steadiness: promoting::Steadiness::default(),
            stop,
            tokens: tk8s_gitsync::TokenCache::default(),
            slots: Mutex::default(),
            places: places::Places::default(),
            world: RwLock::new(World { units, last_look, ..World::default() }),
            wanted: RwLock::default(),
            wake: Notify::new(),
            looks: looks::Looks::default(),
            asked: false.into(),
            attention: Mutex::default(),
            deciding: tokio::sync::Mutex::default(),
        })
    }

    /// The agent's file as it is in force. Whoever runs keeps what it began with.
    pub fn config(&self) -> Arc<AgentConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    /// Puts another file in force, or tells why it is not; then Git is looked at under what is in force.
    pub fn reconfigure(&self, read: Result<AgentConfig, Error>) {
        let problem = read.map(|config| {
            *self.config.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Arc::new(config);
        });
        self.change_world(|world| world.misconfigured = problem.err().map(|error| (error.reason().into(), chain(&error))));
        self.wake(true);
    }

    /// Looks at Git soon. `asked`: by a person, so that what failed before is tried again.
    pub fn wake(&self, asked: bool) {
        if asked {
            self.asked.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        self.wake.notify_one();
    }

    /// Looks at Git soon, and waits for what is fetched and judged then, though not for what follows from it. False if that takes
    /// longer than `patience`.
    pub async fn look_now(&self, patience: Duration) -> bool {
        self.looks.next(|| self.wake(false), patience).await
    }

    /// Every component that is looked after. While nobody knows the platform (its memory was lost, and Git can't be reached)
    /// that is what history knows.
    fn looked_after(&self) -> Vec<Arc<platform::Unit>> {
        if let Some(units) = &self.world().units {
            return units.all().to_vec();
        }
        disk(|| self.history.components()).iter().map(|name| self.as_remembered(name)).collect()
    }

    /// Those of them that somebody or something calls attention to.
    fn attended(&self, attention: &attention::Attention) -> Vec<Arc<platform::Unit>> {
        if let (attention::Attention::Some(names), Some(units)) = (attention, &self.world().units) {
            return units.of(names);
        }
        let mut units = self.looked_after();
        units.retain(|unit| attention.is_for(&unit.spec.name));
        units
    }

    /// Looks soon for drift of a component, though no watch told anything.
    fn look_again(&self, component: &ComponentName) {
        self.attend(attention::Attention::Some([component.clone()].into()));
    }

    fn attend(&self, to: attention::Attention) {
        self.attention.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(to);
    }

    /// What has to be looked at now: what somebody asked for, and what the watches told.
    fn attention(&self) -> attention::Attention {
        let asked = std::mem::take(&mut *self.attention.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let mut attention = attention::Attention::to(self.live.touched(), |key| self.memory.owner_of(key));
        match &attention {
            attention::Attention::None => {}
            attention::Attention::Some(components) => components.iter().for_each(|component| self.report.changed(component)),
            attention::Attention::All => self.report.all_changed(),
        }
        attention.extend(asked);
        attention
    }

    /// Runs until told to stop: first what was left unfinished, then Git and the cluster, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut tenure = self.tenure.clone();
        tokio::select! {
            () = tenure.acquired() => {}
            () = self.stop.cancelled() => return,
        };
        let anchored = tokio::select! {
            anchored = self.compare_with_anchor() => anchored,
            () = self.stop.cancelled() => return,
        };
        self.follow_health_rules();
        self.watch_what_is_owned();
        self.finish_what_was_begun().await;
        let anchoring = tokio::spawn(Arc::clone(&self).keep_anchor(anchored));
        tokio::join!(
            Arc::clone(&self).follow_git(),
            Arc::clone(&self).follow_cluster(),
            Arc::clone(&self).check_in_full(),
            self.publish_ledger()
        );
        self.drain().await;
        disk(|| self.memory.keep());
        self.keep_steadiness();
        if let Ok(anchored) = anchoring.await {
            self.anchor_once_more(anchored).await;
        }
    }

    /// Every look at Git: when woken, and at the interval as the safety net.
    async fn follow_git(self: Arc<Self>) {
        loop {
            let asked = self.asked.swap(false, std::sync::atomic::Ordering::SeqCst);
            self.sync(asked).await;
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(self.config().repository.interval) => {}
                () = self.stop.cancelled() => return,
            }
        }
    }

    /// Keeps the ledger's files current for those who read them on the volume.
    async fn publish_ledger(&self) {
        let mut failed = false;
        loop {
            tokio::select! {
                () = tokio::time::sleep(PUBLISHED) => {}
                () = self.stop.cancelled() => return,
            }
            let published = disk(|| self.history.publish());
            if let Some(error) = published.as_ref().err().filter(|_| !failed) {
                tracing::warn!(error = %chain(error), "the files of the ledger stay behind; what was recorded is in its journal");
            }
            failed = published.is_err();
        }
    }

    /// Waits until no run is writing any more.
    async fn drain(&self) {
        let slots: Vec<_> = self.lock_slots().values().cloned().collect();
        for slot in slots {
            slot.supersede();
            drop(slot.turn.lock().await);
        }
    }

    fn slot(&self, component: &ComponentName) -> Arc<Slot> {
        let new = || {
            let (report, name) = (self.report.clone(), component.clone());
            Arc::new(Slot::telling(move || report.changed(&name)))
        };
        Arc::clone(self.lock_slots().entry(component.clone()).or_insert_with(new))
    }

    fn lock_slots(&self) -> std::sync::MutexGuard<'_, BTreeMap<ComponentName, Arc<Slot>>> {
        self.slots.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn world(&self) -> std::sync::RwLockReadGuard<'_, World> {
        self.world.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change_world(&self, change: impl FnOnce(&mut World)) {
        change(&mut self.world.write().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    fn environment(&self) -> Environment {
        self.config().environment
    }
}
