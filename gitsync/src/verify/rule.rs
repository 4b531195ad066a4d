//! The rules, by name: what refused a revision, and what to do about it.

/// Something that a rule refused. Not an error: what runs stays, and the next look judges anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The full ref, or what else was asked about.
    pub reference: String,
    /// The object that was judged.
    pub object: Option<String>,
    /// The rule.
    pub rule: Rule,
    /// What exactly was found.
    pub message: String,
}

impl Refusal {
    /// Whether nothing is wrong with what was refused: it is good, and for somebody else.
    pub fn is_for_others(&self) -> bool {
        self.rule == Rule::ApprovesElsewhere
    }
}

macro_rules! rules {
    ($($(#[$doc:meta])* $name:ident => $help:literal,)*) => {
        /// A rule that a revision can break. Its name is stable: it appears in status, ledger and docs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Rule {
            $($(#[$doc])* $name,)*
        }

        impl Rule {
            /// Every rule, for the docs.
            pub const ALL: &[Rule] = &[$(Rule::$name,)*];

            /// The stable name.
            pub fn reason(self) -> &'static str {
                match self { $(Rule::$name => stringify!($name),)* }
            }

            /// What to do about it.
            pub fn help(self) -> &'static str {
                match self { $(Rule::$name => $help,)* }
            }
        }
    };
}

rules! {
    /// No signature.
    Unsigned => "Sign it: `git commit -S` or `git tag -s`, with `gpg.format=ssh` and a key of the signers file.",
    /// The key is in no entry of the signers file.
    UnknownSigner => "Add the key to the signers file if its owner may sign, or sign again with a key that is in it.",
    /// The signature does not fit the bytes.
    BadSignature => "The object was changed after it was signed, or the signature is damaged: make it anew and sign it.",
    /// The signature was made for something else than Git.
    WrongNamespace => "Sign with Git itself; it uses the namespace `git`.",
    /// The signer is retired.
    RetiredSigner => "Somebody who is active has to sign: what a retired signer signed before stays good, nothing new does.",
    /// The signer is compromised.
    CompromisedSigner => "Nothing that this key signed counts. Somebody else has to review and sign.",
    /// The key, its certificate or the certificate's authority is in the revocation file.
    KeyRevoked => "Nothing that this key signed counts. Its owner has to sign again with another key, or somebody else has to.",
    /// The certificate of the key is not good.
    CertificateRefused => "Have the authority make a certificate for this person, without critical options, and sign again.",
    /// The key is not valid at this time.
    KeyNotValidNow => "Renew the key's validity in the signers file, or sign with a valid one. Our own clock decides.",
    /// The signer may not sign releases.
    RoleMissing => "Give the signer the role `release`, or have somebody sign who has it.",
    /// The Git host signed, and nobody else.
    ForgeSigner => "A person has to sign: what the Git host signs for its users proves who clicked to nobody but the host. Only its clean merges count, unless `trust.forge: all` says otherwise.",
    /// The Git host merged, and what came out is not what its parents say.
    NotACleanMerge => "Merge it yourself, and sign: `git merge -S`. The Git host's merges count where each file is as one of two signed parents has it.",
    /// More is new than is looked at.
    TooManyCommits => "Look at what is new yourself, and name the last commit of it in `trust.baseline`.",
    /// A signature of a kind that is not read.
    UnsupportedSignature => "Sign with Git itself, with an SSH key (`gpg.format=ssh`), with OpenPGP or with X.509.",
    /// The key is too weak, or of a kind that is not accepted.
    WeakKey => "Use ed25519, ECDSA P-256/384/521, RSA with at least 2,048 bits and SHA-2, or a security key and touch it.",
    /// The key was made for something else than signing.
    KeyUsage => "Sign with a key that is for signing, and list the certificate as its owner publishes it now.",
    /// The signature itself ended.
    SignatureExpired => "Sign again, without an end of the signature: when a key may sign is said in the signers file.",
    /// No log proves when a signature without a lasting key was made.
    NotLogged => "Sign with gitsign and its offline mode (`gitsign.rekorMode=offline`): it keeps the log's word in the signature.",
    /// The object is not as Git makes it.
    MalformedObject => "Make the object anew with Git. Something else made it, and it could be read in two ways.",
    /// A header occurs twice.
    DuplicateHeader => "Make the object anew with Git: a header that occurs twice can be read in two ways.",
    /// A signature header that is not known.
    UnknownSignatureHeader => "Remove the header: it is not covered by the signature and changes the object's id.",
    /// More than one signature.
    SecondSignature => "Sign once: with two signatures it is unclear which one counts.",
    /// Bytes after the signature.
    TrailingBytes => "Make the tag anew: what follows the signature is not signed.",
    /// The id is not the hash of the bytes.
    WrongObjectId => "The repository is damaged, or somebody exchanges objects. Fetch again and look at the server.",
    /// A tag that names another tag.
    NestedTag => "Tag the commit itself: `git tag -s v1.2.3 COMMIT`.",
    /// A tag that is not annotated.
    LightweightTag => "Make a signed annotated tag: `git tag -s v1.2.3`.",
    /// The name inside the tag is not the name of its ref.
    TagNameMismatch => "Push the tag under its own name: somebody put an old tag under a new one.",
    /// A ref under `approve/` that is no approval of a release.
    NotAnApproval => "Name approvals `approve/TAG/ROLE/SIGNER`, with a role of the signers file.",
    /// The approval is about something else.
    ApprovesAnother => "Approve the release's tag as it is now, under your own name.",
    /// The approval is for other environments or clusters.
    ApprovesElsewhere => "Nothing, if it is meant so. Otherwise approve it again, for this environment and cluster.",
    /// The approval's message can't be read.
    MalformedApproval => "Say `Environment: production` in the last lines of the message; `Clusters:` and `Expires:` may follow.",
    /// The approval has run out.
    ApprovalExpired => "Approve it again: delete the tag, and make a new one.",
    /// The tag is not a version.
    NotAVersion => "Name releases `v1.2.3`, those of one component `v1.2.3-web`, and candidates `v1.2.3-rc.1` or `v1.2.3-web-rc.1`. Other suffixes are not followed.",
    /// A tag of a component that the platform does not have.
    UnknownComponent => "Name a component of the platform file as it was released last, or release the platform first.",
    /// A component's tag that does not go on from what the component follows.
    NotAhead => "Tag a commit that descends from what the component follows, by its own last tag or the platform's: nothing takes it back.",
    /// The version is too far above the accepted one.
    VersionJump => "Release the next version instead. If the jump is meant, raise `trust.maxJump` until it is accepted.",
    /// The tagged commit is not on the release branch.
    NotOnReleaseBranch => "Tag a commit that is on the release branch (`repository.branch`).",
    /// A tag that was seen before now names something else.
    TagMoved => "Tags that were seen never move. Put it back, and release what is new under a new version; or `tk8s-agent accept` it.",
    /// The newest accepted tag is gone.
    TagVanished => "Push the tag again: what was released stays released; or `tk8s-agent accept` it.",
    /// The version is lower than the accepted one.
    VersionLower => "Versions only go up. To go back, use `tk8s-agent rollback`; to undo in Git, release the old content under a new version.",
    /// The branch does not descend from what was accepted.
    NotDescendant => "The branch was rewritten. Put it back, or merge what was accepted into it; or `tk8s-agent accept` it.",
    /// The branch does not descend from the baseline.
    NotOnBaseline => "Name a commit of this branch in `trust.baseline`: the one from which on every commit is signed.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_good_for_somebody_else_is_nobodys_fault() {
        for &rule in Rule::ALL {
            let refusal = Refusal { reference: "refs/tags/x".into(), object: None, rule, message: String::new() };
            assert_eq!(refusal.is_for_others(), rule.reason() == "ApprovesElsewhere", "{rule:?}");
        }
    }
}
