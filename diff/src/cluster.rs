//! The cluster as the agent asks it: which kinds there are, and single requests with a deadline. Nothing here writes; the
//! request of an apply is made here, because a dry-run and the apply after it must not differ.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_core::{FIELD_MANAGER, GroupVersionKind, ObjectKey, ServiceAccount};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Error;
use crate::account::{Acting, act_as};
use crate::fence::{Fence, Gate, UNDER_WAY};

/// For one request. The API server itself gives up after 60 s; an agent that waits is one that does not repair.
const PATIENCE: Duration = Duration::from_secs(30);
/// The largest answer that is read: ten times the largest object.
const LARGEST: usize = 32 * 1024 * 1024;
/// Requests that are under way at the same time, of all components together. An API server of two cores does no more with
/// more, and each needs a connection with its buffers.
const AT_ONCE: usize = 32;
/// A request that takes longer than this counts no more: what hangs for one component must not hold up the others.
const SLOW: Duration = Duration::from_secs(1);
/// For how long an answer about a served version holds: as long as a plan takes to ask about many objects of it.
const MOMENT: Duration = Duration::from_secs(5);
/// Warnings of one answer that are kept; each is cut as well.
const MOST_WARNINGS: usize = 10;
/// What an answer may take beyond the time that the API server has for a write, until it is given up as lost.
const ON_THE_WAY: Duration = Duration::from_secs(2);
/// How often somebody who waits to write again looks whether the process is to end.
const LOOKS: Duration = Duration::from_millis(200);
/// The longest pause between two tries of one request.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How the API server calls a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Resource {
    /// Group, version and kind.
    pub kind: GroupVersionKind,
    /// For example `deployments`.
    pub plural: String,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
}

impl Resource {
    /// The path of the objects of this kind, in a namespace or in all.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let base = root(&self.kind);
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{base}/namespaces/{namespace}/{}", self.plural),
            None => format!("{base}/{}", self.plural),
        }
    }

    /// The path of one object.
    pub fn path_of(&self, key: &ObjectKey) -> String {
        format!("{}/{}", self.path(key.namespace.as_deref()), key.name)
    }
}

/// Where the API server serves the version of a kind.
fn root(GroupVersionKind { group, version, .. }: &GroupVersionKind) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// An answer of the API server.
#[derive(Debug)]
pub struct Reply {
    /// The HTTP status: 201 says that an apply made the object.
    pub status: StatusCode,
    /// The body.
    pub body: Value,
    /// What the API server warns about.
    pub warnings: Vec<String>,
    retry_after: Option<Duration>,
    /// In whose name was asked, if in another's.
    account: Option<Acting>,
}

impl Reply {
    /// The body of a yes; an error for a no.
    pub fn yes(self, key: &ObjectKey) -> Result<Reply, Error> {
        if self.status.is_success() {
            return Ok(self);
        }
        if let Some(refused) = self.missing_right(key) {
            return Err(refused);
        }
        if self.is_unserved() {
            return Err(Error::Unserved(key.clone()));
        }
        let secret = key.group.is_empty() && key.kind == "Secret";
        Err(Error::refused(&key.to_string(), secret, self.status.as_u16(), &self.body))
    }

    /// The same, of an answer to this object: of one with secret fields a no quotes nothing, and a yes warns without them.
    pub fn yes_to(mut self, key: &ObjectKey, sent: &Value) -> Result<Reply, Error> {
        let secrets = crate::mask::secrets_of(sent);
        if let Some(refused) = self.missing_right(key) {
            return Err(refused);
        }
        if !secrets.is_empty() && !self.status.is_success() {
            return Err(Error::refused(&key.to_string(), true, self.status.as_u16(), &self.body));
        }
        for warning in &mut self.warnings {
            *warning = secrets.iter().fold(std::mem::take(warning), |text, secret| text.replace(secret, "(masked)"));
        }
        self.yes(key)
    }

