//! Why a workload is not healthy, as what is below it tells: the container that is to blame and its last words, what the
//! scheduler says, or a quota.
//!
//! Asked once, when a release has failed or a workload has become degraded; never polled, and never for what is healthy. At
//! most [`MOST`] workloads, four requests each, in [`PATIENCE`] all together. What can't be read is no failure: the health of
//! the object itself is said in any case. Reads only. Which pod is to blame is decided in `blame`, which needs no cluster.

mod blame;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use http::Request;
use serde_json::Value;
use tk8s_core::{Health, HealthState, Hidden, ObjectKey, printable};
use tk8s_diff::Error;
use tk8s_diff::cluster::Cluster;
use tk8s_diff::live::{Live, Seen};
use tokio::time::Instant;

use blame::{Blamed, LogOf, owned_by};

/// Workloads whose causes are looked for at once: who repairs three finds out about the others.
const MOST: usize = 3;
/// How long looking may take. Nobody waits for it but who wants to be told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Objects of one list. The pods of a workload mostly fail for one reason.
const LISTED: usize = 20;
/// The end of a log that is told: lines, bytes, and characters of one line.
const LAST: (usize, usize, usize) = (20, 4096, 500);
/// What of a log is read: its last lines, and of those so many bytes.
const READ: usize = 64 * 1024;

/// What is behind the health of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// The object that is not healthy.
    pub object: ObjectKey,
    /// The pod that is to blame, if one is, and if it is not the object itself.
    pub pod: Option<String>,
    /// One sentence: what is wrong with it.
    pub message: String,
    /// The last words of the container that is to blame.
    pub log: Log,
}

/// The end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Log {
    /// There is none to be asked for: nothing has run.
    None,
    /// Its last lines.
    Lines(Vec<String>),
    /// It can't be read, and why.
    Unread(String),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pod) = &self.pod {
            write!(f, "pod {pod}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.log {
            Log::None => Ok(()),
            Log::Lines(lines) if lines.is_empty() => f.write_str("; it logged nothing"),
            Log::Lines(lines) => write!(f, "; its last lines: {}", lines.join(" | ")),
            Log::Unread(why) => write!(f, "; no logs: {why}"),
        }
    }
}

/// Looks for the causes of what is not healthy. `hidden` is taken out of what containers said.
pub async fn causes(cluster: &Cluster, live: &Live, unhealthy: &BTreeMap<ObjectKey, Health>, hidden: &Hidden) -> Vec<Cause> {
    let mut found = Vec::new();
    let looking = Looking { cluster, hidden, deadline: Instant::now() + PATIENCE };
    let all = async {
        // What has failed first, then what is on its way.
        let mut keys: Vec<_> = unhealthy.iter().filter(|(key, _)| has_pods(key)).collect();
        keys.sort_by_key(|(_, health)| std::cmp::Reverse(health.state == HealthState::Degraded));
        for (key, health) in keys.into_iter().take(MOST) {
            let Seen::Present(seen) = live.seen(key) else { continue };
            match looking.behind(key, &seen.object()).await {
                // What the object itself says already is not said twice.
                Ok(cause) => found.extend(cause.filter(|cause| !health.message.contains(&cause.message))),
                Err(error) => {
                    tracing::debug!(object = %key, error = %tk8s_core::chain(&error), "could not look for the cause");
                }
            }
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        tracing::debug!("looking for causes took too long");
    }
    found
}

/// Kinds that run pods, or are one.
pub fn has_pods(key: &ObjectKey) -> bool {
    match key.group.as_str() {
        "apps" => ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"].contains(&key.kind.as_str()),
        "batch" => key.kind == "Job",
        "" => ["Pod", "ReplicationController"].contains(&key.kind.as_str()),
        _ => false,
    }
}

struct Looking<'a> {
    cluster: &'a Cluster,
    hidden: &'a Hidden,
    deadline: Instant,
}

