//! The API server: whether it is there, of a version that works, and of the same time; who the agent is to it; and what it keeps
//! for the agent: the definition, the Lease, the anchor.

use std::time::Duration;

use hyper::Request;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::client::Body;
use serde_json::Value;
use tk8s_core::{Secret, ServiceAccount, Timestamp, chain, printable};
use tk8s_diff::cluster::Cluster;
use tk8s_history::{Archive, IdentityKey};

use super::{Check, Installed, Visit, read};
use crate::anchor::Anchor;
use crate::anchor::store::Store;
use crate::identity::Identity;
use crate::report::{GROUP, definition};

const SERVER: &str = "api-server";
const CLOCK: &str = "clock";
const ACCOUNT: &str = "account";
const DEFINITION: &str = "definition";
const LEASE: &str = "lease";
const ANCHOR: &str = "anchor";

/// How long the API server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The oldest version of Kubernetes: since then a volume can be `ReadWriteOncePod` for good, and a client is told who it is.
const OLDEST: (u32, u32) = (1, 29);
/// By how much clocks may differ that somebody keeps.
const KEPT: i64 = 5;
/// By how much they may differ without anything going wrong that is seen at once.
const BEARABLE: i64 = 60;

/// The cluster, as far as it answers.
pub(super) struct Asked {
    pub(super) client: kube::Client,
    /// As whom it is asked about rights; the process itself where there is none.
    pub(super) of: Option<ServiceAccount>,
    /// The account of the agent.
    pub(super) account: ServiceAccount,
    /// Who holds the Lease now, if anybody does.
    pub(super) holder: Option<String>,
}

pub(super) async fn examine(installed: &Installed<'_>, visit: &Visit, archive: Option<&Archive>) -> (Vec<Check>, Option<Asked>) {
    let unreached = |found: String| {
        let next = "in its Pod: look at `automountServiceAccountToken`, and whether the NetworkPolicy lets it out to the API server's \
                    ports; elsewhere: name a kubeconfig with `--kubeconfig FILE`";
        let mut checks = vec![Check::failed(SERVER, found, next)];
        let others = [CLOCK, ACCOUNT, DEFINITION, LEASE, ANCHOR];
        checks.extend(others.map(|check| Check::skipped(check, "the API server can't be asked")));
        (checks, None)
    };
    let client = match crate::run::connect(visit.kubeconfig.as_deref()).await {
        Ok(client) => client,
        Err(error) => return unreached(format!("{error:#}")),
    };
    let (version, date) = match in_time(version(&client)).await {
        Ok(answer) => answer,
        Err(error) => return unreached(format!("it does not answer: {error}")),
    };
    let mut checks = vec![judge_version(&version), judge_clock(CLOCK, "the API server's", date.as_deref(), Timestamp::now())];
    let (check, account) = account(installed, visit, &client).await;
    checks.push(check);
    checks.push(defined(&client).await);
    let (check, holder) = lease(installed, &client).await;
    checks.push(check);
    checks.push(anchor(installed, &client, archive).await);
    (checks, Some(Asked { client, of: visit.outside.clone(), account, holder }))
}

/// Waits for an answer, but not for ever.
async fn in_time<T, E: std::error::Error + 'static>(asked: impl Future<Output = Result<T, E>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| printable(&chain(&error), 400)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// The version, and when the API server thinks it is.
async fn version(client: &kube::Client) -> Result<(String, Option<String>), kube::Error> {
    use http_body_util::BodyExt as _;
    let request = Request::get("/version").body(Body::empty()).expect("because the path is fixed");
    let answer = client.send(request).await?;
    let date = answer.headers().get("date").and_then(|date| date.to_str().ok()).map(String::from);
    let body = answer.into_body().collect().await?.to_bytes();
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok((told["gitVersion"].as_str().unwrap_or_default().to_owned(), date))
}

