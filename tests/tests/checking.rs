//! `check` and `render` on working trees: everything that is wrong at once, without a cluster, a network or a repository. And
//! `verify`, offline as well.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;
use tk8s_tests::system::git;
use tk8s_tests::{program, renderers};

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: NAME}\n";

fn platform(components: &[&str]) -> String {
    let mut text = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n- number: 1\n  name: all\n  components:\n".to_owned();
    components.iter().for_each(|component| text.push_str(&format!("  - {{{component}}}\n")));
    text
}

fn tree(files: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let place = directory.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }
    directory
}

/// The program, with kustomize and helm in `PATH`.
fn tk8s(words: &[&str]) -> Output {
    tk8s_with(&program("tk8s-agent"), &renderers(), words)
}

/// The program, with neither kustomize nor helm beside it or in `PATH`.
fn tk8s_alone(words: &[&str]) -> Output {
    let place = tempfile::tempdir_in(program("tk8s-agent").parent().unwrap()).unwrap();
    let alone = place.path().join("tk8s-agent");
    std::fs::hard_link(program("tk8s-agent"), &alone).unwrap();
    tk8s_with(&alone, "/nonexistent", words)
}

fn tk8s_with(agent: &Path, path: &str, words: &[&str]) -> Output {
    let mut command = Command::new(agent);
    command.args(words).env("PATH", path).env("KUBECONFIG", "/nonexistent").env("HTTPS_PROXY", "http://127.0.0.1:1");
    command.output().unwrap()
}

fn check(directory: &Path, more: &[&str]) -> (i32, Vec<Value>) {
    let words = [&["check", directory.to_str().unwrap(), "--output", "json"], more].concat();
    let output = tk8s(&words);
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), found.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

/// `FILE:LINE RULE` of each.
fn places(found: &[Value]) -> Vec<String> {
    let place = |one: &Value| {
        let (file, line) = (one["file"].as_str().unwrap_or("-"), &one["line"]);
        let line = line.as_u64().map(|line| format!(":{line}")).unwrap_or_default();
        format!("{file}{line} {}", one["rule"].as_str().unwrap())
    };
    found.iter().map(place).collect()
}