impl Looking<'_> {
    /// What is behind one object, if anything can be found.
    async fn behind(&self, key: &ObjectKey, object: &Value) -> Result<Option<Cause>, Error> {
        let (Some(namespace), Some(uid)) = (key.namespace.as_deref(), object["metadata"]["uid"].as_str()) else {
            return Ok(None);
        };
        let cause = |pod: Option<String>, message: String, log| {
            Some(Cause { object: key.clone(), pod, message: printable(&self.hidden.mask(&message), 1000), log })
        };
        if key.kind == "Pod" {
            return Ok(match blame::of_pod(object) {
                Some(Blamed { log: Some(log), message, pod }) => cause(None, message, self.log(namespace, &pod, &log).await),
                _ => None,
            });
        }
        let Some(selector) = blame::selector(&object["spec"]["selector"]) else { return Ok(None) };
        let mut owner = uid.to_owned();
        if key.kind == "Deployment" {
            let sets =
                self.list(&format!("/apis/apps/v1/namespaces/{namespace}/replicasets"), "labelSelector", &selector).await?;
            let Some(newest) = blame::newest(&sets, uid) else { return Ok(None) };
            if let Some(failure) = blame::replica_failure(newest) {
                return Ok(cause(None, failure, Log::None));
            }
            owner = newest["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        }
        let pods = self.list(&format!("/api/v1/namespaces/{namespace}/pods"), "labelSelector", &selector).await?;
        let pods: Vec<_> = pods.into_iter().filter(|pod| owned_by(pod, &owner)).map(blame::as_pod).collect();
        if let Some(Blamed { pod, message, log }) = blame::worst(&pods) {
            let log = match &log {
                Some(log) => self.log(namespace, &pod, log).await,
                None => Log::None,
            };
            return Ok(cause(Some(pod), message, log));
        }
        if pods.is_empty() {
            let about = format!("involvedObject.uid={owner},type=Warning");
            let events = self.list(&format!("/api/v1/namespaces/{namespace}/events"), "fieldSelector", &about).await?;
            return Ok(blame::last_warning(&events).and_then(|message| cause(None, message, Log::None)));
        }
        Ok(None)
    }

    /// The first page of a list.
    async fn list(&self, path: &str, by: &str, selector: &str) -> Result<Vec<Value>, Error> {
        let uri = format!("{path}?{by}={}&limit={LISTED}", encoded(selector));
        let request = || Request::get(uri.as_str()).body(Vec::new()).expect("because what is not plain is encoded");
        let reply = self.cluster.exchange_until(request, self.deadline).await?;
        if !reply.status.is_success() {
            return Err(Error::refused(path, false, reply.status.as_u16(), &reply.body));
        }
        let mut body = reply.body;
        Ok(match body["items"].take() {
            Value::Array(items) => items,
            _ => Vec::new(),
        })
    }

    /// The end of a container's log, without what must not be told.
    async fn log(&self, namespace: &str, pod: &str, log: &LogOf) -> Log {
        let (container, previous, lines) = (encoded(&log.container), log.previous, LAST.0);
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{}/log?container={container}&previous={previous}&tailLines={lines}&limitBytes={READ}",
            encoded(pod)
        );
        match self.cluster.text(&path, 2 * READ).await {
            Ok(text) => Log::Lines(last_lines(&self.hidden.mask(&text))),
            Err(error) => Log::Unread(printable(&tk8s_core::chain(&error), 300)),
        }
    }
}

/// The end of a text as it is told: a few lines, each cut, and nothing in them that moves a cursor.
fn last_lines(text: &str) -> Vec<String> {
    let (most, mut left, longest) = LAST;
    let mut lines = Vec::new();
    for line in text.lines().rev().map(str::trim_end).filter(|line| !line.is_empty()).take(most) {
        let line = printable(line, longest);
        if line.len() > left {
            break;
        }
        left -= line.len();
        lines.push(line);
    }
    lines.reverse();
    lines
}

/// A text as a value in a query.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_short_and_moves_no_cursor() {
        assert_eq!(last_lines("one\n\n\x1b[31mtwo\r\n"), ["one", "\u{fffd}[31mtwo"]);
        let many: String = (0..100).map(|number| format!("line {number}\n")).collect();
        let shown = last_lines(&many);
        assert_eq!((shown.len(), shown[0].as_str(), shown[19].as_str()), (20, "line 80", "line 99"));
        let long = "x".repeat(1000) + "\n";
        let shown = last_lines(&long.repeat(50));
        assert!(shown.iter().map(String::len).sum::<usize>() <= LAST.1 && shown.len() == 8, "{}", shown.len());
    }

    #[test]
    fn a_cause_says_who_how_and_the_last_words() {
        let object = ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: None, name: "web".into() };
        let cause = |log| Cause { object: object.clone(), pod: Some("web-1".into()), message: "bad".into(), log }.to_string();
        assert_eq!(cause(Log::None), "pod web-1: bad");
        assert_eq!(cause(Log::Lines(Vec::new())), "pod web-1: bad; it logged nothing");
        assert_eq!(cause(Log::Lines(vec!["a".into(), "b".into()])), "pod web-1: bad; its last lines: a | b");
        assert_eq!(cause(Log::Unread("forbidden".into())), "pod web-1: bad; no logs: forbidden");
    }

    #[test]
    fn a_selector_is_encoded_byte_by_byte() {
        assert_eq!(encoded("app=web,tier in (a)"), "app%3Dweb%2Ctier%20in%20%28a%29");
    }
}
