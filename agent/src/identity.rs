//! Who the agent is, as the API server knows it, and which roles it has. The first is asked once, by the one question that
//! everybody may ask; nothing is written.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, SelfSubjectReviewStatus};
use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleBinding, RoleRef, Subject};
use kube::api::{ListParams, PostParams};
use tk8s_core::{ObjectKey, ServiceAccount};
use tk8s_deploy::Own;
use tk8s_diff::live::Scope;

/// What a bound token says of the Pod that it was made for.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";

/// What the Deployment, the Service, the account and the roles of an instance are called where it is installed.
pub fn installed_as(instance: &str) -> String {
    if instance == "tk8s" { "tk8s-agent".to_owned() } else { format!("tk8s-agent-{instance}") }
}

/// The agent, as it logs in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Its user name; unknown where the API server does not say.
    pub user: Option<String>,
    /// The service account that this is the name of.
    pub account: Option<ServiceAccount>,
    /// The Deployment that its Pod is of, going by the Pod's name.
    pub deployment: Option<String>,
}

impl Identity {
    /// An API server that refuses to say it leaves the identity unknown.
    pub async fn ask(client: &kube::Client) -> Result<Identity, kube::Error> {
        let reviews = kube::Api::<SelfSubjectReview>::all(client.clone());
        match reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await {
            Ok(review) => Ok(Identity::of(review.status.unwrap_or_default())),
            Err(kube::Error::Api(status)) if matches!(status.code, 403..=405) => {
                tracing::warn!(
                    status.message,
                    "the API server does not say who the agent is: name `installation.serviceAccount` in its file, so that its \
                     namespace and its rights are protected"
                );
                Ok(Identity::default())
            }
            Err(error) => Err(error),
        }
    }

    fn of(status: SelfSubjectReviewStatus) -> Identity {
        let found = status.user_info.unwrap_or_default();
        let extra: BTreeMap<_, _> = found.extra.unwrap_or_default();
        let pod = extra.get(POD_NAME).and_then(|names| names.first());
        Identity {
            account: found.username.as_deref().and_then(ServiceAccount::of_user),
            user: found.username,
            deployment: pod.and_then(|pod| deployment_of(pod)),
        }
    }
}

/// The roles that are bound to whoever this is, or to a group that it is in. None where it may not look. In some namespaces
/// alone, those of these namespaces: no release gets at others.
pub async fn roles_of(client: &kube::Client, own: &Own, scope: &Scope) -> Result<BTreeSet<ObjectKey>, kube::Error> {
    match bound_to(client, own, scope).await {
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let said = &status.message;
            tracing::warn!(said, "the agent may not look which roles it has: only those are protected that are named like it");
            Ok(BTreeSet::new())
        }
        roles => roles,
    }
}

async fn bound_to(client: &kube::Client, own: &Own, scope: &Scope) -> Result<BTreeSet<ObjectKey>, kube::Error> {
    let is_own = |subjects: &Option<Vec<Subject>>| {
        let mut subjects = subjects.iter().flatten();
        subjects.any(|subject| own.is_subject(&subject.kind, &subject.name, subject.namespace.as_deref()))
    };
    let mut roles = BTreeSet::new();
    let mut bindings: Vec<kube::Api<RoleBinding>> = Vec::new();
    match scope.namespaces() {
        Some(namespaces) => {
            bindings.extend(namespaces.iter().map(|namespace| kube::Api::namespaced(client.clone(), namespace)));
        }
        None => {
            for binding in all(&kube::Api::<ClusterRoleBinding>::all(client.clone())).await? {
                roles.extend(is_own(&binding.subjects).then(|| key(binding.role_ref, None)));
            }
            bindings.push(kube::Api::all(client.clone()));
        }
    }
    for bindings in &bindings {
        for binding in all(bindings).await? {
            roles.extend(is_own(&binding.subjects).then(|| key(binding.role_ref, binding.metadata.namespace)));
        }
    }
    Ok(roles)
}

/// All objects of a kind, page by page.
async fn all<K>(objects: &kube::Api<K>) -> Result<Vec<K>, kube::Error>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    let mut found = Vec::new();
    let mut page = ListParams::default().limit(500);
    loop {
        let list = objects.list(&page).await?;
        found.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page.continue_token = Some(token),
            None => return Ok(found),
        }
    }
}

fn key(role: RoleRef, namespace: Option<String>) -> ObjectKey {
    let namespace = namespace.filter(|_| role.kind == "Role");
    ObjectKey { group: role.api_group, kind: role.kind, namespace, name: role.name }
}

/// A Pod of a Deployment is called like it, with the hash of its ReplicaSet and five characters of its own.
fn deployment_of(pod: &str) -> Option<String> {
    let mut parts = pod.rsplitn(3, '-');
    let (own, hash, name) = (parts.next()?, parts.next()?, parts.next()?);
    (own.len() == 5 && !hash.is_empty() && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    #[test]
    fn a_pod_s_token_says_account_and_deployment() {
        let user = |name: &str, pod: &str| {
            let extra = BTreeMap::from([(POD_NAME.to_owned(), vec![pod.to_owned()])]);
            let user_info = Some(UserInfo { username: Some(name.into()), extra: Some(extra), ..UserInfo::default() });
            Identity::of(SelfSubjectReviewStatus { user_info })
        };
        let agent = user("system:serviceaccount:tk8s-system:agent", "tk8s-agent-6d4b75cb6d-x2x9z");
        assert_eq!(agent.account.unwrap().to_string(), "tk8s-system/agent");
        assert_eq!(agent.deployment.as_deref(), Some("tk8s-agent"));
        let person = user("alice", "debug-pod");
        assert_eq!((person.user.as_deref(), person.account, person.deployment), (Some("alice"), None, None));
        assert_eq!(Identity::of(SelfSubjectReviewStatus::default()), Identity::default());
    }
}
