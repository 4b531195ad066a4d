//! What was recorded: the releases of a component, one of them, two side by side, and one as YAML. Asked of a running agent,
//! or read from the history's own files when there is none.

use std::path::{Path, PathBuf};

use clap::{Args, ColorChoice, Subcommand};
use hyper::Method;
use tk8s_core::{ComponentName, Placed, ReleaseId, ReleaseNumber, Secret, Timestamp, Trust};
use tk8s_diff::Difference;
use tk8s_diff::mask::Masker;
use tk8s_history::{Archive, ArchiveOptions, ReleaseView};

use super::difference::Paint;
use super::offline::{complain, read_config};
use super::output::{self, Format, line, table};
use super::remote::ask;
use super::{Agent, Exit};
use crate::recorded::{self, Exported, ReleaseDetails, ReleaseEntry};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct History {
    #[command(subcommand)]
    what: Option<What>,
    #[arg(required = true)]
    component: Option<ComponentName>,
    #[command(flatten)]
    from: From,
}

#[derive(Subcommand)]
enum What {
    /// The releases of a component, newest first; for components called like one of these commands.
    List {
        component: ComponentName,
        #[command(flatten)]
        from: From,
    },
    /// One release: who signed it, its objects, its plans, how it went.
    Show {
        component: ComponentName,
        release: u64,
        #[command(flatten)]
        from: From,
    },
    /// What differs from one release to another. Secrets are masked.
    Diff {
        component: ComponentName,
        from_release: u64,
        to_release: u64,
        /// Whether to colour; `auto`: on a terminal, unless NO_COLOR is set.
        #[arg(long, value_name = "WHEN", default_value_t)]
        color: ColorChoice,
        #[command(flatten)]
        from: From,
    },
    /// A release as YAML, in apply order, for `kubectl apply --server-side`.
    Export {
        component: ComponentName,
        release: u64,
        /// With objects that hold secrets, in clear: from the history's files only. Without it they are left out.
        #[arg(long)]
        show_secrets: bool,
        #[command(flatten)]
        from: From,
    },
    /// Copy the history to a directory: its ledger and its blobs, proven, as they are now. No key, and no secret in clear.
    ///
    /// What is there already is not copied again. It may be interrupted at any time, and repeated. The copy is what a lost volume is
    /// restored from, by the same command: from the copy to the empty volume.
    Copy(super::copying::Copying),
    /// Prove that the history's files are whole: the ledger, its signature, and every blob that it names.
    Verify {
        /// The history's directory, or a copy of it. Nothing in it is changed; an agent may be running on it.
        #[arg(long, value_name = "DIR")]
        dir: PathBuf,
        /// The key that has to have signed it, as `origin+id+key`; otherwise the one that the ledger names itself, which proves
        /// that it is whole and not whose it is.
        #[arg(long, value_name = "KEY")]
        public_key: Option<String>,
    },
}

/// Where it is read: from a running agent, or from the history's own files.
#[derive(Args)]
struct From {
    #[command(flatten)]
    agent: Agent,
    /// The history's directory, or a copy of it. Nothing in it is changed, and no agent need be there.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// The key under which the history keeps objects; of `--dir`.
    #[arg(long, value_name = "FILE", requires = "dir")]
    encryption_key: Option<PathBuf>,
    /// The agent's file: its history and its keys are read.
    #[arg(long, value_name = "FILE", conflicts_with = "encryption_key")]
    config: Option<PathBuf>,
}

enum Source {
    Running(Box<Agent>),
    Files(Box<Archive>),
}

