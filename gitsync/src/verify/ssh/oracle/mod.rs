//! The oracle: `ssh-keygen -Y verify` is asked the same as we are, for cases of everything that can be combined. Where it says
//! no, so do we. Where it says yes and we don't, a row of the table in `docs/security.md` says why, and has a test of its own.
//!
//! `TK8S_ORACLE_CASES` asks for more cases, `TK8S_ORACLE_SEED` for others; what fails prints both, and the whole case.

mod generator;
mod stricter;
mod workshop;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use generator::{Case, Numbers};
use tk8s_core::Timestamp;
use workshop::{MESSAGE, Workshop, ssh_keygen, written};

use super::{NAMESPACE, Revocations, allowed_signers, key, proven};
use crate::Error;
use crate::verify::signature::{Asked, Broken};
use crate::verify::signers::{Credential, Fit, Signer};
use crate::verify::{Role, Rule, Signers, Trail};

const CASES: u64 = 2000;
const SEED: u64 = 0x7468_6b38;

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn verdicts_are_those_of_ssh_keygen_or_stricter_by_a_row_of_the_table() {
    let (cases, seed) = (number("TK8S_ORACLE_CASES", CASES), number("TK8S_ORACLE_SEED", SEED));
    let workshop = Workshop::open();
    let (next, census) = (AtomicU64::new(0), Mutex::new(Census::default()));
    let failures = Mutex::new(BTreeMap::new());
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let directory = tempfile::tempdir_in(workshop.home.path()).unwrap();
                let mut own = Census::default();
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= cases {
                        break;
                    }
                    let case = generator::case(&mut Numbers::of(seed, at), &workshop);
                    if let Err(why) = compare(&case, &workshop, directory.path(), &mut own) {
                        failures.lock().unwrap().insert(at, format!("case {at}: {why}\n{}", shown(&case, &workshop)));
                    }
                }
                census.lock().unwrap().add(own);
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let some: Vec<_> = failures.values().take(5).map(String::as_str).collect();
    assert!(some.is_empty(), "TK8S_ORACLE_SEED={seed}, {} cases, the first:\n\n{}", failures.len(), some.join("\n\n"));
    let census = census.into_inner().unwrap();
    println!("{cases} cases: {census:#?}");
    census.was_worth_it(cases);
}

/// What was seen: a generator of cases that all end alike would prove nothing.
#[derive(Debug, Default)]
struct Census {
    yes: BTreeMap<String, u64>,
    no: BTreeMap<&'static str, u64>,
    stricter: BTreeMap<&'static str, u64>,
}

impl Census {
    fn add(&mut self, other: Census) {
        for (of, count) in other.yes {
            *self.yes.entry(of).or_default() += count;
        }
        for (mine, theirs) in [(&mut self.no, other.no), (&mut self.stricter, other.stricter)] {
            for (of, count) in theirs {
                *mine.entry(of).or_default() += count;
            }
        }
    }

    fn was_worth_it(&self, cases: u64) {
        let yes: u64 = self.yes.values().sum();
        assert!(yes > cases / 6 && yes < cases * 2 / 3, "{yes} of {cases} cases are good");
        if cases < CASES {
            return;
        }
        for key in ["ed25519", "p256", "p384", "p521", "rsa", "sk-ed25519", "sk-p256"] {
            for how in [key.to_owned(), format!("{key} with a certificate")] {
                assert!(self.yes.contains_key(&how), "no case with {how} is good");
            }
        }
        for rule in [
            Rule::BadSignature,
            Rule::CertificateRefused,
            Rule::KeyNotValidNow,
            Rule::KeyRevoked,
            Rule::UnknownSigner,
            Rule::WeakKey,
            Rule::WrongNamespace,
        ] {
            assert!(self.no.contains_key(rule.reason()), "no case is refused by {}", rule.reason());
        }
    }
}

/// Asks both, and notes what they say.
fn compare(case: &Case, workshop: &Workshop, directory: &Path, census: &mut Census) -> Result<(), String> {
    let theirs = theirs(case, workshop, directory);
    let ours = ours(case, workshop, Some(case.identity));
    match (&ours, theirs.0) {
        (Ok(()), true) => {
            let how = if case.certificate.is_some() { " with a certificate" } else { "" };
            *census.yes.entry(format!("{}{how}", case.key)).or_default() += 1;
        }
        (Ok(()), false) => return Err(format!("we say yes, and ssh-keygen: {}", theirs.1)),
        (Err(refused), said) => {
            *census.no.entry(refused.first().map_or("nothing is listed", |(rule, _)| rule.reason())).or_default() += 1;
            if said {
                let row = stricter::row(refused).ok_or(format!("ssh-keygen says yes, and we: {refused:?}"))?;
                *census.stricter.entry(row).or_default() += 1;
            }
        }
    }
    // The agent asks about nobody: then one name that passes is enough, and without one none.
    let somebody = self::ours(case, workshop, None).is_ok();
    if ours.is_ok() && !somebody {
        return Err("it is good for a name, and not for anybody".into());
    }
    if somebody && !names(case, workshop).iter().any(|name| self::ours(case, workshop, Some(name)).is_ok()) {
        return Err("it is good for somebody, and there is no such name".into());
    }
    Ok(())
}

