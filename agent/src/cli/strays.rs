//! Directories of a platform that hold manifests and belong to no component: forgotten, or a path that is not written as
//! it was meant. Only a hint: whether a file is a manifest is guessed from its first level, and only so much is looked at.

use std::collections::BTreeSet;

use tk8s_core::{Origin, SourceTree, TreeEntry, TreePath};
use tk8s_render::{Component, Warning, named};

/// Directories that are looked into.
const MOST_DIRECTORIES: usize = 10_000;
/// Files that are read.
const MOST_FILES: usize = 5_000;
/// Larger files are not read.
const LARGEST: u64 = 256 * 1024;
/// Directories that are told.
const MOST_TOLD: usize = 50;
/// What makes a directory a source of objects whatever else it holds.
const MARKS: [&str; 4] = ["kustomization.yaml", "kustomization.yml", "Kustomization", "Chart.yaml"];

/// A warning for each, sorted. Below a directory that is told nothing else is.
pub(super) fn strays(tree: &dyn SourceTree, base: &TreePath, components: &[Component]) -> Vec<Warning> {
    let claimed: BTreeSet<_> = components.iter().map(|component| component.path.clone()).collect();
    let named: BTreeSet<_> = components.iter().flat_map(|component| named(tree, component)).collect();
    let leading = claimed.iter().chain(&named).flat_map(down_to).collect();
    let mut search = Search { tree, claimed, named, leading, directories: 0, files: 0 };
    let (mut left, mut found) = (vec![base.clone()], Vec::new());
    while let Some(directory) = left.pop() {
        if found.len() >= MOST_TOLD || search.is_full() || search.is_claimed(&directory) {
            continue;
        }
        let entries = search.list(&directory);
        let inside = search.leading.contains(&directory);
        let first = match inside {
            true => entries.iter().find_map(|(path, entry)| search.manifest(path, entry)),
            false => search.first_below(&directory),
        };
        match (first, inside) {
            (Some(first), _) => found.push(warning(&directory, &first)),
            (None, false) => continue,
            (None, true) => {}
        }
        if inside {
            let below = entries.into_iter().filter(|(_, entry)| matches!(entry, TreeEntry::Directory(_)));
            left.extend(below.map(|(path, _)| path));
        }
    }
    found.sort_by(|a, b| a.origin.file.cmp(&b.origin.file));
    found
}

fn warning(directory: &TreePath, first: &TreePath) -> Warning {
    let origin = Origin { file: first.to_string().into(), line: 0 };
    let message = format!("`{directory}` holds manifests and belongs to no component");
    Warning { rule: "NoComponent", origin, message, next: "make it one, or move it out of the platform's directory" }
}

struct Search<'a> {
    tree: &'a dyn SourceTree,
    /// The directories of components.
    claimed: BTreeSet<TreePath>,
    /// What kustomizations and charts name one by one.
    named: BTreeSet<TreePath>,
    /// All of these, and every directory that they are in.
    leading: BTreeSet<TreePath>,
    directories: usize,
    files: usize,
}

impl Search<'_> {
    fn is_full(&self) -> bool {
        self.directories >= MOST_DIRECTORIES || self.files >= MOST_FILES
    }

    fn is_claimed(&self, directory: &TreePath) -> bool {
        down_to(directory).iter().any(|above| self.claimed.contains(above))
    }

    /// What is in a directory; what can't be read is not told here.
    fn list(&mut self, directory: &TreePath) -> Vec<(TreePath, TreeEntry)> {
        self.directories += 1;
        let entries = self.tree.list(directory).unwrap_or_default().into_iter();
        let shown = entries.filter(|entry| !entry.name().starts_with('.'));
        shown.filter_map(|entry| Some((directory.join(entry.name()).ok()?, entry))).collect()
    }

    /// The first manifest anywhere below.
    fn first_below(&mut self, directory: &TreePath) -> Option<TreePath> {
        let mut left = vec![directory.clone()];
        while let Some(next) = left.pop() {
            if self.is_full() {
                return None;
            }
            for (path, entry) in self.list(&next) {
                if let Some(found) = self.manifest(&path, &entry) {
                    return Some(found);
                }
                if matches!(entry, TreeEntry::Directory(_)) {
                    left.push(path);
                }
            }
        }
        None
    }

    /// The path, if it is that of a manifest that nobody names.
    fn manifest(&mut self, path: &TreePath, entry: &TreeEntry) -> Option<TreePath> {
        let TreeEntry::File(name) = entry else { return None };
        let yaml = name.ends_with(".yaml") || name.ends_with(".yml");
        if self.named.contains(path) || self.is_full() || !(yaml || name.ends_with(".json") || MARKS.contains(&name.as_str())) {
            return None;
        }
        self.files += 1;
        let found = MARKS.contains(&name.as_str()) || is_manifest(&self.tree.read(path, LARGEST).ok()?, yaml);
        found.then(|| path.clone())
    }
}

