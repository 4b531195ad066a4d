//! The task that writes what there is to tell. One request at a time, within a budget, and only while this process holds the
//! Lease. While components are rolled out the budget is small, because telling of one is as much work to the API server as
//! applying an object: what went wrong is told first, and what went well has time.
//!
//! A resource is written against the version that was read or written last, so that nobody's writing is lost unseen: of a
//! stranger's writing only the version is taken, and what the agent says is put back. A resource that bears another instance's
//! name is left alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::events::v1 as events_v1;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use tk8s_core::{ComponentName, INSTANCE_LABEL, Pauses, Timestamp, chain, printable};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::component::Status;
use super::events::{Budget, Event, Place, Series, Write};
use super::{API_VERSION, GROUP, KIND, PLURAL, Report, VERSION, definition};
use crate::engine::{Engine, ProblemView, State};

/// Changes within this time are told together.
const TOGETHER: Duration = Duration::from_secs(1);
/// How many requests are sent at once after a pause, and how many a second: a platform of a thousand components is told in
/// less than a minute.
const BUDGET: (u32, u32) = (100, 40);
/// The same while components are rolled out.
const BESIDE_ROLLOUTS: (u32, u32) = (10, 10);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(8);
/// After something could not be written.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(300));
/// How long the first look waits for the watches, so that a start doesn't tell that nothing is known.
const WATCHES: Duration = Duration::from_secs(10);
/// How long the end of the process may wait for the last words.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How many resources are listed at a time, and in all: what others put there is bounded by the definition, how much isn't.
const PAGE: u32 = 100;
const MOST: usize = 10_000;

/// The writer.
pub struct Writer {
    engine: Arc<Engine>,
    report: Report,
    components: kube::Api<DynamicObject>,
    events: kube::Api<events_v1::Event>,
    resource: ApiResource,
    client: kube::Client,
    namespace: String,
    holder: String,
    /// The resources as they are; none before they were listed.
    known: Option<BTreeMap<ComponentName, Known>>,
    due: BTreeSet<ComponentName>,
    /// Components of which something is under way that is not told yet.
    passing: BTreeMap<ComponentName, Passing>,
    /// Components whose resource is another instance's, and whose.
    foreign: BTreeMap<ComponentName, String>,
    waiting: VecDeque<Event>,
    series: Series,
    budget: Budget,
    /// What may be told while components are rolled out, of what may be told at all.
    beside_rollouts: Budget,
    /// When each of the two may be tried again after it failed.
    components_pause: Pause,
    events_pause: Pause,
}

/// A resource, as it was read or written last.
struct Known {
    uid: String,
    version: String,
    generation: i64,
    /// What we said last.
    status: Option<Status>,
    /// Whether that is what it says, as far as we know.
    is_so: bool,
}

/// What is not told of a component unless it lasts.
#[derive(Clone, Copy)]
struct Passing {
    state: State,
    until: Instant,
}

impl Passing {
    /// Whether it is still so, and still too early to tell.
    fn lasts(&self, now: Option<State>) -> bool {
        now == Some(self.state) && Instant::now() < self.until
    }
}

/// How far one component was told.
enum Told {
    /// Its resource says how it is.
    Yes,
    /// It is under way, and soon otherwise.
    Later,
    /// The budget is used up.
    Enough,
}

/// Why one resource was not written.
enum Failure {
    /// The API server could not be reached, or did not take it.
    Refused { code: Option<u16>, message: String },
    /// It bears another instance's name.
    Foreign(String),
}

/// Whether it is too early for another try.
struct Pause {
    until: Option<Instant>,
    pauses: Pauses,
}

impl Default for Pause {
    fn default() -> Pause {
        Pause { until: None, pauses: PAUSES }
    }
}

impl Pause {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| until <= Instant::now())
    }

    fn begin(&mut self) {
        self.until = Some(Instant::now() + self.pauses.after_failure(rand::random()));
    }

    fn end(&mut self) {
        *self = Pause::default();
    }
}