impl From {
    fn open(self) -> Result<Source, Exit> {
        let From { agent, dir, encryption_key, config } = self;
        let options = match (config, dir) {
            (Some(file), dir) => {
                let config = read_config(&file)?;
                let identity = Some((crate::run::origin(&config), key(&config.history.identity_key_file)?));
                let encryption_key = key(&config.history.encryption_key_file)?;
                ArchiveOptions { dir: dir.unwrap_or(config.history.dir), encryption_key, identity }
            }
            (None, Some(dir)) => {
                let Some(file) = encryption_key else {
                    eprintln!("name the key under which the history keeps objects: `--encryption-key FILE`");
                    return Err(Exit::Usage);
                };
                ArchiveOptions { dir, encryption_key: key(&file)?, identity: None }
            }
            (None, None) => return Ok(Source::Running(Box::new(agent))),
        };
        Archive::open(&options).map(|archive| Source::Files(Box::new(archive))).map_err(|error| {
            complain(&format!("the history in `{}` can't be read", options.dir.display()), &error);
            Exit::No
        })
    }
}

fn key(path: &Path) -> Result<Secret, Exit> {
    std::fs::read(path).map(Secret::new).map_err(|error| {
        eprintln!("could not read the key file `{}`: {error}", path.display());
        Exit::No
    })
}

/// `tk8s-agent history`.
pub(super) async fn history(arguments: History, format: Format) -> Exit {
    let what = match (arguments.what, arguments.component) {
        (Some(what), _) => what,
        (None, Some(component)) => What::List { component, from: arguments.from },
        (None, None) => unreachable!("because clap asks for one of the two"),
    };
    let ended = match what {
        What::List { component, from } => list(from, &component, format).await,
        What::Show { component, release, from } => show(from, id(component, release), format).await,
        What::Diff { component, from_release, to_release, color, from } => {
            let (before, after) = (id(component.clone(), from_release), id(component, to_release));
            difference(from, before, after, &Paint::of(color), format).await
        }
        What::Export { component, release, show_secrets, from } => {
            export(from, id(component, release), show_secrets, format).await
        }
        What::Copy(copying) => super::copying::copy(&copying, format),
        What::Verify { dir, public_key } => verify(&dir, public_key.as_deref(), format),
    };
    ended.err().unwrap_or(Exit::Yes)
}

fn id(component: ComponentName, release: u64) -> ReleaseId {
    ReleaseId { component, number: ReleaseNumber(release) }
}

async fn list(from: From, component: &ComponentName, format: Format) -> Result<(), Exit> {
    let releases: Vec<ReleaseEntry> = match from.open()? {
        Source::Running(agent) => ask(&agent, Method::GET, &format!("/api/v1/components/{component}/history"), None).await?,
        Source::Files(archive) => {
            let releases = archive.releases(component);
            if releases.is_empty() {
                eprintln!("the history knows no component `{component}`");
                return Err(Exit::No);
            }
            recorded::entries(releases, archive.current(component), Vec::new)
        }
    };
    if format == Format::Json {
        output::json(&releases);
        return Ok(());
    }
    let mut rows = vec![["RELEASE", "LEVEL", "REVISION", "STAGED", "OBJECTS", "OUTCOME", "SIGNED BY"].map(String::from).to_vec()];
    for release in &releases {
        rows.push(vec![
            format!("{}{}", release.release, if release.current { " *" } else { "" }),
            release.level.map_or("-".into(), |level| level.to_string()),
            release.revision.clone(),
            minutes(release.staged_at),
            // A release without objects takes the component away.
            if release.objects == 0 { "taken away".into() } else { release.objects.to_string() },
            release.outcome.clone().unwrap_or("unfinished".into()),
            signer(&release.trust),
        ]);
    }
    table(&rows);
    for release in &releases {
        for warning in &release.warnings {
            let (number, object, message) = (release.release, &warning.object, &warning.message);
            line(&format!("{number}: the API server warns about {object}: {message}"));
        }
    }
    Ok(())
}

