//! From the agent's file to the policy that revisions are verified by, and from history to what was accepted before.

use std::collections::BTreeSet;
use std::path::Path;

use tk8s_config::{AgentConfig, ApprovalsConfig, ExcludeConfig, RefsConfig};
use tk8s_core::{Environment, Timestamp, Trust};
use tk8s_gitsync::{
    Accepted, AcceptedComponent, ApprovalPolicy, ApprovalRules, Commits, DevPolicy, Exclusion, ForgeCommits, MaxJump, Missing,
    Policy, ProductionPolicy, Revocations, Role, SeenTag, Signers, StagingPolicy, Versions, Waiver,
};
use tk8s_history::History;

use crate::disk::disk;
use crate::error::Error;

/// The policy, with the signers and what is revoked as their files are now: read for each look at Git, so that a change is in
/// force at once. A file that can't be read is an error, and nothing new is accepted until it can be.
pub fn policy(config: &AgentConfig) -> Result<Policy, Error> {
    let refs = &config.trust.refs;
    let signers = match &config.trust.signers_file {
        Some(path) => {
            let bytes =
                std::fs::read(path).map_err(|source| Error::ReadFile { what: "signers file", path: path.clone(), source })?;
            let forge = if refs.all_of_forge { ForgeCommits::All } else { ForgeCommits::Merges };
            Some(signers(&bytes, path, config.trust.revocation_file.as_deref())?.taking(forge))
        }
        None => None,
    };
    let needed = || Error::NoSigners(config.environment);
    Ok(match config.environment {
        Environment::Dev => {
            let waive = config.trust.waive.as_ref().map(|waive| Waiver::new(&waive.reason)).transpose()?;
            Policy::Dev(DevPolicy { signers, waive })
        }
        Environment::Staging => {
            let commits = refs.baseline.clone().map_or(Commits::Head, |baseline| Commits::Range { baseline });
            Policy::Staging(StagingPolicy { signers: signers.ok_or_else(needed)?, commits })
        }
        Environment::Production => {
            let approvals = config.trust.approvals.as_ref().map(|approvals| {
                let cluster = config.cluster.clone();
                ApprovalPolicy { rules: rules(approvals), cluster }
            });
            Policy::Production(ProductionPolicy { signers: signers.ok_or_else(needed)?, approvals, versions: versions(refs) })
        }
    })
}

fn versions(refs: &RefsConfig) -> Versions {
    let (given, default) = (&refs.max_jump, MaxJump::default());
    let max_jump = MaxJump {
        major: given.major.unwrap_or(default.major),
        minor: given.minor.unwrap_or(default.minor),
        patch: given.patch.unwrap_or(default.patch),
    };
    Versions { pre_releases: refs.pre_releases, max_jump }
}

/// Who may sign by the bytes of a signers file, without what is revoked.
pub fn signers(bytes: &[u8], file: &Path, revocation_file: Option<&Path>) -> Result<Signers, Error> {
    let signers = Signers::parse(bytes, &file.display().to_string())?;
    Ok(match revocation_file {
        Some(path) => signers.revoking(Revocations::read(path)?),
        None => signers,
    })
}

fn rules(approvals: &ApprovalsConfig) -> ApprovalRules {
    let role = |name: &String| Role::ALL.into_iter().find(|role| role.name() == name);
    let required = approvals.required.iter().filter_map(|(name, &people)| Some((role(name)?, people))).collect();
    let exclude = match approvals.exclude {
        ExcludeConfig::TagSigner => Exclusion::TagSigner,
        ExcludeConfig::Head => Exclusion::Head,
        ExcludeConfig::Range => Exclusion::Range,
    };
    ApprovalRules { required, exclude, several_roles: approvals.several_roles, break_glass: approvals.break_glass }
}

/// Who is still missing, for people: `security-officer (1 of 2)`.
pub fn still_missing(missing: &[Missing]) -> String {
    missing.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Everybody who may sign, with what is revoked, as the files are now; none where nobody has to.
pub fn all_signers(config: &AgentConfig) -> Result<Option<Signers>, Error> {
    policy(config).map(|policy| signers_of(&policy).cloned())
}

/// Everybody who may sign by a policy.
pub fn signers_of(policy: &Policy) -> Option<&Signers> {
    match policy {
        Policy::Dev(policy) => policy.signers.as_ref(),
        Policy::Staging(policy) => Some(&policy.signers),
        Policy::Production(policy) => Some(&policy.signers),
    }
}

/// Why nobody believes any more what was signed once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// Everything of this signer.
    #[error("{0}, who signed it, is marked as compromised since")]
    Signer(String),
    /// Everything by this key.
    #[error("the key {0} that signed it is revoked since")]
    Key(String),
}

impl From<Disbelief> for Error {
    fn from(why: Disbelief) -> Error {
        match why {
            Disbelief::Signer(name) => Error::CompromisedSigner(name),
            Disbelief::Key(fingerprint) => Error::KeyRevoked(fingerprint),
        }
    }
}

