//! One approval: a signed annotated tag `approve/{release tag}/{role}/{signer}` that points at the release's tag object.
//!
//! As it points at the tag object, it is about exactly these bytes: tag, commit and tree. What it is for besides stands in
//! the trailers of its message: `Environment:`, which is needed, `Clusters:` (globs, separated by commas; all if it is
//! missing) and `Expires:` (a time with a zone, or a day, whose end in UTC is meant). `git tag -s` makes one; nothing else is
//! needed.

use globset::Glob;
use tk8s_core::{ApprovedBy, Environment, TagId, Timestamp};

use crate::verify::object::{Parsed, What};
use crate::verify::signature::{self, Asked, Broken};
use crate::verify::{Role, Rule, SignerKind, Signers};

/// What every approval's ref begins with, below `refs/tags/`.
pub(crate) const PREFIX: &str = "approve/";

/// What an approval is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// The release's tag, as its ref calls it.
    pub(crate) release: &'a str,
    /// The release's tag object.
    pub(crate) tag: &'a TagId,
    /// Where it is to run.
    pub(crate) environment: Environment,
    /// The name of the cluster that it is to run on.
    pub(crate) cluster: &'a str,
}

/// What the ref of an approval is called, below `refs/tags/`.
pub fn approval_name(release: &str, role: &str, signer: &str) -> Result<String, String> {
    if !Role::ALL.into_iter().any(|known| known.name() == role) {
        let all: Vec<_> = Role::ALL.into_iter().map(Role::name).collect();
        return Err(format!("there is no role `{}`: there are `{}`", tk8s_core::printable(role, 40), all.join("`, `")));
    }
    let name = format!("{PREFIX}{release}/{role}/{signer}");
    match named(&name, release) {
        Some(_) => Ok(name),
        None => Err(format!("`{}` can't be part of a ref's name", tk8s_core::printable(signer, 80))),
    }
}

/// Why a message is none of an approval, if so.
pub fn check_approval(message: &str) -> Result<(), String> {
    terms(message.as_bytes()).map(|_| ()).map_err(|(_, message)| message)
}

/// The role and the signer that the name of an approval's ref says, if it is one of this release's.
pub(crate) fn named<'a>(name: &'a str, release: &str) -> Option<(&'a str, &'a str)> {
    let (role, signer) = name.strip_prefix(PREFIX)?.strip_prefix(release)?.strip_prefix('/')?.split_once('/')?;
    (!role.is_empty() && !signer.is_empty() && !signer.contains('/')).then_some((role, signer))
}

