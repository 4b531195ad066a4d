//! Which commits and tags count, in histories that the real `git` makes as people and Git hosts do.

mod components;
mod forge;
mod range;
mod versions;

use tk8s_core::Trust;
use tk8s_gitsync::{
    Accepted, Commits, Follow, ForgeCommits, Policy, ProductionPolicy, Rule, Signers, Source, StagingPolicy, Verification,
    Versions, fetch, verify,
};

use crate::support::{KeyType, Repository, Signer};

/// A repository that people push to, on a Git host with a key of its own.
pub struct Story {
    pub repository: Repository,
    pub alice: Signer,
    pub bob: Signer,
    pub host: Signer,
}

impl Story {
    /// Begins with a commit that alice signed.
    pub fn new() -> Story {
        Story::of_format("sha1")
    }

    /// With objects named by `sha1` or `sha256`.
    pub fn of_format(format: &str) -> Story {
        let repository = Repository::of_format(format);
        let [alice, bob, host] = ["alice", "bob", "host"].map(|name| Signer::new(repository.home(), name, KeyType::Ed25519));
        let story = Story { repository, alice, bob, host };
        story.commit("base.yaml", "a: 1\n", Some(&story.alice));
        story
    }

    /// Alice and bob release; the host is what its kind says.
    pub fn signers(&self) -> Signers {
        self.signers_where("nobody", "active")
    }

    /// The same, one of whom is in another state.
    pub fn signers_where(&self, name: &str, state: &str) -> Signers {
        let entry = |kind: &str, signer: &Signer| {
            let state = if signer.name == name { state } else { "active" };
            let (name, key) = (&signer.name, &signer.public);
            format!("  - {{name: {name}, kind: {kind}, state: {state}, roles: [release], keys: ['{key}']}}\n")
        };
        let entries = [entry("person", &self.alice), entry("person", &self.bob), entry("forge", &self.host)];
        let text = format!("apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n{}", entries.concat());
        Signers::parse(text.as_bytes(), "signers").unwrap()
    }

    pub fn commit(&self, path: &str, text: &str, signer: Option<&Signer>) -> String {
        self.repository.write(path, text);
        self.repository.commit_only(&format!("change {path}"), signer)
    }

    pub fn git(&self, arguments: &[&str]) -> String {
        self.repository.git(arguments)
    }

    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn branch(&self, name: &str, from: &str) {
        self.git(&["checkout", "-q", "-b", name, from]);
    }

    pub fn back_to_main(&self) {
        self.git(&["checkout", "-q", "main"]);
    }

    /// What the button of a Git host does: a merge commit, signed with this key.
    pub fn merge(&self, branch: &str, signer: Option<&Signer>, more: &[&str]) -> String {
        let arguments = ["merge", "-q", "--no-ff", "-m", "Merge pull request #1", branch];
        match signer {
            Some(signer) => self.repository.git_signed(signer, &[&arguments[..], &["-S"], more].concat()),
            None => self.git(&[&arguments[..], more].concat()),
        };
        self.head()
    }

    pub fn push(&self) -> String {
        self.git(&["push", "-q", "--force", "origin", "main"]);
        self.head()
    }

    pub fn source(&self, follow: Follow) -> Source {
        let url = format!("file://{}", self.repository.bare.display()).parse().unwrap();
        Source::new(url, self.repository.home().join("mirror.git"), follow)
    }

    /// What staging says once main is pushed, after `accepted`.
    pub fn staging(&self, commits: Commits, accepted: Option<&str>) -> Verification {
        self.staging_by(self.signers(), commits, accepted)
    }

    pub fn staging_by(&self, signers: Signers, commits: Commits, accepted: Option<&str>) -> Verification {
        self.push();
        let accepted = Accepted { head: accepted.map(|id| id.parse().unwrap()), ..Accepted::default() };
        let policy = Policy::Staging(StagingPolicy { signers, commits });
        verify(&fetch(&self.source(Follow::Branch("main".into()))).unwrap(), &policy, &accepted).unwrap()
    }

    /// What production says of the tags that are there.
    pub fn production(&self, versions: Versions, accepted: &Accepted) -> Verification {
        self.production_by(self.signers(), versions, accepted)
    }

    pub fn production_by(&self, signers: Signers, versions: Versions, accepted: &Accepted) -> Verification {
        self.push();
        let policy = Policy::Production(ProductionPolicy { signers, approvals: None, versions });
        let follow = Follow::Tags { release_branch: "main".into(), approvals: false, evidence: false };
        verify(&fetch(&self.source(follow)).unwrap(), &policy, accepted).unwrap()
    }

    /// A change that alice signs, and a tag on it that she signs too.
    pub fn release(&self, tag: &str) {
        self.commit("base.yaml", &format!("a: {tag}\n"), Some(&self.alice));
        self.repository.tag(tag, Some(&self.alice));
    }
}

pub fn since(baseline: &str) -> Commits {
    Commits::Range { baseline: baseline.parse().unwrap() }
}

/// The only refusal there is, and the object that it names.
#[track_caller]
pub fn refusal(verification: &Verification) -> (Rule, &str, &str) {
    assert!(verification.revision.is_none());
    let [refusal] = verification.refused.as_slice() else { panic!("{:?}", verification.refused) };
    (refusal.rule, refusal.object.as_deref().unwrap_or_default(), refusal.message.as_str())
}

/// Who signed what was accepted.
#[track_caller]
pub fn signer(verification: &Verification) -> &str {
    let revision = verification.revision.as_ref().unwrap_or_else(|| panic!("{:?}", verification.refused));
    match revision.trust() {
        Trust::Signed { signer, .. } => signer,
        Trust::Waived { .. } => panic!("it was waived"),
    }
}

pub fn taking_all(signers: Signers) -> Signers {
    signers.taking(ForgeCommits::All)
}
