//! The definition of the `Component` resource: the file itself, and making sure that the cluster has it.
//!
//! An agent that may write definitions brings it along; one that may not says what to run. It never takes one from somebody
//! else who looks after it, nor puts an older one over a newer one.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams};
use serde_json::Value;
use tokio::time::Instant;

/// The definition, as `kubectl apply` takes it.
pub const TEXT: &str = include_str!("../../crds/components.yaml");
/// What to do where the agent may not.
pub const REMEDY: &str = "run `tk8s-agent crds | kubectl apply --server-side -f -`";
/// What it is called.
pub const NAME: &str = "components.agent.tk8s.io";
/// Counts the definitions.
const COUNT: &str = "agent.tk8s.io/definition";
/// Who writes it: not the manager of what releases bring, so that one that comes from Git is whoever's brought it there.
const MANAGER: &str = "tk8s-agent-definitions";
/// How long a new definition may take until it is served.
const PATIENCE: Duration = Duration::from_secs(5);

/// The definition, read.
pub fn definition() -> Value {
    serde_yaml::from_str(TEXT).expect("because a test reads it")
}

/// Makes sure that the cluster has the definition. Whether it has one can only be told afterwards: who may not look at
/// definitions may well be allowed to write components.
pub async fn make_sure(client: &kube::Client) {
    let definitions: kube::Api<CustomResourceDefinition> = kube::Api::all(client.clone());
    // A list, so that looking is the same request for one that is there and one that isn't.
    let Ok(found) = definitions.list(&ListParams::default().fields(&format!("metadata.name={NAME}"))).await else { return };
    let found = found.items.into_iter().next().and_then(|found| serde_json::to_value(found).ok());
    let ours = definition();
    if found.is_some_and(|found| is_newer(&found, &ours) || holds(&found, &ours)) {
        return;
    }
    let applied = definitions.patch(NAME, &PatchParams::apply(MANAGER), &Patch::Apply(&ours)).await;
    match applied {
        Ok(_) => {
            tracing::info!(name = NAME, "wrote the definition of components");
            until_served(&definitions).await;
        }
        Err(error) => {
            tracing::debug!(error = %tk8s_core::chain(&error), "could not write the definition of components: {REMEDY}");
        }
    }
}

async fn until_served(definitions: &kube::Api<CustomResourceDefinition>) {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let conditions = definitions.get(NAME).await.ok().and_then(|found| found.status).and_then(|status| status.conditions);
        if conditions.is_some_and(|all| all.iter().any(|said| said.type_ == "Established" && said.status == "True")) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How a definition that a cluster has stands to ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It says what ours says.
    Same,
    /// A newer agent wrote it.
    Newer,
    /// It says something else.
    Other,
}

/// Compares what a cluster has with what this version writes.
pub fn compare(found: &Value) -> Found {
    let ours = definition();
    match (is_newer(found, &ours), holds(found, &ours)) {
        (true, _) => Found::Newer,
        (false, true) => Found::Same,
        (false, false) => Found::Other,
    }
}

fn is_newer(found: &Value, ours: &Value) -> bool {
    let count = |of: &Value| of["metadata"]["annotations"][COUNT].as_str().and_then(|count| count.parse::<u64>().ok());
    count(found) > count(ours)
}

/// Whether everything of `ours` is in `found`: the API server fills in more.
fn holds(found: &Value, ours: &Value) -> bool {
    match (found, ours) {
        (Value::Object(found), Value::Object(ours)) => {
            ours.iter().all(|(name, ours)| found.get(name).is_some_and(|found| holds(found, ours)))
        }
        (Value::Array(found), Value::Array(ours)) => {
            found.len() == ours.len() && found.iter().zip(ours).all(|(found, ours)| holds(found, ours))
        }
        _ => found == ours,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_that_was_filled_in_is_the_same_and_one_that_lacks_a_field_is_not() {
        let ours = definition();
        let mut found = ours.clone();
        found["spec"]["conversion"] = json!({"strategy": "None"});
        found["metadata"]["uid"] = json!("u");
        assert!(holds(&found, &ours));
        let status = &mut found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        status.as_object_mut().expect("properties").remove("sync");
        assert!(!holds(&found, &ours));
    }

    #[test]
    fn the_definition_of_a_newer_agent_is_left_alone() {
        let ours = definition();
        let with = |count: &str| json!({"metadata": {"annotations": {COUNT: count}}});
        assert!(is_newer(&with("1000"), &ours));
        assert!(!is_newer(&with("0"), &ours) && !is_newer(&json!({}), &ours) && !is_newer(&with("x"), &ours));
    }

    #[test]
    fn the_definition_is_one_that_the_types_of_kubernetes_can_read() {
        let read: CustomResourceDefinition = serde_json::from_value(definition()).expect("a definition");
        assert_eq!(read.metadata.name.as_deref(), Some(NAME));
        assert_eq!((read.spec.group.as_str(), read.spec.names.kind.as_str()), (super::super::GROUP, super::super::KIND));
    }
}