fn judge_version(version: &str) -> Check {
    let number = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok();
    let mut parts = version.trim_start_matches('v').split('.');
    let found = parts.next().and_then(number).zip(parts.next().and_then(number));
    let (major, minor) = OLDEST;
    match found {
        None => {
            let next = "name the API server of a cluster: `kubectl version` has to say which it is";
            Check::failed(SERVER, format!("it answers, but does not say which version it is: `{}`", printable(version, 80)), next)
        }
        Some(found) if found < OLDEST => {
            let next = format!("upgrade the cluster to {major}.{minor} or newer");
            Check::failed(SERVER, format!("it is Kubernetes {}, older than {major}.{minor}", printable(version, 80)), next)
        }
        Some(_) => Check::ok(SERVER, format!("it is Kubernetes {}", printable(version, 80))),
    }
}

/// Compares our clock with the one of an answer.
pub(super) fn judge_clock(check: &'static str, whose: &str, date: Option<&str>, now: Timestamp) -> Check {
    let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
        return Check::skipped(check, format!("{whose} answers have no date"));
    };
    let behind = date.timestamp().as_second() - now.as_second();
    let words = match behind {
        behind if behind.abs() <= KEPT => return Check::ok(check, format!("it is {whose}, to {KEPT} s")),
        behind if behind > 0 => format!("it is {behind} s behind {whose}"),
        ahead => format!("it is {} s ahead of {whose}", -ahead),
    };
    let next = "set the node's clock by a time server (chrony, systemd-timesyncd): signatures, windows and approvals go by it";
    match behind.abs() <= BEARABLE {
        true => Check::warning(check, words, next),
        false => Check::failed(check, words, next),
    }
}

async fn account(installed: &Installed<'_>, visit: &Visit, client: &kube::Client) -> (Check, ServiceAccount) {
    let said = installed.config.installation.service_account.clone();
    let usual = || ServiceAccount::new(&installed.namespace, &installed.name());
    if let Some(account) = &visit.outside {
        return (Check::skipped(ACCOUNT, format!("asked about {account}, from outside")), account.clone());
    }
    let fallback = said
        .clone()
        .or_else(|| usual().ok())
        .unwrap_or_else(|| "tk8s-system/tk8s-agent".parse().expect("because it is an account"));
    let identity = match in_time(Identity::ask(client)).await {
        Ok(identity) => identity,
        Err(error) => {
            let next = "look at the token: `kubectl create token`, or the Pod's `serviceAccountName`";
            return (Check::failed(ACCOUNT, format!("the API server does not say who this is: {error}"), next), fallback);
        }
    };
    let check = match (&identity.account, &identity.user) {
        (Some(account), _) if said.as_ref().is_some_and(|said| said != account) => {
            let found = format!("it logs in as {account}, and its file says {fallback}");
            Check::failed(
                ACCOUNT,
                found,
                "name the account that its Pod runs as in `installation.serviceAccount`, or leave it out",
            )
        }
        (Some(account), _) => Check::ok(ACCOUNT, format!("it logs in as {account}")),
        (None, Some(user)) => Check::warning(
            ACCOUNT,
            format!("it logs in as {}, which is no service account", printable(user, 100)),
            "run the agent in its Pod, with its own account; or name one in `installation.serviceAccount`, which no release may touch then",
        ),
        (None, None) => Check::warning(
            ACCOUNT,
            "the API server does not say who this is",
            "name `installation.serviceAccount` in the agent's file, so that its namespace and its rights are protected",
        ),
    };
    (check, identity.account.unwrap_or(fallback))
}