impl Writer {
    /// A writer for the resources of this engine's instance in this namespace. `holder` names this process.
    pub fn new(engine: Arc<Engine>, client: kube::Client, namespace: String, holder: String) -> Writer {
        let (group, version, kind) = (GROUP.into(), VERSION.into(), KIND.into());
        let resource = ApiResource { group, version, kind, api_version: API_VERSION.into(), plural: PLURAL.into() };
        Writer {
            report: engine.report.clone(),
            components: kube::Api::namespaced_with(client.clone(), &namespace, &resource),
            events: kube::Api::namespaced(client.clone(), &namespace),
            engine,
            resource,
            client,
            namespace,
            holder,
            known: None,
            due: BTreeSet::new(),
            passing: BTreeMap::new(),
            foreign: BTreeMap::new(),
            waiting: VecDeque::new(),
            series: Series::default(),
            budget: Budget::new(BUDGET.0, BUDGET.1, Instant::now()),
            beside_rollouts: Budget::new(BESIDE_ROLLOUTS.0, BESIDE_ROLLOUTS.1, Instant::now()),
            components_pause: Pause::default(),
            events_pause: Pause::default(),
        }
    }

    /// Tells until told to stop, and then once more, shortly.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut tenure = self.engine.tenure.clone();
        tokio::select! {
            () = async {
                tenure.acquired().await;
                self.engine.live.synced(&self.engine.memory.resources(), WATCHES).await;
            } => {}
            () = stop.cancelled() => return,
        }
        self.report.all_changed();
        while !stop.is_cancelled() {
            let again = self.again_at();
            tokio::select! {
                () = self.report.rung() => {}
                () = async { tokio::time::sleep_until(again.unwrap_or_else(Instant::now)).await }, if again.is_some() => {}
                () = stop.cancelled() => break,
            }
            tokio::select! {
                () = tokio::time::sleep(TOGETHER) => {}
                () = stop.cancelled() => break,
            }
            self.round().await;
        }
        tokio::time::timeout(LAST_WORDS, self.round()).await.ok();
    }

    /// When there is something to do though nothing changes: what failed, or what the budget did not let through.
    fn again_at(&self) -> Option<Instant> {
        let components = (!self.due.is_empty()).then(|| self.components_pause.until.unwrap_or_else(Instant::now));
        let events = (!self.waiting.is_empty()).then(|| self.events_pause.until.unwrap_or_else(Instant::now));
        components.into_iter().chain(events).min()
    }

    /// Tells what there is to tell, as far as the budget goes: warnings, then how components are, then everything else.
    async fn round(&mut self) {
        self.listen();
        if self.events_pause.is_over() {
            self.tell_events(|event| event.warning).await;
        }
        if !self.due.is_empty() && self.components_pause.is_over() {
            self.tell_components().await;
        }
        if self.events_pause.is_over() {
            self.tell_events(|_| true).await;
        }
    }

    /// Takes over what was said since the last round.
    fn listen(&mut self) {
        let said = self.report.take();
        if said.all {
            self.due.extend(self.engine.names());
            self.due.extend(self.known.iter().flatten().map(|(name, _)| name.clone()));
        }
        self.due.extend(said.changed);
        self.waiting.extend(said.events);
        let surplus = self.waiting.len().saturating_sub(super::MOST_WAITING);
        self.waiting.drain(..surplus);
        self.engine.metrics.events_dropped.inc_by(surplus as u64);
    }

    fn may_write(&mut self) -> bool {
        let now = Instant::now();
        self.engine.tenure.check().is_ok()
            && (!self.engine.is_rolling_out() || self.beside_rollouts.take(now))
            && self.budget.take(now)
    }

    async fn tell_components(&mut self) {
        if self.known.is_none()
            && let Err(failure) = self.look_at_what_is_there().await
        {
            return self.failed(failure);
        }
        for name in failed_first(&self.due, |name| self.engine.has_failed(name)) {
            if self.engine.tenure.check().is_err() {
                // Somebody else tells now. Whoever gets the lease back looks at everything.
                self.known = None;
                return self.components_pause.begin();
            }
            // Of a thousand that wait nobody asks each second how they are.
            if self.passing.get(&name).is_some_and(|passing| passing.lasts(self.engine.under_way(&name))) {
                continue;
            }
            match self.tell(&name).await {
                Ok(Told::Yes) => {
                    self.due.remove(&name);
                    self.passing.remove(&name);
                    self.foreign.remove(&name);
                }
                Ok(Told::Later) => {}
                Ok(Told::Enough) => return,
                Err(Failure::Foreign(message)) => {
                    self.due.remove(&name);
                    self.foreign.insert(name, message);
                }
                Err(failure) => {
                    if let Failure::Refused { code: Some(400 | 422), .. } = failure {
                        // It will not be taken as it is; others may be.
                        self.due.remove(&name);
                    }
                    return self.failed(failure);
                }
            }
        }
        self.components_pause.end();
        let foreign = self.foreign.values().next().cloned();
        self.report.set_problem(foreign.map(|message| ProblemView { reason: "AnotherInstance".into(), message }));
    }

    fn failed(&mut self, failure: Failure) {
        self.components_pause.begin();
        let Failure::Refused { code, message } = failure else { return };
        let (reason, next) = match code {
            Some(404) => ("ComponentsNotServed", format!("; {}", definition::REMEDY)),
            Some(401 | 403) => ("ComponentsForbidden", "; let the agent's account write `components.agent.tk8s.io`".into()),
            _ => ("ComponentsNotWritten", String::new()),
        };
        if code == Some(404) {
            self.known = None;
            // All of them went with it.
            self.report.all_changed();
        }
        let message = format!("{}{next}", printable(&message, 300));
        self.report.set_problem(Some(ProblemView { reason: reason.into(), message }));
    }

    /// Makes sure of the definition, and reads what an earlier process wrote.
    async fn look_at_what_is_there(&mut self) -> Result<(), Failure> {
        tokio::time::timeout(PATIENCE, definition::make_sure(&self.client)).await.ok();
        let mut known = BTreeMap::new();
        let mut params = ListParams::default().labels(&format!("{INSTANCE_LABEL}={}", self.engine.instance)).limit(PAGE);
        loop {
            let page = answered(self.components.list(&params)).await?;
            for object in page.items {
                if let Some(name) = object.metadata.name.as_deref().and_then(|name| name.parse().ok()) {
                    known.insert(name, read(&object));
                }
            }
            match page.metadata.continue_.filter(|token| !token.is_empty() && known.len() < MOST) {
                Some(token) => params = params.continue_token(&token),
                None => break,
            }
        }
        // What left the platform while nobody looked has a resource and no name.
        self.due.extend(known.keys().cloned());
        self.known = Some(known);
        Ok(())
    }

    /// Tells of one component what is not told yet.
    async fn tell(&mut self, name: &ComponentName) -> Result<Told, Failure> {
        let view = self.engine.component_status(name);
        if view.state == State::Removed {
            return self.remove(name).await;
        }
        // Once for each thing that a stranger can do to it in the meantime.
        for _ in 0..4 {
            let known = self.known.as_ref().and_then(|known| known.get(name));
            let told = known.and_then(|known| known.status.as_ref());
            let status = Status::of(&view, told, known.map_or(1, |known| known.generation), Timestamp::now());
            if known.is_some_and(|known| known.is_so) && told == Some(&status) {
                return Ok(Told::Yes);
            }
            let within = status.passes_within(told);
            if within.is_some_and(|within| self.passes(name, view.state, within)) {
                return Ok(Told::Later);
            }
            if !self.may_write() {
                return Ok(Told::Enough);
            }
            let Some(known) = self.known.as_ref().and_then(|known| known.get(name)) else {
                self.create(name).await?;
                continue;
            };
            let object = DynamicObject { data: json!({"status": status}), ..self.object(name, Some(known)) };
            match answered(self.components.replace_status(name.as_str(), &PostParams::default(), &object)).await {
                Ok(answer) => {
                    self.engine.metrics.component_writes.inc();
                    let before = self.known.as_ref().and_then(|known| known.get(name)).and_then(|known| known.status.as_ref());
                    for (reason, note) in before.map(|before| status.since(before)).unwrap_or_default() {
                        self.waiting.push_back(Event::of_people(Timestamp::now(), name, reason, note));
                    }
                    // As it was said: a definition of another version may have kept less of it.
                    self.learn(name, Known { status: Some(status), is_so: true, ..read(&answer) });
                    return Ok(Told::Yes);
                }
                Err(Failure::Refused { code: Some(409), .. }) => self.look_again(name).await?,
                Err(Failure::Refused { code: Some(404), .. }) => self.forget(name),
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Refused { code: None, message: format!("somebody else keeps writing to `{name}`") })
    }

    /// Whether it is too early to tell that a component is in a state that may pass.
    fn passes(&mut self, name: &ComponentName, state: State, within: Duration) -> bool {
        let known = self.passing.get(name).filter(|passing| passing.state == state).copied();
        let passing = known.unwrap_or_else(|| Passing { state, until: Instant::now() + within });
        self.passing.insert(name.clone(), passing);
        passing.lasts(Some(state))
    }

    async fn create(&mut self, name: &ComponentName) -> Result<(), Failure> {
        let object = self.object(name, None);
        match answered(self.components.create(&PostParams::default(), &object)).await {
            Ok(answer) => {
                self.learn(name, read(&answer));
                Ok(())
            }
            Err(Failure::Refused { code: Some(409), .. }) => self.look_again(name).await,
            Err(failure) => Err(failure),
        }
    }

    /// Somebody wrote to it: its version is taken from there, and nothing else, so that what we said is said again.
    async fn look_again(&mut self, name: &ComponentName) -> Result<(), Failure> {
        let Some(found) = answered(self.components.get_opt(name.as_str())).await? else {
            self.forget(name);
            return Ok(());
        };
        let instance = found.metadata.labels.as_ref().and_then(|labels| labels.get(INSTANCE_LABEL)).cloned();
        let known = read(&found);
        match instance {
            Some(instance) if instance == *self.engine.instance.as_str() => {
                let said = self.known.as_mut().and_then(|all| all.remove(name)).and_then(|known| known.status);
                // The times of what did not change are ours, whatever it says now.
                let is_so = said.is_none() || known.status == said;
                self.learn(name, Known { status: said.or(known.status), is_so, ..known });
            }
            Some(instance) => {
                self.forget(name);
                return Err(Failure::Foreign(format!(
                    "Component `{name}` in namespace `{}` is of instance `{instance}`: give each instance a namespace of its own",
                    self.namespace
                )));
            }
            None => {
                let object = self.object(name, Some(&known));
                let answer = answered(self.components.replace(name.as_str(), &PostParams::default(), &object)).await?;
                self.learn(name, Known { status: known.status, ..read(&answer) });
            }
        }
        Ok(())
    }

    /// Removes the resource of a component that left.
    async fn remove(&mut self, name: &ComponentName) -> Result<Told, Failure> {
        let Some(known) = self.known.as_ref().and_then(|known| known.get(name)) else { return Ok(Told::Yes) };
        let preconditions = Preconditions { uid: Some(known.uid.clone()), resource_version: None };
        if !self.may_write() {
            return Ok(Told::Enough);
        }
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match answered(self.components.delete(name.as_str(), &params)).await {
            Ok(_) | Err(Failure::Refused { code: Some(404 | 409), .. }) => {
                self.forget(name);
                Ok(Told::Yes)
            }
            Err(failure) => Err(failure),
        }
    }

    fn object(&self, name: &ComponentName, known: Option<&Known>) -> DynamicObject {
        let mut object = DynamicObject::new(name.as_str(), &self.resource);
        object.metadata.labels = Some([(INSTANCE_LABEL.to_owned(), self.engine.instance.to_string())].into());
        object.metadata.resource_version = known.map(|known| known.version.clone());
        object.data = json!({});
        object
    }

    fn learn(&mut self, name: &ComponentName, known: Known) {
        self.known.get_or_insert_default().insert(name.clone(), known);
    }

    fn forget(&mut self, name: &ComponentName) {
        self.known.get_or_insert_default().remove(name);
    }

    /// Tells of those events that are `wanted`, in their order.
    async fn tell_events(&mut self, wanted: impl Fn(&Event) -> bool) {
        while let Some((at, event)) = self.waiting.iter().enumerate().find(|(_, event)| wanted(event)) {
            let event = event.clone();
            if self.engine.tenure.check().is_err() {
                return self.events_pause.begin();
            }
            if !self.may_write() {
                return;
            }
            let known = event.component.as_ref().and_then(|name| self.known.as_ref()?.get(name));
            let place = Place {
                namespace: &self.namespace,
                instance: &self.engine.instance,
                holder: &self.holder,
                uid: known.map(|known| known.uid.clone()),
            };
            let write = self.series.write(&event, place, Instant::now());
            let sent = match &write {
                Write::Create(written) => answered(self.events.create(&PostParams::default(), written)).await.map(drop),
                Write::CountUp { name, series } => {
                    let patch = Patch::Merge(json!({"series": series}));
                    answered(self.events.patch(name, &PatchParams::default(), &patch)).await.map(drop)
                }
            };
            match (sent, write) {
                // It was created before, and the answer was lost.
                (Err(Failure::Refused { code: Some(409), .. }), write @ Write::Create(_)) | (Ok(()), write) => {
                    self.engine.metrics.events.inc();
                    self.series.was_told(event, write, Instant::now());
                    self.events_pause.end();
                }
                (Err(Failure::Refused { code: Some(404), .. }), Write::CountUp { name, .. }) => {
                    self.series.is_gone(&name);
                    continue;
                }
                // Passing: the same one is tried again.
                (Err(Failure::Refused { code: None | Some(401 | 429 | 500..), message }), _) => {
                    tracing::debug!(message, "an event was not sent: it is tried again");
                    return self.events_pause.begin();
                }
                // This one is not taken; others may be.
                (Err(Failure::Refused { code: Some(400 | 422), message }), _) => {
                    tracing::warn!(reason = event.reason, message, "an event was refused");
                    self.engine.metrics.events_dropped.inc();
                }
                (Err(failure), _) => {
                    if let (Failure::Refused { message, .. }, true) = (failure, self.events_pause.pauses.are_new()) {
                        tracing::warn!(message, "events can't be sent: they are counted in `tk8s_events_dropped_total`");
                    }
                    self.engine.metrics.events_dropped.inc_by(self.waiting.len() as u64);
                    self.waiting.clear();
                    return self.events_pause.begin();
                }
            }
            self.waiting.remove(at);
        }
    }
}

