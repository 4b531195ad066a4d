//! The agent's file, and the files that it names: there, readable, of the right kind, and nobody else's to read.

use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tk8s_config::{AgentConfig, AuthConfig, TlsConfig, VariableConfig};
use tk8s_core::{Environment, Secret, Timestamp, chain};
use tk8s_gitsync::{DeployKey, Role, Signers};
use tk8s_history::IdentityKey;

use super::{Check, Installed, Outcome, read};
use crate::trust;

/// The shortest secret of a webhook that nobody guesses: 16 random bytes as digits have 32.
const SHORTEST_SECRET: usize = 16;
/// How long before its end a certificate is to be renewed.
const SOON: jiff::SignedDuration = jiff::SignedDuration::from_hours(14 * 24);

/// The agent's file.
pub(super) fn configuration(path: &Path) -> (Check, Option<AgentConfig>) {
    const CHECK: &str = "configuration";
    let place = path.display();
    let bytes = match read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let next = "name the agent's file with `--config FILE`; in its Pod it is /etc/tk8s/agent.yaml";
            return (Check::failed(CHECK, format!("`{place}` can't be read: {error}"), next), None);
        }
    };
    match AgentConfig::parse(&String::from_utf8_lossy(&bytes), &place.to_string()) {
        Ok(config) => {
            let AgentConfig { instance, cluster, environment, .. } = &config;
            let found = format!("`{place}`: instance {instance}, {environment}, on {cluster}");
            (Check::ok(CHECK, found), Some(config))
        }
        Err(problems) => {
            let next = "correct the lines above (docs/configuration.md); `tk8s-agent check --config FILE` tells the same";
            (Check::failed(CHECK, problems.to_string(), next), None)
        }
    }
}

/// What it names.
pub(super) fn examine(installed: &Installed<'_>) -> Vec<Check> {
    if installed.outside {
        let names = ["identity-key", "encryption-key", "git-credentials", "webhook-secret", "api-files", "rendering-files"];
        let mut checks: Vec<_> = names.iter().map(|name| Check::skipped(name, installed.only_there())).collect();
        checks.push(Check::skipped("signers", installed.only_there()));
        checks.push(Check::skipped("health-rules", installed.only_there()));
        return checks;
    }
    vec![
        identity_key(installed),
        encryption_key(installed),
        git_credentials(installed),
        webhook_secret(installed),
        api_files(installed),
        rendering_files(installed),
        signers(installed),
        health_rules(installed),
    ]
}

/// What is wrong with a file, and what to do.
#[derive(Debug, PartialEq, Eq)]
struct Wrong {
    outcome: Outcome,
    found: String,
    next: String,
}

impl Wrong {
    fn check(self, check: &'static str) -> Check {
        Check::of(check, self.outcome, self.found, Some(self.next))
    }
}

/// Reads a file that holds something secret. `make`: how it comes to be there.
fn secret(path: &Path, make: &str) -> Result<Secret, Wrong> {
    let place = path.display();
    let fail = |found: String, next: String| Wrong { outcome: Outcome::Failed, found, next };
    let bytes = read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => fail(format!("`{place}` is not there"), make.to_owned()),
        ErrorKind::PermissionDenied => fail(
            format!("`{place}` may not be read by this process (user {})", rustix::process::getuid().as_raw()),
            "mount the Secret with `defaultMode: 288` (0440), with `fsGroup` set to the agent's group".to_owned(),
        ),
        _ => fail(format!("`{place}` can't be read: {error}"), make.to_owned()),
    })?;
    if bytes.trim_ascii().is_empty() {
        return Err(fail(format!("`{place}` is empty"), make.to_owned()));
    }
    Ok(Secret::new(bytes))
}

/// Who besides its owner and its group may do something with a file.
fn open_to(mode: u32) -> Option<&'static str> {
    match mode {
        mode if mode & 0o022 != 0 => Some("others may write to it"),
        mode if mode & 0o004 != 0 => Some("everybody on this machine may read it"),
        _ => None,
    }
}

