//! Service accounts: who writes for a component.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::IdError;
use crate::ids::{LONGEST_LABEL, is_label};

/// A service account, written `namespace/name`. There is none without both, so that no request is sent as nobody in
/// particular, which would be as the agent itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceAccount {
    namespace: Box<str>,
    name: Box<str>,
}

/// What the API server calls service accounts before their namespace and name.
const PREFIX: &str = "system:serviceaccount:";

impl ServiceAccount {
    /// From its two parts.
    pub fn new(namespace: &str, name: &str) -> Result<ServiceAccount, IdError> {
        let is_subdomain = name.len() <= 253 && name.split('.').all(|label| is_label(label, 253));
        match is_label(namespace, LONGEST_LABEL) && is_subdomain {
            true => Ok(ServiceAccount { namespace: namespace.into(), name: name.into() }),
            false => Err(IdError::ServiceAccount(crate::printable(&format!("{namespace}/{name}"), 80))),
        }
    }

    /// The account that the API server calls by this user name, if it is one.
    pub fn of_user(user: &str) -> Option<ServiceAccount> {
        let (namespace, name) = user.strip_prefix(PREFIX)?.split_once(':')?;
        ServiceAccount::new(namespace, name).ok()
    }

    /// Where it is.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name there.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user name by which the API server, its audit log and its rules know it.
    pub fn user(&self) -> String {
        format!("{PREFIX}{}:{}", self.namespace, self.name)
    }
}

impl fmt::Display for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl fmt::Debug for ServiceAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ServiceAccount {
    type Err = IdError;
    fn from_str(text: &str) -> Result<ServiceAccount, IdError> {
        let (namespace, name) = text.split_once('/').unwrap_or(("", text));
        ServiceAccount::new(namespace, name)
    }
}

impl TryFrom<String> for ServiceAccount {
    type Error = IdError;
    fn try_from(text: String) -> Result<ServiceAccount, IdError> {
        text.parse()
    }
}

impl From<ServiceAccount> for String {
    fn from(account: ServiceAccount) -> String {
        account.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_and_a_name_and_nothing_less() {
        let account: ServiceAccount = "shop/deployer.v2".parse().unwrap();
        assert_eq!((account.namespace(), account.name()), ("shop", "deployer.v2"));
        assert_eq!(
            (account.user().as_str(), account.to_string().as_str()),
            ("system:serviceaccount:shop:deployer.v2", "shop/deployer.v2")
        );
        assert_eq!(ServiceAccount::of_user(&account.user()), Some(account));
        for text in [
            "",
            "deployer",
            "/deployer",
            "shop/",
            "shop/a/b",
            "Shop/a",
            "shop/a:b",
            "shop/.a",
            "shop/a\n",
            "system:masters",
            "a.b/c",
        ] {
            assert!(text.parse::<ServiceAccount>().is_err(), "{text:?}");
        }
        for user in ["admin", "system:serviceaccount:shop", "system:serviceaccount::a", "system:serviceaccounts:shop:a"] {
            assert_eq!(ServiceAccount::of_user(user), None, "{user}");
        }
    }
}
