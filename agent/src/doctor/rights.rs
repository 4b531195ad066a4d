//! Whether the agent and its accounts may do what the platform needs, and its own: each right is asked about by itself, as the
//! API server decides it, whatever roles say.

use futures::StreamExt as _;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use tk8s_core::{ServiceAccount, chain, printable};

use super::cluster::Asked;
use super::git::Rendered;
use super::{Check, Installed};
use crate::engine::confining::scope;
use crate::rights::{Holder, Installation, Options, Reach, Rights, Wanted};

pub(super) const CHECK: &str = "rights";

/// How many questions are under way at once: an API server answers each in a few milliseconds.
const AT_ONCE: usize = 16;
/// How many missing rights are named.
const NAMED: usize = 5;

/// One right, as somebody is asked about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Question {
    /// Nobody: the agent.
    account: Option<ServiceAccount>,
    group: String,
    resource: String,
    namespace: Option<String>,
    name: Option<String>,
    verb: String,
}

impl Question {
    fn attributes(&self) -> ResourceAttributes {
        let (resource, subresource) = match self.resource.split_once('/') {
            Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
            None => (self.resource.as_str(), None),
        };
        ResourceAttributes {
            group: Some(self.group.clone()),
            resource: Some(resource.to_owned()),
            subresource,
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            verb: Some(self.verb.clone()),
            ..ResourceAttributes::default()
        }
    }

    /// The same right where impersonation is constrained to what is done.
    fn constrained(&self) -> Option<Question> {
        (self.verb == "impersonate").then(|| Question {
            group: "authentication.k8s.io".into(),
            verb: "impersonate:serviceaccount".into(),
            ..self.clone()
        })
    }

    fn words(&self, agent: &ServiceAccount) -> String {
        let group = if self.group.is_empty() { String::new() } else { format!(".{}", self.group) };
        let name = self.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
        let place =
            self.namespace.as_ref().map_or_else(|| "in the whole cluster".to_owned(), |namespace| format!("in {namespace}"));
        let who = self.account.as_ref().unwrap_or(agent);
        format!("{who} may not `{}` {}{group}{name} {place}", self.verb, self.resource)
    }
}