/// The definition of the agent's own resource: there, and as this version writes it.
async fn defined(client: &kube::Client) -> Check {
    let next = definition::REMEDY;
    let definitions: kube::Api<CustomResourceDefinition> = kube::Api::all(client.clone());
    let found = match in_time(definitions.get_opt(definition::NAME)).await {
        Ok(found) => found,
        // The agent need not see definitions; whether it is served, everybody may see.
        Err(_) => {
            let version = format!("{GROUP}/v1alpha1");
            return match in_time(Cluster::new(client.clone(), Vec::new()).serves(&version, "components")).await {
                Ok(true) => Check::ok(DEFINITION, format!("`components` of {version} are served")),
                Ok(false) => Check::failed(DEFINITION, format!("`components` of {version} are not served"), next),
                Err(error) => Check::failed(DEFINITION, format!("it can't be asked for: {error}"), next),
            };
        }
    };
    let Some(found) = found else {
        return Check::failed(DEFINITION, format!("there is no {}", definition::NAME), next);
    };
    match definition::compare(&serde_json::to_value(found).expect("because it came as JSON")) {
        definition::Found::Same => Check::ok(DEFINITION, format!("{} is this version's", definition::NAME)),
        definition::Found::Newer => Check::warning(
            DEFINITION,
            format!("{} is of a newer agent", definition::NAME),
            "upgrade this one, or leave it as it is",
        ),
        definition::Found::Other => {
            Check::failed(DEFINITION, format!("{} is not what this version writes", definition::NAME), next)
        }
    }
}

/// Who holds the Lease.
async fn lease(installed: &Installed<'_>, client: &kube::Client) -> (Check, Option<String>) {
    let name = crate::lease::key(&installed.namespace, &installed.config.instance).name;
    let leases: kube::Api<Lease> = kube::Api::namespaced(client.clone(), &installed.namespace);
    let place = format!("{}/{name}", installed.namespace);
    match in_time(leases.get_opt(&name)).await {
        Ok(None) => (Check::ok(LEASE, format!("nobody made the Lease {place} yet: the first start does")), None),
        Ok(Some(lease)) => {
            let spec = lease.spec.unwrap_or_default();
            let holder = spec.holder_identity.filter(|holder| !holder.is_empty());
            let renewed = spec.renew_time.map(|time| time.0);
            let good_for = i64::from(spec.lease_duration_seconds.unwrap_or(0));
            judge_lease(&place, holder, renewed, good_for, Timestamp::now(), &installed.namespace)
        }
        Err(error) => {
            let next = "apply the roles of the installation again (`helm upgrade`, or the overlay): `get` on this Lease";
            (Check::failed(LEASE, format!("the Lease {place} can't be read: {error}"), next), None)
        }
    }
}

fn judge_lease(
    place: &str,
    holder: Option<String>,
    renewed: Option<Timestamp>,
    good_for: i64,
    now: Timestamp,
    namespace: &str,
) -> (Check, Option<String>) {
    let Some(holder) = holder else { return (Check::ok(LEASE, format!("nobody holds {place}")), None) };
    let ago = renewed.map(|renewed| now.as_second() - renewed.as_second());
    let shown = printable(&holder, 100);
    match ago {
        Some(ago) if ago <= good_for => {
            (Check::ok(LEASE, format!("{shown} holds {place}, renewed {} s ago", ago.max(0))), Some(holder))
        }
        ago => {
            let since = ago.map_or_else(|| "ever".to_owned(), |ago| format!("for {ago} s"));
            let next = format!(
                "look whether its Pod runs (`kubectl -n {namespace} get pods`); the next process takes it over by itself"
            );
            (Check::warning(LEASE, format!("{shown} holds {place}, and has not renewed it {since}"), next), None)
        }
    }
}

