//! The platform file: layers, components, and what stands on what.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tk8s_core::{ComponentName, Conflicts, DriftMode, KINDS_THAT_HOLD, LayerId, ServiceAccount, SourceTree, TreePath};

use crate::account::AccountText;
use crate::confine::{self, ConfineSpec};
use crate::document::{self, Node};
use crate::fields::Fields;
use crate::health::{self, HealthRuleSpec};
use crate::ownership::{self, IgnoreSpec};
use crate::windows::{self, Windows};
use crate::{Problem, Problems};

/// What happens when a release of a component does not become healthy in time, or can't be applied to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// Its last healthy release is put back, once, and held; what stands on it does not start.
    Rollback,
    /// What stands on it does not start.
    Stop,
    /// What stands on it starts all the same.
    Continue,
}

/// What becomes of a component's objects when it leaves the platform, or is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Deletion {
    /// They stay, and nobody looks after them.
    #[default]
    Orphan,
    /// They are deleted, as far as `prune` lets them be.
    Delete,
}

/// What turns a component's directory into objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// Plain manifests.
    Yaml,
    /// A kustomization.
    Kustomize,
    /// A Helm chart.
    Helm,
}

/// `helm`: how a chart is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelmSpec {
    /// The release's name; default the component's.
    pub release_name: Option<String>,
    /// Files of values, relative to the component's directory.
    pub values_files: Vec<String>,
    /// Values that win over those of files, as YAML: scalars are as they were written, so that Helm reads them.
    pub values: Option<String>,
    /// Whether the chart's CRDs are part of it; default yes.
    pub include_crds: bool,
}

/// What may be deleted when it leaves a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PruneSpec {
    /// Whether anything is deleted at all.
    pub enabled: bool,
    /// Kinds that are never deleted.
    pub protect: Vec<String>,
    /// How many objects one release may delete without a person's word.
    pub budget_objects: usize,
    /// And which share of the component's, in percent.
    pub budget_percent: usize,
}

impl Default for PruneSpec {
    fn default() -> PruneSpec {
        PruneSpec { enabled: true, protect: KINDS_THAT_HOLD.map(String::from).to_vec(), budget_objects: 10, budget_percent: 50 }
    }
}

/// One component, with what its layer sets filled in.
#[derive(Clone, Debug)]
pub struct ComponentSpec {
    /// Unique in the platform.
    pub name: ComponentName,
    /// Its layer.
    pub layer: LayerId,
    /// Its directory, relative to the platform file's.
    pub path: TreePath,
    /// What it is; found out from its directory if not given.
    pub kind: Option<ComponentKind>,
    /// How its chart is rendered.
    pub helm: Option<HelmSpec>,
    /// Globs of files that belong to it; all if empty.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub exclude: Vec<String>,
    /// For objects that name none.
    pub namespace: Option<String>,
    /// Whether the namespace is made if no object is it.
    pub create_namespace: bool,
    /// Whether `${NAME}` in its objects is replaced by the agent's variables; default no.
    pub substitute: bool,
    /// Whether it is applied.
    pub enabled: bool,
    /// What has to be healthy first.
    pub depends_on: Vec<ComponentName>,
    /// How long it may take to become healthy.
    pub health_timeout: Option<Duration>,
    /// What may be deleted.
    pub prune: PruneSpec,
    /// What becomes of its objects when it is taken away.
    pub deletion: Deletion,
    /// What happens when it fails; by the environment if not given.
    pub on_failure: Option<OnFailure>,
    /// What happens to drift.
    pub drift: DriftMode,
    /// What happens to fields that belong to others.
    pub conflicts: Conflicts,
    /// Whether what others put into lists of ours is taken out.
    pub strict: bool,
    /// What is left to others.
    pub ignore: Vec<IgnoreSpec>,
    /// How healthy its objects are, before any other rule says it.
    pub health: Vec<HealthRuleSpec>,
    /// When new releases may come in.
    pub windows: Windows,
    /// How long a release may take, all of its turns together.
    pub run_timeout: Option<Duration>,
    /// As whom everything of it is written; as the agent itself if not given.
    pub service_account: Option<ServiceAccount>,
    /// What it may touch: its layer's and its own, which both count.
    pub confine: Vec<ConfineSpec>,
}

