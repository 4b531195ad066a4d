//! One watch of one kind, everywhere or in one namespace: lists, then follows, and begins again by itself.
//!
//! Promises: a list counts only when all of it was read, so that one that is cut off says of nothing that it is gone; a
//! stream that ends is resumed where it was, without a list; after anything that may have cost an event it lists again; one
//! kind that can't be watched disturbs no other. What it does not do: say what an event means.

use std::collections::HashSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::StreamExt as _;
use kube::core::params::WatchParams;
use kube::core::{Request, WatchEvent};
use serde_json::Value;
use tk8s_core::Pauses;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Inner, Place, list, make_sure, version_of};
use crate::cluster::{Cluster, Resource};

/// How long the API server keeps a stream open, in seconds; what clients everywhere ask for.
const OPEN: u32 = 290;
/// A stream that says nothing for so long is dead, and nobody told us: API servers send a bookmark each minute.
const QUIET: Duration = Duration::from_secs(150);
/// The first pause before a watch is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Before a watch is opened again.
const PAUSES: Pauses = Pauses::new(FIRST_PAUSE, Duration::from_secs(30));
/// After so long without trouble the first pause is the next.
const CALM: Duration = Duration::from_secs(120);
/// The bookmark that ends a streamed list bears this annotation.
const LIST_ENDS: &str = "k8s.io/initial-events-end";

/// How one try to watch came to its end.
enum Ended {
    /// In good order, or by a network that takes nothing from what was told: it is resumed.
    Quietly,
    /// Its place is too old, or something that it told was lost: it begins with a list.
    Lost(String),
    /// The server does not stream lists: they are asked for page by page from now on.
    NoStreams,
    /// It could not be opened.
    Refused { code: Option<u16>, message: String },
    /// Nobody looks any more.
    Unwanted,
}

struct Follower {
    live: Weak<Inner>,
    resource: Resource,
    place: Place,
    /// Whether the server streams lists.
    streams: bool,
    /// The version up to which everything was heard; none before the first complete list.
    at: Option<String>,
}

/// Follows a kind for as long as anybody looks.
pub(super) async fn follow(live: Weak<Inner>, again: Arc<Notify>, resource: Resource, place: Place) {
    let mut follower = Follower { live, resource, place, streams: true, at: None };
    let (mut pauses, mut troubled) = (PAUSES, Instant::now());
    loop {
        let opened = Instant::now();
        let ended = follower.round().await;
        let kind = &follower.resource.kind;
        match ended {
            Ended::Unwanted => return,
            Ended::NoStreams => {
                follower.streams = false;
                continue;
            }
            // A server that ends its streams at once is not asked at full speed.
            Ended::Quietly if opened.elapsed() > FIRST_PAUSE => continue,
            Ended::Quietly => {}
            Ended::Lost(why) => {
                tracing::debug!(%kind, why, "the watch lost its place: it begins with a list");
                follower.at = None;
            }
            Ended::Refused { code, message } => {
                let Some(live) = follower.live.upgrade() else { return };
                tracing::debug!(%kind, message, "the kind can't be watched: it is tried again");
                live.troubled(&follower.resource, &follower.place, code, &message);
            }
        }
        if troubled.elapsed() > CALM {
            pauses.begin_anew();
        }
        troubled = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(pauses.after_failure(rand::random())) => {}
            () = again.notified() => pauses.begin_anew(),
        }
    }
}