#[test]
fn everything_that_is_wrong_is_told_at_once_of_the_platform_and_of_all_components() {
    let components = [
        "name: plain, path: plain, pathh: x",
        "name: over, path: over, namespace: shop",
        "name: chart, path: chart",
        "name: gone, path: gone",
        "name: gone, path: other",
        "name: off, path: off, enabled: false",
    ];
    let directory = tree(&[
        ("tk8s.yaml", &platform(&components)),
        ("plain/a.yaml", &format!("a: [\n---\n{MAP}---\nb: {{\n")),
        ("plain/b.yaml", &MAP.replace("{name: NAME}", "{name: b, namespace: shop, labels: {x: 1}}")),
        ("plain/k/kustomization.yaml", ""),
        ("over/kustomization.yaml", "resources:\n- a.yaml\n- https://example.com\n"),
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        ("other/a.yaml", &MAP.replace("{name: NAME}", "{name: b, uid: n}")),
        ("off/a.yaml", "a: ["),
        ("stray/a.yaml", MAP),
    ]);
    std::os::unix::fs::symlink("/etc/passwd", directory.path().join("chart/link")).unwrap();
    let (code, found) = check(directory.path(), &[]);
    assert_eq!(
        places(&found),
        [
            "chart OptionRefused",
            "chart/link NotAFile",
            "gone FilesUnreadable",
            "other/a.yaml:1 ManifestRefused",
            "over/kustomization.yaml:2 ReferenceRefused",
            "over/kustomization.yaml:3 ReferenceRefused",
            "plain/a.yaml:1 YamlRefused",
            "plain/a.yaml:2 NoNamespace",
            "plain/a.yaml:7 YamlRefused",
            "plain/b.yaml:1 ManifestRefused",
            "plain/k/kustomization.yaml Nested",
            "stray/a.yaml NoComponent",
            "tk8s.yaml:7 PlatformRefused",
            "tk8s.yaml:11 PlatformRefused",
        ],
        "{found:#?}"
    );
    assert_eq!(code, 1);
    let next = "write `metadata.namespace`, or `namespace` in the platform file";
    assert_eq!(
        found[7],
        json!({"severity": "error", "component": "plain", "file": "plain/a.yaml", "line": 2, "rule": "NoNamespace",
            "message": "ConfigMap NAME names no namespace", "next": next})
    );
    assert_eq!(
        found[12],
        json!({"severity": "error", "component": null, "file": "tk8s.yaml", "line": 7, "rule": "PlatformRefused",
            "message": "layers[0].components[0].pathh: unknown key", "next": "did you mean `path`?"})
    );
    assert_eq!((&found[11]["severity"], &found[11]["component"]), (&json!("warning"), &json!(null)));
    let output = tk8s(&["check", directory.path().to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let line = format!("plain/a.yaml:2: error: ConfigMap NAME names no namespace: {next} (NoNamespace)\n");
    assert!(text.contains(&line) && text.ends_with("5 components, 0 objects: 13 errors, 1 warning\n"), "{text}");
}

#[test]
fn a_good_tree_has_no_findings_and_warnings_alone_are_no_failure() {
    let directory = tree(&[("p/tk8s.yaml", &platform(&["name: web, path: web, namespace: shop"])), ("p/web/a.yaml", MAP)]);
    let path = directory.path().join("p");
    assert_eq!(check(&path, &[]), (0, vec![]));
    let output = tk8s(&["check", path.to_str().unwrap()]);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 component, 1 object: 0 errors, 0 warnings\n");
    std::fs::write(path.join("web/tk8s.yaml"), "kind: Platform\n").unwrap();
    let (code, found) = check(&path, &[]);
    assert_eq!((code, places(&found)), (0, vec!["web/tk8s.yaml PlatformFileIgnored".into()]));
    assert_eq!((&found[0]["severity"], &found[0]["component"]), (&json!("warning"), &json!("web")));
}

#[test]
fn what_can_not_be_looked_at_is_neither_good_nor_bad() {
    let nowhere = tk8s(&["check", "/nonexistent"]);
    assert_eq!((nowhere.status.code(), nowhere.stdout.as_slice()), (Some(2), b"".as_slice()));
    assert!(String::from_utf8_lossy(&nowhere.stderr).starts_with("could not look at `/nonexistent`: No such file"));
    assert_eq!(tk8s(&["render", "/nonexistent"]).status.code(), Some(2));
    assert_eq!(tk8s(&["check", "--config", "/nonexistent"]).status.code(), Some(2));
    // A program that isn't there says nothing about the files that it would have read; the others are checked.
    let directory = tree(&[
        ("tk8s.yaml", &platform(&["name: over, path: over, namespace: n", "name: bad, path: bad"])),
        ("over/kustomization.yaml", "resources: [a.yaml]\n"),
        ("over/a.yaml", MAP),
        ("bad/a.yaml", MAP),
    ]);
    let output = tk8s_alone(&["check", directory.path().to_str().unwrap(), "--output", "json"]);
    let found: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(places(&found), ["bad/a.yaml:1 NoNamespace", "over ProgramMissing"]);
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_directory_inside_a_repository_may_refer_to_what_is_beside_it_and_a_plain_one_may_not() {
    let directory = tree(&[
        ("platform/tk8s.yaml", &platform(&["name: over, path: over, namespace: shop"])),
        ("platform/over/kustomization.yaml", "resources: [../../shared]\n"),
        ("shared/kustomization.yaml", "resources: [a.yaml]\n"),
        ("shared/a.yaml", MAP),
    ]);
    let path = directory.path().join("platform");
    let (code, found) = check(&path, &[]);
    assert_eq!((code, places(&found)), (1, vec!["over/kustomization.yaml:1 ReferenceRefused".into()]));
    assert!(found[0]["message"].as_str().unwrap().contains("it leaves the repository"));
    let init = Command::new("git").args(["init", "-q"]).current_dir(directory.path()).status().unwrap();
    assert!(init.success());
    assert_eq!(check(&path, &[]), (0, vec![]));
    std::fs::write(directory.path().join("shared/a.yaml"), "a: [").unwrap();
    let (code, found) = check(&path, &[]);
    assert_eq!((code, places(&found)), (1, vec!["platform/over ProgramFailed".into()]));
    std::fs::remove_file(directory.path().join("shared/a.yaml")).unwrap();
    assert_eq!(places(&check(&path, &[]).1), ["shared/kustomization.yaml:1 ReferenceRefused"]);
}

#[test]
fn programs_are_found_and_limited_as_the_agents_file_says_which_is_checked_too() {
    let directory = tree(&[
        ("tk8s.yaml", &platform(&["name: over, path: over, namespace: shop"])),
        ("over/kustomization.yaml", "resources: [a.yaml]\n"),
        ("over/a.yaml", MAP),
    ]);
    let agent = |render: &str| {
        let path = directory.path().join(".agent.yaml");
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: dev\nrepository: {{url: 'file:///x'}}\ntrust: {{waive: {{reason: a test}}}}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\nrender: {{{render}}}\n"
        );
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let run = |command: &str, render: &str| {
        let words = [command, directory.path().to_str().unwrap(), "--config", &agent(render), "--output", "json"];
        let output = tk8s_alone(&words);
        (output.status.code().unwrap(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let there = format!("kustomize: {}/kustomize", renderers());
    let (code, found) = run("check", "");
    assert_eq!((code, &found[0]["rule"]), (2, &json!("ProgramMissing")));
    assert_eq!(run("check", &there), (0, json!([])));
    let (code, rendered) = run("render", &there);
    assert_eq!((code, &rendered[0]["object"]["metadata"]["name"]), (0, &json!("NAME")));
    let (code, found) = run("check", &format!("{there}, timeout: 1ms"));
    assert_eq!((code, &found[0]["rule"]), (1, &json!("OutOfTime")));
    let (code, found) = run("check", "memroy: 1GiB");
    let ours = found.as_array().unwrap().iter().find(|one| one["rule"] == "ConfigurationRefused").unwrap();
    assert_eq!((code, &ours["line"], &ours["next"]), (2, &json!(8), &json!("did you mean `memory`?")));
}

/// As in a pod of the Restricted profile: nobody's account, no capability, and none to be had. What such a pod has besides, a
/// read-only root and a system call filter of the container runtime, takes a kubelet.
#[test]
fn programs_render_for_an_account_without_any_right_and_are_limited_all_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let bomb: String = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        text + &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 9].join(", "))
    });
    let directory = tree(&[
        ("good/kustomization.yaml", "namespace: shop\nresources: [a.yaml]\n"),
        ("good/a.yaml", MAP),
        ("bomb/kustomization.yaml", "resources: [a.yaml]\n"),
        ("bomb/a.yaml", &bomb),
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        ("chart/templates/a.yaml", MAP),
        ("scratch/.keep", ""),
        (
            "tk8s.yaml",
            &platform(&["name: good, path: good", "name: chart, path: chart, namespace: shop", "name: bomb, path: bomb"]),
        ),
    ]);
    let (top, bin) = (directory.path(), directory.path().join(".bin"));
    std::fs::create_dir(&bin).unwrap();
    std::fs::copy(program("tk8s-agent"), bin.join("tk8s-agent")).unwrap();
    for name in ["kustomize", "helm"] {
        std::fs::copy(Path::new(&renderers()).join(name), bin.join(name)).unwrap();
    }
    std::fs::set_permissions(top, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(top.join("scratch"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let run = |component: &str| {
        let root = std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
        let agent = bin.join("tk8s-agent");
        let mut command = Command::new(if root { Path::new("setpriv") } else { &agent });
        if root {
            let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--no-new-privs"];
            command.args(nobody).arg(&agent);
        }
        let output = command
            .args(["render", top.to_str().unwrap(), "--component", component, "--output", "json"])
            .env("TMPDIR", top.join("scratch"))
            .output()
            .unwrap();
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    for component in ["good", "chart"] {
        let (code, said) = run(component);
        assert!(code == Some(0) && said.contains("\"NAME\""), "{said}");
    }
    let (code, said) = run("bomb");
    assert!(code == Some(1) && said.contains("kustomize was ended because it ran out of memory"), "{said}");
    assert_eq!(std::fs::read_dir(top.join("scratch")).unwrap().count(), 1, "nothing is left but what was there");
}

#[test]
fn rendering_prints_all_objects_or_none_and_all_that_is_wrong() {
    let components = ["name: good, path: good, namespace: shop", "name: bad, path: bad, namespace: shop"];
    let directory =
        tree(&[("tk8s.yaml", &platform(&components)), ("good/a.yaml", MAP), ("bad/a.yaml", "a: ["), ("bad/b.yaml", "b: [")]);
    let path = directory.path().to_str().unwrap();
    let output = tk8s(&["render", path]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), b"".as_slice()));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("bad/a.yaml:") && told.contains("bad/b.yaml:") && told.ends_with("2 errors, 0 warnings\n"), "{told}");
    // One component alone is not held up by another.
    let output = tk8s(&["render", path, "--component", "good", "--output", "json"]);
    let rendered: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), rendered.as_array().unwrap().len()), (Some(0), 1));
    assert_eq!(tk8s(&["render", path, "--component", "nobody"]).status.code(), Some(2));
}