fn guarded(paths: &[&Path]) -> Result<(), Wrong> {
    for path in paths {
        let mode = std::fs::metadata(path).map_or(0, |found| found.mode());
        if let Some(why) = open_to(mode) {
            let next = format!("mount its Secret with `defaultMode: 288` (0440), or `chmod 0440 {}`", path.display());
            let found = format!("`{}` has the mode {:04o}: {why}", path.display(), mode & 0o7777);
            return Err(Wrong { outcome: Outcome::Warning, found, next });
        }
    }
    Ok(())
}

fn wrong(found: String, next: impl Into<String>) -> Wrong {
    Wrong { outcome: Outcome::Failed, found, next: next.into() }
}

fn told(check: &'static str, found: Result<String, Wrong>) -> Check {
    match found {
        Ok(found) => Check::ok(check, found),
        Err(wrong) => wrong.check(check),
    }
}

fn identity_key(installed: &Installed<'_>) -> Check {
    let (config, path) = (installed.config, &installed.config.history.identity_key_file);
    let files = "--from-file=identity.pem --from-file=encryption.key";
    let make = format!("`openssl genpkey -algorithm ed25519 -out identity.pem`, then {}", installed.secret("keys", files));
    told(
        "identity-key",
        (|| {
            let key = secret(path, &make)?;
            let public = IdentityKey::of(&crate::run::origin(config), &key);
            let public = public.map_err(|error| wrong(format!("`{}`: {error}", path.display()), make))?;
            guarded(&[path])?;
            Ok(format!("`{}` is the key {public}", path.display()))
        })(),
    )
}

fn encryption_key(installed: &Installed<'_>) -> Check {
    let path = &installed.config.history.encryption_key_file;
    let files = "--from-file=identity.pem --from-file=encryption.key";
    let make = format!("`openssl rand -hex 32 >encryption.key`, then {}", installed.secret("keys", files));
    told(
        "encryption-key",
        (|| {
            let key = secret(path, &make)?;
            tk8s_history::check_encryption_key(&key).map_err(|error| wrong(format!("`{}`: {error}", path.display()), make))?;
            guarded(&[path])?;
            Ok(format!("`{}` holds 32 bytes", path.display()))
        })(),
    )
}

fn git_credentials(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "git-credentials";
    let repository = &installed.config.repository;
    let from = |files: &str| format!("put it into the Secret: {}", installed.secret("git", files));
    let ca = || match &repository.ca_file {
        Some(path) => secret(path, "mount the certificates that `repository.caFile` names").map(drop),
        None => Ok(()),
    };
    let found = (|| match &repository.auth {
        None => ca().map(|()| None),
        Some(AuthConfig::Ssh { key_files, known_hosts_file }) => {
            let mut halves = Vec::new();
            for path in key_files {
                let key = secret(path, &from("--from-file=id --from-file=known_hosts"))?;
                let half = DeployKey::public_half_of(key.expose(), path);
                let next = "make one with `ssh-keygen -t ed25519 -N '' -C tk8s-agent -f id`, and register id.pub at the Git host";
                halves.push(half.map_err(|error| wrong(error.to_string(), next))?);
            }
            let hosts = "`ssh-keyscan HOST >known_hosts`, compare the fingerprints with what the host's owner publishes, and ";
            secret(known_hosts_file, &format!("{hosts}{}", from("--from-file=id --from-file=known_hosts")))?;
            guarded(&key_files.iter().map(AsRef::as_ref).collect::<Vec<_>>())?;
            Ok(Some(format!("logs in with {}", halves.join(" and "))))
        }
        Some(AuthConfig::Bearer { token_file: path } | AuthConfig::Basic { password_file: path, .. }) => {
            secret(path, &from("--from-file=token"))?;
            ca()?;
            guarded(&[path])?;
            Ok(Some(format!("`{}` holds what the Git host issued", path.display())))
        }
        Some(AuthConfig::GithubApp { private_key_file: path, app_id, .. }) => {
            secret(path, &from("--from-file=app.pem"))?;
            ca()?;
            guarded(&[path])?;
            Ok(Some(format!("`{}` holds the key of the GitHub App {app_id}", path.display())))
        }
    })();
    match found {
        Ok(Some(found)) => Check::ok(CHECK, found),
        Ok(None) => Check::skipped(CHECK, "no `repository.auth`: nobody logs in"),
        Err(wrong) => wrong.check(CHECK),
    }
}