async fn show(from: From, id: ReleaseId, format: Format) -> Result<(), Exit> {
    let details: ReleaseDetails = match from.open()? {
        Source::Running(agent) => ask(&agent, Method::GET, &path(&id, ""), None).await?,
        Source::Files(archive) => {
            let (known, objects) = recall(&archive, &id)?;
            let story = archive.story(&id).map_err(|error| unreadable(&id, &error))?;
            recorded::details(known, archive.current(&id.component), objects, story)
        }
    };
    match format {
        Format::Json => output::json(&details),
        Format::Text => print_details(&id, &details),
    }
    Ok(())
}

fn print_details(id: &ReleaseId, details: &ReleaseDetails) {
    let entry = &details.entry;
    let runs = if entry.current { ", which runs" } else { "" };
    line(&format!("{id}{runs}: {} ({} of {})", entry.revision, entry.commit, details.reference));
    line(&format!("verified for {}, {}", details.environment, signature(&entry.trust)));
    line(&format!("staged {}, content {}", minutes(entry.staged_at), entry.digest));
    let outcome = entry.outcome.as_deref().unwrap_or("unfinished");
    line(&format!("outcome {outcome}{}", entry.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default()));
    line("");
    let mut rows = vec![["LAYER", "API VERSION", "OBJECT", "FROM"].map(String::from).to_vec()];
    let contents = details.contents.iter();
    rows.extend(contents.map(|one| vec![one.layer.clone(), one.api_version.clone(), one.object.clone(), one.from.clone()]));
    table(&rows);
    let story = &details.story;
    story.left_out.iter().for_each(|left| line(&format!("left as it is: {}: {}", left.object, left.reason)));
    line("");
    for said in &story.rollbacks {
        let reason = said.reason.as_deref().unwrap_or("no reason given");
        line(&format!("{} rollback to it asked for by {}: {reason}", minutes(said.at), said.by));
    }
    for said in &story.confirmations {
        let reason = said.reason.as_deref().unwrap_or_default();
        line(&format!("{} deletions confirmed by {}: {reason}", minutes(said.at), said.by));
    }
    for denial in &story.denials {
        line(&format!("{} denied: {}", minutes(denial.at), denial.reasons.join("; ")));
    }
    for decay in &story.decays {
        let times = if decay.times > 1 { format!(", for the {}th time", decay.times) } else { String::new() };
        line(&format!("{} degraded{times}: {}: {} {}", minutes(decay.at), decay.object, decay.reason, decay.message));
    }
    if story.earlier_runs > 0 {
        line(&format!("({} runs before these are not shown)", story.earlier_runs));
    }
    for run in &story.runs {
        let ended = match (&run.outcome, run.ended_at) {
            (Some(outcome), Some(at)) => format!("{:?} {} {}", outcome.status, minutes(at), outcome.message),
            _ => "not ended".into(),
        };
        line(&format!("{} {}, turn {} of {}: {}", minutes(run.at), run.trigger, run.turn + 1, run.turns, ended.trim_end()));
        line(&format!("  plan {}", run.plan));
        if let Some(promoted) = &run.promoted {
            let tk8s_core::Promoted { environment, cluster, instance, release, since, until, .. } = promoted;
            line(&format!(
                "  let in because release {release} of {cluster}/{instance} ran well in {environment} from {since} until {until}"
            ));
        }
        for (word, keys) in [("create", &run.creates), ("change", &run.changes), ("delete", &run.deletes), ("gone", &run.gone)] {
            keys.iter().for_each(|key| line(&format!("  {word} {key}")));
        }
        if run.more > 0 {
            line(&format!("  and {} more", run.more));
        }
    }
}