/// Whether what was signed once is still believed: none of its signers is compromised, and the commit's key is not revoked.
pub fn is_believed(signers: &Signers, trust: &Trust) -> Result<(), Disbelief> {
    let Trust::Signed { signer, fingerprint, tag_signer, .. } = trust else { return Ok(()) };
    if signers.is_revoked(fingerprint) {
        return Err(Disbelief::Key(fingerprint.clone()));
    }
    match [Some(signer), tag_signer.as_ref()].into_iter().flatten().find(|name| signers.is_compromised(name)) {
        None => Ok(()),
        Some(name) => Err(Disbelief::Signer(name.clone())),
    }
}

/// Refuses to begin what was accepted and has waited since, if one of those who signed it is marked as compromised by now, the
/// commit's key is revoked, or approvals have run out or are not good any more. `let_in`: a person let it in without approvals.
pub fn still_counts(config: &AgentConfig, trust: &Trust, let_in: bool) -> Result<(), Error> {
    let Trust::Signed { approvals, .. } = trust else { return Ok(()) };
    let policy = policy(config)?;
    let Some(signers) = signers_of(&policy) else { return Ok(()) };
    is_believed(signers, trust)?;
    let asked = match &policy {
        Policy::Production(policy) => policy.approvals.as_ref(),
        Policy::Dev(_) | Policy::Staging(_) => None,
    };
    let Some(ApprovalPolicy { rules, .. }) = asked.filter(|_| !let_in) else { return Ok(()) };
    let is_good = |signer: &String, fingerprint: &str| !signers.is_compromised(signer) && !signers.is_revoked(fingerprint);
    let good: Vec<_> = approvals.iter().filter(|approval| is_good(&approval.signer, &approval.fingerprint)).cloned().collect();
    // Whoever made the release is not among those who were written down.
    match rules.missing(&good, &BTreeSet::new(), Timestamp::now()) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(Error::ApprovalsMissing(still_missing(&missing))),
    }
}

/// What was accepted before, as verification asks for it.
pub fn accepted(history: &History) -> Accepted {
    let known = disk(|| history.accepted());
    let version = known
        .revision
        .as_ref()
        .and_then(|revision| revision.tag.as_ref())
        .and_then(|tag| tag.name.strip_prefix('v')?.parse().ok());
    let tags = known
        .tags
        .into_iter()
        .map(|(name, seen)| (name, SeenTag { tag: seen.tag, commit: seen.commit, tree: seen.tree }))
        .collect();
    let standing = known.revision.clone().zip(known.trust);
    let let_in = disk(|| history.broken_glass()).into_iter().map(|glass| glass.tag.id).collect();
    let incidents = disk(|| history.incidents()).into_iter().filter(|known| known.accepted.is_some());
    let incidents = incidents.map(|known| known.incident.id).collect();
    let components = known.components.into_iter().map(|(name, own)| {
        let tk8s_history::AcceptedComponent { revision, trust, ahead } = own;
        (name, AcceptedComponent { revision, trust, ahead })
    });
    Accepted { head: known.head, version, tags, let_in, standing, incidents, components: components.collect(), passed: None }
}

/// A tag at first sight, as history writes it down.
pub fn seen(tag: &SeenTag) -> tk8s_history::SeenTag {
    tk8s_history::SeenTag { tag: tag.tag.clone(), commit: tag.commit.clone(), tree: tag.tree.clone() }
}

#[cfg(test)]
mod tests {
    use tk8s_core::Classified as _;

    use super::*;

    #[test]
    fn a_revocation_file_that_is_missing_or_broken_gives_no_policy_and_one_that_is_mended_does() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str| directory.path().join(name);
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
        std::fs::write(file("signers"), key).unwrap();
        let trust = format!(
            "{{signersFile: {}, revocationFile: {}, commits: head}}",
            file("signers").display(),
            file("revoked").display()
        );
        let text = format!(
            "apiVersion: agent.tk8s.io/v1alpha1\nkind: AgentConfig\ncluster: c\nenvironment: staging\nrepository: {{url: 'https://h/x'}}\ntrust: {trust}\nhistory: {{dir: /d, identityKeyFile: /i, encryptionKeyFile: /k}}\n"
        );
        let config = AgentConfig::parse(&text, "x").unwrap();
        let reason = || policy(&config).map(|_| ()).map_err(|error| error.reason());
        assert_eq!(reason(), Err("FileUnreadable"));
        for broken in ["ssh-ed25519 AAAA", "SSHKRL\n\0", "-----BEGIN PGP PUBLIC KEY BLOCK-----"] {
            std::fs::write(file("revoked"), broken).unwrap();
            assert_eq!(reason(), Err("RevocationsRefused"), "{broken}");
        }
        let trust = Trust::Signed {
            signer: "alice".into(),
            fingerprint: "SHA256:UCUiLr7Pjs9wFFJMDByLgc3NrtdU344OgUM45wZPcIQ".into(),
            tag_signer: None,
            approvals: Vec::new(),
        };
        std::fs::write(file("revoked"), "# nobody\n").unwrap();
        assert_eq!((reason(), still_counts(&config, &trust, false).map_err(|error| error.reason())), (Ok(()), Ok(())));
        // What was accepted and waits is not begun any more.
        std::fs::write(file("revoked"), format!("# stolen\n{key}\n")).unwrap();
        assert_eq!((reason(), still_counts(&config, &trust, false).map_err(|error| error.reason())), (Ok(()), Err("KeyRevoked")));
    }
}
