//! The Lease that says which process is the writer of an instance.
//!
//! The Lease is the signal, not the fence: the fence is the lock on the history's directory. A process that could not
//! renew in time stops writing before somebody else may begin. These are the only writes of the agent to objects that
//! no release names.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use tk8s_core::{InstanceName, ObjectKey, Timestamp};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::Error;

/// How long a Lease is good without being renewed. Others may take it after that.
const DURATION: Duration = Duration::from_secs(30);
/// How often it is renewed: three tries fit into its duration.
const RENEW: Duration = Duration::from_secs(10);
/// How long one request about it may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The Lease of an instance, as an object that no release may delete.
pub fn key(namespace: &str, instance: &InstanceName) -> ObjectKey {
    let group = "coordination.k8s.io".into();
    ObjectKey { group, kind: "Lease".into(), namespace: Some(namespace.into()), name: name_of(instance) }
}

fn name_of(instance: &InstanceName) -> String {
    format!("tk8s-agent-{instance}")
}

/// Whether this process may write now.
#[derive(Clone)]
pub struct Tenure(watch::Receiver<Option<Instant>>);

impl Tenure {
    /// Whether the Lease is ours at this moment.
    pub fn held(&self) -> bool {
        self.0.borrow().is_some_and(|until| Instant::now() < until)
    }

    /// Refuses to go on without the Lease.
    pub fn check(&self) -> Result<(), Error> {
        if self.held() { Ok(()) } else { Err(Error::NotLeading) }
    }

    /// Waits until the Lease is ours.
    pub async fn acquired(&mut self) {
        while !self.held() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// Keeps the Lease of an instance: acquires it, renews it, and gives it up when told to stop.
pub struct Keeper {
    leases: kube::Api<Lease>,
    name: String,
    holder: String,
    state: watch::Sender<Option<Instant>>,
}

impl Keeper {
    /// A keeper for this instance's Lease in this namespace. `holder` names this process.
    pub fn new(client: kube::Client, namespace: &str, instance: &InstanceName, holder: String) -> (Keeper, Tenure) {
        let (state, seen) = watch::channel(None);
        let leases = kube::Api::namespaced(client, namespace);
        (Keeper { leases, name: name_of(instance), holder, state }, Tenure(seen))
    }

    /// Runs until `stop` completes, then gives the Lease up.
    pub async fn keep(self, stop: impl Future<Output = ()>) {
        let keeper = Arc::new(self);
        tokio::pin!(stop);
        loop {
            let asked = Instant::now();
            match tokio::time::timeout(PATIENCE, keeper.renew()).await {
                Ok(Ok(true)) => {
                    // Counted from before the request, so that our idea of the end is never later than the cluster's.
                    keeper.state.send_replace(Some(asked + DURATION));
                }
                Ok(Ok(false)) => {
                    keeper.state.send_replace(None);
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %tk8s_core::chain(&error), lease = keeper.name, "could not renew the lease")
                }
                Err(_) => tracing::warn!(lease = keeper.name, "the API server did not answer about the lease in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = &mut stop => break,
            }
        }
        if keeper.state.borrow().is_some() {
            keeper.state.send_replace(None);
            if !matches!(tokio::time::timeout(PATIENCE, keeper.release()).await, Ok(Ok(()))) {
                tracing::warn!(lease = keeper.name, "could not give the lease up; it ends by itself");
            }
        }
    }

    /// Takes or renews the Lease; false if somebody else holds it.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let now = Timestamp::now();
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else {
            let lease = Lease {
                metadata: ObjectMeta { name: Some(self.name.clone()), ..Default::default() },
                spec: Some(self.spec(now, None)),
            };
            return match self.leases.create(&PostParams::default(), &lease).await {
                Ok(_) => Ok(true),
                Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
                Err(error) => Err(error),
            };
        };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        let expired = spec.renew_time.as_ref().is_none_or(|renewed| {
            let good_for = i64::from(spec.lease_duration_seconds.unwrap_or(0));
            now.as_second() - renewed.0.as_second() > good_for
        });
        if !holder.is_empty() && holder != self.holder && !expired {
            tracing::info!(holder, lease = self.name, "another process holds the lease: waiting");
            return Ok(false);
        }
        lease.spec = Some(self.spec(now, Some(&spec)));
        // The resourceVersion goes along: of two that try at once, one is told 409.
        match self.leases.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn release(&self) -> Result<(), kube::Error> {
        if let Some(mut lease) = self.leases.get_opt(&self.name).await?
            && let Some(spec) = lease.spec.as_mut()
            && spec.holder_identity.as_deref() == Some(&self.holder)
        {
            spec.holder_identity = Some(String::new());
            self.leases.replace(&self.name, &PostParams::default(), &lease).await?;
        }
        Ok(())
    }

    fn spec(&self, now: Timestamp, before: Option<&LeaseSpec>) -> LeaseSpec {
        let same = before.is_some_and(|before| before.holder_identity.as_deref() == Some(&self.holder));
        let transitions = before.and_then(|before| before.lease_transitions).unwrap_or(0);
        LeaseSpec {
            holder_identity: Some(self.holder.clone()),
            lease_duration_seconds: Some(DURATION.as_secs() as i32),
            acquire_time: if same { before.and_then(|before| before.acquire_time.clone()) } else { Some(MicroTime(now)) },
            renew_time: Some(MicroTime(now)),
            lease_transitions: Some(if same || before.is_none() { transitions } else { transitions + 1 }),
            ..Default::default()
        }
    }
}