    /// Whether the API server says that there is no such object. A 404 that names no object says that the path is not
    /// known: the kind is not served, and its objects may be there all the same.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.names_something()
    }

    /// The right that is missing, where that is why an account was refused.
    fn missing_right(&self, key: &ObjectKey) -> Option<Error> {
        let account = self.account.as_ref().filter(|_| self.status == StatusCode::FORBIDDEN)?;
        account.refused(key, self.body["message"].as_str().unwrap_or_default())
    }

    fn is_unserved(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && !self.names_something()
    }

    fn names_something(&self) -> bool {
        self.body["details"]["name"].as_str().is_some_and(|name| !name.is_empty())
    }

    fn may_pass(&self) -> bool {
        matches!(self.status.as_u16(), 429 | 500 | 502 | 503 | 504)
    }
}

/// The cluster, as one of those sees it in whose name the agent may ask. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
    /// None: the agent itself.
    account: Option<Acting>,
}

/// The kinds of one version, once it is answered.
type Discovery = BoxFuture<'static, Result<Arc<[Resource]>, Error>>;

struct Inner {
    client: kube::Client,
    /// Fair: whoever waits longest is next.
    turns: Semaphore,
    resources: Mutex<BTreeMap<GroupVersionKind, Resource>>,
    /// What is being asked about which `group/version`.
    discoveries: Mutex<BTreeMap<String, WeakShared<Discovery>>>,
    /// What was asked a moment ago of which version serves what.
    served: Mutex<BTreeMap<(String, String), (Instant, bool)>>,
}

impl Cluster {
    /// A cluster, with the kinds that are known from before: a restart asks no discovery.
    pub fn new(client: kube::Client, remembered: Vec<Resource>) -> Cluster {
        let resources = remembered.into_iter().map(|resource| (resource.kind.clone(), resource)).collect();
        let inner = Inner {
            client,
            turns: Semaphore::new(AT_ONCE),
            resources: Mutex::new(resources),
            discoveries: Mutex::default(),
            served: Mutex::default(),
        };
        Cluster { inner: Arc::new(inner), account: None }
    }

    /// The same cluster, asked about objects in the name of this account. Which kinds there are is known to all alike, and
    /// asked by the agent itself.
    pub fn acting_as(&self, account: Option<&ServiceAccount>) -> Cluster {
        Cluster { inner: Arc::clone(&self.inner), account: account.map(Acting::new) }
    }

    /// The same cluster, asked by the agent itself.
    pub fn as_itself(&self) -> Cluster {
        self.acting_as(None)
    }

    /// In whose name it is asked, if in another's.
    pub fn account(&self) -> Option<&ServiceAccount> {
        self.account.as_ref().map(Acting::account)
    }

    /// The client behind it, for watches.
    pub fn client(&self) -> &kube::Client {
        &self.inner.client
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeMap<GroupVersionKind, Resource>> {
        self.inner.resources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the API server calls a kind, if somebody asked before.
    pub fn known_resource(&self, kind: &GroupVersionKind) -> Option<Resource> {
        self.known().get(kind).cloned()
    }

    /// How the API server calls a kind: one request for each group and version, ever. None if it is not served (yet).
    pub async fn resource(&self, kind: &GroupVersionKind) -> Result<Option<Resource>, Error> {
        if let Some(known) = self.known_resource(kind) {
            return Ok(Some(known));
        }
        let found = self.discovery(kind).await?;
        Ok(found.iter().find(|found| found.kind == *kind).cloned())
    }

    /// The question that is under way for the version of this kind, or a new one: components that begin together have the
    /// same kinds. It goes on as long as somebody waits for it, and holds up nobody who waits for another version.
    fn discovery(&self, kind: &GroupVersionKind) -> Shared<Discovery> {
        let version = kind.api_version();
        let mut under_way = self.inner.discoveries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = under_way.get(&version).and_then(WeakShared::upgrade) {
            return asked;
        }
        // Whoever asked may have been answered, and gone, since the caller looked.
        if let Some(known) = self.known_resource(kind) {
            return std::future::ready(Ok(Arc::from([known]))).boxed().shared();
        }
        let asked = self.as_itself().discovered(kind.clone()).boxed().shared();
        under_way.retain(|_, asked| asked.upgrade().is_some());
        under_way.extend(asked.downgrade().map(|asked| (version, asked)));
        asked
    }

    /// The kinds of the version of this one, which are known from then on.
    async fn discovered(self, asked: GroupVersionKind) -> Result<Arc<[Resource]>, Error> {
        let path = root(&asked);
        let request = || Request::get(path.as_str()).body(Vec::new()).expect("because the path is made of valid names");
        let reply = self.exchange_until(request, Instant::now() + PATIENCE).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(Arc::new([]));
        }
        if !reply.status.is_success() {
            let about = format!("the kinds of {}", asked.api_version());
            return Err(Error::refused(&about, false, reply.status.as_u16(), &reply.body));
        }
        let served = reply.body["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = served.iter().filter_map(|found| {
            let (plural, name) = (found["name"].as_str()?, found["kind"].as_str()?);
            let kind = GroupVersionKind { kind: name.into(), ..asked.clone() };
            let namespaced = found["namespaced"].as_bool().unwrap_or(false);
            // `deployments/status` and the like are parts of objects, not objects.
            (!plural.contains('/')).then(|| Resource { kind, plural: plural.into(), namespaced })
        });
        let found: Arc<[Resource]> = found.collect();
        self.known().extend(found.iter().map(|found| (found.kind.clone(), found.clone())));
        Ok(found)
    }

