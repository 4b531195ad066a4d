//! The platform as the engine uses it: one [`Unit`] per component, in apply order.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use tk8s_config::{AgentConfig, ComponentKind, ComponentSpec, HelmSpec, IgnoreSpec, Platform, Problems};
use tk8s_core::{ComponentName, SourceTree, TreePath};
use tk8s_diff::ownership::{FieldRules, IgnoreRule};
use tk8s_history::History;
use tk8s_render::{Component, HelmOptions, Kind, Placement};

use crate::error::Error;

/// The file that describes the platform.
pub const PLATFORM_FILE: &str = "tk8s.yaml";
/// The component of a repository without a platform file.
const WHOLE: &str = "platform";
/// The largest platform file that is read.
const LARGEST: u64 = 1024 * 1024;
/// Where the text of the last accepted platform file is remembered, so that a start needs no Git.
const CACHE_KEY: &str = "platform/text";
/// What is remembered in its place where there is none.
const NO_FILE: &[u8] = b"";

/// One component: how it is rendered, and what has to be healthy before it.
#[derive(Clone)]
pub struct Unit {
    pub spec: ComponentSpec,
    pub render: Component,
    /// Whose fields are left to whom.
    pub fields: FieldRules,
    pub stands_on: Vec<ComponentName>,
}

impl Unit {
    pub fn rules(&self, scope: &tk8s_diff::live::Scope) -> tk8s_diff::Rules {
        let (prune, protect) = (self.spec.prune.enabled, self.spec.prune.protect.clone());
        let (fields, confine) = (self.fields.clone(), super::confining::confinement(&self.spec.confine, scope));
        tk8s_diff::Rules { prune, protect, fields, confine, ..Default::default() }
    }
}

/// All components of a platform, in apply order.
#[derive(Default)]
pub struct Units {
    units: Vec<Arc<Unit>>,
    places: HashMap<ComponentName, usize>,
}

impl Units {
    pub fn new(units: Vec<Arc<Unit>>) -> Units {
        let places = units.iter().enumerate().map(|(place, unit)| (unit.spec.name.clone(), place)).collect();
        Units { units, places }
    }

    pub fn all(&self) -> &[Arc<Unit>] {
        &self.units
    }

    pub fn get(&self, name: &ComponentName) -> Option<&Arc<Unit>> {
        self.places.get(name).map(|place| &self.units[*place])
    }

    /// Those of these names that are there, in apply order.
    pub fn of<'a>(&self, names: impl IntoIterator<Item = &'a ComponentName>) -> Vec<Arc<Unit>> {
        let places: BTreeSet<_> = names.into_iter().filter_map(|name| self.places.get(name)).collect();
        places.into_iter().map(|place| Arc::clone(&self.units[*place])).collect()
    }

    /// Whom of these a component can wait for: all but itself and those that wait for it.
    pub fn all_before<'a>(&'a self, last: &'a ComponentName, of: &'a [ComponentName]) -> impl Iterator<Item = &'a ComponentName> {
        of.iter().filter(move |name| *name != last && !self.reaches(name, last))
    }

    /// Whether a component stands on another, itself or through others.
    fn reaches(&self, name: &ComponentName, other: &ComponentName) -> bool {
        let mut seen = BTreeSet::new();
        let mut left = vec![name];
        while let Some(next) = left.pop() {
            let below = self.get(next).map(|unit| unit.stands_on.as_slice()).unwrap_or_default();
            if below.contains(other) {
                return true;
            }
            left.extend(below.iter().filter(|below| seen.insert(*below)));
        }
        false
    }
}

/// What the tree says: the platform file, or one component for everything if there is none.
pub fn read(config: &AgentConfig, tree: &dyn SourceTree) -> Result<(Platform, Option<Vec<u8>>), Error> {
    let base = &config.repository.path;
    let Some((path, text)) = text(base, tree)? else { return Ok((whole(), None)) };
    let platform = Platform::parse(&text, &path).map_err(Error::Platform)?;
    let broken = crate::rules::problems(platform.components().iter().map(|component| component.health.as_slice()));
    if !broken.is_empty() {
        return Err(Error::Platform(Problems::of(&path, broken)));
    }
    Ok((platform, Some(text)))
}

/// The path and the text of the platform file below a directory, if there is one.
pub fn text(base: &TreePath, tree: &dyn SourceTree) -> Result<Option<(String, Vec<u8>)>, Error> {
    let entries = tree.list(base).map_err(Error::Tree)?;
    if !entries.iter().any(|entry| entry.name() == PLATFORM_FILE) {
        return Ok(None);
    }
    let path = base.join(PLATFORM_FILE).map_err(Error::Tree)?;
    let text = tree.read(&path, LARGEST).map_err(Error::Tree)?;
    Ok(Some((path.to_string(), text)))
}

/// The platform of a directory without a platform file.
pub fn whole() -> Platform {
    Platform::whole(WHOLE.parse().expect("because it is a valid name"))
}

