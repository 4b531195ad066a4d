//! The repository: whether it can be fetched, whether what it shows passes the rules, and whether that can be rendered. Done
//! as the agent does it, in a directory of its own beside the history, which is gone afterwards.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http_body_util::Full;
use hyper::{Request, header};
use tk8s_config::{AgentConfig, ProxyConfig};
use tk8s_core::{
    ComponentName, Environment, Manifest, RepositoryUrl, Revision, ServiceAccount, Timestamp, Trust, chain, printable,
};
use tk8s_diff::cluster::Cluster;
use tk8s_gitsync::{Accepted, DeployKey, Error, TokenCache, Verification, VerifiedTree};
use tk8s_render::{Capabilities, Renderers};

use super::call::{self, Silence};
use super::cluster::judge_clock;
use super::{Check, Installed, Outcome};
use crate::cli::reach::{Line, tls};
use crate::engine::platform;
use crate::materials::{self, Materials};
use crate::rights::{Kinds, Named};

const GIT: &str = "git";
const CLOCK: &str = "git-clock";
const REVISION: &str = "revision";
const PLATFORM: &str = "platform";
const PROGRAMS: &str = "programs";
/// What goes by what is in Git now, whichever version looks at it.
pub(super) const IN_GIT: [&str; 2] = [REVISION, PLATFORM];

/// How many refusals are told.
const TOLD: usize = 3;
/// What a process left that was killed while it looked is nobody's after so long.
const STALE: Duration = Duration::from_secs(3600);

/// The platform's objects, with whose they are and how their kinds are called.
pub(super) struct Rendered {
    pub(super) objects: Vec<(ComponentName, Option<ServiceAccount>, Manifest, Named)>,
}

pub(super) async fn examine(installed: &Installed<'_>, client: Option<&kube::Client>) -> (Vec<Check>, Option<Rendered>) {
    if installed.outside {
        let checks = [GIT, CLOCK, REVISION, PLATFORM, PROGRAMS].map(|check| Check::skipped(check, installed.only_there()));
        return (checks.into(), None);
    }
    let config = installed.config;
    let mut checks = Vec::new();
    let (scratch, renderers) = match Scratch::new(&config.history.dir) {
        Ok(scratch) => {
            let options = tk8s_render::Options { scratch: scratch.0.join("render"), ..materials::options(&config.render) };
            (scratch, Materials::of(config).give(Renderers::new(options), &rand::random()))
        }
        Err(error) => {
            let found = format!("there is no directory to fetch into: {error}");
            checks.push(Check::failed(GIT, found, "see what `volume` says"));
            checks
                .extend([CLOCK, REVISION, PLATFORM, PROGRAMS].map(|check| Check::skipped(check, "there is no directory for it")));
            return (checks, None);
        }
    };
    let (check, fetched) = fetch(config, &scratch.0).await;
    checks.push(check);
    checks.push(clock(config).await);
    let (check, tree) = match fetched {
        Some(fetched) => revision(config, fetched).await,
        None => (Check::skipped(REVISION, "nothing was fetched"), None),
    };
    checks.push(check);
    let (check, rendered) = match tree {
        Some(tree) => render(config, tree, renderers.clone(), client).await,
        None => (Check::skipped(PLATFORM, "no revision may be used"), None),
    };
    checks.push(check);
    checks.push(programs(renderers).await);
    (checks, rendered)
}

/// A directory beside the history, where there is room for a mirror; where it can't be made, one for temporary files.
struct Scratch(PathBuf);

