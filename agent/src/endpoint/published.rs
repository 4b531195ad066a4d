//! Where commands learn by which certificate this instance is known: a ConfigMap beside its anchor.
//!
//! Whoever may write ConfigMaps and Pods in the agent's namespace could stand in its place; so may whoever may use the
//! agent's account there, so nobody gains by it who had nothing. It is written once the Lease is ours, and put back when
//! somebody takes it away. Nothing waits for it, and nothing but a command reads it.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use tk8s_core::{InstanceName, ObjectKey, Pauses, chain};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::lease::Tenure;

/// The key under which the certificate stands: what others call the file that they believe.
pub const CERTIFICATE: &str = "ca.crt";
/// How often it is looked whether it still stands there.
const AGAIN: Duration = Duration::from_secs(300);
/// After a try that failed.
const PAUSES: Pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(60));
/// How long one request about it may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The ConfigMap of an instance, as an object that no release may delete.
pub fn key(namespace: &str, instance: &InstanceName) -> ObjectKey {
    let name = name_of(instance.as_str());
    ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: Some(namespace.into()), name }
}

/// What it is called.
pub fn name_of(instance: &str) -> String {
    format!("tk8s-agent-{instance}-api")
}

/// Keeps it as the certificate in force is, until told to stop.
pub async fn keep(
    client: kube::Client,
    namespace: String,
    instance: InstanceName,
    mut certificate: watch::Receiver<String>,
    mut tenure: Tenure,
    stop: CancellationToken,
) {
    let maps = kube::Api::namespaced(client, &namespace);
    let name = name_of(instance.as_str());
    let keeping = async {
        tenure.acquired().await;
        let mut pauses = PAUSES;
        loop {
            let now = certificate.borrow_and_update().clone();
            let pause = match tokio::time::timeout(PATIENCE, write(&maps, &name, now)).await {
                Ok(Ok(())) => {
                    pauses.begin_anew();
                    AGAIN
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %chain(&error), name, "commands can't learn the agent's certificate");
                    pauses.after_failure(rand::random())
                }
                Err(_) => pauses.after_failure(rand::random()),
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                Ok(()) = certificate.changed() => {}
            }
        }
    };
    tokio::select! {
        () = keeping => {}
        () = stop.cancelled() => {}
    }
}

async fn write(maps: &kube::Api<ConfigMap>, name: &str, certificate: String) -> Result<(), kube::Error> {
    let data = Some(BTreeMap::from([(CERTIFICATE.to_owned(), certificate)]));
    let how = PostParams::default();
    match maps.get_opt(name).await? {
        Some(known) if known.data == data => Ok(()),
        Some(known) => maps.replace(name, &how, &ConfigMap { data, binary_data: None, ..known }).await.map(drop),
        None => {
            let metadata = ObjectMeta { name: Some(name.into()), ..Default::default() };
            maps.create(&how, &ConfigMap { metadata, data, ..Default::default() }).await.map(drop)
        }
    }
}
