//! What a fetch is told: where the repository is, how to get in, which refs, how much at most.

use std::path::PathBuf;
use std::time::Duration;

use tk8s_core::RepositoryUrl;

use crate::http::HttpsAccess;

/// What is fetched, from where, to where.
#[derive(Clone, Debug)]
pub struct Source {
    /// The repository.
    pub url: RepositoryUrl,
    /// Needed for SSH.
    pub ssh: Option<SshAuth>,
    /// For https: login, certificates, proxy.
    pub https: HttpsAccess,
    /// Whether `http:` and `git:` are spoken at all: anybody on the way can change what they bring.
    pub allow_insecure: bool,
    /// The directory of the bare mirror. Ours alone: it is deleted when it is broken.
    pub mirror: PathBuf,
    /// Which refs.
    pub follow: Follow,
    /// How much history.
    pub depth: Depth,
    /// For the whole fetch, from connecting to the last byte.
    pub timeout: Duration,
    /// How much is taken.
    pub limits: Limits,
}

impl Source {
    /// A source with no way in, whole history, and everything else by default.
    pub fn new(url: RepositoryUrl, mirror: PathBuf, follow: Follow) -> Source {
        Source {
            url,
            ssh: None,
            https: HttpsAccess::default(),
            allow_insecure: false,
            mirror,
            follow,
            depth: Depth::Full,
            timeout: Duration::from_secs(60),
            limits: Limits::default(),
        }
    }
}

/// How to log in over SSH. All files are read for each fetch, so that rotated ones are in force at once.
#[derive(Clone, Debug)]
pub struct SshAuth {
    /// OpenSSH private keys without a passphrase, tried in this order.
    pub key_files: Vec<PathBuf>,
    /// The hosts that are talked to, and their keys or authorities.
    pub known_hosts_file: PathBuf,
}

/// Which refs are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The head of a branch.
    Branch(String),
    /// Version tags (`v1.2.3`) whose commits are reachable from the release branch.
    Tags {
        /// For example `main`.
        release_branch: String,
        /// Whether what people say about releases is fetched too: tags below `approve/`.
        approvals: bool,
        /// Whether what other instances say about releases is: refs below `refs/tk8s/evidence/`.
        evidence: bool,
    },
}

impl Follow {
    /// The branch that is fetched in any case.
    pub(crate) fn branch(&self) -> &str {
        match self {
            Follow::Branch(branch) => branch,
            Follow::Tags { release_branch, .. } => release_branch,
        }
    }

    /// What the tags that are followed begin with.
    pub(crate) fn tags(&self) -> impl Iterator<Item = &'static str> {
        let (versions, approvals) = match self {
            Follow::Branch(_) => (false, false),
            Follow::Tags { approvals, .. } => (true, *approvals),
        };
        [(versions, "v"), (approvals, crate::verify::APPROVALS)].into_iter().filter_map(|(is, prefix)| is.then_some(prefix))
    }

    /// What the refs with other instances' words begin with, where they are followed.
    pub(crate) fn evidence(&self) -> Option<&'static str> {
        matches!(self, Follow::Tags { evidence: true, .. }).then_some(crate::evidence::EVIDENCE)
    }

    /// Whether this ref is one of those that are followed, by its full name.
    pub(crate) fn includes(&self, name: &str) -> bool {
        let branch = name.strip_prefix("refs/heads/").is_some_and(|short| short == self.branch());
        branch
            || self.tags().any(|prefix| name.starts_with(&format!("refs/tags/{prefix}")))
            || self.evidence().is_some_and(|prefix| name.starts_with(prefix))
    }

    /// What is asked of the server, by full names; `+` so that a ref that moved is seen as moved.
    pub(crate) fn refspecs(&self) -> Vec<String> {
        let branch = self.branch();
        let mut specs = vec![format!("+refs/heads/{branch}:refs/heads/{branch}")];
        specs.extend(self.tags().map(|prefix| format!("+refs/tags/{prefix}*:refs/tags/{prefix}*")));
        specs.extend(self.evidence().map(|prefix| format!("+{prefix}*:{prefix}*")));
        specs
    }
}

/// How much history is fetched.
///
/// Rules that compare with what was accepted before walk the history, and are refused without it. Nothing walks it in
/// `dev`, where branches are rewritten every day: only there the head alone is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All of it.
    Full,
    /// The newest commit only.
    Head,
}

/// How much is taken from a server. More than any of these is an error that names the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one fetch, as they come over the network.
    pub fetch_bytes: u64,
    /// Bytes of the mirror on disk. A larger one is fetched again from nothing, which leaves out what nothing names.
    pub mirror_bytes: u64,
    /// Objects of one fetch.
    pub objects: u32,
    /// Bytes of one object, unpacked.
    pub object_bytes: u64,
    /// Bytes of unpacked objects that resolving deltas holds at once.
    pub delta_bytes: u64,
    /// Bytes of all objects of one fetch, unpacked.
    pub unpacked_bytes: u64,
    /// Refs that a server shows.
    pub refs: usize,
    /// Commits that are walked to prove that one descends from another.
    pub commits: usize,
    /// How long a server may be silent.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        const MIB: u64 = 1024 * 1024;
        Limits {
            fetch_bytes: 512 * MIB,
            mirror_bytes: 2048 * MIB,
            objects: 1_000_000,
            object_bytes: 16 * MIB,
            delta_bytes: 32 * MIB,
            unpacked_bytes: 8192 * MIB,
            refs: 10_000,
            commits: 1_000_000,
            stall: Duration::from_secs(30),
        }
    }
}
