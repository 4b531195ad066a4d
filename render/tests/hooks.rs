//! What becomes of hooks and notes, told by the real program. One test for each row of the table in `docs/rendering.md`.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Repository, component, renderers};
use tk8s_render::{HelmOptions, WorkingDirectory, notes};

/// A chart with one ordinary object, and one that is annotated.
fn chart(kind: &str, annotations: &str) -> Repository {
    let (api, more) = match kind {
        "Job" => {
            ("batch/v1", "spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: example.com/m:1}]}}}")
        }
        "Role" => ("rbac.authorization.k8s.io/v1", "rules: []"),
        "CustomResourceDefinition" => (
            "apiextensions.k8s.io/v1",
            "spec: {group: example.com, scope: Namespaced, names: {kind: Thing, plural: things}, versions: []}",
        ),
        _ => ("v1", ""),
    };
    let hook = format!(
        "# The hook\napiVersion: {api}\nkind: {kind}\nmetadata:\n  name: hook\n  annotations:\n    {annotations}\n{more}\n"
    );
    Repository::new(&[
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"),
        ("web/templates/a.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ordinary}\n"),
        ("web/templates/hook.yaml", &hook),
    ])
}

/// The names of the objects, and the warnings.
fn taken(kind: &str, annotations: &str) -> (Vec<String>, Vec<String>) {
    let (found, warnings) = chart(kind, annotations).look(&component("web")).unwrap();
    (found.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect(), warnings)
}

fn is_taken(kind: &str, annotations: &str) {
    let (mut names, warnings) = taken(kind, annotations);
    names.sort();
    assert_eq!((names, warnings), (vec!["hook".into(), "ordinary".into()], vec![]), "{kind}: {annotations}");
}

fn is_left_out(kind: &str, annotations: &str, why: &str) {
    let (names, warnings) = taken(kind, annotations);
    assert_eq!(names, ["ordinary"], "{kind}: {annotations}");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    let start = format!("web/templates/hook.yaml: {kind} hook is a Helm hook (");
    assert!(warning.starts_with(&start) && warning.contains(why), "{warning}");
}

#[test]
fn what_comes_first_at_every_install_and_upgrade_and_stays_is_an_ordinary_object() {
    for kind in ["ConfigMap", "CustomResourceDefinition", "Role", "Secret", "ServiceAccount"] {
        is_taken(kind, "helm.sh/hook: pre-install,pre-upgrade");
    }
    is_taken("Secret", "helm.sh/hook: 'Pre-Upgrade , pre-install,pre-rollback'");
    is_taken("Secret", "{helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-delete-policy: before-hook-creation}");
}

#[test]
fn what_helm_deletes_once_it_succeeded_is_left_out() {
    let annotations =
        "{helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-delete-policy: 'before-hook-creation,hook-succeeded'}";
    for kind in ["Role", "ServiceAccount", "PersistentVolumeClaim"] {
        is_left_out(kind, annotations, "Helm deletes it again once it is ready");
    }
}

#[test]
fn what_keeps_data_is_left_out() {
    is_left_out("PersistentVolumeClaim", "helm.sh/hook: pre-install,pre-upgrade", "no part of what runs");
}

/// What the Job of a chart says of itself as a hook of the agent's.
fn runs(annotations: &str) -> [Option<String>; 3] {
    let (found, warnings) = chart("Job", annotations).look(&component("web")).unwrap();
    assert_eq!((found.len(), warnings), (2, vec![]), "{annotations}");
    let job = found.iter().find(|object| object["kind"] == "Job").unwrap();
    let said = |name: &str| job["metadata"]["annotations"][name].as_str().map(String::from);
    ["tk8s.io/hook", "tk8s.io/wave", "tk8s.io/hook-on-rollback"].map(said)
}

#[test]
fn a_job_before_or_after_every_install_and_every_upgrade_is_a_hook_of_the_agents() {
    let is = |moment: &str, wave: Option<&str>, rollback: Option<&str>| {
        [Some(moment), wave, rollback].map(|text| text.map(String::from))
    };
    for (annotations, expected) in [
        ("helm.sh/hook: pre-install,pre-upgrade", is("before-apply", None, None)),
        (
            "{helm.sh/hook: 'post-upgrade, Post-Install', helm.sh/hook-delete-policy: hook-succeeded}",
            is("after-apply", None, None),
        ),
        (
            "{helm.sh/hook: 'pre-install,pre-upgrade,pre-rollback', helm.sh/hook-weight: '-5'}",
            is("before-apply", Some("-5"), Some("true")),
        ),
        ("{helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-weight: '100000'}", is("before-apply", Some("1000"), None)),
        ("{helm.sh/hook: post-install, tk8s.io/hook: on-failure}", is("on-failure", None, None)),
    ] {
        assert_eq!(runs(annotations), expected, "{annotations}");
    }
}