/// Everything that could be somebody's name here.
fn names(case: &Case, workshop: &Workshop) -> Vec<String> {
    let mut names = Vec::new();
    for line in case.allowed_signers.lines().filter_map(|line| allowed_signers::line_of(line).ok()) {
        names.extend(line.principals.split(',').map(str::to_owned));
    }
    if let Some(kind) = case.certificate {
        let certificate = ssh_key::Certificate::from_openssh(&workshop.certificate(&case.key, kind)).unwrap();
        names.extend(certificate.valid_principals().iter().cloned());
    }
    names
}

/// What `ssh-keygen` says, and in which words.
fn theirs(case: &Case, workshop: &Workshop, directory: &Path) -> (bool, String) {
    let allowed = written(directory, "allowed_signers", case.allowed_signers.as_bytes());
    let signature = written(directory, "signature", &case.signature);
    let message = if case.changed { written(directory, "changed", b"another message") } else { workshop.message() };
    let mut command = ssh_keygen();
    command.args(["-Y", "verify", "-n", NAMESPACE, "-I", case.identity, "-f"]).arg(allowed).arg("-s").arg(signature);
    command.arg(format!("-Overify-time={}", case.time));
    if let Some(at) = case.revoked {
        command.arg("-r").arg(&workshop.krls[at].1);
    }
    let output = command.stdin(std::fs::File::open(message).unwrap()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What we say, and if no, all that is against it. With a name as `ssh-keygen` is asked, or for anybody as the agent asks.
fn ours(case: &Case, workshop: &Workshop, name: Option<&str>) -> Result<(), Vec<Broken>> {
    // The file is refused as a whole, for a line that is skipped there: here the rest is asked about, as there.
    let (signers, mut refused) = readable(&case.allowed_signers);
    let payload = if case.changed { b"another message".as_slice() } else { MESSAGE };
    let shown = proven(payload, &case.signature, Trail::SILENT).map_err(|broken| vec![broken])?;
    if let Some(at) = case.revoked {
        let revocations = Revocations::read(&workshop.krls[at].1);
        let revoked = revocations.map_or_else(|error| Some(error.to_string()), |revocations| revocations.revokes(&shown));
        if let Some(why) = revoked {
            return Err(vec![(Rule::KeyRevoked, why)]);
        }
    }
    let asked = Asked::new(Role::RELEASE, time(case.time));
    for signer in signers {
        let fit = |credential: &Credential| match (credential, name) {
            (Credential::Ssh(known), Some(name)) => known.fit_as(&shown, name, asked),
            (Credential::Ssh(known), None) => known.fit(&shown, asked),
            #[allow(unreachable_patterns, reason = "other kinds of credentials are not listed here")]
            _ => Fit::Other,
        };
        match Signers::of(vec![signer]).judge(asked, fit) {
            Ok(_) => return Ok(()),
            Err((Rule::UnknownSigner, _)) => {}
            Err(broken) => refused.push(broken),
        }
    }
    refused.push((Rule::UnknownSigner, key::fingerprint(&shown)));
    Err(refused)
}

/// The lines that can be read, and why the others can't.
fn readable(text: &str) -> (Vec<Signer>, Vec<Broken>) {
    let mut lines: Vec<&str> = text.split('\n').collect();
    let mut refused = Vec::new();
    loop {
        match allowed_signers::parse(&lines.join("\n"), "allowed_signers") {
            Ok(signers) => return (signers, refused),
            Err(Error::Signers { line: Some(line), why, .. }) => {
                refused.push((Rule::UnknownSigner, format!("line `{}`: {why}", lines[line - 1])));
                lines[line - 1] = "";
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn time(text: &str) -> Timestamp {
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", text).unwrap();
    time.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp()
}

fn shown(case: &Case, workshop: &Workshop) -> String {
    let revoked = case.revoked.map(|at| workshop.krls[at].0);
    let signature = String::from_utf8_lossy(&case.signature);
    let Case { key, certificate, identity, time, changed, allowed_signers, .. } = case;
    format!(
        "{key} {certificate:?} for {identity:?} at {time}, revoked {revoked:?}, changed {changed}\n{allowed_signers}\n{signature}"
    )
}
