//! The trial of the agent's own Deployment: a hook that runs the version that is to come beside the one that runs, before
//! anything of it is written.
//!
//! A Deployment of one replica is gone before the next one starts, so a version that does not start would leave nobody who
//! could undo it. The trial is the next version's own container with its own files, account and settings, without the volume,
//! which another process has; it looks whether the installation works (`doctor --trial`). Pure.

use serde_json::{Map, Value, json};

use crate::{HOOK_ANNOTATION, Manifest, ObjectKey, ServiceAccount};

/// How long it may take: an image has to be fetched for it.
const DEADLINE: &str = "10m";
/// What a container of the agent does, and what it does in the trial.
const RUNS: &str = "run";
const TRIES: [&str; 2] = ["doctor", "--trial"];
/// What the agent's container is called.
const CONTAINER: &str = "agent";
/// What belongs to a container that serves.
const SERVES: [&str; 5] = ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"];

/// The agent's own Deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnDeployment {
    /// The namespace of the agent's account.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl OwnDeployment {
    /// The Deployment of this name beside the agent's account, where both are known.
    pub fn of(account: Option<&ServiceAccount>, name: Option<&str>) -> Option<OwnDeployment> {
        Some(OwnDeployment { namespace: account?.namespace().to_owned(), name: name?.to_owned() })
    }

    /// Whether this is it.
    pub fn is(&self, key: &ObjectKey) -> bool {
        key.group == "apps"
            && key.kind == "Deployment"
            && key.name == self.name
            && key.namespace.as_deref() == Some(self.namespace.as_str())
    }

    /// Whether it is called as the trial of this one.
    pub fn is_trial(&self, key: &ObjectKey) -> bool {
        key.group == "batch"
            && key.kind == "Job"
            && key.name == called(&self.name)
            && key.namespace.as_deref() == Some(self.namespace.as_str())
    }
}

/// What the trial of a Deployment is called.
fn called(deployment: &str) -> String {
    format!("{deployment}-trial")
}

/// The trial of a Deployment of the agent. None where it can't be tried: no container of it runs the agent.
pub fn trial(deployment: &Manifest) -> Option<Manifest> {
    let key = deployment.key();
    let mut pod = deployment.object().get("spec")?.pointer("/template/spec")?.as_object()?.clone();
    let containers = pod.get("containers")?.as_array()?;
    let is_it = |container: &&Value| container["name"] == CONTAINER;
    let mut container = containers.iter().find(is_it).or_else(|| containers.first())?.as_object()?.clone();
    let mut arguments = container.get("args")?.as_array()?.iter();
    if arguments.next()? != RUNS {
        return None;
    }
    let arguments: Vec<Value> = TRIES.iter().map(|word| json!(word)).chain(arguments.cloned()).collect();
    container.insert("args".into(), arguments.into());
    SERVES.iter().for_each(|field| drop(container.remove(*field)));
    // Whatever accompanies it would not come to an end.
    pod.insert("containers".into(), json!([container]));
    keep(&mut pod, "initContainers", |first| first["restartPolicy"] != "Always");
    for volume in pod.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(volume) = volume.as_object_mut().filter(|volume| volume.contains_key("persistentVolumeClaim")) {
            volume.remove("persistentVolumeClaim");
            volume.insert("emptyDir".into(), json!({}));
        }
    }
    pod.insert("restartPolicy".into(), json!("Never"));
    let job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": called(&key.name),
            "namespace": key.namespace,
            "annotations": {HOOK_ANNOTATION: "before-apply", "tk8s.io/hook-deadline": DEADLINE},
        },
        // No label of the Deployment's pods: no Service leads to it.
        "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"agent.tk8s.io/trial-of": key.name}}, "spec": pod}},
    });
    Manifest::new(job, deployment.origin().clone()).ok()
}

fn keep(pod: &mut Map<String, Value>, list: &str, kept: impl Fn(&Value) -> bool) {
    if let Some(items) = pod.get_mut(list).and_then(Value::as_array_mut) {
        items.retain(kept);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hook, Moment, Origin};

    fn deployment(containers: Value) -> Manifest {
        let pod = json!({
            "serviceAccountName": "tk8s-agent",
            "containers": containers,
            "initContainers": [{"name": "mesh", "restartPolicy": "Always"}, {"name": "first"}],
            "volumes": [
                {"name": "history", "persistentVolumeClaim": {"claimName": "tk8s-agent-history"}},
                {"name": "keys", "secret": {"secretName": "tk8s-agent-keys"}},
            ],
        });
        let template = json!({"metadata": {"labels": {"app": "tk8s-agent"}}, "spec": pod});
        let object = json!({
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "tk8s-agent", "namespace": "tk8s-system"},
            "spec": {"replicas": 1, "template": template},
        });
        Manifest::new(object, Origin::default()).unwrap()
    }

    fn agent() -> Value {
        let args = ["run", "--config", "/etc/tk8s/agent.yaml"];
        json!({"name": "agent", "image": "r/agent@sha256:1", "args": args, "ports": [{"containerPort": 1}], "livenessProbe": {}})
    }

    #[test]
    fn the_trial_is_the_next_version_with_its_own_files_and_without_the_volume() {
        let found = trial(&deployment(json!([{"name": "mesh", "args": ["run"]}, agent()]))).unwrap();
        assert_eq!(found.key().to_string(), "Job.batch tk8s-system/tk8s-agent-trial");
        let hook = Hook::of(&found).unwrap().unwrap();
        assert_eq!((hook.moment, hook.on_rollback), (Moment::BeforeApply, false));
        let template = &found.object()["spec"]["template"];
        assert_eq!(template["metadata"]["labels"], json!({"agent.tk8s.io/trial-of": "tk8s-agent"}));
        let args = ["doctor", "--trial", "--config", "/etc/tk8s/agent.yaml"];
        let expected = json!({
            "serviceAccountName": "tk8s-agent",
            "restartPolicy": "Never",
            "containers": [{"name": "agent", "image": "r/agent@sha256:1", "args": args}],
            "initContainers": [{"name": "first"}],
            "volumes": [{"name": "history", "emptyDir": {}}, {"name": "keys", "secret": {"secretName": "tk8s-agent-keys"}}],
        });
        assert_eq!(template["spec"], expected);
    }

    #[test]
    fn what_does_not_run_the_agent_can_t_be_tried() {
        for containers in
            [json!([]), json!("a"), json!([{"name": "agent"}]), json!([{"name": "agent", "args": ["sleep", "run"]}])]
        {
            assert_eq!(trial(&deployment(containers)), None);
        }
    }

    #[test]
    fn only_that_deployment_is_the_agent_s() {
        let own = OwnDeployment { namespace: "tk8s-system".into(), name: "tk8s-agent".into() };
        let deployment = deployment(json!([agent()]));
        assert!(own.is(deployment.key()));
        let job = trial(&deployment).unwrap();
        assert!(own.is_trial(job.key()) && !own.is(job.key()) && !own.is_trial(deployment.key()));
        assert!(!own.is(&ObjectKey { namespace: Some("shop".into()), ..deployment.key().clone() }));
    }
}