pub(super) async fn examine(installed: &Installed<'_>, asked: &Asked, platform: Option<&Rendered>) -> Check {
    let installation = Installation {
        account: asked.account.clone(),
        instance: installed.config.instance.clone(),
        scope: scope(&installed.config.watch),
    };
    let (rights, whose) = match platform {
        Some(Rendered { objects, .. }) => {
            let wanted: Vec<_> = objects
                .iter()
                .map(|(name, account, manifest, named)| Wanted::new(name, account.as_ref(), manifest, named))
                .collect();
            (Rights::of(installation, &wanted, Options::default()), "the platform's and its own")
        }
        None => (Rights::own(installation), "its own; those of the platform are asked about once it can be rendered"),
    };
    let questions = questions(&rights, &installed.namespace);
    let all = questions.len();
    let answers: Vec<_> = futures::stream::iter(questions)
        .map(|question| async move {
            let answer = match may(asked, &question).await {
                Ok(false) => match question.constrained() {
                    Some(constrained) => may(asked, &constrained).await,
                    None => Ok(false),
                },
                answer => answer,
            };
            (question, answer)
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut missing = Vec::new();
    for (question, answer) in answers {
        match answer {
            Ok(true) => {}
            Ok(false) => missing.push(question),
            Err(error) => {
                let next = "`create` on `subjectaccessreviews` is what asking takes: apply the roles of the installation again";
                return Check::failed(CHECK, format!("the API server does not say what is allowed: {error}"), next);
            }
        }
    }
    judge(&missing, all, whose, &asked.account)
}

fn judge(missing: &[Question], all: usize, whose: &str, agent: &ServiceAccount) -> Check {
    if missing.is_empty() {
        return Check::ok(CHECK, format!("all {all} rights: {whose}"));
    }
    let named: Vec<_> = missing.iter().take(NAMED).map(|question| question.words(agent)).collect();
    let more = missing.len().saturating_sub(NAMED);
    let more = if more == 0 { String::new() } else { format!("; and {more} more") };
    let next = "`tk8s-agent rbac DIR --values` prints the chart's values for the platform, `tk8s-agent rbac DIR` the same as manifests, \
                `tk8s-agent rbac --own` what the agent needs in any case";
    Check::failed(CHECK, format!("{} of {all} rights are missing: {}{more}", missing.len(), named.join("; ")), next)
}

/// Each right by itself. The definition comes with the installation: the agent need not write it.
fn questions(rights: &Rights, own: &str) -> Vec<Question> {
    let mut questions = Vec::new();
    for (holder, reach, rules) in rights.grants() {
        let account = match holder {
            Holder::Agent => None,
            Holder::Account(account) => Some(account.clone()),
        };
        let namespace = match reach {
            Reach::Cluster => None,
            Reach::Namespace(namespace) => Some(namespace.clone()),
        };
        let is_own = account.is_none() && namespace.as_deref().is_none_or(|namespace| namespace == own);
        for rule in rules {
            let definition = rule.resource_names == [crate::report::definition::NAME];
            if is_own && definition && rule.resources == ["customresourcedefinitions"] {
                continue;
            }
            let names: Vec<_> = match rule.resource_names.is_empty() {
                true => vec![None],
                false => rule.resource_names.iter().cloned().map(Some).collect(),
            };
            for ((group, resource), (name, verb)) in
                rule.api_groups.iter().flat_map(|group| rule.resources.iter().map(move |resource| (group, resource))).flat_map(
                    |what| {
                        names.iter().flat_map(|name| rule.verbs.iter().map(move |verb| (name, verb))).map(move |how| (what, how))
                    },
                )
            {
                questions.push(Question {
                    account: account.clone(),
                    group: group.clone(),
                    resource: resource.clone(),
                    namespace: namespace.clone(),
                    name: name.clone(),
                    verb: verb.clone(),
                });
            }
        }
    }
    questions.sort();
    questions.dedup();
    questions
}

/// Asks about one: of the agent by itself, of everybody else in their name.
async fn may(asked: &Asked, question: &Question) -> Result<bool, String> {
    let attributes = Some(question.attributes());
    let how = PostParams::default();
    let status = match question.account.as_ref().or(asked.of.as_ref()) {
        None => {
            let review = SelfSubjectAccessReview {
                spec: SelfSubjectAccessReviewSpec { resource_attributes: attributes, ..Default::default() },
                ..Default::default()
            };
            kube::Api::all(asked.client.clone()).create(&how, &review).await.map(|review: SelfSubjectAccessReview| review.status)
        }
        Some(account) => {
            let groups = ["system:serviceaccounts", "system:authenticated"].map(String::from).into_iter();
            let groups = groups.chain([format!("system:serviceaccounts:{}", account.namespace())]).collect();
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    resource_attributes: attributes,
                    user: Some(account.user()),
                    groups: Some(groups),
                    ..Default::default()
                },
                ..Default::default()
            };
            kube::Api::all(asked.client.clone()).create(&how, &review).await.map(|review: SubjectAccessReview| review.status)
        }
    };
    let status = status.map_err(|error| printable(&chain(&error), 300))?;
    Ok(status.is_some_and(|status| status.allowed))
}

#[cfg(test)]
mod tests {
    use super::super::Outcome;
    use super::*;

    fn own() -> Vec<Question> {
        let installation = Installation {
            account: "tk8s-system/tk8s-agent".parse().unwrap(),
            instance: "tk8s".parse().unwrap(),
            scope: Default::default(),
        };
        questions(&Rights::own(installation), "tk8s-system")
    }

    #[test]
    fn each_right_of_its_own_is_a_question_and_writing_definitions_is_none() {
        let questions = own();
        assert!(!questions.iter().any(|question| question.resource == "customresourcedefinitions"));
        let words: Vec<_> = questions.iter().map(|question| question.words(&"tk8s-system/tk8s-agent".parse().unwrap())).collect();
        for expected in [
            "tk8s-system/tk8s-agent may not `update` leases.coordination.k8s.io tk8s-agent-tk8s in tk8s-system",
            "tk8s-system/tk8s-agent may not `create` subjectaccessreviews.authorization.k8s.io in the whole cluster",
            "tk8s-system/tk8s-agent may not `get` configmaps tk8s-agent-tk8s-api in tk8s-system",
        ] {
            assert!(words.iter().any(|found| found == expected), "{expected}: {words:#?}");
        }
        let status = questions.iter().find(|question| question.resource == "components/status").unwrap().attributes();
        assert_eq!((status.resource.as_deref(), status.subresource.as_deref()), (Some("components"), Some("status")));
    }

    #[test]
    fn some_that_are_missing_are_named_and_all_are_counted() {
        let agent = "tk8s-system/tk8s-agent".parse().unwrap();
        let missing = own();
        let check = judge(&missing, 40, "its own", &agent);
        assert_eq!(check.outcome, Outcome::Failed);
        assert!(check.found.contains(&format!("and {} more", missing.len() - NAMED)), "{check:?}");
        assert_eq!(judge(&[], 40, "its own", &agent).outcome, Outcome::Ok);
    }
}