/// The platform, validated: names are unique, dependencies exist and have no cycle.
#[derive(Clone, Debug)]
pub struct Platform {
    /// In apply order.
    components: Vec<ComponentSpec>,
    by_label: bool,
}

/// What a layer sets for its components.
#[derive(Clone, Default)]
struct Defaults {
    namespace: Option<String>,
    health_timeout: Option<Duration>,
    prune: Option<PruneSpec>,
    deletion: Option<Deletion>,
    on_failure: Option<OnFailure>,
    drift: Option<DriftMode>,
    conflicts: Option<Conflicts>,
    strict: Option<bool>,
    windows: Option<Windows>,
    run_timeout: Option<Duration>,
    service_account: Option<AccountText>,
    confine: Option<ConfineSpec>,
}

impl Platform {
    /// Reads and validates the file; all problems at once.
    pub fn parse(bytes: &[u8], file: &str) -> Result<Platform, Problems> {
        let (components, problems) = Platform::survey(bytes, file);
        match problems.problems.is_empty() {
            true => Ok(Platform { components, by_label: false }),
            false => Err(problems),
        }
    }

    /// What can be read of a file that may be refused, for whoever wants to know what is wrong behind its problems too. The
    /// components are no platform: names may occur twice, and what they depend on may not exist.
    pub fn survey(bytes: &[u8], file: &str) -> (Vec<ComponentSpec>, Problems) {
        let node = match document::read(bytes, file) {
            Ok(node) => node,
            Err(problems) => return (Vec::new(), problems),
        };
        let mut problems = Vec::new();
        let components = read(&node, &mut problems);
        (in_order(components), Problems::of(file, problems))
    }

    /// The platform of a repository without a platform file: one component for everything, whose objects say their layer.
    pub fn whole(name: ComponentName) -> Platform {
        let component = ComponentSpec {
            name,
            layer: LayerId { number: 0, name: "default".into() },
            path: TreePath::root(),
            kind: None,
            helm: None,
            include: Vec::new(),
            exclude: Vec::new(),
            namespace: None,
            create_namespace: false,
            substitute: false,
            enabled: true,
            depends_on: Vec::new(),
            health_timeout: None,
            prune: PruneSpec::default(),
            deletion: Deletion::Orphan,
            on_failure: None,
            drift: DriftMode::Repair,
            conflicts: Conflicts::Report,
            strict: false,
            ignore: Vec::new(),
            health: Vec::new(),
            windows: Windows::default(),
            run_timeout: None,
            service_account: None,
            confine: Vec::new(),
        };
        Platform { components: vec![component], by_label: true }
    }

    /// Whether the objects say their layer.
    pub fn by_label(&self) -> bool {
        self.by_label
    }

    /// The components in apply order: by layer, inside a layer after what they depend on, then by name.
    pub fn components(&self) -> &[ComponentSpec] {
        &self.components
    }

    /// What has to be healthy before a component starts.
    ///
    /// A component that declares `dependsOn` waits for what it reaches through it, and for nothing else. Any other waits for
    /// every component of the layers below. A component with `onFailure: continue` is waited for as well; its failure
    /// stops nobody.
    pub fn stands_on(&self, name: &ComponentName) -> Vec<ComponentName> {
        let Some(component) = self.components.iter().find(|component| component.name == *name) else { return Vec::new() };
        let enabled = |other: &&ComponentSpec| other.enabled;
        if component.depends_on.is_empty() {
            let below = self.components.iter().filter(enabled).filter(|other| other.layer.number < component.layer.number);
            return below.map(|other| other.name.clone()).collect();
        }
        let mut reached = BTreeSet::new();
        let mut left = component.depends_on.clone();
        while let Some(next) = left.pop() {
            if let Some(found) = self.components.iter().find(|other| other.name == next)
                && reached.insert(next)
            {
                left.extend(found.depends_on.iter().cloned());
            }
        }
        self.components.iter().filter(enabled).map(|other| other.name.clone()).filter(|other| reached.contains(other)).collect()
    }