impl Follower {
    /// Lists if it has no place, then follows until that ends.
    async fn round(&mut self) -> Ended {
        let Some((cluster, selector)) = self.live.upgrade().map(|live| (live.cluster.clone(), live.selector())) else {
            return Ended::Unwanted;
        };
        if self.at.is_none() && !self.streams {
            match self.list_in_pages(&cluster).await {
                Ok(version) => self.at = Some(version),
                Err(ended) => return ended,
            }
        }
        let params = WatchParams {
            label_selector: Some(selector),
            timeout: Some(OPEN),
            send_initial_events: self.at.is_none(),
            ..WatchParams::default()
        };
        // Without a version the list is as new as can be, not as old as the server's cache may be.
        let request = Request::new(self.resource.path(self.place.namespace.as_deref()))
            .watch(&params, self.at.as_deref().unwrap_or_default());
        let Ok(request) = request else { return Ended::Unwanted };
        let mut events = match tokio::time::timeout(QUIET, cluster.client().request_events::<Value>(request)).await {
            Ok(Ok(events)) => Box::pin(events),
            Ok(Err(error)) => return self.refused(&error),
            Err(_) => return Ended::Refused { code: None, message: "the API server did not answer".into() },
        };
        drop(cluster);
        let mut list = self.at.is_none().then(HashSet::new);
        if list.is_none() {
            let Some(live) = self.live.upgrade() else { return Ended::Unwanted };
            live.is_well(&self.resource, &self.place);
        }
        loop {
            let event = match tokio::time::timeout(QUIET, events.next()).await {
                Err(_) | Ok(None) => return Ended::Quietly,
                Ok(Some(Ok(event))) => event,
                // The network's end of it. What is half a line is not heard, so its version is not either.
                Ok(Some(Err(kube::Error::ReadEvents(_)))) => return Ended::Quietly,
                Ok(Some(Err(error))) => return Ended::Lost(tk8s_core::chain(&error)),
            };
            let Some(live) = self.live.upgrade() else { return Ended::Unwanted };
            match event {
                WatchEvent::Error(status) if status.code == 410 => return Ended::Lost(status.message),
                // An event that could not be told (a conversion that fails, for one) is an event that is lost.
                WatchEvent::Error(status) => {
                    self.at = None;
                    return Ended::Refused { code: Some(status.code), message: status.message };
                }
                WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                    let version = version_of(&object);
                    let key = live.told_of(&self.resource, object);
                    match &mut list {
                        Some(list) => list.extend(key),
                        None => {
                            self.at = version.or(self.at.take());
                            key.iter().for_each(|key| live.changed(key));
                        }
                    }
                }
                WatchEvent::Deleted(object) => {
                    if list.is_none() {
                        self.at = version_of(&object).or(self.at.take());
                    }
                    live.told_of_end(&self.resource, object).iter().for_each(|key| live.changed(key));
                }
                WatchEvent::Bookmark(mark) => {
                    let version = mark.metadata.resource_version;
                    if mark.metadata.annotations.contains_key(LIST_ENDS)
                        && let Some(list) = list.take()
                    {
                        self.listed(&live, &list, &version).await;
                    }
                    if list.is_none() {
                        self.at = Some(version);
                    }
                }
            }
        }
    }

    async fn list_in_pages(&self, cluster: &Cluster) -> Result<String, Ended> {
        let Some(live) = self.live.upgrade() else { return Err(Ended::Unwanted) };
        let (mut list, selector) = (HashSet::new(), live.selector());
        let read = list::pages(cluster, &self.resource, self.place.namespace.as_deref(), &selector, |object| {
            list.extend(live.told_of(&self.resource, object));
        });
        match read.await {
            Ok(version) => {
                self.listed(&live, &list, &version).await;
                Ok(version)
            }
            Err(error) => {
                let code = match &error {
                    crate::Error::Refused { code, .. } => Some(*code),
                    crate::Error::UnknownKind { .. } => Some(404),
                    _ => None,
                };
                Err(Ended::Refused { code, message: tk8s_core::chain(&error) })
            }
        }
    }

    async fn listed(&self, live: &Inner, list: &HashSet<tk8s_core::ObjectKey>, version: &str) {
        let unsure = live.listed(&self.place, list, version);
        make_sure(live, &self.resource, unsure).await;
        live.much_changed();
    }

    /// What it means that a watch could not be opened.
    fn refused(&self, error: &kube::Error) -> Ended {
        let code = match error {
            kube::Error::Api(status) => Some(status.code),
            _ => None,
        };
        match code {
            Some(410) => Ended::Lost(tk8s_core::chain(error)),
            Some(400 | 422) if self.streams && self.at.is_none() => Ended::NoStreams,
            _ => Ended::Refused { code, message: tk8s_core::chain(error) },
        }
    }
}