/// The components of a platform whose directories are relative to `base`.
pub fn units(base: &TreePath, platform: &Platform) -> Result<Vec<Arc<Unit>>, Error> {
    let enabled = platform.components().iter().filter(|spec| spec.enabled);
    enabled
        .map(|spec| {
            let render = component(base, platform.by_label(), spec)?;
            let stands_on = platform.stands_on(&spec.name);
            Ok(Arc::new(Unit { spec: spec.clone(), render, fields: field_rules(spec), stands_on }))
        })
        .collect()
}

pub fn field_rules(spec: &ComponentSpec) -> FieldRules {
    FieldRules {
        drift: spec.drift,
        conflicts: spec.conflicts,
        ignore: spec.ignore.iter().map(ignore_rule).collect(),
        strict: spec.strict,
    }
}

fn ignore_rule(spec: &IgnoreSpec) -> IgnoreRule {
    let IgnoreSpec { kind, name, pointers, managers } = spec.clone();
    IgnoreRule { kind, name: name.and_then(|name| IgnoreRule::glob(&name)), pointers, managers }
}

/// How a component is rendered whose directory is relative to `base`.
pub fn component(base: &TreePath, by_label: bool, spec: &ComponentSpec) -> Result<Component, Error> {
    Ok(Component {
        name: spec.name.clone(),
        layer: if by_label { Placement::ByLabel } else { Placement::Fixed(spec.layer.clone()) },
        path: base.join(spec.path.as_str()).map_err(Error::Tree)?,
        kind: spec.kind.map(|kind| match kind {
            ComponentKind::Yaml => Kind::Yaml,
            ComponentKind::Kustomize => Kind::Kustomize,
            ComponentKind::Helm => Kind::Helm,
        }),
        helm: spec.helm.clone().map(|HelmSpec { release_name, values_files, values, include_crds }| HelmOptions {
            release_name,
            values_files,
            values,
            include_crds,
        }),
        include: spec.include.clone(),
        exclude: spec.exclude.clone(),
        namespace: spec.namespace.clone(),
        create_namespace: spec.create_namespace,
        substitute: spec.substitute,
    })
}

/// Whether the platform file is not the one that is remembered.
pub fn is_other(history: &History, text: Option<&[u8]>) -> bool {
    history.cache_get(CACHE_KEY).as_deref() != Some(text.unwrap_or(NO_FILE))
}

/// Remembers the platform file for the next start.
pub fn remember(history: &History, text: Option<&[u8]>) {
    history.cache_put(CACHE_KEY, text.unwrap_or(NO_FILE));
}

/// The platform as it was last accepted; none on a first start or when the cache was lost.
pub fn remembered_platform(history: &History) -> Option<Platform> {
    let text = history.cache_get(CACHE_KEY)?;
    if text == NO_FILE { Some(whole()) } else { Platform::parse(&text, PLATFORM_FILE).ok() }
}

/// The same, as the engine uses it.
pub fn remembered(config: &AgentConfig, history: &History) -> Option<Arc<Units>> {
    let platform = remembered_platform(history)?;
    let units = units(&config.repository.path, &platform).ok()?;
    Some(Arc::new(Units::new(units)))
}

/// A component that the platform does not name (any more), with default settings; but nothing of it is deleted, because
/// nobody knows what its settings would have kept.
pub fn default_unit(name: &ComponentName) -> Arc<Unit> {
    Arc::new(bare_unit(name))
}

/// The same, to be changed.
pub fn bare_unit(name: &ComponentName) -> Unit {
    let platform = Platform::whole(name.clone());
    let unit = units(&TreePath::root(), &platform).ok().and_then(|units| units.into_iter().next());
    let unit = unit.expect("because a platform of one component has one, and the root is a valid path");
    let mut unit = Arc::into_inner(unit).expect("because it was just made");
    unit.spec.prune.enabled = false;
    unit
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_on_whom_is_known_through_others() {
        let text = "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: a, components: [{name: db, path: db}]}\n  - {number: 1, name: b, components: [{name: web, path: web}]}\n  - {number: 2, name: c, components: [{name: shop, path: shop, dependsOn: [web]}, {name: agent, path: agent}]}\n";
        let platform = Platform::parse(text.as_bytes(), "tk8s.yaml").unwrap();
        let units = Units::new(units(&TreePath::root(), &platform).unwrap());
        let reaches = |name: &str, other: &str| units.reaches(&name.parse().unwrap(), &other.parse().unwrap());
        assert!(reaches("shop", "db") && reaches("agent", "db") && reaches("web", "db"));
        let of: Vec<ComponentName> = ["db", "web", "shop", "agent"].map(|name| name.parse().unwrap()).into();
        let all_before = |last: &str| units.all_before(&last.parse().unwrap(), &of).map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!((all_before("agent"), all_before("web")), (vec!["db".into(), "web".into(), "shop".into()], vec!["db".into()]));
        assert!(!reaches("db", "web") && !reaches("shop", "agent") && !reaches("agent", "shop") && !reaches("web", "web"));
    }
}
