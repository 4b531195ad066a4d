//! What of the cluster is the agent's own: its account, what it writes of itself, and what its file names.

use std::collections::BTreeSet;
use std::time::Duration;

use tk8s_config::OwnObjectConfig;
use tk8s_core::ObjectKey;
use tk8s_deploy::{Own, OwnName};
use tk8s_history::Desired;

use super::Engine;
use crate::disk::disk;
use crate::error::Error;
use crate::identity::Identity;

/// For what the agent asks about itself.
const PATIENCE: Duration = Duration::from_secs(30);

impl Engine {
    /// What is the agent's own as far as a release could touch it. Who the agent is, is asked once; which roles it has is
    /// looked up where the release has roles and is `judged`, and where roles leave the component with it. Where it may not
    /// look, their names have to do.
    pub(super) async fn own_of(&self, desired: &Desired, judged: bool) -> Result<Own, Error> {
        let client = self.cluster.client();
        self.identity.get_or_try_init(|| answered("who the agent is", Identity::ask(client))).await?;
        let mut own = self.own();
        let brings = || desired.objects().iter().any(|placed| is_role(placed.manifest.key()));
        if judged && brings() || self.loses_roles(desired) {
            own.roles = answered("the agent's own roles", crate::identity::roles_of(client, &own, self.live.scope())).await?;
        }
        Ok(own)
    }

    /// Whether a release leaves out roles that its component owns.
    fn loses_roles(&self, desired: &Desired) -> bool {
        let owned = disk(|| self.history.inventory(&desired.release().id.component)).into_iter().map(|entry| entry.key);
        let mut roles = owned.filter(is_role);
        roles.any(|role| desired.objects().iter().all(|placed| *placed.manifest.key() != role))
    }

    /// What is the agent's own: what it found out, what its file says, and what it writes of itself.
    pub(super) fn own(&self) -> Own {
        let (config, namespace) = (self.config(), crate::run::namespace(&self.config()));
        let Identity { user, account, deployment } = self.identity.get().cloned().unwrap_or_default();
        let installation = &config.installation;
        Own {
            account: installation.service_account.clone().or(account),
            user,
            deployment: installation.deployment.clone().or(deployment),
            keys: [
                crate::lease::key(&namespace, &self.instance),
                crate::anchor::store::key(&namespace, &self.instance),
                crate::endpoint::published::key(&namespace, &self.instance),
            ]
            .into(),
            roles: BTreeSet::new(),
            named: installation.objects.iter().filter_map(own_name).collect(),
        }
    }
}

/// An answer in time, or an error that passes.
async fn answered<T>(about: &str, asking: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Error> {
    let why = match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(error)) => tk8s_core::printable(&tk8s_core::chain(&error), 300),
        Err(_) => format!("it took longer than {} s", PATIENCE.as_secs()),
    };
    Err(tk8s_diff::Error::NoAnswer { about: about.into(), why }.into())
}

/// Whether this is a role, and so could be one of the agent's.
fn is_role(key: &ObjectKey) -> bool {
    key.group == "rbac.authorization.k8s.io" && ["Role", "ClusterRole"].contains(&key.kind.as_str())
}

fn own_name(config: &OwnObjectConfig) -> Option<OwnName> {
    let OwnObjectConfig { kind, name, namespace } = config.clone();
    OwnName::new(kind, &name, namespace)
}
