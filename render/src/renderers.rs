//! What rendering needs beside the tree: the launcher, the programs, what the cluster can do, keys and variables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tk8s_core::{ComponentName, OwnDeployment};

use crate::launcher::{Launcher, Limits, Programs, Task};
use crate::{AgeKeys, Error, Variables};

/// How the programs are found and run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The binary whose `launch` calls [`crate::launcher::child::main`]: the agent's own, by default. Its path in `/proc`
    /// also leads to it after it was replaced.
    pub binary: PathBuf,
    /// Where private directories are made.
    pub scratch: PathBuf,
    /// Where kustomize is, if it isn't in one of the directories.
    pub kustomize: Option<PathBuf>,
    /// Where Helm is, if it isn't in one of the directories.
    pub helm: Option<PathBuf>,
    /// Where programs are looked for.
    pub directories: Vec<PathBuf>,
    /// What a program may use.
    pub limits: Limits,
    /// What a component may bring.
    pub bounds: Bounds,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            binary: "/proc/self/exe".into(),
            scratch: std::env::temp_dir(),
            kustomize: None,
            helm: None,
            directories: Programs::usual_directories(),
            limits: Limits::default(),
            bounds: Bounds::default(),
        }
    }
}

/// What one component may bring. It bounds the memory that reading it takes: a file and the values.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of all its files.
    pub files: u64,
    /// Bytes of memory that its values take, once aliases are written out.
    pub values: usize,
    /// Its objects.
    pub objects: usize,
}

impl Default for Bounds {
    /// Several times the largest charts and bundles that people use; an API server takes 3 MiB as one object.
    fn default() -> Bounds {
        Bounds { file: 8 * MIB, files: 64 * MIB, values: 24 * MIB as usize, objects: 100_000 }
    }
}

const MIB: u64 = 1024 * 1024;

/// What a cluster can do, as far as charts ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// For example `v1.36.3`.
    pub kube_version: String,
    /// `group/version` and `group/version/Kind`, sorted.
    pub api_versions: Vec<String>,
}

/// The programs that render, ready to be run. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Renderers {
    pub(crate) launcher: Arc<Launcher>,
    pub(crate) programs: Arc<Programs>,
    pub(crate) capabilities: Option<Arc<Capabilities>>,
    pub(crate) keys: Arc<AgeKeys>,
    pub(crate) variables: Arc<Variables>,
    pub(crate) bounds: Bounds,
    pub(crate) own: Option<Arc<OwnDeployment>>,
}

impl Renderers {
    /// Nothing is looked for or started yet.
    pub fn new(options: Options) -> Renderers {
        Renderers {
            launcher: Arc::new(Launcher::new(options.binary, options.scratch, options.limits)),
            programs: Arc::new(Programs::new(options.kustomize, options.helm, options.directories)),
            capabilities: None,
            keys: Arc::default(),
            variables: Arc::default(),
            bounds: options.bounds,
            own: None,
        }
    }

    /// The same, for a component that has the agent's own Deployment: it is given the Deployment's trial.
    pub fn with_own(self, own: OwnDeployment) -> Renderers {
        Renderers { own: Some(Arc::new(own)), ..self }
    }

    /// The same, with keys for encrypted files.
    pub fn with_keys(self, keys: AgeKeys) -> Renderers {
        Renderers { keys: Arc::new(keys), ..self }
    }

    /// The same, with variables for components that substitute.
    pub fn with_variables(self, variables: Variables) -> Renderers {
        Renderers { variables: Arc::new(variables), ..self }
    }

    /// The same, for charts that ask what the cluster can do. Without it Helm says what it knows itself.
    pub fn with_capabilities(self, capabilities: Arc<Capabilities>) -> Renderers {
        Renderers { capabilities: Some(capabilities), ..self }
    }

    /// Runs a program, `kustomize` or `helm`, as it is run for components: where it is, and what it says of its version.
    pub fn try_program(&self, name: &'static str) -> Result<(PathBuf, String), Error> {
        let program = self.programs.find(name)?;
        let directory = self.launcher.directory()?;
        let nobody = "version".parse().expect("because it is a valid name");
        let arguments = vec!["version".into()];
        let task = Task { component: &nobody, name, program: &program.path, arguments, directory: &directory, input: None };
        let said = self.launcher.run(&task)?;
        Ok((program.path, tk8s_core::printable(String::from_utf8_lossy(&said).trim(), 200)))
    }

    /// How many processes were started for each component so far.
    pub fn started(&self) -> BTreeMap<ComponentName, u64> {
        self.launcher.started()
    }
}
