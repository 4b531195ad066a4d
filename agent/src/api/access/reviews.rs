//! What the API server is asked about a caller: whose token it is, and what they may. Whatever is no answer refuses.

use std::time::Duration;

use axum::http::StatusCode;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec, SubjectAccessReviewStatus,
};
use kube::api::{ObjectMeta, PostParams};
use tk8s_core::{chain, printable};

use super::super::Problem;
use super::caller::User;
use crate::report::GROUP;

/// What rights are about, in the group of what the agent tells of itself.
const RESOURCE: &str = "components";
/// How long the API server is waited for: a person waits, and its own webhooks may take some seconds.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many groups are spelled out to somebody who is refused.
const GROUPS: usize = 8;

/// What somebody wants.
#[derive(Debug)]
pub(super) struct Question<'a> {
    pub(super) user: &'a User,
    pub(super) verb: &'static str,
    /// None: all of them.
    pub(super) component: Option<&'a str>,
}

pub(super) struct Reviews {
    tokens: kube::Api<TokenReview>,
    rights: kube::Api<SubjectAccessReview>,
    namespace: String,
}

impl Reviews {
    pub(super) fn new(client: kube::Client, namespace: String) -> Reviews {
        Reviews { tokens: kube::Api::all(client.clone()), rights: kube::Api::all(client), namespace }
    }

    /// Whose token it is, or why it is nobody's.
    pub(super) async fn whose(&self, token: &str, audiences: &[String]) -> Result<Result<User, String>, Problem> {
        let spec = TokenReviewSpec { token: Some(token.into()), audiences: Some(audiences.to_vec()) };
        let review = TokenReview { metadata: ObjectMeta::default(), spec, status: None };
        let how = PostParams::default();
        let review = answered("tokenreviews.authentication.k8s.io", self.tokens.create(&how, &review)).await?;
        Ok(whose(review.status.unwrap_or_default(), audiences))
    }