/// Whether a file has both words that every object begins with, and is none of the agent's own files.
fn is_manifest(bytes: &[u8], yaml: bool) -> bool {
    if !yaml {
        let value: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
        return value["apiVersion"].is_string() && value["kind"].is_string();
    }
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let kinds = text.lines().any(|line| line.starts_with("kind:"));
    kinds && lines.any(|line| line.starts_with("apiVersion:") && !line.contains("tk8s.io/v1alpha1"))
}

/// Every directory on the way from the root to a path, and the path.
fn down_to(path: &TreePath) -> Vec<TreePath> {
    let steps = path.parts().scan(TreePath::root(), |above, part| {
        *above = above.join(part).ok()?;
        Some(above.clone())
    });
    std::iter::once(TreePath::root()).chain(steps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tk8s_render::{Placement, WorkingDirectory};

    fn component(path: &str) -> Component {
        Component {
            name: "x".parse().unwrap(),
            layer: Placement::ByLabel,
            path: path.parse().unwrap(),
            kind: None,
            include: Vec::new(),
            exclude: Vec::new(),
            helm: None,
            namespace: None,
            create_namespace: false,
            substitute: false,
        }
    }

    #[test]
    fn a_directory_with_manifests_that_no_component_takes_is_told_once() {
        const MAP: &str = "apiVersion: v1\nkind: ConfigMap\n";
        let directory = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("p/tk8s.yaml", "apiVersion: tk8s.io/v1alpha1\nkind: Platform\n"),
            ("p/agent.yaml", "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\n"),
            ("p/web/a.yaml", MAP),
            ("p/web/deep/a.yaml", MAP),
            ("p/over/kustomization.yaml", "resources: [../base/one]\n"),
            ("p/base/one/kustomization.yaml", "resources: [a.yaml]\n"),
            ("p/base/one/a.yaml", MAP),
            ("p/base/one/unused.yaml", MAP),
            ("p/base/two/kustomization.yaml", "resources: []\n"),
            ("p/docs/values.yaml", "kind: of\n"),
            ("p/docs/x.json", "{\"a\": 1}"),
            ("p/old/x/y/a.json", "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\"}"),
            ("p/old/z.yaml", MAP),
            ("p/.github/a.yaml", MAP),
            ("elsewhere/a.yaml", MAP),
        ] {
            let place = directory.path().join(path);
            std::fs::create_dir_all(place.parent().unwrap()).unwrap();
            std::fs::write(place, text).unwrap();
        }
        let tree = WorkingDirectory::new(directory.path());
        let found = strays(&tree, &"p".parse().unwrap(), &[component("p/web"), component("p/over")]);
        let found: Vec<_> = found.iter().map(|warning| format!("{}: {}", warning.origin, warning.message)).collect();
        assert_eq!(
            found,
            [
                "p/base/one/unused.yaml: `p/base/one` holds manifests and belongs to no component",
                "p/base/two/kustomization.yaml: `p/base/two` holds manifests and belongs to no component",
                "p/old/z.yaml: `p/old` holds manifests and belongs to no component",
            ]
        );
    }
}
