//! From one environment to the next, in the engine: how long what runs has been healthy, what is said of that to others, and
//! whether what others said lets a new release in.
//!
//! What is seen is kept in history's cache: whoever loses it waits longer, and nobody waits less.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_config::EvidenceConfig;
use tk8s_core::{ComponentName, ComponentTree, Environment, ReleaseId, ReleaseNumber, Timestamp, printable};
use tk8s_deploy::Promotion;
use tk8s_history::{ComponentView, Release, ReleaseView};

use super::Engine;
use super::platform::Unit;
use super::slot::{Progress, Slot};
use crate::disk::disk;
use crate::promotion::judge::{self, Demand, Heard, Letter};
use crate::promotion::statement::{PAYLOAD, Ran, Statement};
use crate::promotion::steady::{Sight, Steady};

/// Where in the cache is kept what was seen of releases.
const SEEN: &str = "steady/";
/// How far what is kept may be behind what was seen: half of what may be missed.
const BEHIND: SignedDuration = SignedDuration::from_mins(5);
/// Of how many of its releases a component speaks: production may be some behind.
const MOST_RELEASES: usize = 5;

/// What was seen of the releases that run.
#[derive(Default)]
pub(super) struct Steadiness(Mutex<BTreeMap<ComponentName, Seen>>);

struct Seen {
    release: ReleaseNumber,
    steady: Steady,
    kept: Steady,
}

/// What others said, and what was asked when it was read.
#[derive(Default)]
pub(super) struct Told {
    asked: Option<EvidenceConfig>,
    demand: Option<Demand>,
    heard: Heard,
}

/// What was heard of others, as status shows it.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeardView {
    /// How many statements count.
    pub heard: usize,
    /// How many count for nothing.
    pub refusals: usize,
    /// Some of those.
    pub refused: Vec<UnheardView>,
}

/// A statement that counts for nothing.
#[derive(Debug, Serialize, Deserialize)]
pub struct UnheardView {
    pub place: String,
    pub message: String,
}

/// What this instance says to others.
#[derive(Debug, Serialize, Deserialize)]
pub struct Evidence {
    /// The key that signs it, as others list it.
    pub key: String,
    pub environment: Environment,
    pub evidence: Vec<EvidenceView>,
}

/// What is said of one release.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceView {
    pub component: ComponentName,
    pub release: ReleaseNumber,
    pub revision: String,
    pub healthy_since: Timestamp,
    pub healthy_until: Timestamp,
    /// Where it belongs in the repository, with what is said of the component's other releases.
    pub reference: String,
    /// The signed statement.
    pub envelope: Value,
}

fn kept_at(release: &ReleaseId) -> String {
    format!("{SEEN}{}/{:020}", release.component, release.number.0)
}

impl Engine {
    /// Takes in how a component is now.
    pub(super) fn look_whether_steady(&self, unit: &Unit) {
        // What nobody may have signed is nobody's proof.
        if self.environment() == Environment::Dev {
            return;
        }
        let name = &unit.spec.name;
        let Some(view) = disk(|| self.history.component(name)) else { return };
        let Some(current) = view.current.as_ref().filter(|current| view.healthy.as_ref() == Some(current)) else { return };
        let sight = self.sight_of(unit, &view, current);
        self.change_steady(current, |steady| steady.see(sight, Timestamp::now()));
    }

    fn sight_of(&self, unit: &Unit, view: &ComponentView, current: &ReleaseId) -> Sight {
        let name = &unit.spec.name;
        if view.unfinished.as_ref().is_some_and(|intent| intent.release != *current) {
            return Sight::Replaced;
        }
        match Sight::of(self.health_of(name).0) {
            // What somebody changed is not what Git says.
            Sight::Well if self.memory.doubts(name) || !self.drifted(unit).is_empty() => Sight::Unclear,
            sight => sight,
        }
    }

