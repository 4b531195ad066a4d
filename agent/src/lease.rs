//! The Lease that says which process is the writer of an instance.
//!
//! The Lease is the signal, the lock on the history's directory is the fence: of two processes with one volume the second
//! does not even start. Where there are two volumes (one was lost, restored, or its node can't be reached any more), this
//! is what is between two writers: a holder that could not renew stops writing [`UNDER_WAY`] before somebody else may begin,
//! and a holder that finds another one in its place ends, because what it remembers may be older than what the other did.
//! These are the only writes of the agent to objects that no release names, beside the anchor's.
//!
//! The Lease of another is taken when it stood still for its whole duration while we looked at it, whatever its times say:
//! clocks of two machines need not agree.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use tk8s_core::{InstanceName, ObjectKey, Timestamp};
use tk8s_diff::fence::{Fence, Gate, UNDER_WAY};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Moment;
use crate::error::Error;

/// How long a Lease is good without being renewed: [`UNDER_WAY`], and three tries to renew it.
const DURATION: Duration = Duration::from_secs(35);
/// How often it is renewed.
const RENEW: Duration = Duration::from_secs(5);
/// How long one request about it may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The Lease of an instance, as an object that no release may delete.
pub fn key(namespace: &str, instance: &InstanceName) -> ObjectKey {
    let group = "coordination.k8s.io".into();
    ObjectKey { group, kind: "Lease".into(), namespace: Some(namespace.into()), name: name_of(instance) }
}

fn name_of(instance: &InstanceName) -> String {
    format!("tk8s-agent-{instance}")
}

/// Whether this process may write now: until when, if nothing renews it. Once somebody else had the Lease it never may again.
#[derive(Clone)]
pub struct Tenure(watch::Receiver<Option<Moment>>);

impl Tenure {
    fn left(&self) -> Duration {
        self.0.borrow().map_or(Duration::ZERO, |until| until.left(Moment::now()))
    }

    /// Whether the Lease is ours at this moment.
    pub fn held(&self) -> bool {
        !self.left().is_zero()
    }

    /// Refuses to begin what writes.
    pub fn check(&self) -> Result<(), Error> {
        if self.left() > UNDER_WAY { Ok(()) } else { Err(Error::NotLeading) }
    }

    /// Waits until the Lease is ours.
    pub async fn acquired(&mut self) {
        while !self.held() {
            if self.0.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// What is asked before each write. It closes while nobody else may write yet, for as long as a request may be under way.
    pub fn fence(&self, stop: &CancellationToken) -> Fence {
        let (tenure, stop) = (self.clone(), stop.clone());
        Fence::new(move || match (tenure.check().is_ok(), stop.is_cancelled()) {
            (true, false) => Gate::Open,
            (true, true) => Gate::Closing,
            (false, _) => Gate::Closed,
        })
    }
}

/// Why the Lease is not kept any more.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was given up, because the process ends.
    GivenUp,
    /// Somebody else took it.
    Taken,
}

/// What the API server says about the Lease.
enum Answer {
    Ours,
    /// Somebody else holds it, and may.
    Theirs,
    /// It was ours, and somebody else had it since.
    Taken,
}

/// Keeps the Lease of an instance: acquires it, renews it, and gives it up when told to stop.
pub struct Keeper {
    leases: kube::Api<Lease>,
    name: String,
    holder: String,
    state: watch::Sender<Option<Moment>>,
    /// As we wrote it last: while nobody else writes to it, renewing is one request.
    ours: Option<Lease>,
    /// Until when it was ours at least, if it ever was.
    held: Option<Moment>,
    /// Which version of another's Lease we saw, and since when.
    theirs: Option<(String, Moment)>,
}

impl Keeper {
    /// A keeper for this instance's Lease in this namespace. `holder` names this process: two that live at the same time
    /// never have the same name.
    pub fn new(client: kube::Client, namespace: &str, instance: &InstanceName, holder: String) -> (Keeper, Tenure) {
        let (state, seen) = watch::channel(None);
        let leases = kube::Api::namespaced(client, namespace);
        let (ours, held, theirs) = (None, None, None);
        (Keeper { leases, name: name_of(instance), holder, state, ours, held, theirs }, Tenure(seen))
    }

