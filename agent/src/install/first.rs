//! The first platform file of a repository that has none: each directory of manifests is a component.

use tk8s_core::{ComponentName, ReadError, SourceTree, TreeEntry, TreePath};

use crate::engine::platform::PLATFORM_FILE;

/// How deep manifests are looked for below a directory.
const DEEP: usize = 6;
/// How many directories become components: nobody reads a longer proposal.
const MOST: usize = 200;

/// What such a file could be, by what is in the tree; nothing where there is one already.
pub fn platform_file(tree: &dyn SourceTree, base: &TreePath) -> Result<Option<String>, ReadError> {
    let entries = tree.list(base)?;
    if entries.iter().any(|entry| entry.name() == PLATFORM_FILE) {
        return Ok(None);
    }
    let mut components = Vec::new();
    for entry in entries.iter().take(MOST) {
        if let TreeEntry::Directory(name) = entry
            && !name.starts_with('.')
            && holds_manifests(tree, &base.join(name)?, DEEP)?
        {
            components.push(name.as_str());
        }
    }
    Ok(Some(written(&components)))
}

/// The file of a repository of which nothing is known.
pub fn empty() -> String {
    written(&[])
}

fn holds_manifests(tree: &dyn SourceTree, directory: &TreePath, deep: usize) -> Result<bool, ReadError> {
    let entries = tree.list(directory)?;
    let is_manifest = |name: &str| [".yaml", ".yml", ".json"].iter().any(|end| name.ends_with(end));
    if entries.iter().any(|entry| !matches!(entry, TreeEntry::Directory(_)) && is_manifest(entry.name())) {
        return Ok(true);
    }
    for entry in &entries {
        if let TreeEntry::Directory(name) = entry
            && deep > 0
            && holds_manifests(tree, &directory.join(name)?, deep - 1)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn written(directories: &[&str]) -> String {
    let mut text = "# What is deployed, and in which order: docs/platform.md. `tk8s-agent check` says what is wrong with it.\n\
                    apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - number: 0\n    name: platform\n"
        .to_owned();
    if directories.is_empty() {
        text.push_str("    # One entry for each directory of manifests: - {name: web, path: web}\n    components: []\n");
        return text;
    }
    text.push_str("    components:\n");
    for directory in directories {
        match directory.parse::<ComponentName>() {
            Ok(name) => text.push_str(&format!("      - {{name: {name}, path: {directory}}}\n")),
            Err(_) => text.push_str(&format!(
                "      # `{}` can't be a component's name: - {{name: ..., path: ...}}\n",
                tk8s_core::printable(directory, 80)
            )),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use tk8s_config::Platform;
    use tk8s_render::WorkingDirectory;

    use super::*;

    fn proposed(files: &[&str]) -> Option<String> {
        let directory = tempfile::tempdir().unwrap();
        for file in files {
            let path = directory.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        platform_file(&WorkingDirectory::new(directory.path()), &TreePath::root()).unwrap()
    }

    #[test]
    fn each_directory_of_manifests_is_a_component_and_the_file_is_one_that_is_taken() {
        let files = ["README.md", "web/deploy.yaml", "shop/base/kustomization.yaml", "docs/a.md", ".github/workflows/ci.yaml"];
        let text = proposed(&files).unwrap();
        let platform = Platform::parse(text.as_bytes(), "tk8s.yaml").unwrap();
        let names: Vec<_> = platform.components().iter().map(|component| component.name.as_str()).collect();
        assert_eq!(names, ["shop", "web"]);
        let odd = proposed(&["Not A Name/a.yaml", "web/a.yaml"]).unwrap();
        assert_eq!(Platform::parse(odd.as_bytes(), "tk8s.yaml").unwrap().components().len(), 1, "{odd}");
        assert!(odd.contains("`Not A Name` can't be"), "{odd}");
        assert!(Platform::parse(empty().as_bytes(), "tk8s.yaml").is_ok());
        assert_eq!(proposed(&["README.md"]).as_deref(), Some(empty().as_str()));
    }

    #[test]
    fn a_platform_that_has_a_file_keeps_it() {
        assert_eq!(proposed(&["tk8s.yaml", "web/a.yaml"]), None);
    }
}
