//! What an instance says of what ran well there: shown, or written as files for whoever carries them on.
//!
//! The agent itself pushes nothing: no library that it could use speaks that half of Git's protocol, its image holds no `git`,
//! and a key that may write to the repository is better not in the cluster. Pushing is one line of a pipeline's own git.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use hyper::Method;
use tk8s_core::{ComponentName, Environment, printable};
use tk8s_gitsync::EVIDENCE;

use super::output::{self, Format, line, table};
use super::remote::{ask, ended};
use super::{Agent, Exit};
use crate::engine::{Evidence, EvidenceView};

/// What `tk8s-agent evidence` takes.
#[derive(Args)]
pub(super) struct Show {
    /// Only this component.
    component: Option<ComponentName>,
    /// Write the signed statements into this directory, a file for each component, and print the ref that it belongs to and the
    /// file, one pair a line.
    #[arg(long, value_name = "DIR", conflicts_with = "key")]
    into: Option<PathBuf>,
    /// Print the public key that signs it, as `trust.evidence.keys` of another instance lists it.
    #[arg(long)]
    key: bool,
    #[command(flatten)]
    agent: Agent,
}

/// `tk8s-agent evidence`.
pub(super) async fn show(show: Show, format: Format) -> Exit {
    let path = match &show.component {
        Some(component) => format!("/api/v1/components/{component}/evidence"),
        None => "/api/v1/evidence".to_owned(),
    };
    ended(ask::<Evidence>(&show.agent, Method::GET, &path, None).await, |said| {
        if show.key {
            match format {
                Format::Json => output::json(&serde_json::json!({"key": said.key})),
                Format::Text => line(&said.key),
            }
            return Exit::Yes;
        }
        if said.environment == Environment::Dev {
            eprintln!("an instance in dev proves nothing to others: nobody need have signed what runs there");
            return Exit::No;
        }
        if let Some(directory) = &show.into {
            return match write(directory, &said.evidence) {
                Ok(()) => Exit::Yes,
                Err(error) => {
                    eprintln!("could not write into `{}`: {error}", directory.display());
                    Exit::No
                }
            };
        }
        match format {
            Format::Json => output::json(&said),
            Format::Text => print(&said.evidence),
        }
        Exit::Yes
    })
}

fn print(evidence: &[EvidenceView]) {
    let mut rows = vec![["COMPONENT", "RELEASE", "REVISION", "HEALTHY FOR", "SINCE", "UNTIL"].map(String::from).to_vec()];
    for one in evidence {
        let long = one.healthy_until.duration_since(one.healthy_since);
        let long = jiff::SignedDuration::from_secs(long.as_secs());
        let minutes = |at: tk8s_core::Timestamp| at.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
        rows.push(vec![
            one.component.to_string(),
            one.release.to_string(),
            printable(&one.revision, 100),
            format!("{long:#}"),
            minutes(one.healthy_since),
            minutes(one.healthy_until),
        ]);
    }
    table(&rows);
}

/// One file for each component, whole or not at all, with a statement a line, as in-toto bundles them.
fn write(directory: &Path, evidence: &[EvidenceView]) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for of_one in evidence.chunk_by(|a, b| a.reference == b.reference) {
        let Some(EvidenceView { reference, .. }) = of_one.first() else { continue };
        let name = file_name(reference)
            .ok_or_else(|| std::io::Error::other(format!("`{}` is no ref of evidence", printable(reference, 200))))?;
        let (path, unfinished) = (directory.join(&name), directory.join(format!(".{name}.new")));
        let text: String = of_one.iter().map(|one| format!("{}\n", one.envelope)).collect();
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&unfinished, &path)?;
        line(&format!("{reference} {}", path.display()));
    }
    Ok(())
}

/// What the file of a ref is called; none for what would lead elsewhere.
fn file_name(reference: &str) -> Option<String> {
    let name = reference.strip_prefix(EVIDENCE)?.replace('/', ".");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    (name.bytes().all(plain) && !name.starts_with('.') && name.len() <= 200).then(|| format!("{name}.intoto.jsonl"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_like_its_ref_and_never_lies_elsewhere() {
        let name = |of: &str| file_name(&format!("{EVIDENCE}{of}"));
        assert_eq!(name("eu-1/tk8s/web").as_deref(), Some("eu-1.tk8s.web.intoto.jsonl"));
        for bad in ["../../etc/passwd", "a b", "a\n", "/x", &"x".repeat(300)] {
            assert_eq!(name(bad), None, "{bad:?}");
        }
        assert_eq!(file_name("refs/heads/main"), None);
    }
}