#[test]
fn what_a_chart_says_is_shown_when_asked_for_without_the_values_of_its_secrets() {
    let directory = tree(&[
        ("tk8s.yaml", &platform(&["name: chart, path: chart, namespace: shop", "name: plain, path: plain, namespace: shop"])),
        ("plain/a.yaml", MAP),
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        ("chart/values.yaml", "password: correct-horse\n"),
        ("chart/templates/NOTES.txt", "{{ .Release.Name }}: log in with {{ .Values.password }}.\n\u{1b}]0;title\u{7}\n"),
        (
            "chart/templates/secret.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: {{ .Values.password }}}\n",
        ),
        (
            "chart/templates/hook.yaml",
            "apiVersion: v1\nkind: Secret\nmetadata: {name: early, annotations: {helm.sh/hook: pre-install}}\n",
        ),
    ]);
    let path = directory.path().to_str().unwrap();
    let say = |more: &[&str]| String::from_utf8(tk8s(&[&["render", path], more].concat()).stdout).unwrap();
    assert!(!say(&[]).contains("log in"));
    assert_eq!(say(&["--notes"]), "==> chart\nchart: log in with ***.\n\u{fffd}]0;title\u{fffd}\n");
    assert!(say(&["--notes", "--show-secrets"]).contains("log in with correct-horse."));
    let notes: Value = serde_json::from_str(&say(&["--notes", "--output", "json"])).unwrap();
    assert_eq!((&notes[0]["component"], notes.as_array().unwrap().len()), (&json!("chart"), 1));
    let (code, found) = check(directory.path(), &[]);
    assert_eq!((code, places(&found)), (0, vec!["chart/templates/hook.yaml HookLeftOut".into()]));
}