    /// How the API server calls the kind of an object of which only the key is known: in any version that it serves.
    pub async fn resource_of(&self, key: &ObjectKey) -> Result<Option<Resource>, Error> {
        let known = self.known().values().find(|known| known.kind.group == key.group && known.kind.kind == key.kind).cloned();
        if known.is_some() {
            return Ok(known);
        }
        let of = |version: &str| GroupVersionKind { group: key.group.clone(), version: version.into(), kind: key.kind.clone() };
        if key.group.is_empty() {
            return self.resource(&of("v1")).await;
        }
        let path = format!("/apis/{}", key.group);
        let request = || Request::get(path.as_str()).body(Vec::new()).expect("because the path is made of valid names");
        let reply = self.as_itself().exchange_until(request, Instant::now() + PATIENCE).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let group = reply.yes(key)?.body;
        // The API server lists the versions that it prefers first.
        for version in group["versions"].as_array().into_iter().flatten().filter_map(|version| version["version"].as_str()) {
            if let Some(found) = self.resource(&of(version)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// What the cluster serves, as charts ask for it: its version, and every `group/version` and `group/version/Kind`, sorted.
    pub async fn capabilities(&self) -> Result<(String, Vec<String>), Error> {
        let version = self.discover("/version").await?;
        let Some(version) = version["gitVersion"].as_str() else { return Err(unreadable("/version")) };
        let mut served = BTreeSet::new();
        for ServedVersion { group, version, resources } in self.served_versions().await? {
            let number = if group.is_empty() { version } else { format!("{group}/{version}") };
            served.extend(
                resources.iter().filter_map(|found| Some(format!("{number}/{}", found["responseKind"]["kind"].as_str()?))),
            );
            served.insert(number);
        }
        Ok((version.into(), served.into_iter().collect()))
    }

    /// Every kind that can be listed and applied, each in the version that the API server prefers of those that have it.
    pub(crate) async fn kinds(&self) -> Result<Vec<Resource>, Error> {
        let mut kinds: BTreeMap<(String, String), Resource> = BTreeMap::new();
        for ServedVersion { group, version, resources } in self.served_versions().await? {
            for found in resources {
                let (Some(plural), Some(kind)) = (found["resource"].as_str(), found["responseKind"]["kind"].as_str()) else {
                    continue;
                };
                let verbs = found["verbs"].as_array().map(Vec::as_slice).unwrap_or_default();
                if ["list", "patch"].iter().all(|needed| verbs.iter().any(|verb| verb == needed)) {
                    let (plural, namespaced) = (plural.to_owned(), found["scope"] == "Namespaced");
                    let place = (group.clone(), kind.to_owned());
                    let kind = GroupVersionKind { group: group.clone(), version: version.clone(), kind: kind.into() };
                    kinds.entry(place).or_insert(Resource { kind, plural, namespaced });
                }
            }
        }
        Ok(kinds.into_values().collect())
    }

    /// Every version of every group, as discovery has them: of a group the one that the API server prefers comes first.
    async fn served_versions(&self) -> Result<Vec<ServedVersion>, Error> {
        let mut served = Vec::new();
        for path in ["/api", "/apis"] {
            let mut document = self.discover(path).await?;
            let groups = taken(&mut document, "items").ok_or_else(|| unreadable(path))?;
            for mut group in groups {
                let name = group["metadata"]["name"].as_str().unwrap_or_default().to_owned();
                for mut version in taken(&mut group, "versions").unwrap_or_default() {
                    let resources = taken(&mut version, "resources").unwrap_or_default();
                    if let Some(version) = version["version"].as_str() {
                        served.push(ServedVersion { group: name.clone(), version: version.into(), resources });
                    }
                }
            }
        }
        Ok(served)
    }

    /// One document of discovery: of all groups at once, as every supported API server answers if it is asked so.
    async fn discover(&self, path: &str) -> Result<Value, Error> {
        let request = || {
            let accepted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                            application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
            Request::get(path).header("accept", accepted).body(Vec::new()).expect("because the path is fixed")
        };
        let reply = self.as_itself().exchange_until(request, Instant::now() + PATIENCE).await?;
        if reply.status.is_success() {
            return Ok(reply.body);
        }
        Err(Error::refused(path, false, reply.status.as_u16(), &reply.body))
    }

    /// Whether a version is served for these objects, as it was a moment ago: versions go.
    pub async fn serves(&self, api_version: &str, plural: &str) -> Result<bool, Error> {
        let place = (api_version.to_owned(), plural.to_owned());
        let told = || self.inner.served.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, serves)) = told().get(&place)
            && at.elapsed() < MOMENT
        {
            return Ok(*serves);
        }
        let serves = self.asked_whether_it_serves(api_version, plural).await?;
        let mut told = told();
        told.retain(|_, (at, _)| at.elapsed() < MOMENT);
        told.insert(place, (Instant::now(), serves));
        Ok(serves)
    }

    async fn asked_whether_it_serves(&self, api_version: &str, plural: &str) -> Result<bool, Error> {
        let path = if api_version.contains('/') { format!("/apis/{api_version}") } else { format!("/api/{api_version}") };
        let Ok(uri) = path.parse::<http::Uri>() else { return Ok(false) };
        let request = || Request::get(uri.clone()).body(Vec::new()).expect("because it was read as a path");
        let reply = self.as_itself().exchange_until(request, Instant::now() + PATIENCE).await?;
        match reply.status {
            StatusCode::NOT_FOUND => Ok(false),
            status if status.is_success() => {
                let served = reply.body["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
                Ok(served.iter().any(|found| found["name"] == plural))
            }
            status => Err(Error::refused(&path, false, status.as_u16(), &reply.body)),
        }
    }

    /// Forgets the kinds of a group: its CRDs came or went.
    pub fn forget(&self, group: &str) {
        self.known().retain(|kind, _| kind.group != group);
    }

    /// Reads one object.
    pub async fn get(&self, resource: &Resource, key: &ObjectKey) -> Result<Option<Value>, Error> {
        let request = || Request::get(resource.path_of(key)).body(Vec::new()).expect("because the path is made of valid names");
        let reply = self.exchange_until(request, Instant::now() + PATIENCE).await?;
        if reply.is_not_found() { Ok(None) } else { Ok(Some(reply.yes(key)?.body)) }
    }

    /// Sends one request and reads its answer, whatever it says. Waits for its turn before that.
    pub async fn exchange(&self, request: Request<Vec<u8>>) -> Result<Reply, Error> {
        self.send(request, PATIENCE, None).await
    }

    async fn send(&self, request: Request<Vec<u8>>, patience: Duration, fence: Option<&Fence>) -> Result<Reply, Error> {
        let about = about(&request);
        let (parts, body) = self.answer(request, LARGEST, patience, fence).await?;
        let body = match serde_json::from_slice(&body) {
            Ok(body) => body,
            // A refusal may be plain text. A yes that can't be read says nothing, least of all that something is gone.
            Err(_) if !parts.status.is_success() => Value::Null,
            Err(error) => return Err(unanswered(&about, format!("its answer is cut off, or no JSON: {error}"))),
        };
        let warnings = parts.headers.get_all("warning").iter().filter_map(|value| warning(value.to_str().ok()?));
        let warnings = warnings.take(MOST_WARNINGS).collect();
        let retry_after =
            parts.headers.get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        Ok(Reply { status: parts.status, body, warnings, retry_after, account: self.account.clone() })
    }

    /// Reads something that is no object but text, of at most so many bytes: the log of a container.
    pub async fn text(&self, path: &str, limit: usize) -> Result<String, Error> {
        let request = Request::get(path).body(Vec::new()).map_err(|error| unanswered(path, error.to_string()))?;
        let about = about(&request);
        let (parts, body) = self.answer(request, limit, PATIENCE, None).await?;
        if parts.status.is_success() {
            return Ok(String::from_utf8_lossy(&body).into_owned());
        }
        Err(Error::refused(&about, false, parts.status.as_u16(), &serde_json::from_slice(&body).unwrap_or_default()))
    }

    async fn answer(
        &self,
        request: Request<Vec<u8>>,
        limit: usize,
        patience: Duration,
        fence: Option<&Fence>,
    ) -> Result<(http::response::Parts, Vec<u8>), Error> {
        let about = about(&request);
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, kube::client::Body::from(body));
        // For whoever may ask once more, further down.
        if let Some(fence) = fence {
            request.extensions_mut().insert(fence.clone());
        }
        if let Some(account) = &self.account {
            act_as(request.headers_mut(), account);
            request.extensions_mut().insert(account.clone());
        }
        let turn = self.inner.turns.acquire().await.expect("because nobody closes it");
        // On the heap: every future that asks would be larger by all of this, and every stack on which it is made.
        let mut exchange = Box::pin(tokio::time::timeout(patience, async {
            // After all waiting, so that nothing lies between the answer and the sending.
            fence.map_or(Ok(()), |fence| fence.check(&about))?;
            let response = self.inner.client.send(request).await.map_err(|error| unanswered(&about, tk8s_core::chain(&error)))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| unanswered(&about, error.to_string()))?;
            Ok((parts, body.to_bytes().into()))
        }));
        let answered = tokio::select! {
            answered = &mut exchange => answered,
            () = tokio::time::sleep(SLOW) => {
                drop(turn);
                exchange.await
            }
        };
        answered.unwrap_or_else(|_| Err(unanswered(&about, format!("it took longer than {} s", patience.as_secs()))))
    }