/// Judges one approval. `name` is its ref's below `refs/tags/`, `id` the object that the ref names.
pub(crate) fn judge(
    name: &str,
    id: &str,
    parsed: &Parsed,
    wanted: Wanted<'_>,
    signers: &Signers,
    now: Timestamp,
) -> Result<ApprovedBy, Broken> {
    let refuse = |rule, message: String| Err((rule, message));
    let Some((role, person)) = named(name, wanted.release) else {
        return refuse(Rule::NotAnApproval, format!("approvals are called `{PREFIX}{}/ROLE/SIGNER`", wanted.release));
    };
    let Some(role) = Role::ALL.into_iter().find(|known| known.name() == role) else {
        return refuse(Rule::NotAnApproval, format!("no rule knows the role `{}`", tk8s_core::printable(role, 40)));
    };
    let What::TagOfTag { name: inside, tag } = &parsed.what else {
        let message = format!("it does not point at the tag `{}`: a commit says nothing of a release", wanted.release);
        return refuse(Rule::ApprovesAnother, message);
    };
    if inside != name {
        return refuse(Rule::TagNameMismatch, format!("the tag object calls itself `{}`", tk8s_core::printable(inside, 80)));
    }
    if tag != wanted.tag {
        let message = format!("it is about another tag `{}`, {}; now it is {}", wanted.release, tag.short(), wanted.tag.short());
        return refuse(Rule::ApprovesAnother, message);
    }
    let signed = signature::verify(parsed.payload(), parsed.signature()?, signers, Asked::new(role, now))?;
    if signed.kind == SignerKind::Forge {
        return refuse(Rule::ForgeSigner, format!("{} is a forge, which approves nothing", signed.signer));
    }
    if signed.signer != person {
        let person = tk8s_core::printable(person, 80);
        return refuse(Rule::ApprovesAnother, format!("it is called `{person}`'s, and {} signed it", signed.signer));
    }
    let Terms { environment, clusters, expires } = terms(parsed.message())?;
    if environment != wanted.environment {
        return refuse(Rule::ApprovesElsewhere, format!("it is for `{environment}`"));
    }
    let here = |glob: &String| Glob::new(glob).is_ok_and(|glob| glob.compile_matcher().is_match(wanted.cluster));
    if clusters.as_ref().is_some_and(|clusters| !clusters.iter().any(here)) {
        return refuse(Rule::ApprovesElsewhere, format!("it is for other clusters than `{}`", wanted.cluster));
    }
    if let Some(expires) = expires.filter(|expires| *expires <= now) {
        return refuse(Rule::ApprovalExpired, format!("it was good until {expires}"));
    }
    let tag = id.parse().map_err(|_| (Rule::MalformedObject, "its ref names something that is no id".to_owned()))?;
    Ok(ApprovedBy { role: role.name().into(), signer: signed.signer, fingerprint: signed.fingerprint, tag, expires })
}

/// What an approval is for.
#[derive(Debug, PartialEq, Eq)]
struct Terms {
    environment: Environment,
    clusters: Option<Vec<String>>,
    expires: Option<Timestamp>,
}

/// The longest list of clusters.
const MOST_CLUSTERS: usize = 100;

/// Reads the trailers: the lines `Key: value` of the message's last paragraph. One of ours that can't be read, or stands there
/// twice, refuses the approval: it would be good for more than was meant.
fn terms(message: &[u8]) -> Result<Terms, Broken> {
    let malformed = |message: String| (Rule::MalformedApproval, message);
    let message = std::str::from_utf8(message).map_err(|_| malformed("its message is not UTF-8".into()))?;
    let last = message.trim_end().rsplit("\n\n").next().unwrap_or_default();
    let (mut environment, mut clusters, mut expires) = (None, None, None);
    for line in last.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        let twice = match key.to_ascii_lowercase().as_str() {
            "environment" => environment.replace(place(value).map_err(malformed)?).is_some(),
            "clusters" => clusters.replace(globs(value).map_err(malformed)?).is_some(),
            "expires" => expires.replace(end(value).map_err(malformed)?).is_some(),
            _ => false,
        };
        if twice {
            return Err(malformed(format!("it says `{key}:` twice")));
        }
    }
    let environment = environment.ok_or_else(|| malformed("it does not say for which `Environment:` it is".into()))?;
    Ok(Terms { environment, clusters, expires })
}

fn place(value: &str) -> Result<Environment, String> {
    let all = [Environment::Dev, Environment::Staging, Environment::Production];
    let found = all.into_iter().find(|environment| environment.to_string() == value);
    found.ok_or_else(|| format!("`{}` is no environment", tk8s_core::printable(value, 40)))
}

fn globs(value: &str) -> Result<Vec<String>, String> {
    let globs: Vec<_> = value.split(',').map(|glob| glob.trim().to_owned()).collect();
    let bad = globs.iter().find(|glob| glob.is_empty() || Glob::new(glob).is_err());
    match bad {
        _ if globs.len() > MOST_CLUSTERS => Err(format!("it names more than {MOST_CLUSTERS} clusters")),
        Some(bad) => Err(format!("`{}` is no name of a cluster", tk8s_core::printable(bad, 40))),
        None => Ok(globs),
    }
}