#[test]
fn a_job_that_runs_only_sometimes_is_left_out() {
    for hook in ["pre-install", "pre-upgrade", "post-install", "pre-install,pre-upgrade,post-upgrade"] {
        is_left_out("Job", &format!("helm.sh/hook: {hook}"), "it does not run at every install and every upgrade");
    }
}

#[test]
fn a_job_whose_helpers_would_come_late_or_not_at_all_is_left_out() {
    let helper = |annotations: &str| {
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{name: helper, annotations: {annotations}}}\n")
    };
    for (job, account, names, why) in [
        (
            "pre-install,pre-upgrade",
            "{helm.sh/hook: 'pre-install,pre-upgrade'}",
            vec!["ordinary", "helper"],
            "what Helm makes for it to use, ServiceAccount helper, would come after it",
        ),
        (
            "post-install,post-upgrade",
            "{helm.sh/hook: 'post-install,post-upgrade', helm.sh/hook-delete-policy: hook-succeeded}",
            vec!["ordinary"],
            "what Helm makes for it to use, ServiceAccount helper, is left out",
        ),
    ] {
        let repository = chart("Job", &format!("helm.sh/hook: {job}"));
        repository.write("web/templates/helper.yaml", &helper(account));
        let (found, warnings) = repository.look(&component("web")).unwrap();
        let found: Vec<_> = found.iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect();
        assert_eq!(found, names);
        assert!(
            warnings.iter().any(|warning| warning.contains("Job hook is a Helm hook") && warning.contains(why)),
            "{warnings:?}"
        );
    }
    // What is there before everything else stands in nobody's way afterwards.
    let repository = chart("Job", "helm.sh/hook: post-install,post-upgrade");
    repository.write("web/templates/helper.yaml", &helper("{helm.sh/hook: 'pre-install,pre-upgrade'}"));
    let (found, warnings) = repository.look(&component("web")).unwrap();
    assert_eq!((found.len(), warnings), (3, vec![]));
}

#[test]
fn what_comes_after_everything_else_is_left_out() {
    for hook in ["post-install,post-upgrade", "pre-install,pre-upgrade,post-upgrade"] {
        is_left_out("ConfigMap", &format!("helm.sh/hook: {hook}"), "Helm makes it after everything else");
    }
}

#[test]
fn what_is_made_once_and_not_kept_up_to_date_is_left_out() {
    for hook in ["pre-install", "pre-upgrade"] {
        is_left_out("Secret", &format!("helm.sh/hook: {hook}"), "Helm makes it once, and does not keep it up to date");
    }
}

#[test]
fn what_belongs_to_the_end_or_to_a_rollback_of_a_release_is_left_out() {
    for hook in ["pre-delete", "post-delete", "pre-rollback", "post-rollback", "pre-delete,post-rollback"] {
        is_left_out("ConfigMap", &format!("helm.sh/hook: {hook}"), "when a release is deleted or rolled back");
    }
}

#[test]
fn tests_are_left_out_without_a_word() {
    for hook in ["test", "test-success"] {
        assert_eq!(taken("ConfigMap", &format!("helm.sh/hook: {hook}")), (vec!["ordinary".into()], vec![]));
    }
}

#[test]
fn a_hook_that_helm_does_not_know_and_drops_itself_is_told_with_its_line() {
    for (hook, next) in
        [("crd-install", "put definitions into the chart's `crds` directory"), ("pre-instal", "write one that Helm")]
    {
        let (names, warnings) = taken("ConfigMap", &format!("helm.sh/hook: {hook}"));
        assert_eq!(names, ["ordinary"]);
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        let start =
            format!("web/templates/hook.yaml:7: an object with the hook `{hook}`, which Helm doesn't know, is left out: {next}");
        assert!(warning.starts_with(&start), "{warning}");
    }
}

#[test]
fn notes_are_what_helm_itself_would_say_and_a_chart_may_say_nothing() {
    let repository = chart("ConfigMap", "{}");
    let mut component = component("web");
    component.helm = Some(HelmOptions { values: Some("{who: Ann}".into()), ..HelmOptions::default() });
    let say =
        |component: &tk8s_render::Component| notes(&WorkingDirectory::new(&repository.path()), component, &renderers()).unwrap();
    assert_eq!(say(&component), None);
    repository
        .write("web/templates/NOTES.txt", "Thank you, {{ .Values.who }}, for {{ .Release.Name }} in {{ .Release.Namespace }}.\n");
    assert_eq!(say(&component).unwrap(), "Thank you, Ann, for web in shop.\n");
    let words = ["install", "web", "web", "--dry-run=client", "--namespace", "shop", "--set", "who=Ann"];
    let upstream = repository.upstream("helm", &words);
    assert!(upstream.ends_with("NOTES:\nThank you, Ann, for web in shop.\n"), "{upstream}");
    component.kind = Some(tk8s_render::Kind::Yaml);
    component.helm = None;
    assert_eq!(say(&component), None);
}