    /// Components whose directory does not exist, with a sentence for each.
    pub fn missing_directories(&self, tree: &dyn SourceTree, base: &TreePath) -> Vec<(ComponentName, String)> {
        let mut missing = Vec::new();
        for component in self.components.iter().filter(|component| component.enabled) {
            let found = base.join(component.path.as_str()).and_then(|path| tree.list(&path));
            if let Err(error) = found {
                missing.push((component.name.clone(), error.to_string()));
            }
        }
        missing
    }
}

fn read(node: &Node, problems: &mut Vec<Problem>) -> Vec<ComponentSpec> {
    let mut top = Fields::of(node, String::new(), problems);
    crate::agent::expect(&mut top, "apiVersion", "tk8s.io/v1alpha1");
    crate::agent::expect(&mut top, "kind", "Platform");
    let layers = top.list("layers");
    if layers.is_empty() {
        top.problem("layers", "it names no layer");
    }
    let mut components = Vec::new();
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for (index, layer) in layers.iter().enumerate() {
        read_layer(layer, format!("layers[{index}]"), top.problems, &mut seen, &mut components);
    }
    top.finish(&[("components", "put components into `layers`")]);
    let lines: BTreeMap<_, _> = components.iter().map(|(component, line)| (component.name.clone(), *line)).collect();
    let components: Vec<_> = components.into_iter().map(|(component, _)| component).collect();
    check_dependencies(&components, &lines, problems);
    components
}

fn read_layer(
    node: &Node,
    path: String,
    problems: &mut Vec<Problem>,
    seen: &mut BTreeMap<u16, usize>,
    components: &mut Vec<(ComponentSpec, usize)>,
) {
    let mut fields = Fields::of(node, path.clone(), problems);
    let number: Option<u16> = fields.required("number");
    let name: Option<ComponentName> = fields.required("name");
    if let Some(number) = number {
        if number > 999 {
            fields.problem("number", "at most 999");
        }
        if let Some(line) = seen.insert(number, node.line) {
            fields.problem("number", format!("line {line} already has layer {number}"));
        }
    }
    let defaults = read_defaults(&mut fields);
    let nodes = fields.list("components");
    let layer = LayerId { number: number.unwrap_or(0), name: name.as_ref().map_or("unnamed", ComponentName::as_str).into() };
    for (index, component) in nodes.iter().enumerate() {
        let path = format!("{path}.components[{index}]");
        if let Some(found) = read_component(component, path.clone(), &layer, &defaults, fields.problems) {
            let place = |key: &str| format!("{path}.{key}");
            if let Some((_, line)) = components.iter().find(|(other, _)| other.name == found.name) {
                let message = format!("line {line} already has a component `{}`", found.name);
                fields.problems.push(Problem { line: component.line, key: place("name"), message });
            } else if let Some((other, _)) =
                components.iter().find(|(other, _)| other.path == found.path && other.include == found.include)
            {
                let message = format!("`{}` already has this directory: two components would own the same objects", other.name);
                fields.problems.push(Problem { line: component.line, key: place("path"), message });
            }
            components.push((found, component.line));
        }
    }
    fields.finish(&[("priority", "write `number`")]);
}