/// In the order in which they are told.
fn failed_first(due: &BTreeSet<ComponentName>, has_failed: impl Fn(&ComponentName) -> bool) -> Vec<ComponentName> {
    let (failed, others): (Vec<_>, Vec<_>) = due.iter().cloned().partition(has_failed);
    [failed, others].concat()
}

fn read(object: &DynamicObject) -> Known {
    let metadata = &object.metadata;
    Known {
        uid: metadata.uid.clone().unwrap_or_default(),
        version: metadata.resource_version.clone().unwrap_or_default(),
        generation: metadata.generation.unwrap_or(0),
        status: object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()),
        is_so: true,
    }
}

/// A request that is not waited for beyond our patience.
async fn answered<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => {
            let code = match &error {
                kube::Error::Api(status) => Some(status.code),
                _ => None,
            };
            Err(Failure::Refused { code, message: chain(&error) })
        }
        Err(_) => Err(Failure::Refused { code: None, message: "the API server did not answer in time".into() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_before_everything_else() {
        let due: BTreeSet<ComponentName> = ["a", "b", "c", "d"].into_iter().map(|name| name.parse().unwrap()).collect();
        let told = failed_first(&due, |name| ["b", "d"].contains(&name.as_str()));
        assert_eq!(told.iter().map(ComponentName::as_str).collect::<Vec<_>>(), ["b", "d", "a", "c"]);
    }
}