#[test]
fn a_working_tree_is_checked_and_rendered_without_a_network() {
    let components = [
        "name: plain, path: plain, namespace: shop",
        "name: over, path: over, namespace: shop",
        "name: chart, path: chart, namespace: shop, helm: {values: {at: first}}",
    ];
    let directory = tree(&[
        ("tk8s.yaml", &platform(&components)),
        ("plain/a.yaml", &MAP.replace("NAME", "plain")),
        ("over/kustomization.yaml", "resources: [a.yaml]\nnamePrefix: over-\n"),
        ("over/a.yaml", MAP),
        ("chart/Chart.yaml", "apiVersion: v2\nname: chart\nversion: 1.0.0\n"),
        ("chart/templates/a.yaml", &MAP.replace("NAME", "{{ .Values.at }}")),
    ]);
    // An own network without any interface, where the machine lets us have one; without even a name server otherwise.
    let own = |words: &[&str]| Command::new("unshare").arg("-rn").args(words).output();
    let alone = own(&["true"]).is_ok_and(|output| output.status.success());
    let run = |command: &str| {
        let agent = program("tk8s-agent");
        let words = [agent.to_str().unwrap(), command, directory.path().to_str().unwrap(), "--output", "json"];
        let path = format!("PATH={}", renderers());
        let output = if alone { own(&[&["env", path.as_str()], words.as_slice()].concat()).unwrap() } else { tk8s(&words[1..]) };
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(run("check"), json!([]));
    let rendered = run("render");
    let names: Vec<_> = rendered.as_array().unwrap().iter().map(|one| &one["object"]["metadata"]["name"]).collect();
    assert_eq!(names, ["first", "over-NAME", "plain"]);
}

#[test]
fn the_search_for_mistakes_ends_at_a_thousand_of_a_component_and_says_so() {
    let directory = tree(&[
        ("tk8s.yaml", &platform(&["name: bad, path: bad", "name: worse, path: worse"])),
        ("bad/a.yaml", &"---\na: [\n".repeat(500_000)),
        ("worse/a.yaml", "a: ["),
    ]);
    let (code, found) = check(directory.path(), &[]);
    let limits: Vec<_> = found.iter().filter(|one| one["rule"] == "TooMuch").map(|one| &one["message"]).collect();
    assert_eq!((code, found.len(), limits), (1, 1003, vec![&json!("mistakes in `bad`: 1001, at most 1000 are read")]));
    assert_eq!((&found[1001]["file"], &found[1002]["message"]), (&json!("worse/a.yaml"), &json!("1 more")));
}

const RULES: &str = "apiVersion: agent.tk8s.io/v1alpha1\nkind: HealthRules\nrules:\n  - kinds: [Website.example.com]\n    degraded: status.?phase.orValue('') == 'Broken'\n    healthy: status.?phase.orValue('') == 'Online'\n    message: \"'it says: ' + status.?why.orValue('nothing')\"\n";
const WEBSITES: &str = "apiVersion: example.com/v1\nkind: Website\nmetadata: {name: front, namespace: shop}\nstatus: {phase: Broken, why: no disk}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: example.com/v1, kind: Website, metadata: {name: back}, status: {phase: Online}}\n- {apiVersion: v1, kind: ConfigMap, metadata: {name: m}}\n";

fn judged(words: &[&str]) -> (i32, Vec<Value>) {
    let output = tk8s(&[&["health", "--output", "json"], words].concat());
    let found = serde_json::from_slice(&output.stdout);
    (output.status.code().unwrap(), found.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))))
}