fn read_defaults(fields: &mut Fields<'_>) -> Defaults {
    Defaults {
        namespace: fields.parse::<ComponentName>("namespace").map(String::from),
        health_timeout: fields.duration("healthTimeout"),
        prune: read_prune(fields),
        deletion: fields.choice("deletion", &[("orphan", Deletion::Orphan), ("delete", Deletion::Delete)]),
        on_failure: fields.choice(
            "onFailure",
            &[("rollback", OnFailure::Rollback), ("stop", OnFailure::Stop), ("continue", OnFailure::Continue)],
        ),
        drift: fields
            .choice("drift", &[("repair", DriftMode::Repair), ("report", DriftMode::Report), ("ignore", DriftMode::Ignore)]),
        conflicts: fields
            .choice("conflicts", &[("report", Conflicts::Report), ("force", Conflicts::Force), ("yield", Conflicts::Yield)]),
        strict: fields.boolean("strict"),
        windows: windows::read(fields),
        run_timeout: fields.duration("runTimeout"),
        service_account: AccountText::read(fields),
        confine: confine::read(fields),
    }
}

fn read_prune(fields: &mut Fields<'_>) -> Option<PruneSpec> {
    let node = fields.node("prune")?;
    let path = fields.join("prune");
    let mut inner = Fields::of(node, path, fields.problems);
    let mut prune = PruneSpec::default();
    if let Some(enabled) = inner.boolean("enabled") {
        prune.enabled = enabled;
    }
    if inner.node("protect").is_some() {
        prune.protect = inner.texts("protect");
    }
    if let Some(node) = inner.node("budget") {
        let path = inner.join("budget");
        let mut budget = Fields::of(node, path, inner.problems);
        prune.budget_objects = budget.parse("objects").unwrap_or(prune.budget_objects);
        prune.budget_percent = budget.parse("percent").unwrap_or(prune.budget_percent);
        if prune.budget_percent > 100 {
            budget.problem("percent", "at most 100");
        }
        budget.finish(&[("count", "write `objects`"), ("share", "write `percent`")]);
    }
    inner.finish(&[]);
    Some(prune)
}

fn read_helm(fields: &mut Fields<'_>) -> Option<HelmSpec> {
    let node = fields.node("helm")?;
    let path = fields.join("helm");
    let mut inner = Fields::of(node, path, fields.problems);
    let release_name = inner.text("releaseName");
    // Helm's own rule, which leaves room for what charts append to a name.
    if release_name.as_ref().is_some_and(|name| name.len() > 53 || name.parse::<ComponentName>().is_err()) {
        inner.problem(
            "releaseName",
            "use lower-case letters, digits and `-`, at most 53, beginning and ending with a letter or digit",
        );
    }
    let values_files = inner.texts("valuesFiles");
    let values = inner.node("values").map(|node| match &node.value {
        document::Value::Map(_) => node.to_yaml(),
        _ => {
            inner.problem("values", "it has to be a map of keys and values");
            String::new()
        }
    });
    let include_crds = inner.boolean("includeCRDs").unwrap_or(true);
    inner.finish(&[("parameters", "write `values`"), ("valueFiles", "write `valuesFiles`"), ("valuesObject", "write `values`")]);
    Some(HelmSpec { release_name, values_files, values, include_crds })
}