async fn difference(from: From, before: ReleaseId, after: ReleaseId, paint: &Paint, format: Format) -> Result<(), Exit> {
    let found: Vec<Difference> = match from.open()? {
        Source::Running(agent) => ask(&agent, Method::GET, &path(&before, &format!("/diff/{}", after.number)), None).await?,
        Source::Files(archive) => {
            let ((_, old), (_, new)) = (recall(&archive, &before)?, recall(&archive, &after)?);
            let masker = Masker::new(&rand::random::<[u8; 32]>());
            tk8s_diff::between((&before.to_string(), &after.to_string()), &old, &new, &masker)
        }
    };
    if format == Format::Json {
        output::json(&found);
        return Ok(());
    }
    for one in &found {
        line(&paint.bold(&format!("{} {}", format!("{:?}", one.became).to_lowercase(), one.object)));
        one.diff.lines().for_each(|text| line(&paint.diff(text)));
    }
    line(&match found.len() {
        0 => format!("{before} and {after} hold the same"),
        number => format!("{} between {before} and {after}", super::finding::count(number, "difference")),
    });
    Ok(())
}

async fn export(from: From, id: ReleaseId, show_secrets: bool, format: Format) -> Result<(), Exit> {
    let exported: Exported = match from.open()? {
        Source::Running(_) if show_secrets => {
            eprintln!(
                "no secret leaves a running agent: read its files, with `--config FILE` or `--dir DIR --encryption-key FILE`"
            );
            return Err(Exit::Usage);
        }
        Source::Running(agent) => ask(&agent, Method::GET, &path(&id, "/export"), None).await?,
        Source::Files(archive) => {
            let (known, objects) = recall(&archive, &id)?;
            recorded::export(archive.instance(), &known, objects, show_secrets)
        }
    };
    match format {
        Format::Json => output::json(&exported),
        Format::Text => {
            line(exported.to_yaml().trim_end());
            // Beside what goes into a file or a pipe.
            if !exported.left_out.is_empty() {
                eprintln!("left out, because they hold secrets: {}", exported.left_out.join(", "));
            }
        }
    }
    Ok(())
}

fn verify(dir: &Path, public_key: Option<&str>, format: Format) -> Result<(), Exit> {
    let verified = tk8s_history::verify(dir, public_key).map_err(|error| {
        complain(&format!("no: the history in `{}`", dir.display()), &error);
        Exit::No
    })?;
    match format {
        Format::Json => output::json(&verified),
        Format::Text => {
            line(&format!("yes: {} events and {} blobs are whole, root {}", verified.size, verified.blobs, verified.root));
            line(&format!("signed by {}", verified.key));
        }
    }
    Ok(())
}

fn path(id: &ReleaseId, more: &str) -> String {
    format!("/api/v1/components/{}/releases/{}{more}", id.component, id.number)
}

fn recall(archive: &Archive, id: &ReleaseId) -> Result<(ReleaseView, Vec<Placed>), Exit> {
    let objects = archive.objects(id).map_err(|error| unreadable(id, &error))?;
    let known = archive.releases(&id.component).into_iter().find(|known| known.release.id == *id);
    Ok((known.expect("because its objects are there"), objects))
}

fn unreadable(id: &ReleaseId, error: &tk8s_history::Error) -> Exit {
    complain(&format!("{id} can't be read"), error);
    Exit::No
}

fn signer(trust: &Trust) -> String {
    match trust {
        Trust::Signed { signer, tag_signer, .. } => tag_signer.as_ref().unwrap_or(signer).clone(),
        Trust::Waived { .. } => "nobody (waived)".into(),
    }
}

fn signature(trust: &Trust) -> String {
    match trust {
        Trust::Signed { signer, fingerprint, tag_signer, approvals } => {
            let tag = tag_signer.as_ref().map(|signer| format!(", its tag by {signer}")).unwrap_or_default();
            let yes: Vec<_> = approvals.iter().map(|approval| format!("{} ({})", approval.signer, approval.role)).collect();
            let yes = if yes.is_empty() { String::new() } else { format!("; approved by {}", yes.join(", ")) };
            format!("signed by {signer} ({fingerprint}){tag}{yes}")
        }
        Trust::Waived { reason } => format!("NOT VERIFIED: {reason}"),
    }
}

fn minutes(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}