#[test]
fn objects_of_files_are_judged_offline_and_by_ones_own_rules() {
    let directory = tree(&[("rules/site.yaml", RULES), ("objects.yaml", WEBSITES)]);
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (code, found) = judged(&["-f", &at("objects.yaml"), "--rules", &at("rules/site.yaml")]);
    let front = json!({
        "apiVersion": "example.com/v1", "kind": "Website", "namespace": "shop", "name": "front",
        "health": "Degraded", "reason": "Broken", "message": "it says: no disk",
    });
    let healthy = |api_version: &str, kind: &str, name: &str| json!({"apiVersion": api_version, "kind": kind, "namespace": null, "name": name, "health": "Healthy", "reason": "", "message": ""});
    assert_eq!(code, 0);
    assert_eq!(found, [front, healthy("example.com/v1", "Website", "back"), healthy("v1", "ConfigMap", "m")]);
    let with_code = ["-f", &at("objects.yaml"), "--rules", &at("rules"), "--exit-code"];
    assert_eq!(judged(&with_code).0, 1);
    let text = String::from_utf8(tk8s(&["health", "-f", &at("objects.yaml"), "--rules", &at("rules")]).stdout).unwrap();
    assert!(text.starts_with("Degraded  Website shop/front  Broken  it says: no disk\nHealthy   Website back"), "{text}");
    // Without a rule, the conventions have nothing to say of these phases.
    assert_eq!(judged(&["-f", &at("objects.yaml")]).1[0]["health"], "Healthy");
}