fn read_component(
    node: &Node,
    path: String,
    layer: &LayerId,
    defaults: &Defaults,
    problems: &mut Vec<Problem>,
) -> Option<ComponentSpec> {
    let mut fields = Fields::of(node, path, problems);
    let name: Option<ComponentName> = fields.required("name");
    let directory: Option<TreePath> = fields.required("path");
    let own = read_defaults(&mut fields);
    let kinds = [("yaml", ComponentKind::Yaml), ("kustomize", ComponentKind::Kustomize), ("helm", ComponentKind::Helm)];
    let kind = fields.choice("kind", &kinds);
    let helm = read_helm(&mut fields);
    if helm.is_some() && kind.is_some_and(|kind| kind != ComponentKind::Helm) {
        fields.problem("helm", "it is for charts: write `kind: helm`");
    }
    let (include, exclude) = (fields.texts("include"), fields.texts("exclude"));
    for (key, globs) in [("include", &include), ("exclude", &exclude)] {
        for error in globs.iter().filter_map(|glob| globset::Glob::new(glob).err()) {
            fields.problem(key, tk8s_core::printable(&error.to_string(), 200));
        }
    }
    let mut depends_on = Vec::new();
    for text in fields.texts("dependsOn") {
        match text.parse() {
            Ok(name) => depends_on.push(name),
            Err(error) => fields.problem("dependsOn", format!("{error}")),
        }
    }
    let ignore = ownership::read_ignore(&mut fields);
    let health = health::read(&mut fields, "health");
    let namespace = own.namespace.or_else(|| defaults.namespace.clone());
    let create_namespace = fields.boolean("createNamespace").unwrap_or(false);
    if create_namespace && namespace.is_none() {
        fields.problem("createNamespace", "there is no `namespace` to create");
    }
    let substitute = fields.boolean("substitute").unwrap_or(false);
    let enabled = fields.boolean("enabled").unwrap_or(true);
    let prune = own.prune.or_else(|| defaults.prune.clone()).unwrap_or_default();
    let deletion = own.deletion.or(defaults.deletion).unwrap_or_default();
    if deletion == Deletion::Delete && !prune.enabled {
        fields.problem("deletion", "`prune.enabled: false` says that nothing of it is ever deleted");
    }
    let account = own.service_account.or_else(|| defaults.service_account.clone());
    let service_account = account.and_then(|account| account.within(namespace.as_deref(), &mut fields));
    fields.finish(&[
        ("dependencies", "write `dependsOn`"),
        ("serviceAccountName", "write `serviceAccount`"),
        ("ignoreDifferences", "write `ignore`"),
    ]);
    Some(ComponentSpec {
        name: name?,
        layer: layer.clone(),
        path: directory?,
        kind,
        helm,
        include,
        exclude,
        namespace,
        create_namespace,
        substitute,
        enabled,
        depends_on,
        health_timeout: own.health_timeout.or(defaults.health_timeout),
        prune,
        deletion,
        on_failure: own.on_failure.or(defaults.on_failure),
        drift: own.drift.or(defaults.drift).unwrap_or_default(),
        conflicts: own.conflicts.or(defaults.conflicts).unwrap_or_default(),
        strict: own.strict.or(defaults.strict).unwrap_or_default(),
        ignore,
        health,
        windows: own.windows.or_else(|| defaults.windows.clone()).unwrap_or_default(),
        run_timeout: own.run_timeout.or(defaults.run_timeout),
        service_account,
        // A component can't widen what its layer lets it touch.
        confine: defaults.confine.iter().cloned().chain(own.confine).collect(),
    })
}

