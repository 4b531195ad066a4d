//! The agent, found through the kubeconfig: its Pod by its labels, its certificate where it published it, and a line to it
//! through the API server.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tk8s_core::{chain, printable};

use super::{Agent, Error, Reached, client, tls, unreachable};
use crate::endpoint::published;

/// By what an agent's Pods are known.
const NAME: &str = "app.kubernetes.io/name=tk8s-agent";
/// By what those of one instance are.
const INSTANCE: &str = "app.kubernetes.io/instance";
/// What the port of the API is called in a Pod; its number where none is called so.
const PORT: (&str, u16) = ("api", 8443);
/// How many Pods are looked at: one agent has one.
const PODS: u32 = 100;
/// How long it is waited for why a line broke.
const WHY: Duration = Duration::from_secs(1);

pub(super) async fn reach(agent: &Agent) -> Result<Reached, Error> {
    let (client, namespace) = (client(agent.cluster().await?)?, agent.namespace.as_str());
    let pods = kube::Api::<Pod>::namespaced(client.clone(), namespace);
    let labels = match &agent.instance {
        Some(instance) => format!("{NAME},{INSTANCE}={instance}"),
        None => NAME.to_owned(),
    };
    let found = pods.list(&ListParams::default().labels(&labels).limit(PODS)).await;
    let found = found.map_err(|error| refused(&format!("looking for its Pods in the namespace {namespace}"), &error))?;
    let Chosen { pod, instance, port } = choose(found.items, namespace, &labels)?;
    let name = published::name_of(&instance);
    let map = kube::Api::<ConfigMap>::namespaced(client, namespace).get_opt(&name).await;
    let map = map.map_err(|error| refused(&format!("reading its certificate from the ConfigMap {namespace}/{name}"), &error))?;
    let published = map.and_then(|map| map.data).and_then(|mut data| data.remove(published::CERTIFICATE));
    let Some(published) = published else {
        return Err(unreachable(&format!(
            "it has published no certificate yet (ConfigMap {namespace}/{name}): it does so once it has its lease, and not where \
             its file says `api.tls: none`"
        )));
    };
    let certificate = CertificateDer::from_pem_slice(published.as_bytes())
        .map_err(|error| unreachable(&format!("the certificate in the ConfigMap {namespace}/{name} can't be read: {error}")))?;
    let mut forwarded = pods.portforward(&pod, &[port]).await;
    let forwarded = forwarded.as_mut().map_err(|error| refused(&format!("forwarding to its Pod {namespace}/{pod}"), error))?;
    let line = forwarded.take_stream(port).ok_or_else(|| unreachable("nothing was forwarded"))?;
    let why = forwarded.take_error(port);
    match tls::by_itself(line, certificate).await {
        Ok(line) => Ok(Reached { line: Box::new(line), host: "tk8s-agent".into(), prefix: String::new() }),
        Err(error) => {
            let why = tokio::time::timeout(WHY, async { why?.await }).map(|said| said.ok().flatten()).await;
            let said = why.filter(|why| !why.trim().is_empty()).map_or_else(|| error.to_string(), |why| printable(&why, 300));
            Err(unreachable(&format!(
                "{said} (Pod {namespace}/{pod}, port {port}): what answers there has to have the certificate in the ConfigMap {name}, \
                 which is another one after each start; try again"
            )))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Chosen {
    pod: String,
    instance: String,
    port: u16,
}

/// The Pod that runs; of several of one instance the one that is ready, else the youngest.
fn choose(pods: Vec<Pod>, namespace: &str, labels: &str) -> Result<Chosen, Error> {
    let label = |pod: &Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get(INSTANCE)).cloned();
    let phase = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    let runs = |pod: &Pod| pod.metadata.deletion_timestamp.is_none() && phase(pod) == "Running";
    let is_ready = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    if pods.is_empty() {
        return Err(unreachable(&format!(
            "no Pod there has the labels {labels}: name its namespace (`--namespace`), or its address (`--server URL`)"
        )));
    }
    let instances: BTreeSet<_> = pods.iter().filter_map(label).collect();
    if instances.len() > 1 {
        let instances: Vec<_> = instances.iter().map(|one| printable(one, 63)).collect();
        return Err(Error::Usage(format!("there are several: name one with `--instance`: {}", instances.join(", "))));
    }
    let told: Vec<_> =
        pods.iter().map(|pod| format!("{} is {}", pod.metadata.name.as_deref().unwrap_or_default(), phase(pod))).collect();
    let chosen = pods.into_iter().filter(runs).max_by_key(|pod| (is_ready(pod), pod.metadata.creation_timestamp.clone()));
    let Some(pod) = chosen else {
        return Err(unreachable(&format!("none of its Pods in {namespace} runs: {}", printable(&told.join(", "), 300))));
    };
    let Some(instance) = label(&pod) else {
        return Err(unreachable(&format!("its Pod in {namespace} has no label {INSTANCE}, which says which instance it is")));
    };
    let ports = pod.spec.iter().flat_map(|spec| &spec.containers).flat_map(|container| container.ports.iter().flatten());
    let named = ports.into_iter().find(|port| port.name.as_deref() == Some(PORT.0)).map(|port| port.container_port);
    let port = named.and_then(|port| u16::try_from(port).ok()).unwrap_or(PORT.1);
    Ok(Chosen { pod: pod.metadata.name.unwrap_or_default(), instance, port })
}

/// What the API server did not let us do, or was not there for.
fn refused(what: &str, error: &kube::Error) -> Error {
    let next = match error {
        kube::Error::Api(status) if status.code == 403 => {
            ": commands need `get` and `list` on `pods`, `get` and `create` on \
                                                           `pods/portforward` and `get` on that ConfigMap, or `--server URL`"
        }
        _ => "",
    };
    unreachable(&format!("{what}: {}{next}", printable(&chain(error), 400)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, instance: &str, phase: &str, ready: &str, age: u32) -> Pod {
        serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "creationTimestamp": format!("2026-01-01T00:00:{age:02}Z"),
                "labels": {"app.kubernetes.io/name": "tk8s-agent", "app.kubernetes.io/instance": instance},
            },
            "spec": {"containers": [{"name": "agent", "ports": [{"containerPort": 8081, "name": "health"}, {"containerPort": 9443, "name": "api"}]}]},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]},
        }))
        .unwrap()
    }

    fn chosen(pods: &[Pod]) -> Result<Chosen, String> {
        choose(pods.to_vec(), "tk8s-system", NAME).map_err(|error| error.to_string())
    }

    #[test]
    fn of_several_pods_the_one_that_runs_and_is_ready_is_asked_and_of_several_instances_none() {
        let expected = |pod: &str| Ok(Chosen { pod: pod.into(), instance: "tk8s".into(), port: 9443 });
        let (old, young) = (pod("old", "tk8s", "Running", "True", 1), pod("young", "tk8s", "Running", "False", 9));
        assert_eq!(chosen(&[young.clone(), old.clone()]), expected("old"));
        let ready = pod("young", "tk8s", "Running", "True", 9);
        assert_eq!(chosen(&[old.clone(), ready]), expected("young"));
        let pending = pod("pending", "tk8s", "Pending", "False", 20);
        assert_eq!(chosen(&[pending.clone(), young]), expected("young"));
        for (pods, words) in [
            (vec![], "name its namespace"),
            (vec![pending], "none of its Pods in tk8s-system runs: pending is Pending"),
            (vec![old.clone(), pod("other", "edge", "Running", "True", 1)], "name one with `--instance`: edge, tk8s"),
        ] {
            let error = chosen(&pods).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        let mut unnamed = old;
        unnamed.metadata.labels = None;
        assert!(chosen(&[unnamed]).unwrap_err().contains("has no label app.kubernetes.io/instance"));
    }
}