/// A time with its zone, or a day, of which the end is meant.
fn end(value: &str) -> Result<Timestamp, String> {
    let at_the_end_of_the_day = || format!("{value}T23:59:59Z").parse();
    let parsed: Result<Timestamp, _> = if value.len() == 10 { at_the_end_of_the_day() } else { value.parse() };
    let shown = tk8s_core::printable(value, 40);
    parsed.map_err(|_| format!("`{shown}` is no time: write `2026-12-31` or `2026-12-31T18:00:00Z`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_says_release_role_and_person() {
        assert_eq!(named("approve/v1.2.0/security-officer/alice", "v1.2.0"), Some(("security-officer", "alice")));
        for name in [
            "approve/v1.2.0/security-officer",
            "approve/v1.2.0/security-officer/",
            "approve/v1.2.0//alice",
            "approve/v1.2.0/security-officer/alice/again",
            "approve/v1.2.00/security-officer/alice",
            "approve/v1.2/security-officer/alice",
            "v1.2.0/security-officer/alice",
        ] {
            assert_eq!(named(name, "v1.2.0"), None, "{name}");
        }
    }

    #[test]
    fn a_name_is_made_of_roles_that_there_are_and_people_who_can_be_named() {
        assert_eq!(approval_name("v1.2.0", "security-officer", "alice"), Ok("approve/v1.2.0/security-officer/alice".into()));
        for (role, signer, said) in [
            ("boss", "alice", "there is no role `boss`"),
            ("release ", "alice", "there is no role `release `"),
            ("security-officer", "", "`` can't be part"),
            ("security-officer", "alice/bob", "`alice/bob` can't be part"),
        ] {
            let why = approval_name("v1.2.0", role, signer).unwrap_err();
            assert!(why.contains(said), "{why}");
        }
        assert_eq!(check_approval("Fine.\n\nEnvironment: production"), Ok(()));
        assert!(check_approval("Fine.").unwrap_err().contains("Environment"));
    }

    #[test]
    fn as_many_clusters_are_named_as_may_be() {
        let of = |number: usize| read(&format!("Environment: production\nClusters: {}", vec!["c"; number].join(",")));
        assert_eq!(of(MOST_CLUSTERS).unwrap().clusters.unwrap().len(), MOST_CLUSTERS);
        for more in [1, 2] {
            assert_eq!(of(MOST_CLUSTERS + more), Err(Rule::MalformedApproval));
        }
    }

    fn read(message: &str) -> Result<Terms, Rule> {
        terms(message.as_bytes()).map_err(|(rule, _)| rule)
    }

    #[test]
    fn what_an_approval_is_for_stands_in_its_last_lines() {
        let all = "Looked at it.\n\nEnvironment: production\nClusters: prod-eu-*, prod-us-1\nExpires: 2026-12-31\nSigned-off-by: Alice <a@b>\n";
        let expected = Terms {
            environment: Environment::Production,
            clusters: Some(vec!["prod-eu-*".into(), "prod-us-1".into()]),
            expires: Some("2026-12-31T23:59:59Z".parse().unwrap()),
        };
        assert_eq!(read(all), Ok(expected));
        let least = read("environment: staging").unwrap();
        assert_eq!((least.environment, least.clusters, least.expires), (Environment::Staging, None, None));
    }

    #[test]
    fn what_can_be_read_as_more_than_was_meant_is_refused() {
        for message in [
            "",
            "fine",
            "Environment: production\n\nand a last word",
            "Environment: everywhere",
            "Environment: staging\nEnvironment: production",
            "Environment: production\nClusters: a,,b",
            "Environment: production\nClusters: [",
            "Environment: production\nExpires: tomorrow",
            "Environment: production\nExpires: 2026-02-30",
            "Environment: production\nExpires: 2026-12-31T18:00:00",
            "Environment: production\nExpires: 2026-12-31\nexpires: 2027-12-31",
        ] {
            assert_eq!(read(message), Err(Rule::MalformedApproval), "{message}");
        }
        assert!(terms(b"Environment: production\xff").is_err());
    }
}
