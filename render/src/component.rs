//! What is rendered, and the identity of everything that decides the result.

use std::collections::BTreeSet;

use tk8s_core::{ComponentName, Digest, LayerId, SourceTree, TreePath};

use crate::{Error, Renderers, helm, kustomize};

/// Raised whenever the same files could give other objects than before.
const VERSION: u32 = 5;
/// The names of a kustomization, as kustomize knows them.
pub(crate) const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];
/// The file that makes a directory a chart.
pub(crate) const CHART: &str = "Chart.yaml";

/// How the objects of a component find their layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All are in the component's.
    Fixed(LayerId),
    /// Each says it by `tk8s.io/layer`, or its namespace does.
    ByLabel,
}

/// What turns a component's directory into objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Plain manifests, read as kubectl reads them.
    Yaml,
    /// A kustomization, built by the upstream program.
    Kustomize,
    /// A chart, rendered by the upstream program.
    Helm,
}

/// How a chart is rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelmOptions {
    /// The release's name; the component's if not given.
    pub release_name: Option<String>,
    /// Files of values, relative to the component's directory; `..` leads to others of the repository.
    pub values_files: Vec<String>,
    /// Values in the platform file, as YAML: they win over those of files.
    pub values: Option<String>,
    /// Whether the chart's CRDs are part of it.
    pub include_crds: bool,
}

impl Default for HelmOptions {
    fn default() -> HelmOptions {
        HelmOptions { release_name: None, values_files: Vec::new(), values: None, include_crds: true }
    }
}

/// One component, as the renderer needs it.
#[derive(Clone, Debug)]
pub struct Component {
    /// Its name.
    pub name: ComponentName,
    /// Its layer.
    pub layer: Placement,
    /// Its directory in the tree.
    pub path: TreePath,
    /// What it is; found out from its directory if not given.
    pub kind: Option<Kind>,
    /// Globs of files that belong to it, relative to its directory; all if empty. Of plain manifests only.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub exclude: Vec<String>,
    /// How its chart is rendered. Of charts only.
    pub helm: Option<HelmOptions>,
    /// For objects that name none.
    pub namespace: Option<String>,
    /// Whether the namespace is made if no object is it.
    pub create_namespace: bool,
    /// Whether `${NAME}` in its objects is replaced by the agent's variables.
    pub substitute: bool,
}

/// What a component is: as it says, else by the files in its directory.
pub fn kind(tree: &dyn SourceTree, component: &Component) -> Result<Kind, Error> {
    let kind = match component.kind {
        Some(kind) => kind,
        None => {
            let entries = tree.list(&component.path)?;
            let holds = |names: &[&str]| entries.iter().any(|entry| names.contains(&entry.name()));
            match (holds(&KUSTOMIZATIONS), holds(&[CHART])) {
                (true, _) => Kind::Kustomize,
                (_, true) => Kind::Helm,
                _ => Kind::Yaml,
            }
        }
    };
    if kind != Kind::Yaml && !(component.include.is_empty() && component.exclude.is_empty()) {
        let message = "`include` and `exclude` choose files of plain manifests; a kustomization or chart says itself what it takes: \
                       remove them, or write `kind: yaml`";
        return Err(Error::Option(message.into()));
    }
    if kind != Kind::Helm && component.helm.is_some() {
        let message = format!("`helm` is for charts, and `{}` holds no `{CHART}`: remove it", component.path);
        return Err(Error::Option(message));
    }
    Ok(kind)
}

/// The files that a component names one by one: those of a kustomization, and files of values. What can't be found is not
/// among them: rendering says why.
pub fn named(tree: &dyn SourceTree, component: &Component) -> BTreeSet<TreePath> {
    match kind(tree, component) {
        Ok(Kind::Kustomize) => kustomize::named(tree, component),
        Ok(Kind::Helm) => helm::named(component),
        Ok(Kind::Yaml) | Err(_) => BTreeSet::new(),
    }
}

/// What a chart says to whoever installs it, if the component is a chart that says something. Not a part of what is applied.
pub fn notes(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<String>, Error> {
    if kind(tree, component)? == Kind::Helm { helm::notes(tree, component, renderers) } else { Ok(None) }
}

/// The identity of everything that decides the rendering: equal identities give equal objects. None where the tree has
/// no identities, and then nothing may be remembered.
pub fn input(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Option<Digest>, Error> {
    let files = match kind(tree, component)? {
        Kind::Yaml => tree.identity(&component.path)?,
        Kind::Kustomize => kustomize::identity(tree, component, renderers)?,
        Kind::Helm => helm::identity(tree, component, renderers)?,
    };
    let Some(files) = files else { return Ok(None) };
    let mut options = format!(
        "{VERSION}\n{files}\n{:?}\n{}\n{:?}\n{:?}\n{:?}\n{}\n{}\n{}",
        component.layer,
        component.path,
        component.include,
        component.exclude,
        component.namespace,
        component.create_namespace,
        // Whoever gets a key can render what could not be, and whoever loses it must not find that out later.
        renderers.keys.identity(),
        if component.substitute { renderers.variables.identity() } else { "" },
    );
    if let Some(own) = &renderers.own {
        options.push_str(&format!("\n{own:?}"));
    }
    Ok(Some(Digest::of(options)))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A component of plain manifests in the root.
    pub(crate) fn component() -> Component {
        Component {
            name: "web".parse().unwrap(),
            layer: Placement::Fixed("1-a".parse().unwrap()),
            path: TreePath::root(),
            kind: None,
            include: Vec::new(),
            exclude: Vec::new(),
            helm: None,
            namespace: None,
            create_namespace: false,
            substitute: false,
        }
    }
}