fn webhook_secret(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "webhook-secret";
    let Some(webhook) = &installed.config.webhook else {
        return Check::skipped(CHECK, "no `webhook.secretFile`: Git is looked at once in `repository.interval`");
    };
    let path = &webhook.secret_file;
    let make =
        format!("`openssl rand -hex 32 >secret`, then {}, and mount it", installed.secret("webhook", "--from-file=secret"));
    told(
        CHECK,
        (|| {
            let found = secret(path, &make)?;
            let length = found.expose().trim_ascii().len();
            if length < SHORTEST_SECRET {
                let found = format!("`{}` has {length} characters: somebody could guess it", path.display());
                return Err(Wrong { outcome: Outcome::Warning, found, next: format!("{make}; tell the Git host the new one") });
            }
            guarded(&[path])?;
            Ok(format!("`{}` has {length} characters", path.display()))
        })(),
    )
}

fn api_files(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "api-files";
    let api = &installed.config.api;
    let mut seen = Vec::new();
    let found = (|| {
        if let Some(path) = &api.token_file {
            secret(path, "`openssl rand -hex 32` makes a token; or take `api.tokenFile` out: callers then show the cluster's")?;
            guarded(&[path])?;
            seen.push(format!("the token in `{}`", path.display()));
        }
        if let TlsConfig::Files { certificate, key } = &api.tls {
            let made = crate::endpoint::certificate::Certificates::new(&api.tls, &installed.namespace, "doctor");
            let next = "put a certificate and its key there, as cert-manager's Secrets have them (tls.crt, tls.key)";
            let made = made.map_err(|error| wrong(chain(&error), next))?;
            guarded(&[key])?;
            let good = made.and_then(|made| made.good());
            let until = good.map_or(Ok(String::new()), |good| lasting(certificate, &good, Timestamp::now()))?;
            seen.push(format!("the certificate in `{}`{until}", certificate.display()));
        }
        Ok(())
    })();
    match found {
        Err(wrong) => Wrong::check(wrong, CHECK),
        Ok(()) if seen.is_empty() => Check::skipped(CHECK, "the API has a certificate of its own making, and no token file"),
        Ok(()) => Check::ok(CHECK, seen.join(", ")),
    }
}

/// Until when a certificate is good, or that it isn't, or not for long. Whatever renews certificates does so in time.
fn lasting(path: &Path, good: &RangeInclusive<Timestamp>, now: Timestamp) -> Result<String, Wrong> {
    let (path, begins, ends) = (path.display(), good.start(), good.end());
    let next = "renew it: the agent reads the files again when they change";
    if now < *begins {
        return Err(wrong(format!("the certificate in `{path}` is good from {begins} on only"), next));
    } else if *ends <= now {
        return Err(wrong(format!("the certificate in `{path}` ended on {ends}: nobody believes it any more"), next));
    } else if *ends <= now + SOON {
        let found = format!("the certificate in `{path}` ends on {ends}");
        return Err(Wrong { outcome: Outcome::Warning, found, next: next.into() });
    }
    Ok(format!(", good until {ends}"))
}

fn rendering_files(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "rendering-files";
    let config = installed.config;
    let variables = config.variables.values().filter_map(|variable| match variable {
        VariableConfig::File(path) => Some(path),
        _ => None,
    });
    let (keys, variables): (Vec<_>, Vec<_>) = (config.sops.age_key_files.iter().collect(), variables.collect());
    if keys.is_empty() && variables.is_empty() {
        return Check::skipped(CHECK, "no age keys, and no variables from files");
    }
    told(
        CHECK,
        (|| {
            for path in &keys {
                let key = secret(path, "mount the Secret with the age key (`age-keygen -o`) that `sops.ageKeyFiles` names")?;
                if !String::from_utf8_lossy(key.expose()).contains("AGE-SECRET-KEY-") {
                    let found = format!("`{}` holds no age key", path.display());
                    return Err(wrong(found, "put what `age-keygen` printed there, with the line AGE-SECRET-KEY-..."));
                }
            }
            for path in &variables {
                secret(path, "mount the Secret with the value that `variables` takes from this file")?;
            }
            guarded(&keys.iter().chain(&variables).map(|path| path.as_path()).collect::<Vec<_>>())?;
            Ok(format!("{} files of age keys, {} of variables", keys.len(), variables.len()))
        })(),
    )
}

