//! Pods: the phase, and the container that is to blame.

use serde_json::Value;
use tk8s_core::Health;

use super::{Conditions, degraded, items, progressing, said, unknown};

/// Reasons for which a container waits that the kubelet tries again, but hardly ever with success: somebody wrote a wrong
/// name, a wrong command, or forgot a key.
const HOPELESS: &[&str] = &[
    "ErrImagePull",
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "CreateContainerConfigError",
    "CreateContainerError",
    "CreatePodSandboxError",
    "RunContainerError",
    "PreStartHookError",
    "PostStartHookError",
];

pub(super) fn pod(object: &Value) -> Health {
    let status = &object["status"];
    let phase = status["phase"].as_str().unwrap_or_default();
    match phase {
        "Succeeded" => return Health::healthy(),
        "Failed" => return failed(object),
        "Unknown" => return unknown("PodUnknown", "its node does not answer"),
        _ => {}
    }
    let restarts = object["spec"]["restartPolicy"].as_str().unwrap_or("Always") == "Always";
    if let Some(health) = waiting_in_vain(object, restarts) {
        return health;
    }
    match phase {
        "Running" if restarts => running(object),
        "Running" => progressing("PodRunning", "it runs to an end and has not come to it"),
        _ => pending(object),
    }
}

/// A container that can't be started, or that dies again and again. A pod that runs to an end (`OnFailure`, `Never`) may
/// die on the way: that is its job's business.
fn waiting_in_vain(object: &Value, restarts: bool) -> Option<Health> {
    containers(object).find_map(|container| {
        let waiting = &container.status["state"]["waiting"];
        let reason = waiting["reason"].as_str()?;
        let message = waiting["message"].as_str().unwrap_or_default();
        if reason == "CrashLoopBackOff" && (restarts || container.restarts_by_itself(object)) {
            let last = ended(&container.status["lastState"]["terminated"]);
            let last = last.map(|last| format!("; it ended {last}")).unwrap_or_default();
            return Some(degraded(reason, format!("{}: {}{last}", container.name(), said(reason, message))));
        }
        HOPELESS.contains(&reason).then(|| degraded(reason, format!("{}: {}", container.name(), said(reason, message))))
    })
}

fn running(object: &Value) -> Health {
    let ready = Conditions::of(object).get("Ready");
    if ready.is_some_and(|ready| ready.is_true()) {
        return Health::healthy();
    }
    // A container that has died and is not ready again: it may be between two crashes.
    for container in containers(object).filter(|container| container.is_main() && container.status["ready"] != true) {
        let state = ended(&container.status["state"]["terminated"]);
        if let Some(last) = state.or_else(|| ended(&container.status["lastState"]["terminated"])) {
            return degraded("ContainerDied", format!("{} is not ready; it ended {last}", container.name()));
        }
    }
    let message = ready.map(|ready| ready.message).filter(|message| !message.is_empty());
    progressing("ContainersNotReady", message.unwrap_or("not all of its containers are ready"))
}

fn pending(object: &Value) -> Health {
    let conditions = Conditions::of(object);
    if let Some(scheduled) = conditions.get("PodScheduled").filter(|scheduled| scheduled.is_false()) {
        let reason = if scheduled.reason.is_empty() { "Unschedulable" } else { scheduled.reason };
        return progressing(reason, scheduled.said());
    }
    let waiting = containers(object).find_map(|container| {
        let reason = container.status["state"]["waiting"]["reason"].as_str()?;
        Some(format!("{}: {reason}", container.name()))
    });
    progressing("PodPending", waiting.unwrap_or_else(|| "it has not been started yet".into()))
}

fn failed(object: &Value) -> Health {
    let status = &object["status"];
    let text = |field: &str| status[field].as_str().unwrap_or_default();
    let own = said(text("reason"), text("message"));
    let blamed = containers(object).find_map(|container| {
        let terminated = &container.status["state"]["terminated"];
        let guilty = terminated["exitCode"].as_i64().is_some_and(|code| code != 0);
        guilty.then(|| ended(terminated).map(|end| format!("{} ended {end}", container.name())))?
    });
    let message = match (own.is_empty(), blamed) {
        (true, Some(blamed)) => blamed,
        (false, Some(blamed)) => format!("{own}; {blamed}"),
        (true, None) => "it failed and does not say why".into(),
        (false, None) => own,
    };
    degraded("PodFailed", message)
}

/// `with exit code 1 (Error): message`, of a terminated state.
fn ended(terminated: &Value) -> Option<String> {
    let code = terminated["exitCode"].as_i64()?;
    let reason = terminated["reason"].as_str().unwrap_or("no reason given");
    let message = terminated["message"].as_str().unwrap_or_default().trim();
    let message = if message.is_empty() { String::new() } else { format!(": {message}") };
    Some(format!("with exit code {code} ({reason}){message}"))
}

struct Container<'a> {
    status: &'a Value,
    init: bool,
}

impl Container<'_> {
    fn name(&self) -> String {
        let name = self.status["name"].as_str().unwrap_or("?");
        format!("{} `{name}`", if self.init { "init container" } else { "container" })
    }

    fn is_main(&self) -> bool {
        !self.init
    }

    /// A sidecar: an init container that is restarted whatever the pod's own policy is.
    fn restarts_by_itself(&self, pod: &Value) -> bool {
        self.init
            && items(&pod["spec"]["initContainers"])
                .iter()
                .any(|spec| spec["name"] == self.status["name"] && spec["restartPolicy"] == "Always")
    }
}

/// Init containers first: nothing else starts before them.
fn containers(pod: &Value) -> impl Iterator<Item = Container<'_>> {
    let of = |field: &str, init: bool| items(&pod["status"][field]).iter().map(move |status| Container { status, init });
    of("initContainerStatuses", true).chain(of("containerStatuses", false))
}
