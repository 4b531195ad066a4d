//! Acting for a service account: the header that says so, and what it means when the API server refuses.
//!
//! Only the user is named. Its groups follow from that: the API server adds those of every service account by itself, and
//! with them the agent would need the right to take on groups, which constrained impersonation does not even give.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use tk8s_core::{ObjectKey, ServiceAccount, printable};

use crate::Error;

/// What every header about acting for somebody begins with.
const HEADERS: &str = "impersonate-";
const USER: HeaderName = HeaderName::from_static("impersonate-user");

/// An account in whose name is asked. It goes with the request, so that whoever hands it over can make sure of it.
#[derive(Clone, Debug)]
pub struct Acting(Arc<(ServiceAccount, HeaderValue)>);

impl Acting {
    pub(crate) fn new(account: &ServiceAccount) -> Acting {
        let value = HeaderValue::try_from(account.user()).expect("because names of accounts are plain ASCII");
        Acting(Arc::new((account.clone(), value)))
    }

    pub(crate) fn account(&self) -> &ServiceAccount {
        &self.0.0
    }

    /// What a 403 says about rights: of the account, or of the agent to act for it. None where a rule of another kind
    /// refused (an admission policy, a quota).
    pub(crate) fn refused(&self, object: &ObjectKey, message: &str) -> Option<Error> {
        let Refusal { user, verb, resource, group } = Refusal::read(message)?;
        let (account, object) = (self.account().clone(), object.clone());
        // Or `impersonate-on:serviceaccount:patch`, where the API server has constrained impersonation.
        if verb.starts_with("impersonate") {
            return Some(Error::MayNotActAs { agent: printable(user, 300), account, object });
        }
        let resource = if group.is_empty() { resource.to_owned() } else { format!("{resource}.{group}") };
        (user == account.user()).then(|| Error::NotAllowed {
            account,
            verb: printable(verb, 80),
            resource: printable(&resource, 300),
            object,
        })
    }
}

/// Makes a request one of this account, whatever it was before.
pub fn act_as(headers: &mut HeaderMap, account: &Acting) {
    let others: Vec<_> = headers.keys().filter(|name| name.as_str().starts_with(HEADERS)).cloned().collect();
    for name in others {
        headers.remove(name);
    }
    headers.insert(USER, account.0.1.clone());
}

/// Who lacks which right, as every API server says it (`k8s.io/apiserver/pkg/endpoints/handlers/responsewriters`).
#[derive(Debug, PartialEq, Eq)]
struct Refusal<'a> {
    user: &'a str,
    verb: &'a str,
    resource: &'a str,
    group: &'a str,
}

impl Refusal<'_> {
    fn read(message: &str) -> Option<Refusal<'_>> {
        let (_, said) = message.split_once("User \"")?;
        let (user, said) = said.split_once("\" cannot ")?;
        let (verb, said) = said.split_once(" resource \"")?;
        let (resource, said) = said.split_once("\" in API group \"")?;
        let (group, _) = said.split_once('"')?;
        Some(Refusal { user, verb, resource, group })
    }
}

/// The command that shows whether somebody may do this.
pub(crate) fn can_i(verb: &str, resource: &str, object: &ObjectKey, user: &str) -> String {
    let namespace = object.namespace.as_ref().map(|namespace| format!(" -n {namespace}")).unwrap_or_default();
    format!("kubectl auth can-i {verb} {resource}/{}{namespace} --as={user}", object.name)
}

#[cfg(test)]
mod tests {
    use tk8s_core::{Class, Classified as _};

    use super::*;

    fn deployer() -> Acting {
        Acting::new(&"shop/deployer".parse().unwrap())
    }

    fn web() -> ObjectKey {
        ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: Some("shop".into()), name: "web".into() }
    }

    #[test]
    fn a_request_is_of_one_account_only() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("impersonate-user", "admin"),
            ("impersonate-group", "system:masters"),
            ("impersonate-uid", "1"),
            ("impersonate-extra-scopes", "all"),
            ("accept", "application/json"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
            headers.append(name, HeaderValue::from_static(value));
        }
        act_as(&mut headers, &deployer());
        headers.remove("accept");
        let left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(left, [("impersonate-user", "system:serviceaccount:shop:deployer")]);
    }

    #[test]
    fn a_missing_right_names_the_account_the_verb_and_what_shows_it() {
        let message = "deployments.apps \"web\" is forbidden: User \"system:serviceaccount:shop:deployer\" cannot patch resource \"deployments\" in API group \"apps\" in the namespace \"shop\"";
        let error = deployer().refused(&web(), message).unwrap();
        assert_eq!((error.reason(), error.class(), error.is_rejection()), ("Forbidden", Class::Waiting, true));
        assert_eq!(
            error.to_string(),
            "the service account shop/deployer may not patch Deployment.apps shop/web: let it, or name another `serviceAccount`; this shows it: kubectl auth can-i patch deployments.apps/web -n shop --as=system:serviceaccount:shop:deployer"
        );
    }

    #[test]
    fn that_the_agent_may_not_act_for_an_account_is_told_apart() {
        for (verb, resource) in [("impersonate", "serviceaccounts"), ("impersonate-on:serviceaccount:patch", "deployments")] {
            let message = format!(
                "it is forbidden: User \"system:serviceaccount:tk8s:agent\" cannot {verb} resource \"{resource}\" in API group \"\" in the namespace \"shop\""
            );
            let error = deployer().refused(&web(), &message).unwrap();
            assert_eq!((error.reason(), error.is_rejection()), ("MayNotActAs", false), "nothing is wrong with the object");
            assert_eq!(
                error.to_string(),
                "the agent (system:serviceaccount:tk8s:agent) may not act as the service account shop/deployer, as Deployment.apps shop/web needs it: let it; this shows it: kubectl auth can-i impersonate serviceaccounts/deployer -n shop --as=system:serviceaccount:tk8s:agent"
            );
        }
    }

    #[test]
    fn what_is_refused_for_another_reason_is_no_missing_right() {
        for message in [
            "",
            "configmaps \"a\" is forbidden: exceeded quota: few",
            "User \"system:serviceaccount:other:one\" cannot patch resource \"deployments\" in API group \"apps\"",
            "User \"x\" cannot get path \"/metrics\"",
        ] {
            assert!(deployer().refused(&web(), message).is_none(), "{message}");
        }
    }
}