fn check_dependencies(components: &[ComponentSpec], lines: &BTreeMap<ComponentName, usize>, problems: &mut Vec<Problem>) {
    let by_name: BTreeMap<_, _> = components.iter().map(|component| (&component.name, component)).collect();
    for component in components {
        let mut problem = |message: String| {
            problems.push(Problem { line: lines[&component.name], key: format!("{}.dependsOn", component.name), message });
        };
        for name in &component.depends_on {
            match by_name.get(name) {
                None => problem(format!("there is no component `{name}`")),
                Some(other) if other.layer.number > component.layer.number => {
                    problem(format!(
                        "`{name}` is in layer {}, which comes after layer {}",
                        other.layer.number, component.layer.number
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(cycle) = cycle_from(component, &by_name) {
            // Told once, by the component whose name comes first.
            if cycle.iter().all(|name| component.name <= *name) {
                let names: Vec<_> = cycle.iter().chain([&component.name]).map(ComponentName::as_str).collect();
                problem(format!("it is a cycle: {}", names.join(" -> ")));
            }
        }
    }
}

/// The shortest way from a component back to itself.
fn cycle_from(start: &ComponentSpec, by_name: &BTreeMap<&ComponentName, &ComponentSpec>) -> Option<Vec<ComponentName>> {
    let mut seen = BTreeSet::new();
    let mut ways = std::collections::VecDeque::from([vec![start.name.clone()]]);
    while let Some(way) = ways.pop_front() {
        let last = way.last().and_then(|name| by_name.get(name))?;
        for next in &last.depends_on {
            if *next == start.name {
                return Some(way);
            }
            if by_name.contains_key(next) && seen.insert(next.clone()) {
                ways.push_back(way.iter().cloned().chain([next.clone()]).collect());
            }
        }
    }
    None
}

/// By layer, then after what is depended on, then by name.
fn in_order(mut components: Vec<ComponentSpec>) -> Vec<ComponentSpec> {
    components.sort_by(|a, b| (a.layer.number, &a.name).cmp(&(b.layer.number, &b.name)));
    let mut ordered: Vec<ComponentSpec> = Vec::new();
    while !components.is_empty() {
        let placed: BTreeSet<_> = ordered.iter().map(|component| component.name.clone()).collect();
        let lowest = components[0].layer.number;
        let ready = components
            .iter()
            .position(|component| {
                component.layer.number == lowest && component.depends_on.iter().all(|name| placed.contains(name))
            })
            .unwrap_or(0);
        ordered.push(components.remove(ready));
    }
    ordered
}

/// A platform of one layer, with these keys and these components.
#[cfg(test)]
pub(crate) fn of_one_layer(layer: &str, components: &str) -> Result<Platform, String> {
    let text = format!(
        "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n- number: 0\n  name: a\n  {layer}\n  components:\n{components}"
    );
    Platform::parse(text.as_bytes(), "tk8s.yaml").map_err(|problems| problems.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(layers: &str) -> Result<Platform, String> {
        let text = format!("apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n{layers}");
        Platform::parse(text.as_bytes(), "tk8s.yaml").map_err(|problems| problems.to_string())
    }

    const THREE: &str = "  - number: 2
    name: services
    namespace: shop
    components:
      - {name: core, path: core, dependsOn: [memory]}
      - {name: memory, path: memory}
      - {name: zeta, path: zeta}
  - number: 0
    name: substrate
    components: [{name: spaces, path: spaces}, {name: quotas, path: quotas, enabled: false}]
";

    #[test]
    fn components_come_by_layer_then_by_dependency() {
        let platform = parse(THREE).unwrap();
        let names: Vec<_> = platform.components().iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["quotas", "spaces", "memory", "core", "zeta"]);
        assert_eq!(platform.components()[2].namespace.as_deref(), Some("shop"));
        let on = |name: &str| platform.stands_on(&name.parse().unwrap()).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(on("core"), ["memory"]);
        assert_eq!(on("memory"), ["spaces"]);
        assert_eq!(on("zeta"), ["spaces"]);
        assert!(on("spaces").is_empty());
    }

    #[test]
    fn windows_and_deadlines_of_a_layer_are_the_default_of_its_components() {
        let text = "  - number: 0
    name: a
    runTimeout: 30m
    windows: [{allow: \"0 2 * * *\", duration: 1h}]
    components:
      - {name: as-the-layer, path: x}
      - {name: of-its-own, path: y, runTimeout: 5m, windows: [{allow: \"0 5 * * *\", duration: 1h}]}
      - {name: always, path: z, windows: []}
";
        let platform = parse(text).unwrap();
        let noon = "2026-01-01T12:00:00Z".parse().unwrap();
        let until = |name: &str| {
            let spec = platform.components().iter().find(|spec| spec.name.as_str() == name).unwrap();
            let until = spec.windows.closed(noon).map(|closed| closed.until.unwrap().to_string());
            (until, spec.run_timeout.unwrap().as_secs() / 60)
        };
        assert_eq!(until("as-the-layer"), (Some("2026-01-02T02:00:00Z".into()), 30));
        assert_eq!(until("of-its-own"), (Some("2026-01-02T05:00:00Z".into()), 5));
        assert_eq!(until("always"), (None, 30));
    }

    #[test]
    fn the_values_of_a_chart_are_passed_on_as_they_were_written() {
        let text = "  - number: 0
    name: a
    components:
      - name: web
        path: web
        helm:
          releaseName: front
          valuesFiles: [values.yaml, ../production.yaml]
          includeCRDs: false
          values:
            mode: 0644
            on: yes
            quoted: \"yes\"
            empty:
            list: [1, a b, 'c, d', {x: ~}]
            block: |
              two
              lines
            odd: a, b
";
        let platform = parse(text).unwrap();
        let helm = platform.components()[0].helm.clone().unwrap();
        assert_eq!((helm.release_name.as_deref(), helm.include_crds), (Some("front"), false));
        assert_eq!(helm.values_files, ["values.yaml", "../production.yaml"]);
        let expected = r#"{"mode": 0644, "on": yes, "quoted": "yes", "empty": null, "list": [1, a b, "c, d", {"x": ~}], "block": "two\nlines\n", "odd": "a, b"}"#;
        assert_eq!(helm.values.unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let table = [
            (
                THREE.replace("path: zeta", "pathh: zeta"),
                "tk8s.yaml:10: layers[0].components[2].pathh: unknown key: did you mean `path`?",
            ),
            (THREE.replace("path: zeta", "path: ../zeta"), "leaves the tree"),
            (THREE.replace("[memory]", "[nobody]"), "there is no component `nobody`"),
            (
                THREE.replace("memory, path: memory", "memory, path: memory, dependsOn: [core]"),
                "it is a cycle: core -> memory -> core",
            ),
            (THREE.replace("name: zeta", "name: core"), "already has a component `core`"),
            (THREE.replace("path: zeta", "path: core"), "already has this directory"),
            (THREE.replace("number: 0", "number: 2"), "already has layer 2"),
            (THREE.replace("spaces, path: spaces", "spaces, path: spaces, dependsOn: [zeta]"), "comes after layer 0"),
            (
                THREE.replace("path: zeta", "path: zeta, kind: jsonnet"),
                "`jsonnet` is not known: write `yaml` or `kustomize` or `helm`",
            ),
            (THREE.replace("path: zeta", "path: zeta, kind: yaml, helm: {}"), "components[2].helm: it is for charts"),
            (
                THREE.replace("path: zeta", "path: zeta, helm: {valueFiles: [x]}"),
                "helm.valueFiles: unknown key: write `valuesFiles`",
            ),
            (THREE.replace("path: zeta", "path: zeta, helm: {releaseName: Zeta}"), "helm.releaseName: use lower-case"),
            (THREE.replace("path: zeta", "path: zeta, helm: {values: 1}"), "helm.values: it has to be a map"),
            (THREE.replace("path: zeta", "path: zeta, helm: {values: {a: !!str 1}}"), "tags are not supported here"),
            (THREE.replace("path: zeta", "path: zeta, healthTimeout: soon"), "a time such as"),
            (
                THREE.replace("path: zeta", "path: zeta, windows: [{allow: 0 25 * * *, duration: 1h}]"),
                "tk8s.yaml:10: layers[0].components[2].windows[0].allow: `0 25 * * *` is no cron expression: hour: `25` is no number from 0 to 23",
            ),
            (
                THREE.replace("namespace: shop", "windows: [{deny: 0 2 * * *, duration: 1h, timeZone: Mars/Base}]"),
                "tk8s.yaml:6: layers[0].windows[0].timeZone: there is no time zone `Mars/Base`",
            ),
            (THREE.replace("path: zeta", "path: zeta, windows: [{duration: 1h}]"), "windows[0]: write either `allow` or `deny`"),
            (THREE.replace("path: zeta", "path: zeta, windows: [{allow: 0 2 * * *}]"), "windows[0].duration: it is missing"),
        ];
        for (text, word) in table {
            let found = parse(&text).unwrap_err();
            assert!(found.contains(word), "{found}");
        }
    }
}