/// Whether the volume holds what the cluster remembers of it.
async fn anchor(installed: &Installed<'_>, client: &kube::Client, archive: Option<&Archive>) -> Check {
    let config = installed.config;
    let place = crate::anchor::store::key(&installed.namespace, &config.instance).to_string();
    let mut store = Store::new(client.clone(), &installed.namespace, &config.instance);
    let text = match in_time(store.read()).await {
        Ok(Some(text)) => text,
        Ok(None) => {
            return match archive.map(|archive| archive.size_and_root().size) {
                Some(events @ 2..) => Check::warning(
                    ANCHOR,
                    format!("the cluster holds no anchor ({place}), and the history has {events} events"),
                    "start the agent: it writes it anew, and says so; if nobody deleted it, look whether this is the right cluster",
                ),
                _ => Check::ok(ANCHOR, format!("nothing was anchored yet ({place})")),
            };
        }
        Err(error) => {
            let next = "apply the roles of the installation again (`helm upgrade`, or the overlay): `get` on this ConfigMap";
            return Check::failed(ANCHOR, format!("{place} can't be read: {error}"), next);
        }
    };
    if let Some(why) = installed.elsewhere() {
        return Check::skipped(ANCHOR, format!("{place} is there; {why}"));
    }
    let identity = read(&config.history.identity_key_file).ok().map(Secret::new);
    let identity = identity.and_then(|key| IdentityKey::of(&crate::run::origin(config), &key).ok());
    let Some(identity) = identity else { return Check::skipped(ANCHOR, "the identity key can't be read") };
    let anchored = match Anchor::read_with(&text, |kind, note| identity.prove(kind, note)) {
        Ok(anchor) => anchor.ledger,
        Err(error) => {
            let next = "put the identity key back that signed it; if somebody wrote to it, start the agent: it writes it anew, with an alarm";
            return Check::failed(ANCHOR, format!("{place} is not believed: {error}"), next);
        }
    };
    let held = archive.map_or(0, |archive| archive.size_and_root().size);
    let root = archive.map(|archive| archive.root_at(anchored.size)).transpose();
    match root {
        Ok(Some(Some(root))) if root == anchored.root => {
            Check::ok(ANCHOR, format!("the history holds the {} events that {place} names", anchored.size))
        }
        Err(error) => Check::failed(ANCHOR, chain(&error), "see what `ledger` says"),
        _ => Check::failed(
            ANCHOR,
            format!("{place} names {} events, and the history here has {held} and does not hold them", anchored.size),
            "mount the volume that this instance had, or bring its history back from a backup; an agent that starts without keeps \
             what runs until Git brings it anew (docs/anchor.md)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    #[test]
    fn versions_are_told_by_their_numbers() {
        for (version, outcome) in [
            ("v1.36.3", Outcome::Ok),
            ("v1.29.0-gke.100", Outcome::Ok),
            ("v1.30+", Outcome::Ok),
            ("v1.28.15", Outcome::Failed),
            ("v2.0.0", Outcome::Ok),
            ("", Outcome::Failed),
            ("nginx", Outcome::Failed),
        ] {
            assert_eq!(judge_version(version).outcome, outcome, "{version}");
        }
        assert!(judge_version("v1.28.15").next.unwrap().contains("1.29 or newer"));
    }

    #[test]
    fn clocks_may_differ_a_little() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let judged = |date: &str| judge_clock(CLOCK, "the API server's", Some(date), now);
        for (date, outcome, words) in [
            ("Thu, 26 Nov 2026 12:00:05 GMT", Outcome::Ok, "to 5 s"),
            ("Thu, 26 Nov 2026 12:00:40 GMT", Outcome::Warning, "40 s behind the API server's"),
            ("Thu, 26 Nov 2026 11:50:00 GMT", Outcome::Failed, "600 s ahead of the API server's"),
            ("yesterday", Outcome::Skipped, "have no date"),
        ] {
            let check = judged(date);
            assert_eq!(check.outcome, outcome, "{date}");
            assert!(check.found.contains(words), "{check:?}");
        }
    }

    #[test]
    fn a_lease_that_nobody_renews_is_told() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let judged = |holder: &str, ago: i64| {
            let renewed = Timestamp::from_second(now.as_second() - ago).unwrap();
            judge_lease(
                "ns/lease",
                Some(holder.into()).filter(|holder: &String| !holder.is_empty()),
                Some(renewed),
                35,
                now,
                "ns",
            )
        };
        assert_eq!(judged("pod-1", 3).0.outcome, Outcome::Ok);
        assert_eq!(judged("pod-1", 3).1.as_deref(), Some("pod-1"));
        let (stale, holder) = judged("pod-1", 60);
        assert_eq!((stale.outcome, holder), (Outcome::Warning, None));
        assert!(stale.found.contains("not renewed it for 60 s"), "{stale:?}");
        assert_eq!(judged("", 60).0.outcome, Outcome::Ok);
    }
}