impl Scratch {
    fn new(history: &Path) -> std::io::Result<Scratch> {
        remove_stale(history);
        let name = format!(".doctor-{:016x}", rand::random::<u64>());
        let make = |above: PathBuf| {
            let place = above.join(&name);
            std::fs::create_dir(&place).map(|()| Scratch(place))
        };
        make(history.to_owned()).or_else(|_| make(std::env::temp_dir()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

fn remove_stale(history: &Path) {
    let old = |entry: &std::fs::DirEntry| {
        let age =
            entry.metadata().and_then(|found| found.modified()).ok().and_then(|at| SystemTime::now().duration_since(at).ok());
        entry.file_name().to_string_lossy().starts_with(".doctor-") && age.is_some_and(|age| age > STALE)
    };
    for entry in std::fs::read_dir(history).into_iter().flatten().flatten().filter(old) {
        std::fs::remove_dir_all(entry.path()).ok();
    }
}

async fn fetch(config: &AgentConfig, scratch: &Path) -> (Check, Option<tk8s_gitsync::Fetched>) {
    let began = std::time::Instant::now();
    let source = crate::source::source(config, &TokenCache::default(), |name| std::env::var(name).ok());
    let mirror = scratch.join("mirror.git");
    let fetched = match source {
        Ok(source) => {
            let source = tk8s_gitsync::Source { mirror, ..source };
            tokio::task::spawn_blocking(move || tk8s_gitsync::fetch(&source)).await
        }
        Err(error) => Ok(Err(error)),
    };
    let (url, branch) = (&config.repository.url, &config.repository.branch);
    match fetched {
        Ok(Ok(fetched)) => {
            let took = began.elapsed().as_millis();
            (Check::ok(GIT, format!("{url} shows the branch `{branch}`; fetched in {took} ms")), Some(fetched))
        }
        Ok(Err(error)) => (Check::of(GIT, Outcome::Failed, chain(&error), Some(next(&error, config))), None),
        Err(_) => (Check::failed(GIT, "fetching ended without an answer", "tell us: that is a mistake in the agent"), None),
    }
}

/// What to do about it, where the message does not end with that.
fn next(error: &Error, config: &AgentConfig) -> String {
    let half = || match &config.repository.auth {
        Some(tk8s_config::AuthConfig::Ssh { key_files, .. }) => {
            key_files.iter().find_map(|path| DeployKey::public_half(path).ok()).unwrap_or_default()
        }
        _ => String::new(),
    };
    match error {
        Error::Unauthenticated { .. } => format!("register this at the Git host, as a deploy key that may only read: {}", half()),
        Error::UnknownHost { host, fingerprint } | Error::ChangedHostKey { host, fingerprint } => format!(
            "ask the owner of {host} whether its key is {fingerprint}; then put the line of `ssh-keyscan` into known_hosts"
        ),
        Error::Connect { .. } | Error::Timeout { .. } => {
            "see whether the name resolves and the port is open from the agent's Pod: its NetworkPolicy (`networkPolicy.git`), a firewall, \
             `repository.proxy`"
                .into()
        }
        Error::LoginRefused { .. } | Error::GithubApp { .. } => {
            "issue a new token or key at the Git host, that may read this repository, and put it into the Secret".into()
        }
        Error::Status { status: 404, .. } => "compare `repository.url`; give the token or App the right to read this repository".into(),
        Error::NoSuchRef { .. } => format!("`git push origin {}`, or name another one in `repository.branch`", config.repository.branch),
        Error::Certificate { .. } => "name the authority's certificate in `repository.caFile`; see `git-clock`, too".into(),
        _ => "see docs/sources.md".into(),
    }
}

/// The Git host's clock, where it tells: over http.
async fn clock(config: &AgentConfig) -> Check {
    let (place, is_tls) = match &config.repository.url {
        RepositoryUrl::Https(place) => (place, true),
        RepositoryUrl::Http(place) => (place, false),
        _ => return Check::skipped(CLOCK, "only http tells what time it is"),
    };
    if matches!(config.repository.proxy, ProxyConfig::Through { .. }) {
        return Check::skipped(CLOCK, "it is reached through a proxy");
    }
    let asked = async {
        let line = call::connect(&place.host, place.port).await?;
        let line: Box<dyn Line> = match is_tls {
            false => Box::new(line),
            true => {
                let line = tls::by_authorities(line, &place.host, config.repository.ca_file.as_deref()).await;
                Box::new(line.map_err(|error| Silence::Broken(error.to_string()))?)
            }
        };
        let request = Request::head("/").header(header::HOST, &place.host).body(Full::default());
        call::ask(line, request.map_err(|error| Silence::Broken(error.to_string()))?).await
    };
    match asked.await {
        Ok(answer) => judge_clock(CLOCK, "the Git host's", answer.date.as_deref(), Timestamp::now()),
        Err(Silence::Nobody(why) | Silence::Broken(why)) => Check::skipped(CLOCK, format!("it can't be asked: {why}")),
    }
}

/// What the rules say of what was fetched, to an instance that has accepted nothing yet.
async fn revision(config: &AgentConfig, fetched: tk8s_gitsync::Fetched) -> (Check, Option<VerifiedTree>) {
    let policy = match crate::trust::policy(config) {
        Ok(policy) => policy,
        Err(_) => return (Check::skipped(REVISION, "see what `signers` says"), None),
    };
    let looked = tokio::task::spawn_blocking(move || {
        let mut verification = tk8s_gitsync::verify(&fetched, &policy, &Accepted::default())?;
        let tree = verification.revision.take().map(|revision| tk8s_gitsync::tree(&Arc::new(revision))).transpose()?;
        Ok::<_, Error>((verification, tree))
    });
    match looked.await {
        Ok(Ok((verification, tree))) => {
            let name = |revision: &Revision| {
                let reference = revision.reference.rsplit_once("refs/").map_or("", |(_, name)| name);
                let short = reference.split_once('/').map_or(reference, |(_, name)| name);
                format!("{} at {}", printable(short, 100), revision.commit.short())
            };
            let found = tree.as_ref().map(|tree| (name(tree.revision().revision()), tree.revision().trust().clone()));
            (judge(config.environment, found, &verification), tree)
        }
        Ok(Err(error)) => (Check::failed(REVISION, chain(&error), "see docs/trust.md"), None),
        Err(_) => (Check::failed(REVISION, "verifying ended without an answer", "tell us: that is a mistake in the agent"), None),
    }
}

fn judge(environment: Environment, found: Option<(String, Trust)>, verification: &Verification) -> Check {
    let refused: Vec<_> = verification
        .refused
        .iter()
        .take(TOLD)
        .map(|refusal| format!("{}: {}: {}", refusal.reference, refusal.rule.reason(), refusal.message))
        .collect();
    let help = verification.refused.first().map_or_else(String::new, |refusal| refusal.rule.help().to_owned());
    let waiting: Vec<_> = verification
        .unapproved
        .iter()
        .map(|unapproved| format!("{} waits for {}", unapproved.tag.name, crate::trust::still_missing(&unapproved.missing)))
        .collect();
    match found {
        Some((name, trust)) => {
            let by = match &trust {
                Trust::Signed { signer, tag_signer, .. } => {
                    let tagged =
                        tag_signer.as_ref().map(|signer| format!(", tagged by {}", printable(signer, 100))).unwrap_or_default();
                    format!("signed by {}{tagged}", printable(signer, 100))
                }
                Trust::Waived { reason } => format!("not signed, which is waived: {reason}"),
            };
            let found = format!("{name}: {by}");
            match (refused.is_empty(), waiting.is_empty()) {
                (true, true) => Check::ok(REVISION, found),
                (false, _) => Check::warning(REVISION, format!("{found}; refused: {}", refused.join("; ")), help),
                (true, false) => Check::warning(
                    REVISION,
                    format!("{found}; {}", waiting.join("; ")),
                    "`tk8s-agent approve RELEASE --role ROLE` says yes",
                ),
            }
        }
        None if !refused.is_empty() => Check::failed(REVISION, format!("nothing passes: {}", refused.join("; ")), help),
        None if !waiting.is_empty() => {
            Check::warning(REVISION, waiting.join("; "), "`tk8s-agent approve RELEASE --role ROLE` says yes")
        }
        None if environment == Environment::Production => Check::warning(
            REVISION,
            "there is no version tag yet",
            "release the platform: `git tag -s v0.1.0 -m v0.1.0 && git push origin v0.1.0`",
        ),
        None => Check::failed(REVISION, "nothing passes, and no rule says why", "see docs/trust.md"),
    }
}

/// Reads the platform and renders every component.
async fn render(
    config: &AgentConfig,
    tree: VerifiedTree,
    renderers: Renderers,
    client: Option<&kube::Client>,
) -> (Check, Option<Rendered>) {
    let file = config
        .repository
        .path
        .join(platform::PLATFORM_FILE)
        .map_or_else(|_| platform::PLATFORM_FILE.into(), |path| path.to_string());
    let read = platform::read(config, &tree).and_then(|(platform, text)| {
        let units = platform::units(&config.repository.path, &platform)?;
        Ok((units, text.is_some()))
    });
    let (units, is_file) = match read {
        Ok(read) => read,
        Err(error) => {
            let next = "`tk8s-agent check DIR` in a clone tells the same, with every line";
            return (Check::failed(PLATFORM, format!("`{file}`: {}", chain(&error)), next), None);
        }
    };
    let cluster = client.map(|client| Cluster::new(client.clone(), Vec::new()));
    let renderers = match &cluster {
        Some(cluster) => match cluster.capabilities().await {
            Ok((kube_version, api_versions)) => {
                renderers.with_capabilities(Arc::new(Capabilities { kube_version, api_versions }))
            }
            Err(_) => renderers,
        },
        None => renderers,
    };
    let components = units.len();
    let rendered = tokio::task::spawn_blocking(move || {
        let (mut objects, mut wrong) = (Vec::new(), Vec::new());
        for unit in &units {
            let (name, account) = (&unit.spec.name, &unit.spec.service_account);
            match tk8s_render::preview(&tree, &unit.render, &renderers) {
                Ok(preview) => {
                    objects.extend(
                        preview.into_objects().into_iter().map(|placed| (name.clone(), account.clone(), placed.manifest)),
                    );
                }
                Err(error) => wrong.push(format!("{name}: {}", chain(&error))),
            }
        }
        (objects, wrong)
    });
    let Ok((objects, wrong)) = rendered.await else {
        return (Check::failed(PLATFORM, "rendering ended without an answer", "tell us: that is a mistake in the agent"), None);
    };
    if !wrong.is_empty() {
        let more = wrong.len().saturating_sub(TOLD);
        let more = if more == 0 { String::new() } else { format!("; and {more} more") };
        let told: Vec<_> = wrong.into_iter().take(TOLD).collect();
        let next = "`tk8s-agent check DIR` in a clone tells everything that is wrong, with its line";
        return (Check::failed(PLATFORM, format!("{}{more}", told.join("; ")), next), None);
    }
    let count = objects.len();
    match named(objects, cluster.as_ref()).await {
        Ok(objects) => {
            let what = if is_file { format!("`{file}`") } else { format!("no `{file}`, so everything is one component") };
            (Check::ok(PLATFORM, format!("{what}: {components} components, {count} objects")), Some(Rendered { objects }))
        }
        Err(found) => {
            (Check::warning(PLATFORM, found, "install what defines it before, or bring its definition in a lower layer"), None)
        }
    }
}

/// How the kinds of objects are called: by what is built in, by definitions among them, and by the cluster.
async fn named(
    objects: Vec<(ComponentName, Option<ServiceAccount>, Manifest)>,
    cluster: Option<&Cluster>,
) -> Result<Vec<(ComponentName, Option<ServiceAccount>, Manifest, Named)>, String> {
    let mut kinds = Kinds::known(&[]);
    objects.iter().for_each(|(_, _, manifest)| kinds.learn(manifest));
    if let Some(cluster) = cluster {
        for (_, _, manifest) in &objects {
            if !kinds.has(manifest.key())
                && let Ok(Some(resource)) = cluster.resource(manifest.kind()).await
            {
                kinds.told(&resource);
            }
        }
    }
    let name = |(component, account, manifest): (ComponentName, _, Manifest)| match kinds.of(&manifest) {
        Ok(named) => Ok((component, account, manifest, named.clone())),
        Err(_) => {
            Err(format!("{component}: the cluster does not serve {}, and nothing of the platform defines it", manifest.kind()))
        }
    };
    objects.into_iter().map(name).collect()
}

/// Whether the programs that render are there, and start as confined as they are for components.
async fn programs(renderers: Renderers) -> Check {
    let tried = tokio::task::spawn_blocking(move || ["kustomize", "helm"].map(|name| (name, renderers.try_program(name)))).await;
    let Ok(tried) = tried else {
        return Check::failed(PROGRAMS, "starting them ended without an answer", "tell us: that is a mistake in the agent");
    };
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (name, tried) in tried {
        match tried {
            Ok((path, version)) => found.push(format!("{name} {version} (`{}`)", path.display())),
            Err(error @ tk8s_render::Error::NoProgram { .. }) => missing.push(chain(&error)),
            Err(error) => {
                let next = "run the image as it is built (docs/image.md), or name programs for this machine in `render.kustomize` and `render.helm`";
                return Check::failed(PROGRAMS, chain(&error), next);
            }
        }
    }
    match missing.is_empty() {
        true => Check::ok(PROGRAMS, found.join(", ")),
        false => Check::warning(
            PROGRAMS,
            missing.join("; "),
            "only components of that kind need it: name it in `render.kustomize` or `render.helm`, or put it beside the agent",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_fetched_is_gone_and_what_a_killed_process_left_too() {
        let history = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(history.path()).unwrap();
        std::fs::write(scratch.0.join("file"), "x").unwrap();
        assert!(scratch.0.starts_with(history.path()));
        // Another one leaves it alone, until it is old.
        drop(Scratch::new(history.path()).unwrap());
        assert!(scratch.0.join("file").exists());
        let long_ago = SystemTime::now() - 2 * STALE;
        std::fs::File::open(&scratch.0).unwrap().set_modified(long_ago).unwrap();
        drop(Scratch::new(history.path()).unwrap());
        assert_eq!(std::fs::read_dir(history.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_a_tag_there_is_nothing_to_release_yet_and_without_a_reason_something_is_wrong() {
        let nothing = Verification::default();
        assert_eq!(judge(Environment::Production, None, &nothing).outcome, Outcome::Warning);
        assert_eq!(judge(Environment::Staging, None, &nothing).outcome, Outcome::Failed);
        let waived = Trust::Waived { reason: "a test".into() };
        let check = judge(Environment::Dev, Some(("main at 1a2b3c4".into(), waived)), &nothing);
        assert_eq!((check.outcome, check.found.as_str()), (Outcome::Ok, "main at 1a2b3c4: not signed, which is waived: a test"));
    }
}
