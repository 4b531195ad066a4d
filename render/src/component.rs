//! What is rendered, and the identity of everything that decides the result.

use tk8s_core::{ComponentName, Digest, LayerId, SourceTree, TreePath};

use crate::Error;

/// Raised whenever the same files could give other objects than before.
const VERSION: u32 = 1;

/// How the objects of a component find their layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All are in the component's.
    Fixed(LayerId),
    /// Each says it by `tk8s.io/layer`, or its namespace does.
    ByLabel,
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
    /// Globs of files that belong to it, relative to its directory; all if empty.
    pub include: Vec<String>,
    /// Globs of files that do not.
    pub exclude: Vec<String>,
    /// For objects that name none.
    pub namespace: Option<String>,
    /// Whether the namespace is made if no object is it.
    pub create_namespace: bool,
}

/// The identity of everything that decides the rendering: equal identities give equal objects. None where the tree has
/// no identities, and then nothing may be remembered.
pub fn input(tree: &dyn SourceTree, component: &Component) -> Result<Option<Digest>, Error> {
    let Some(files) = tree.identity(&component.path)? else { return Ok(None) };
    let options = format!(
        "{VERSION}\n{files}\n{:?}\n{}\n{:?}\n{:?}\n{:?}\n{}",
        component.layer, component.path, component.include, component.exclude, component.namespace, component.create_namespace
    );
    Ok(Some(Digest::of(options)))
}