    /// Changes what is known of a release that runs, and keeps it where it would be missed.
    fn change_steady(&self, release: &ReleaseId, change: impl FnOnce(&mut Steady)) {
        let mut all = self.steadiness.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&release.component).is_none_or(|seen| seen.release != release.number) {
            if let Some(before) = all.remove(&release.component) {
                let id = ReleaseId { component: release.component.clone(), number: before.release };
                self.keep(&id, &before.steady);
                self.forget_what_is_not_kept(&release.component);
            }
            let steady = self.kept(release);
            let seen = Seen { release: release.number, kept: steady.clone(), steady };
            all.insert(release.component.clone(), seen);
        }
        let Some(seen) = all.get_mut(&release.component) else { return };
        change(&mut seen.steady);
        if is_news(&seen.kept, &seen.steady) {
            self.keep(release, &seen.steady);
            seen.kept = seen.steady.clone();
        }
    }

    /// Keeps all that was seen, before the process ends.
    pub(super) fn keep_steadiness(&self) {
        let all = self.steadiness.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (component, seen) in all.iter().filter(|(_, seen)| seen.kept != seen.steady) {
            self.keep(&ReleaseId { component: component.clone(), number: seen.release }, &seen.steady);
        }
    }

    fn keep(&self, release: &ReleaseId, steady: &Steady) {
        let text = serde_json::to_vec(steady).expect("because it holds nothing that JSON lacks");
        disk(|| self.history.cache_put(&kept_at(release), &text));
    }

    fn kept(&self, release: &ReleaseId) -> Steady {
        let text = disk(|| self.history.cache_get(&kept_at(release)));
        text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    fn forget_what_is_not_kept(&self, component: &ComponentName) {
        let releases = disk(|| self.history.releases(component));
        let known: BTreeSet<_> = releases.iter().map(|known| kept_at(&known.release.id)).collect();
        let kept = disk(|| self.history.cache_scan(&format!("{SEEN}{component}/")));
        let gone = kept.into_iter().filter(|(key, _)| !known.contains(key)).map(|(key, _)| (key, None));
        disk(|| self.history.cache_put_all(gone.collect::<Vec<_>>()));
    }

    /// Remembers that another tree gives exactly the objects of a release.
    pub(super) fn also_from(&self, release: &Release, tree: Option<&ComponentTree>) {
        let Some(tree) = tree.filter(|tree| release.tree.as_ref() != Some(tree)) else { return };
        let current = disk(|| self.history.component(&release.id.component)).and_then(|view| view.current);
        if current.as_ref() == Some(&release.id) {
            self.change_steady(&release.id, |steady| _ = steady.also(tree.clone()));
        } else {
            let mut steady = self.kept(&release.id);
            if steady.also(tree.clone()) {
                self.keep(&release.id, &steady);
            }
        }
    }

    /// What is known of a release, whether it runs or not.
    fn steady_of(&self, release: &ReleaseId) -> Steady {
        let all = self.steadiness.0.lock().unwrap_or_else(PoisonError::into_inner);
        let running = all.get(&release.component).filter(|seen| seen.release == release.number);
        running.map_or_else(|| self.kept(release), |seen| seen.steady.clone())
    }

    /// Every tree that gives the objects of a release, as far as is known.
    fn trees_of(&self, release: &Release, steady: Steady) -> Vec<ComponentTree> {
        release.tree.iter().cloned().chain(steady.trees).collect()
    }

    /// What this instance has to say of what ran well, as of now.
    pub fn evidence(&self, of: Option<&ComponentName>) -> Evidence {
        let environment = self.environment();
        let mut said = Evidence { key: self.history.public_key(), environment, evidence: Vec::new() };
        if environment == Environment::Dev {
            return said;
        }
        for unit in self.looked_after().iter().filter(|unit| of.is_none_or(|of| *of == unit.spec.name)) {
            self.look_whether_steady(unit);
            let mut releases = disk(|| self.history.releases(&unit.spec.name));
            releases.sort_by_key(|known| std::cmp::Reverse(known.release.id.number));
            said.evidence.extend(releases.iter().filter_map(|known| self.word_of(known)).take(MOST_RELEASES));
        }
        said
    }

    fn word_of(&self, known: &ReleaseView) -> Option<EvidenceView> {
        let release = &known.release;
        let steady = self.steady_of(&release.id);
        let span = steady.span?;
        let trees = self.trees_of(release, steady);
        // A release that met the rules of a lesser environment is no proof of this one's.
        if trees.is_empty() || release.environment < self.environment() {
            return None;
        }
        let config = self.config();
        let ran = Ran {
            environment: config.environment,
            cluster: config.cluster.clone(),
            instance: config.instance.to_string(),
            component: release.id.component.clone(),
            revision: release.revision.clone(),
            release: release.id.number,
            content: release.content,
            healthy_since: span.since,
            healthy_until: span.until,
        };
        let (component, number) = (ran.component.clone(), ran.release);
        let reference = format!("{}{}/{}/{component}", tk8s_gitsync::EVIDENCE, config.cluster, config.instance);
        let envelope = self.history.envelope(PAYLOAD, &Statement::of(ran, &trees).to_bytes());
        Some(EvidenceView {
            component,
            release: number,
            revision: release.revision.label().into(),
            healthy_since: span.since,
            healthy_until: span.until,
            reference,
            envelope: serde_json::from_str(&envelope).expect("because it was just written"),
        })
    }

    /// Takes in what others said, as it lies in the repository and in the directory now.
    pub(super) fn hear(&self, brought: Vec<tk8s_gitsync::Evidence>) {
        let config = self.config();
        let Some(asked) = &config.trust.evidence else {
            self.change_world(|world| world.told = Arc::default());
            return;
        };
        let Ok(demand) = Demand::of(asked) else {
            self.change_world(|world| world.told = Arc::new(Told { asked: Some(asked.clone()), ..Told::default() }));
            return;
        };
        let mut letters: Vec<_> =
            brought.into_iter().flat_map(|brought| judge::split(&brought.reference, brought.bytes)).collect();
        if let Some(dir) = &asked.dir {
            match judge::letters(dir) {
                Ok(more) => letters.extend(more),
                Err(error) => letters.push(Letter { place: dir.display().to_string(), bytes: Err(error.to_string()) }),
            }
        }
        let before = Arc::clone(&self.world().told);
        let known = (before.asked.as_ref() == Some(asked)).then_some(&before.heard);
        let heard = Heard::of(letters, &demand, known, Timestamp::now());
        for (place, why) in heard.refused.iter().filter(|refused| !before.heard.refused.contains(refused)) {
            tracing::warn!(place, why, "what is said of a release counts for nothing");
        }
        let told = Told { asked: Some(asked.clone()), demand: Some(demand), heard };
        self.change_world(|world| world.told = Arc::new(told));
    }

    /// Whether others' word lets a release in. What was begun here, or ran well here with the same objects, needs none.
    pub(super) fn promotion_of(&self, release: &Release) -> Promotion {
        let config = self.config();
        let Some(asked) = &config.trust.evidence else { return Promotion::NotAsked };
        let ran = |known: &ReleaseView| known.release.content == release.content && known.healthy_at.is_some();
        if release.removal.is_some()
            || disk(|| self.history.was_begun(&release.id))
            || disk(|| self.history.releases(&release.id.component)).iter().any(ran)
        {
            return Promotion::NotAsked;
        }
        let told = Arc::clone(&self.world().told);
        if told.asked.as_ref() != Some(asked) {
            return Promotion::Unproven("what other instances say of it was not read yet: Git has to be looked at first".into());
        }
        let Some(demand) = &told.demand else {
            let why = Demand::of(asked).err().map_or_else(String::new, |error| format!(": {error}"));
            return Promotion::Unproven(format!("`trust.evidence.keys` lists something that is no key{why}"));
        };
        let trees = self.trees_of(release, self.steady_of(&release.id));
        match told.heard.about(&release.id.component, &trees, demand) {
            Ok(promoted) => Promotion::Proven(promoted),
            Err(why) => Promotion::Unproven(why),
        }
    }

    /// Whether a release that waited for others' word has it now. If not, its place says what is missing now.
    pub(super) fn is_promoted_by_now(&self, slot: &Slot, progress: &Progress, release: &Release) -> bool {
        let Progress::Failed { class, reason, message } = progress else { return false };
        let Promotion::Unproven(why) = self.promotion_of(release) else { return true };
        if !message.contains(&why) {
            let message = format!("the plan of {} is denied: {why}", release.id);
            slot.set(Progress::Failed { class: *class, reason: reason.clone(), message });
        }
        false
    }

    /// What was heard of others, if anybody is asked.
    pub(super) fn heard(&self) -> Option<HeardView> {
        let told = Arc::clone(&self.world().told);
        told.asked.as_ref()?;
        let refused = told.heard.refused.iter();
        let view = |(place, why): &(String, String)| UnheardView { place: place.clone(), message: printable(why, 500) };
        Some(HeardView { heard: told.heard.count(), refusals: told.heard.refusals, refused: refused.map(view).collect() })
    }
}

/// Whether it would be missed if the process ended now.
fn is_news(kept: &Steady, seen: &Steady) -> bool {
    if (kept.over, &kept.trees) != (seen.over, &seen.trees) {
        return true;
    }
    match (kept.span, seen.span) {
        (Some(kept), Some(seen)) => kept.since != seen.since || seen.until.duration_since(kept.until) > BEHIND,
        (kept, seen) => kept != seen,
    }
}
