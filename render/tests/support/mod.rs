//! What the tests of rendering share: a real repository, its verified tree, and the upstream programs.

#![allow(dead_code, unreachable_pub, reason = "each test program uses a part")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use serde_json::Value;
use tempfile::TempDir;
use tk8s_core::chain;
use tk8s_gitsync::{Accepted, DevPolicy, Follow, Policy, Source, VerifiedTree, Waiver};
use tk8s_render::launcher::Limits;
use tk8s_render::{Component, Error, Kind, Options, Placement, Renderers, WorkingDirectory, preview};

/// The directory with kustomize and helm, built if it has to be.
pub fn programs() -> PathBuf {
    static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/renderers.sh");
        let built = Command::new(script).output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        PathBuf::from(String::from_utf8(built.stdout).unwrap().trim())
    };
    PROGRAMS.get_or_init(build).clone()
}

/// Renderers with the upstream programs, and the stand-in as the agent's binary.
pub fn renderers_within(limits: Limits) -> Renderers {
    let binary = env!("CARGO_BIN_EXE_tk8s-stand-in").into();
    Renderers::new(Options { binary, directories: vec![programs()], limits, ..Options::default() })
}

pub fn renderers() -> Renderers {
    renderers_within(Limits::default())
}

/// A component in a directory, whose kind is found out.
pub fn component(path: &str) -> Component {
    Component {
        name: path.rsplit('/').next().unwrap().parse().unwrap(),
        layer: Placement::Fixed("1-test".parse().unwrap()),
        path: path.parse().unwrap(),
        kind: None,
        include: Vec::new(),
        exclude: Vec::new(),
        helm: None,
        namespace: Some("shop".into()),
        create_namespace: false,
        substitute: false,
    }
}

/// A repository with a working tree.
pub struct Repository {
    directory: TempDir,
}

impl Repository {
    pub fn new(files: &[(&str, &str)]) -> Repository {
        let directory = tempfile::tempdir().unwrap();
        let repository = Repository { directory };
        std::fs::create_dir(repository.path()).unwrap();
        repository.git(&["init", "-q", "-b", "main"]);
        for (path, text) in files {
            repository.write(path, text);
        }
        repository
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("repository")
    }

    pub fn write(&self, path: &str, text: &str) {
        let place = self.path().join(path);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(place, text).unwrap();
    }

    pub fn append(&self, path: &str, text: &str) {
        let before = std::fs::read_to_string(self.path().join(path)).unwrap();
        self.write(path, &(before + text));
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command.current_dir(self.path()).args(["-c", "user.name=Test", "-c", "user.email=test@example.com"]).args(arguments);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        assert!(command.status().unwrap().success(), "git {arguments:?}");
    }

    /// Commits everything, and gives the verified tree of the commit.
    pub fn commit(&self) -> Arc<VerifiedTree> {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "--allow-empty", "-m", "a change"]);
        self.verified()
    }

    /// The verified tree of the commit that is there.
    pub fn verified(&self) -> Arc<VerifiedTree> {
        let url = format!("file://{}", self.path().display()).parse().unwrap();
        let source = Source::new(url, self.directory.path().join("mirror"), Follow::Branch("main".into()));
        let policy = Policy::Dev(DevPolicy { signers: None, waive: Some(Waiver::new("a test").unwrap()) });
        let fetched = tk8s_gitsync::fetch(&source).unwrap();
        let verified = tk8s_gitsync::verify(&fetched, &policy, &Accepted::default()).unwrap();
        Arc::new(tk8s_gitsync::tree(&Arc::new(verified.revision.unwrap())).unwrap())
    }

    /// The objects of a component of the working tree, and the warnings.
    pub fn look(&self, component: &Component) -> Result<(Vec<Value>, Vec<String>), Error> {
        self.look_with(component, &renderers())
    }

    /// The same, with these renderers.
    pub fn look_with(&self, component: &Component, renderers: &Renderers) -> Result<(Vec<Value>, Vec<String>), Error> {
        let preview = preview(&WorkingDirectory::new(&self.path()), component, renderers)?;
        let warnings = preview.warnings().iter().map(ToString::to_string).collect();
        Ok((preview.into_objects().into_iter().map(|placed| placed.manifest.to_value()).collect(), warnings))
    }

    /// Why a component of the working tree is not rendered.
    pub fn refusal(&self, component: &Component) -> String {
        chain(&self.look(component).unwrap_err())
    }

    /// What an upstream program itself says, run by hand in the working tree.
    pub fn upstream(&self, program: &str, arguments: &[&str]) -> String {
        let home = self.directory.path();
        let output =
            Command::new(programs().join(program)).args(arguments).current_dir(self.path()).env("HOME", home).output().unwrap();
        assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Manifests as kubectl reads them, for a component that is otherwise the same.
pub fn as_plain_manifests(text: &str, component: &Component) -> Vec<Value> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("all.yaml"), text).unwrap();
    let plain = Component { path: ".".parse().unwrap(), kind: Some(Kind::Yaml), helm: None, ..component.clone() };
    let preview = preview(&WorkingDirectory::new(directory.path()), &plain, &renderers()).unwrap();
    preview.into_objects().into_iter().map(|placed| placed.manifest.to_value()).collect()
}