    /// Sends a request that may be sent twice, until it is answered by something that waiting does not change. A server
    /// that asks for patience (429, 503) gets it, as long as it asks for.
    pub async fn exchange_until(&self, make: impl Fn() -> Request<Vec<u8>>, deadline: Instant) -> Result<Reply, Error> {
        self.repeat(make, deadline, PATIENCE, None).await
    }

    /// The same for a request that writes: each try only while the fence lets it, and no second one once it is closing. The
    /// API server is told to give up what it can't do in time: what it still had in its queue would be written by somebody
    /// who is not the writer any more.
    pub async fn write_until(
        &self,
        make: impl Fn() -> Request<Vec<u8>>,
        deadline: Instant,
        fence: &Fence,
    ) -> Result<Reply, Error> {
        self.repeat(|| in_time(make()), deadline, UNDER_WAY + ON_THE_WAY, Some(fence)).await
    }

    async fn repeat(
        &self,
        make: impl Fn() -> Request<Vec<u8>>,
        deadline: Instant,
        patience: Duration,
        fence: Option<&Fence>,
    ) -> Result<Reply, Error> {
        let mut pause = Duration::from_millis(200);
        loop {
            let result = self.send(make(), patience, fence).await;
            let wait = match &result {
                Err(Error::Fenced(_)) => return result,
                Ok(reply) if reply.may_pass() => reply.retry_after.unwrap_or(pause),
                Ok(_) => return result,
                Err(_) => pause,
            };
            let again = Instant::now() + wait.mul_f64(1.0 + rand::random::<f64>() / 4.0);
            if again >= deadline || !rest(again, fence).await {
                return result;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A version of a group, and what it has, as discovery tells it.
struct ServedVersion {
    group: String,
    version: String,
    resources: Vec<Value>,
}

/// The items of a list in a document, taken out of it.
fn taken(document: &mut Value, list: &str) -> Option<Vec<Value>> {
    match document.get_mut(list)?.take() {
        Value::Array(items) => Some(items),
        _ => None,
    }
}

/// Waits; whether there is still something to wait for.
async fn rest(until: Instant, fence: Option<&Fence>) -> bool {
    loop {
        if fence.is_some_and(|fence| fence.gate() == Gate::Closing) {
            return false;
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        tokio::time::sleep(if fence.is_some() { left.min(LOOKS) } else { left }).await;
    }
}

/// The request with the time that the API server has for it.
fn in_time(request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let (mut parts, body) = request.into_parts();
    let separator = if parts.uri.query().is_some() { '&' } else { '?' };
    let uri = format!("{}{separator}timeout={}s", parts.uri, UNDER_WAY.as_secs());
    parts.uri = uri.parse().expect("because a path with one parameter more is one");
    Request::from_parts(parts, body)
}

fn about(request: &Request<Vec<u8>>) -> String {
    format!("{} {}", request.method(), request.uri().path())
}

fn unanswered(about: &str, why: String) -> Error {
    Error::NoAnswer { about: about.into(), why: tk8s_core::printable(&why, 300) }
}

fn unreadable(path: &str) -> Error {
    Error::NoAnswer { about: path.into(), why: "it answers with something else than discovery".into() }
}

/// The text of a `Warning` header: `299 - "text"`.
fn warning(header: &str) -> Option<String> {
    let text = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(tk8s_core::printable(&text.replace("\\\"", "\""), 500))
}

/// What an apply demands beside its body.
#[derive(Clone, Copy, Debug, Default)]
pub struct Demands<'a> {
    /// The object has this UID: the apply can only change it, never make another.
    pub uid: Option<&'a str>,
    /// Nobody wrote to it since it had this version.
    pub version: Option<&'a str>,
    /// Fields of others are taken.
    pub force: bool,
    /// Nothing is written.
    pub dry_run: bool,
}

/// The request of a server-side apply.
pub fn apply_request(resource: &Resource, key: &ObjectKey, body: &Value, demands: Demands<'_>) -> Request<Vec<u8>> {
    let force = demands.force;
    let mut uri = format!("{}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force={force}", resource.path_of(key));
    if demands.dry_run {
        uri.push_str("&dryRun=All");
    }
    let mut metadata = body["metadata"].clone();
    for (field, demand) in [("uid", demands.uid), ("resourceVersion", demands.version)] {
        if let Some(demand) = demand {
            metadata[field] = demand.into();
        }
    }
    // All but the metadata is written from where it stands.
    let mut fields: BTreeMap<&str, &Value> =
        body.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
    fields.insert("metadata", &metadata);
    // JSON is YAML, which is what the content type promises.
    Request::patch(uri)
        .header("content-type", "application/apply-patch+yaml")
        .header("accept", "application/json")
        .body(serde_json::to_vec(&fields).expect("because JSON can be written"))
        .expect("because the path is made of valid names")
}

/// The request that asks what a forced apply would do, and does nothing.
pub(crate) fn dry_run_request(resource: &Resource, key: &ObjectKey, body: &Value) -> Request<Vec<u8>> {
    apply_request(resource, key, body, Demands { force: true, dry_run: true, ..Demands::default() })
}

/// The request that writes who owns what of an object, if nobody wrote to it since it had this version. Nothing else of it
/// changes.
pub fn ownership_request(resource: &Resource, key: &ObjectKey, version: &str, managed_fields: &Value) -> Request<Vec<u8>> {
    let uri = format!("{}?fieldManager={FIELD_MANAGER}", resource.path_of(key));
    let patch = serde_json::json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": managed_fields},
    ]);
    Request::patch(uri)
        .header("content-type", "application/json-patch+json")
        .header("accept", "application/json")
        .body(patch.to_string().into_bytes())
        .expect("because the path is made of valid names")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_was_answered_a_moment_ago_is_not_asked_again() {
        let nobody = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
        let kind = GroupVersionKind::new("apps/v1", "Deployment");
        let known = Resource { kind: kind.clone(), plural: "deployments".into(), namespaced: true };
        let cluster = Cluster::new(kube::Client::try_from(nobody).unwrap(), vec![known.clone()]);
        assert_eq!(cluster.discovery(&kind).await.unwrap()[..], [known]);
    }
}
