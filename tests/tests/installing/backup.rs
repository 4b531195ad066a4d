//! The example of a backup, and of how it is put back, on a real API server.

use super::installed::{TURN, until_pod_of};
use super::*;
use tk8s_tests::cluster::ControlPlane;

/// What a Pod may do and reach, as it was admitted.
fn is_confined(pod: &Value) {
    let spec = &pod["spec"];
    assert_eq!(spec["automountServiceAccountToken"], false);
    assert_eq!(spec["securityContext"]["runAsUser"], 65532);
    let container = &spec["containers"][0]["securityContext"];
    assert_eq!((&container["readOnlyRootFilesystem"], &container["allowPrivilegeEscalation"]), (&true.into(), &false.into()));
    assert_eq!(spec["containers"].as_array().unwrap().len(), 1);
}

#[test]
fn backup_and_restore_are_accepted_whole_and_their_pods_by_the_strictest_profile() {
    let _turn = TURN.blocking_lock();
    let (plane, tools) = (ControlPlane::shared(), Tools::new());
    let (backup, restore) = (tools.kustomize(&part("install/backup")), tools.kustomize(&part("install/restore")));
    let namespace = tools.kustomize(&part("install/base")).into_iter().find(|object| object["kind"] == "Namespace").unwrap();
    let apply = |object: &Value, more: &[&str]| {
        let arguments = [&["apply", "--server-side", "--warnings-as-errors", "-f", "-"], more].concat();
        plane.kubectl_with(&arguments, &object.to_string()).unwrap()
    };
    apply(&namespace, &[]);
    for object in backup.iter().chain(&restore) {
        assert_eq!(object["metadata"]["namespace"], "tk8s-system", "{object}");
        apply(object, &["--dry-run=server"]);
        apply(object, &[]);
    }
    plane.kubectl(&["-n", "tk8s-system", "create", "job", "now", "--from=cronjob/tk8s-agent-backup"]);
    for (name, volumes) in
        [("tk8s-agent-backup", &["tk8s-agent-backup"][..]), ("tk8s-agent-restore", &["tk8s-agent-backup", "tk8s-agent-history"])]
    {
        let pod = until_pod_of(plane, "tk8s-system", name, |_| true);
        is_confined(&pod);
        let claims = pod["spec"]["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
        assert_eq!(claims.collect::<Vec<_>>(), volumes, "{name}");
        // Never taken for the agent, by its Service or its NetworkPolicy.
        assert_ne!(pod["metadata"]["labels"]["app.kubernetes.io/name"], "tk8s-agent");
    }
    // What the account may: exactly what the agent asks about whoever reads its history.
    let may = |verb: &str, resource: &str| {
        let user = "--as=system:serviceaccount:tk8s-system:tk8s-agent-backup";
        let said = plane.kubectl_with(&["auth", "can-i", verb, resource, "-n", "tk8s-system", user], "");
        said.is_ok_and(|said| said.trim().ends_with("yes"))
    };
    plane.apply(&std::fs::read_to_string(part("install/base/components.yaml")).unwrap());
    assert!(may("get", "components.agent.tk8s.io"));
    for (verb, resource) in [("hold", "components.agent.tk8s.io"), ("get", "secrets"), ("get", "configmaps"), ("list", "pods")] {
        assert!(!may(verb, resource), "{verb} {resource}");
    }
    plane.kubectl(&["delete", "crd", "components.agent.tk8s.io"]);
    plane.kubectl(&["delete", "namespace", "tk8s-system", "--wait=false"]);
}

/// Where these say how something of the agent is called, it is called so.
#[test]
fn the_backup_finds_the_agent_its_certificate_its_port_and_its_volume() {
    let tools = Tools::new();
    let (backup, restore, agent) = (
        tools.kustomize(&part("install/backup")),
        tools.kustomize(&part("install/restore")),
        tools.kustomize(&part("install/example")),
    );
    let deployment = &of_kind(&agent, "Deployment")["spec"]["template"];
    let cron = &of_kind(&backup, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    let job = &of_kind(&restore, "Job")["spec"]["template"]["spec"];
    let arguments = |spec: &Value| -> Vec<String> { serde_json::from_value(spec["containers"][0]["args"].clone()).unwrap() };
    let service = of_kind(&agent, "Service");
    let address =
        format!("--server=https://{}:{}", service["metadata"]["name"].as_str().unwrap(), service["spec"]["ports"][0]["port"]);
    assert!(arguments(cron).contains(&address), "{address}");
    let published = cron["volumes"][1]["configMap"]["name"].clone();
    let role = agent.iter().find(|object| key(object) == "Role tk8s-system/tk8s-agent").unwrap();
    assert!(role["rules"].to_string().contains(&published.to_string()), "{published}");
    let audience = &cron["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["audience"];
    assert_eq!(audience, "tk8s-agent");
    // The policies are about the Pods that there are, and the port that the agent listens on.
    let policy = |name: &str| backup.iter().find(|object| key(object) == format!("NetworkPolicy tk8s-system/{name}")).unwrap();
    let labels = |spec: &Value| spec["metadata"]["labels"].clone();
    let covers = |selector: &Value, labels: &Value| {
        selector["matchLabels"].as_object().unwrap().iter().all(|(name, value)| &labels[name] == value)
    };
    let (to, from) = (policy("tk8s-agent-backup-to-agent"), policy("tk8s-agent-backup"));
    let of_the_copy = labels(&of_kind(&backup, "CronJob")["spec"]["jobTemplate"]["spec"]["template"]);
    assert!(covers(&to["spec"]["podSelector"], &labels(deployment)) && covers(&from["spec"]["podSelector"], &of_the_copy));
    assert!(covers(&to["spec"]["ingress"][0]["from"][0]["podSelector"], &of_the_copy));
    assert!(covers(&from["spec"]["egress"][1]["to"][0]["podSelector"], &labels(deployment)));
    assert!(!covers(
        &service["spec"]["selector"].as_object().map(|labels| serde_json::json!({"matchLabels": labels})).unwrap(),
        &of_the_copy
    ));
    let ports = deployment["spec"]["containers"][0]["ports"].to_string();
    assert!(ports.contains(r#""name":"api""#) && to["spec"]["ingress"][0]["ports"][0]["port"] == "api");
    // What is restored lies where the agent looks for it.
    let file: Value = serde_yaml::from_str(&agent_file(&agent)).unwrap();
    let dir = file["history"]["dir"].as_str().unwrap();
    assert!(arguments(job).contains(&format!("--to={dir}")), "{dir}");
    let mounted = |spec: &Value, claim: &str| {
        let volume = spec["volumes"]
            .as_array()
            .unwrap()
            .iter()
            .find(|volume| volume["persistentVolumeClaim"]["claimName"] == claim)
            .unwrap();
        let mounts = spec["containers"][0]["volumeMounts"].as_array().unwrap();
        mounts.iter().find(|mount| mount["name"] == volume["name"]).unwrap()["mountPath"].clone()
    };
    assert_eq!(mounted(job, "tk8s-agent-history"), mounted(&deployment["spec"], "tk8s-agent-history"));
    assert_eq!(arguments(job)[2].replace("--dir=", "--to="), arguments(cron)[2], "what was copied is what is put back");
    let image = |spec: &Value| spec["containers"][0]["image"].clone();
    assert_eq!((image(cron), image(job)), (image(&deployment["spec"]), image(&deployment["spec"])));
}