    /// Whether they may.
    pub(super) async fn may(&self, question: &Question<'_>) -> Result<bool, Problem> {
        let User { name, uid, groups, extra } = question.user.clone();
        let wanted = ResourceAttributes {
            group: Some(GROUP.into()),
            resource: Some(RESOURCE.into()),
            verb: Some(question.verb.into()),
            name: question.component.map(String::from),
            namespace: Some(self.namespace.clone()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: Some(name),
            uid,
            groups: Some(groups),
            extra: Some(extra),
            resource_attributes: Some(wanted),
            ..SubjectAccessReviewSpec::default()
        };
        let review = SubjectAccessReview { metadata: ObjectMeta::default(), spec, status: None };
        let how = PostParams::default();
        let review = answered("subjectaccessreviews.authorization.k8s.io", self.rights.create(&how, &review)).await?;
        Ok(may(review.status.unwrap_or_default()))
    }

    /// What somebody is told who may not.
    pub(super) fn refusal(&self, question: &Question<'_>) -> Problem {
        Problem::new(StatusCode::FORBIDDEN, "Forbidden", &refusal(question, &self.namespace))
    }
}

/// With the command that says the same.
fn refusal(Question { user, verb, component }: &Question<'_>, namespace: &str) -> String {
    let about = component.map_or("all components".to_owned(), |name| format!("the component {name}"));
    let name = component.map(|name| format!("/{name}")).unwrap_or_default();
    format!(
        "{} may not {verb} {about}: this shows it: kubectl auth can-i {verb} {RESOURCE}.{GROUP}{name} -n {namespace} {}",
        printable(&user.name, 300),
        as_whom(user)
    )
}

/// Only what says outright whose it is, and that it was made for us.
fn whose(status: TokenReviewStatus, audiences: &[String]) -> Result<User, String> {
    if status.authenticated != Some(true) {
        return Err("this token is not known, has run out, or was made for somebody else".into());
    }
    // An API server that looks at no audience names none: then the token was made for the API server.
    if !status.audiences.unwrap_or_default().iter().any(|audience| audiences.contains(audience)) {
        return Err("this token was not made for this agent".into());
    }
    User::of(status.user.unwrap_or_default())
}

fn may(status: SubjectAccessReviewStatus) -> bool {
    if let Some(error) = status.evaluation_error.filter(|error| !error.is_empty()) {
        tracing::warn!(error = printable(&error, 500), "not all of what gives rights could be looked at");
    }
    status.allowed && status.denied != Some(true)
}

/// How kubectl is told to ask for somebody. Groups of service accounts are known by their name.
fn as_whom(user: &User) -> String {
    let quoted = |text: &str| {
        let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:@/=+".contains(c));
        if plain { text.to_owned() } else { format!("'{}'", printable(text, 300).replace('\'', "'\\''")) }
    };
    let mut words = format!("--as={}", quoted(&user.name));
    if !user.name.starts_with("system:serviceaccount:") {
        for group in user.groups.iter().take(GROUPS) {
            words.push_str(&format!(" --as-group={}", quoted(group)));
        }
    }
    words
}

/// An answer in time, or what to do about there being none.
async fn answered<T>(what: &str, asking: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Problem> {
    let message = match tokio::time::timeout(PATIENCE, asking).await {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            format!("the agent itself may not `create {what}`, so it knows nobody: give it that right")
        }
        Ok(Err(error)) => format!("the API server did not say who calls, try again: {}", printable(&chain(&error), 300)),
        Err(_) => "the API server did not say in time who calls: try again".to_owned(),
    };
    tracing::warn!(what, message, "a caller is refused, because nobody says who it is");
    Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "ReviewFailed", &message))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::authentication::v1::UserInfo;

    use super::*;

    fn alice() -> User {
        let groups = vec!["ops".to_owned(), "a team".to_owned()];
        User { name: "alice".into(), uid: Some("1".into()), groups, extra: BTreeMap::new() }
    }

    fn status(authenticated: Option<bool>, audiences: Option<&[&str]>) -> TokenReviewStatus {
        let audiences = audiences.map(|audiences| audiences.iter().map(ToString::to_string).collect());
        let user = Some(UserInfo { username: Some("alice".into()), ..UserInfo::default() });
        TokenReviewStatus { authenticated, audiences, user, ..TokenReviewStatus::default() }
    }

    #[test]
    fn only_an_outright_yes_for_one_of_our_audiences_makes_somebody_known() {
        let ours = ["tk8s-agent".to_owned(), "other".to_owned()];
        assert_eq!(whose(status(Some(true), Some(&["tk8s-agent"])), &ours).unwrap().name, "alice");
        assert_eq!(whose(status(Some(true), Some(&["x", "other"])), &ours).unwrap().name, "alice");
        for no in [
            TokenReviewStatus::default(),
            status(None, Some(&["tk8s-agent"])),
            status(Some(false), Some(&["tk8s-agent"])),
            status(Some(true), None),
            status(Some(true), Some(&[])),
            status(Some(true), Some(&["https://kubernetes.default.svc"])),
            TokenReviewStatus { user: None, ..status(Some(true), Some(&["tk8s-agent"])) },
        ] {
            assert!(whose(no.clone(), &ours).is_err(), "{no:?}");
        }
    }

    #[test]
    fn a_right_is_had_only_if_it_is_allowed_and_not_denied() {
        let status = |allowed, denied, error: Option<&str>| SubjectAccessReviewStatus {
            allowed,
            denied,
            evaluation_error: error.map(Into::into),
            reason: None,
        };
        assert!(may(status(true, None, None)) && may(status(true, Some(false), Some("a role is missing"))));
        assert!(!may(status(true, Some(true), None)) && !may(status(false, None, Some("x"))));
        assert!(!may(SubjectAccessReviewStatus::default()));
    }

    #[test]
    fn somebody_who_is_refused_is_told_the_command_that_says_the_same() {
        let user = alice();
        let told = |component| refusal(&Question { user: &user, verb: "rollback", component }, "tk8s-system");
        assert_eq!(
            told(Some("web")),
            "alice may not rollback the component web: this shows it: kubectl auth can-i rollback components.agent.tk8s.io/web -n \
             tk8s-system --as=alice --as-group=ops --as-group='a team'"
        );
        assert!(told(None).contains("all components") && told(None).contains("components.agent.tk8s.io -n "), "{}", told(None));
        let account = User { name: "system:serviceaccount:ops:it".into(), ..alice() };
        assert_eq!(as_whom(&account), "--as=system:serviceaccount:ops:it");
    }
}
