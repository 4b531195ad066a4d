//! The hand-over type of rendering, [`Rendered`], and its unverified twin for people, [`Preview`].

use std::sync::Arc;

use tk8s_core::{ComponentName, ComponentTree, Digest, Environment, Placed, Removal, Revision, SourceTree, Trust};
use tk8s_gitsync::VerifiedTree;

use crate::{Component, Error, Renderers, Warning, component_tree, files, input};

/// The objects of one component of a verified tree. Made by [`render`] and [`removal`] only; taken by `images::resolve`.
#[derive(Debug)]
pub struct Rendered(RenderedParts);

/// What a [`Rendered`] carries. Plain data: it can't be turned back into one.
#[derive(Debug)]
pub struct RenderedParts {
    /// The component.
    pub component: ComponentName,
    /// The revision it was rendered from.
    pub revision: Revision,
    /// Why that revision may be applied.
    pub trust: Trust,
    /// The environment for which the revision was verified.
    pub environment: Environment,
    /// The objects, each with its layer.
    pub objects: Vec<Placed>,
    /// The identity of everything that decided the rendering.
    pub input: Option<Digest>,
    /// What Git says of the component, in every environment.
    pub tree: Option<ComponentTree>,
    /// What people should know.
    pub warnings: Vec<String>,
    /// Set if the tree takes the component away. There are no objects then, and only then.
    pub removal: Option<Removal>,
}

impl Rendered {
    /// What it carries, to look at.
    pub fn parts(&self) -> &RenderedParts {
        &self.0
    }

    /// What it carries, to keep. The proof is gone then.
    pub fn into_parts(self) -> RenderedParts {
        self.0
    }
}

/// Renders a component of a verified tree. Needs no network and no cluster; the same tree and programs give the same
/// objects. Starts one process for a kustomization or chart, none for plain manifests.
pub fn render(tree: &Arc<VerifiedTree>, component: &Component, renderers: &Renderers) -> Result<Rendered, Error> {
    let objects = files::objects(&**tree, component, renderers)?;
    let revision = tree.revision();
    Ok(Rendered(RenderedParts {
        component: component.name.clone(),
        revision: revision.revision().clone(),
        trust: revision.trust().clone(),
        environment: revision.environment(),
        objects: objects.placed,
        input: input(&**tree, component, renderers)?,
        tree: component_tree(&**tree, component)?,
        warnings: objects.warnings.iter().map(ToString::to_string).collect(),
        removal: None,
    }))
}

/// What a verified tree says of a component that is not part of it any more: no object at all, on purpose. That the tree's
/// platform does not name the component, or disables it, is for the caller to know.
pub fn removal(tree: &VerifiedTree, component: &ComponentName, removal: Removal) -> Rendered {
    let revision = tree.revision();
    Rendered(RenderedParts {
        component: component.clone(),
        revision: revision.revision().clone(),
        trust: revision.trust().clone(),
        environment: revision.environment(),
        objects: Vec::new(),
        input: None,
        tree: None,
        warnings: Vec::new(),
        removal: Some(removal),
    })
}

/// Objects for people to look at. Can never be planned.
#[derive(Debug)]
pub struct Preview {
    objects: Vec<Placed>,
    warnings: Vec<Warning>,
}

impl Preview {
    /// The objects, each with its layer, as they were read.
    pub fn objects(&self) -> &[Placed] {
        &self.objects
    }

    /// What people should know.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The objects, to sort and print.
    pub fn into_objects(self) -> Vec<Placed> {
        self.objects
    }
}

/// Renders a component of any tree, to look at.
pub fn preview(tree: &dyn SourceTree, component: &Component, renderers: &Renderers) -> Result<Preview, Error> {
    let objects = files::objects(tree, component, renderers)?;
    Ok(Preview { objects: objects.placed, warnings: objects.warnings })
}