fn signers(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "signers";
    let config = installed.config;
    let policy = match trust::policy(config) {
        Ok(policy) => policy,
        Err(error) => {
            let next = format!(
                "put it into the ConfigMap {}-signers (docs/configuration.md, the signers file); nothing new is accepted before",
                installed.name()
            );
            return Check::failed(CHECK, chain(&error), next);
        }
    };
    let Some(signers) = trust::signers_of(&policy) else {
        return Check::skipped(CHECK, "signatures are waived, and nobody is listed (dev)");
    };
    let wanted = roles_wanted(config);
    let missing = missing(signers, &wanted, Timestamp::now());
    let have = |(role, _): &(Role, usize)| format!("{} for {}", signers.with_role(*role, Timestamp::now()), role.name());
    if missing.is_empty() {
        return Check::ok(CHECK, wanted.iter().map(have).collect::<Vec<_>>().join(", "));
    }
    let next = "add signers with these roles and `state: active` to the signers file, or ask for fewer (`trust.approvals`)";
    Check::failed(CHECK, format!("too few active signers: {}", missing.join(", ")), next)
}

/// Which roles somebody has to have, and how many of them.
fn roles_wanted(config: &AgentConfig) -> Vec<(Role, usize)> {
    let mut wanted = vec![(Role::RELEASE, 1)];
    if config.environment == Environment::Production {
        for (name, people) in config.trust.approvals.iter().flat_map(|approvals| &approvals.required) {
            wanted.extend(Role::ALL.into_iter().find(|role| role.name() == name).map(|role| (role, *people)));
        }
    }
    wanted
}

fn missing(signers: &Signers, wanted: &[(Role, usize)], now: Timestamp) -> Vec<String> {
    let lacks = |(role, people): &(Role, usize)| {
        let have = signers.with_role(*role, now);
        (have < *people).then(|| format!("{} needs {people}, and has {have}", role.name()))
    };
    wanted.iter().filter_map(lacks).collect()
}

fn health_rules(installed: &Installed<'_>) -> Check {
    const CHECK: &str = "health-rules";
    let Some(directory) = &installed.config.health.rules_dir else {
        return Check::skipped(CHECK, "no `health.rulesDir`: what is built in counts");
    };
    match crate::rules::read_dir(directory) {
        Ok(rules) => Check::ok(CHECK, format!("`{}` has {} rules", directory.display(), rules.len())),
        Err(error) => {
            Check::failed(CHECK, chain(&error), "correct the file (docs/health.md); `tk8s-agent health -f` tries rules")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owner_s_and_its_group_s() {
        for (mode, open) in
            [(0o400, false), (0o440, false), (0o600, false), (0o444, true), (0o604, true), (0o460, true), (0o666, true)]
        {
            assert_eq!(open_to(mode).is_some(), open, "{mode:o}");
        }
    }

    #[test]
    fn who_is_missing_is_told_by_role() {
        let file = "apiVersion: agent.tk8s.io/v1alpha1\nkind: Signers\nsigners:\n  - {name: a, roles: [release, security-officer], keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF1riIlWNwZXvMC/SMNmVYDATnTxe50tJa4inTFIwhRJ\"]}\n  - {name: b, state: retired, roles: [security-officer], keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti\"]}\n";
        let signers = Signers::parse(file.as_bytes(), "signers.yaml").unwrap();
        let officer = Role::ALL[2];
        assert_eq!(officer.name(), "security-officer");
        let now = Timestamp::now();
        assert_eq!(missing(&signers, &[(Role::RELEASE, 1), (officer, 1)], now), [""; 0]);
        assert_eq!(missing(&signers, &[(Role::RELEASE, 1), (officer, 2)], now), ["security-officer needs 2, and has 1"]);
    }
}