    /// Runs until `stop` completes, then gives the Lease up; or until somebody else took it.
    pub async fn keep(mut self, stop: impl Future<Output = ()>) -> Ended {
        tokio::pin!(stop);
        loop {
            let asked = Moment::now();
            match tokio::time::timeout(PATIENCE, self.renew()).await {
                Ok(Ok(Answer::Ours)) => {
                    // Counted from before the request, so that our idea of the end is never later than the cluster's.
                    self.held = Some(asked.after(DURATION));
                    self.state.send_replace(self.held);
                }
                Ok(Ok(Answer::Theirs)) => {}
                Ok(Ok(Answer::Taken)) => {
                    self.state.send_replace(None);
                    return Ended::Taken;
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = %tk8s_core::chain(&error), lease = self.name, "could not renew the lease");
                }
                Err(_) => tracing::warn!(lease = self.name, "the API server did not answer about the lease in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = &mut stop => break,
            }
        }
        if self.state.send_replace(None).is_some() && !matches!(tokio::time::timeout(PATIENCE, self.release()).await, Ok(Ok(())))
        {
            tracing::warn!(lease = self.name, "could not give the lease up; it ends by itself");
        }
        Ended::GivenUp
    }

    /// Takes or renews the Lease.
    async fn renew(&mut self) -> Result<Answer, kube::Error> {
        if let Some(lease) = self.ours.take()
            && self.write(lease).await?
        {
            return Ok(Answer::Ours);
        }
        let Some(lease) = self.leases.get_opt(&self.name).await? else { return self.create().await };
        let spec = lease.spec.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder != self.holder {
            if self.held.is_some() {
                tracing::error!(holder, lease = self.name, "somebody else took the lease");
                return Ok(Answer::Taken);
            }
            if !holder.is_empty() && !self.stands_still(&lease) {
                tracing::info!(holder, lease = self.name, "another process holds the lease: waiting");
                return Ok(Answer::Theirs);
            }
        }
        // The resourceVersion goes along: of two that try at once, one is told 409.
        Ok(if self.write(lease).await? { Answer::Ours } else { Answer::Theirs })
    }

    /// Makes the Lease where there is none. One that was ours and is gone is made again only while nobody can have had it.
    async fn create(&mut self) -> Result<Answer, kube::Error> {
        if self.held.is_some_and(|until| until.left(Moment::now()).is_zero()) {
            tracing::error!(lease = self.name, "the lease is gone, and was not ours for a while");
            return Ok(Answer::Taken);
        }
        let lease = Lease {
            metadata: ObjectMeta { name: Some(self.name.clone()), ..Default::default() },
            spec: Some(self.spec(Timestamp::now(), None)),
        };
        match self.leases.create(&PostParams::default(), &lease).await {
            Ok(made) => {
                self.ours = Some(made);
                Ok(Answer::Ours)
            }
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(Answer::Theirs),
            Err(error) => Err(error),
        }
    }

    /// Whether it was written: nobody had written to it meanwhile.
    async fn write(&mut self, mut lease: Lease) -> Result<bool, kube::Error> {
        lease.spec = Some(self.spec(Timestamp::now(), lease.spec.as_ref()));
        match self.leases.replace(&self.name, &PostParams::default(), &lease).await {
            Ok(written) => {
                self.ours = Some(written);
                Ok(true)
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether nobody wrote to the Lease for its whole duration, while we looked.
    fn stands_still(&mut self, lease: &Lease) -> bool {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let now = Moment::now();
        match &self.theirs {
            Some((seen, since)) if *seen == version => {
                let good_for = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
                since.passed(now) > Duration::from_secs(good_for.try_into().unwrap_or(0))
            }
            _ => {
                self.theirs = Some((version, now));
                false
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn fence(left: Option<Duration>) -> (watch::Sender<Option<Moment>>, CancellationToken, Fence) {
        let (state, seen) = watch::channel(left.map(|left| Moment::now().after(left)));
        let stop = CancellationToken::new();
        let fence = Tenure(seen).fence(&stop);
        (state, stop, fence)
    }

    #[test]
    fn nothing_is_written_as_soon_as_what_is_under_way_could_outlive_the_lease() {
        for (left, gate) in [
            (None, Gate::Closed),
            (Some(Duration::ZERO), Gate::Closed),
            (Some(UNDER_WAY), Gate::Closed),
            (Some(UNDER_WAY + Duration::from_secs(5)), Gate::Open),
            (Some(DURATION), Gate::Open),
        ] {
            assert_eq!(fence(left).2.gate(), gate, "{left:?}");
        }
        // Two renewals may fail before that.
        assert!(DURATION - UNDER_WAY >= RENEW * 3);
    }

    #[test]
    fn a_process_that_is_to_end_finishes_what_it_began_and_one_without_the_lease_does_not() {
        let (state, stop, fence) = fence(Some(DURATION));
        stop.cancel();
        assert_eq!(fence.gate(), Gate::Closing);
        state.send_replace(None);
        assert_eq!(fence.gate(), Gate::Closed);
    }
}
