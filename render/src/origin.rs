//! Which tree of a component is meant, the same wherever it is rendered: what lets one environment speak of what another
//! one is to run. Nothing of the agent, its programs, keys, variables or cluster is in it. Starts nothing.

use tk8s_core::{ComponentTree, Digest, SourceTree, TreeId};

use crate::component::{Component, Kind, kind};
use crate::{Error, helm, kustomize};

/// Raised whenever the digest is made of something else. Instances of two versions then don't understand each other, and
/// whoever waits for the other's word waits until both are the same.
const VERSION: u32 = 1;

/// The component's directory, and whatever else in the repository decides its rendering. None where the tree has no
/// identities.
///
/// Where the directory is doesn't count by itself: environments may have directories of their own. Files elsewhere do count
/// by their places, since they are named by them.
pub fn component_tree(tree: &dyn SourceTree, component: &Component) -> Result<Option<ComponentTree>, Error> {
    let kind = kind(tree, component)?;
    let files = match kind {
        Kind::Yaml => Some(String::new()),
        Kind::Kustomize => kustomize::files(tree, component)?,
        Kind::Helm => helm::files(tree, component)?,
    };
    let (Some(directory), Some(files)) = (tree.identity(&component.path)?, files) else { return Ok(None) };
    let Ok(id) = directory.parse::<TreeId>() else { return Ok(None) };
    let options = format!(
        "component tree {VERSION}\n{}\n{kind:?}\n{files}\n{:?}\n{:?}\n{:?}\n{:?}\n{:?}\n{}\n{}",
        component.name,
        component.layer,
        component.include,
        component.exclude,
        component.helm,
        component.namespace,
        component.create_namespace,
        component.substitute,
    );
    Ok(Some(ComponentTree { tree: id, rest: Digest::of(options) }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tk8s_core::{ReadError, TreeEntry, TreePath};

    use super::*;
    use crate::component::tests::component;

    /// A tree whose identities are digests of what is below a path, as Git's are.
    struct Files(BTreeMap<&'static str, &'static str>);

    impl SourceTree for Files {
        fn list(&self, directory: &TreePath) -> Result<Vec<TreeEntry>, ReadError> {
            let prefix = if directory.is_root() { String::new() } else { format!("{directory}/") };
            let below = self.0.keys().filter_map(|path| path.strip_prefix(&prefix));
            let mut entries: Vec<_> = below
                .map(|rest| match rest.split_once('/') {
                    Some((name, _)) => TreeEntry::Directory(name.into()),
                    None => TreeEntry::File(rest.into()),
                })
                .collect();
            entries.dedup();
            Ok(entries)
        }

        fn read(&self, file: &TreePath, _: u64) -> Result<Vec<u8>, ReadError> {
            let found = self.0.get(file.as_str()).ok_or_else(|| ReadError::NotFound(file.clone()))?;
            Ok(found.as_bytes().to_vec())
        }

        fn identity(&self, path: &TreePath) -> Result<Option<String>, ReadError> {
            let below = self.0.iter().filter_map(|(name, text)| Some((name.strip_prefix(path.as_str())?, text)));
            Ok(Some(Digest::of(format!("{:?}", below.collect::<Vec<_>>())).hex()[..40].to_owned()))
        }
    }

    fn of(files: &[(&'static str, &'static str)], component: &Component) -> ComponentTree {
        component_tree(&Files(files.iter().copied().collect()), component).unwrap().unwrap()
    }

    #[test]
    fn what_git_says_of_a_component_is_all_that_counts() {
        let at = |path: &str| Component { path: path.parse().unwrap(), ..component() };
        let web = of(&[("web/a.yaml", "a: 1")], &at("web"));
        assert_eq!(of(&[("web/a.yaml", "a: 1"), ("other/b.yaml", "b: 1")], &at("web")), web, "others' files");
        assert_eq!(of(&[("prod/web/a.yaml", "a: 1")], &at("prod/web")), web, "another place");
        assert_ne!(of(&[("web/a.yaml", "a: 2")], &at("web")).tree, web.tree);
        for other in [
            Component { namespace: Some("x".into()), ..at("web") },
            Component { substitute: true, ..at("web") },
            Component { include: vec!["a*".into()], ..at("web") },
            Component { name: "api".parse().unwrap(), ..at("web") },
        ] {
            let found = of(&[("web/a.yaml", "a: 1")], &other);
            assert!(found.tree == web.tree && found.rest != web.rest, "{other:?}");
        }
    }

    #[test]
    fn what_a_kustomization_refers_to_elsewhere_counts_too() {
        let overlay = Component { path: "overlay".parse().unwrap(), ..component() };
        let with = |base: &'static str| {
            let kustomization = "resources: [../base]";
            let files = [
                ("overlay/kustomization.yaml", kustomization),
                ("base/kustomization.yaml", "resources: [a.yaml]"),
                ("base/a.yaml", base),
            ];
            of(&files, &overlay)
        };
        let (one, other) = (with("a: 1"), with("a: 2"));
        assert!(one.tree == other.tree && one.rest != other.rest);
        assert_eq!(with("a: 1"), one);
    }
}
