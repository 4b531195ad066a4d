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
    for kind in ["Role", "ServiceAccount", "Job"] {
        is_left_out(kind, annotations, "Helm deletes it again once it is ready");
    }
}

#[test]
fn what_runs_or_keeps_data_is_left_out() {
    for hook in ["pre-install,pre-upgrade", "post-install", "post-upgrade,post-install"] {
        is_left_out("Job", &format!("helm.sh/hook: {hook}"), "it is no part of what runs afterwards");
    }
    is_left_out("PersistentVolumeClaim", "helm.sh/hook: pre-install,pre-upgrade", "no part of what runs");
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