#[test]
fn objects_come_from_standard_input_too() {
    use std::io::Write as _;
    let mut command = Command::new(program("tk8s-agent"));
    command
        .args(["health", "-f", "-", "--output", "json"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(WEBSITES.as_bytes()).unwrap();
    let found: Vec<Value> = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(found.len(), 3);
}

#[test]
fn a_workload_that_is_not_well_names_the_pod_that_is_to_blame() {
    let owned = |kind: &str, name: &str, owner: &str, owner_kind: &str, status: &str| {
        format!(
            "apiVersion: v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: shop, ownerReferences: [{{kind: {owner_kind}, name: {owner}}}]}}\n{status}\n---\n"
        )
    };
    let objects = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop, generation: 1}\nspec: {replicas: 1}\nstatus: {observedGeneration: 1, replicas: 1, updatedReplicas: 1}\n---\n".to_owned()
        + &owned("ReplicaSet", "web-1", "web", "Deployment", "")
        + &owned("Pod", "web-1-a", "web-1", "ReplicaSet", "status: {phase: Running, containerStatuses: [{name: main, state: {waiting: {reason: CrashLoopBackOff}}, lastState: {terminated: {exitCode: 3, reason: Error}}}]}");
    let directory = tree(&[("objects.yaml", &objects)]);
    let (_, found) = judged(&["-f", directory.path().join("objects.yaml").to_str().unwrap()]);
    let message = found[0]["message"].as_str().unwrap();
    assert_eq!((&found[0]["health"], &found[0]["reason"]), (&json!("Progressing"), &json!("ReplicasUnavailable")));
    assert!(message.contains("Pod web-1-a: CrashLoopBackOff: container `main`") && message.contains("exit code 3"), "{message}");
}

#[test]
fn what_can_not_be_judged_is_refused_with_its_place() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\nh: [*g,*g,*g,*g,*g,*g,*g,*g,*g]\n";
    let directory = tree(&[
        ("good.yaml", WEBSITES),
        ("text.yaml", "apiVersion: v1\nkind: ConfigMap\n---\njust text\n"),
        ("bad.yaml", "a: [\n"),
        ("bomb.yaml", bomb),
        ("rule.yaml", &RULES.replace("status.?phase.orValue('') == 'Online'", "status.?phase.orValue('') = 'Online'")),
    ]);
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (words, code, says) in [
        (vec!["-f", "/nowhere.yaml"], 2, "could not look at `/nowhere.yaml`"),
        (vec!["-f", &at("text.yaml")], 2, "document 2: it is no object of Kubernetes"),
        (vec!["-f", &at("bad.yaml")], 2, "document 1"),
        (vec!["-f", &at("bomb.yaml")], 2, "document 1"),
        (vec!["-f", &at("good.yaml"), "--rules", &at("rule.yaml")], 64, "rule.yaml:6: rules[0].healthy: "),
        (vec!["-f", &at("good.yaml"), "--rules", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (vec![], 2, "--filename"),
    ] {
        let output = tk8s(&[&["health"], words.as_slice()].concat());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {told}");
        assert!(told.contains(says), "{words:?}: {told}");
    }
}

#[test]
fn check_finds_a_broken_health_rule_with_its_line() {
    let platform = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n- number: 1\n  name: all\n  components:\n  - name: one\n    path: one\n    namespace: shop\n    health:\n    - kinds: [Website.example.com]\n      healthy: >-\n        status.phase ==\n        phaze\n";
    let directory = tree(&[("tk8s.yaml", platform), ("one/a.yaml", MAP)]);
    let (code, found) = check(directory.path(), &[]);
    assert_eq!((code, places(&found)), (1, vec!["tk8s.yaml:12 HealthRulesRefused".into()]));
    assert!(found[0]["message"].as_str().unwrap().contains("nothing is called `phaze`"), "{found:?}");
}

/// What `verify` says as JSON, and its exit code.
fn verified(words: &[&str]) -> (i32, Value) {
    let output = tk8s(&[&["verify", "--output", "json"], words].concat());
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code().unwrap(), serde_json::from_str(&said).unwrap_or(Value::String(said)))
}

#[test]
fn ranges_are_verified_with_each_refusal_and_what_it_cost() {
    let home = tempfile::tempdir().unwrap();
    let key = home.path().join("alice");
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "alice", "-f"]).arg(&key).status().unwrap();
    assert!(made.success());
    let signer = format!("user.signingkey={}", key.display());
    let signed = ["-c", "gpg.format=ssh", "-c", &signer];
    let commit = |text: &str, by: &[&str]| {
        let sign: &[&str] = if by.is_empty() { &[] } else { &["-S"] };
        git(home.path(), &[by, &["commit", "-q", "--allow-empty", "-m", text], sign].concat());
    };
    git(home.path(), &["init", "-q", "-b", "main"]);
    commit("first", &signed);
    git(home.path(), &[&signed[..], &["tag", "-s", "-m", "first", "v1.0.0"]].concat());
    commit("second", &[]);
    commit("third", &signed);
    let place = home.path().to_str().unwrap();
    let public = key.with_extension("pub");
    let about = |revision: &'static str| ["--repository", place, "--signers", public.to_str().unwrap(), revision];
    let (code, said) = verified(&about("v1.0.0..main"));
    assert_eq!(
        (code, &said["commits"], &said["refusedCommits"], &said["signers"]),
        (1, &json!(2), &json!(1), &json!({"alice": 1}))
    );
    assert_eq!(said["refused"][0]["reason"], "Unsigned", "{said}");
    assert!(said["cpuMilliseconds"].as_f64() > Some(0.0) && said["judgedAt"].is_string(), "{said}");
    let (code, said) = verified(&about("main~1..main"));
    assert_eq!(code, 1, "such names are Git's own, and not resolved here: {said}");
    let (code, said) = verified(&about("main..v1.0.0"));
    assert_eq!((code, &said["verified"], &said["commits"]), (1, &json!(false), &json!(0)));
    let text = |words: &[&str]| String::from_utf8(tk8s(&[&["verify"], words].concat()).stdout).unwrap();
    let ranged = text(&about("v1.0.0.."));
    assert!(
        ranged.contains(": Unsigned: ") && ranged.contains("no: v1.0.0..: 1 of 2 commits are refused; 1 by alice"),
        "{ranged}"
    );
    // One verdict, with the way to it.
    let (code, said) = verified(&[&about("v1.0.0")[..], &["--explain"]].concat());
    assert_eq!((code, &said["verified"], &said["verdict"][1]["signer"]), (0, &json!(true), &json!("alice")));
    let checks = said["explained"][0]["checks"].as_array().unwrap();
    assert!(checks.len() > 10 && checks.iter().all(|check| check["passed"] == true), "{said}");
    let explained = text(&[&about("main")[..], &["--explain"]].concat());
    assert!(
        explained.contains("  yes  its signature fits its bytes: SHA256:") && explained.contains("ms of CPU time"),
        "{explained}"
    );
}

#[test]
fn the_signers_may_be_certificates_of_openpgp() {
    let vectors = format!("{}/../gitsync/tests/vectors/fluxcd/gpg", env!("CARGO_MANIFEST_DIR"));
    let object = |kind: &str| format!("{vectors}/commit_{kind}_signed.txt");
    let signers = format!("{vectors}/key_ed25519.pub");
    let (code, said) = verified(&["--object", &object("ed25519"), "--signers", &signers]);
    assert_eq!((code, &said["verified"]), (0, &json!(true)), "{said}");
    let (code, said) = verified(&["--object", &object("rsa_2048"), "--signers", &signers, "--explain"]);
    assert_eq!((code, &said["reason"]), (1, &json!("UnknownSigner")), "{said}");
    let last = said["explained"][0]["checks"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["passed"], &last["rule"]), (&json!(false), &json!("UnknownSigner")), "{said}");
}
