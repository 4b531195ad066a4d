//! Who calls, once that is known.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use k8s_openapi::api::authentication::v1::UserInfo;
use tk8s_core::Digest;

use super::super::{Problem, Shared};

/// By which name what the agent does by itself is written down, and what the owner of the file's token asks for.
const OURS: [&str; 2] = ["tk8s-agent", FILE];
const FILE: &str = "token";
/// The longest name that is written down.
const LONGEST: usize = 512;
/// What a bound token says of itself; the audit log of the API server has it too.
const CREDENTIAL: &str = "authentication.kubernetes.io/credential-id";

/// Who calls. Routes get it from the gate only.
#[derive(Clone, Debug)]
pub(in crate::api) enum Caller {
    /// Whoever has the token of `api.tokenFile`.
    Token,
    /// Somebody whom the cluster knows, and what is kept in place of their token.
    User { user: User, key: Digest },
}

impl Caller {
    /// As it stands in the ledger.
    pub(in crate::api) fn name(&self) -> &str {
        match self {
            Caller::Token => FILE,
            Caller::User { user, .. } => &user.name,
        }
    }

    /// Which credential it was, where the cluster says: the audit log of the API server says for whom it was made.
    pub(super) fn credential(&self) -> Option<&str> {
        match self {
            Caller::Token => None,
            Caller::User { user, .. } => user.extra.get(CREDENTIAL)?.first().map(String::as_str),
        }
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Caller, Problem> {
        let missing = || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Bug", "nobody asked who calls");
        parts.extensions.get::<Caller>().cloned().ok_or_else(missing)
    }
}

/// A user of the cluster, as the API server told it: all of it is told back when it is asked what they may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct User {
    pub(super) name: String,
    pub(super) uid: Option<String>,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Names that could be taken for somebody else's are nobody's here.
    pub(super) fn of(info: UserInfo) -> Result<User, String> {
        let name = info.username.unwrap_or_default();
        if name.is_empty() || name.len() > LONGEST || name.chars().any(char::is_control) || name.trim() != name {
            return Err("the user name of this token can't be written down".into());
        }
        if OURS.contains(&name.as_str()) {
            return Err(format!(
                "`{name}` is what the agent calls itself or the owner of its token file, so it is no user's name here"
            ));
        }
        Ok(User { name, uid: info.uid, groups: info.groups.unwrap_or_default(), extra: info.extra.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_taken_for_another_one_is_nobody_s() {
        let of = |name: &str| User::of(UserInfo { username: Some(name.into()), ..UserInfo::default() });
        for good in ["alice", "system:serviceaccount:ops:deployer", "https://id.example.com#a b", "jörg@example.com"] {
            assert_eq!(of(good).unwrap().name, good);
        }
        for bad in ["", "token", "tk8s-agent", "a\nb", "a\u{1b}[2K", " alice", "alice ", &"a".repeat(513)] {
            assert!(of(bad).is_err(), "{bad:?}");
        }
        assert!(User::of(UserInfo::default()).is_err());
    }
}
