//! The agent's file and every file that it names, while the agent runs: a change is in force within a second, a mistake is
//! reported and leaves in force what was.
//!
//! Files that are named are read by whoever uses them, at each use; here is only seen that they changed, so that they are
//! used at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tk8s_config::{AgentConfig, FileWatch};
use tk8s_core::{Digest, chain};
use tokio::sync::Notify;

use crate::engine::Engine;
use crate::error::Error;

/// Several changes that come together are one.
const SETTLE: Duration = Duration::from_millis(200);
/// How often the files are looked at without being told: not every file system tells.
const INTERVAL: Duration = Duration::from_secs(30);
/// The largest file that is compared.
const LARGEST: u64 = 16 * 1024 * 1024;

/// Follows the files until the agent stops.
pub async fn follow(file: PathBuf, engine: Arc<Engine>) {
    let changed = Arc::new(Notify::new());
    let mut config = engine.config();
    let mut watch = watch(&file, &config, &changed);
    let (mut own, mut named, mut rules) = (digest(&file), digests(&config), rules_digest(&config));
    loop {
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(SETTLE).await,
            () = tokio::time::sleep(INTERVAL) => {}
            () = engine.stop.cancelled() => return,
        }
        let now = digest(&file);
        if now != own {
            own = now;
            let read = read(&file, &config);
            match &read {
                Ok(_) => tracing::info!(file = %file.display(), "the agent's file has changed and is in force"),
                Err(error) => {
                    tracing::error!(file = %file.display(), error = %chain(error), "the agent's file has changed and is not in force")
                }
            }
            engine.reconfigure(read);
            config = engine.config();
            watch = self::watch(&file, &config, &changed);
            named = digests(&config);
            if rules_digest(&config) != rules {
                rules = rules_digest(&config);
                engine.follow_health_rules();
            }
        } else if rules_digest(&config) != rules {
            rules = rules_digest(&config);
            tracing::info!("health rules have changed: what is known is judged again");
            engine.follow_health_rules();
        } else if digests(&config) != named {
            named = digests(&config);
            tracing::info!("a file that the agent's file names has changed: Git is looked at");
            engine.wake(true);
        }
        if watch.is_none() {
            watch = self::watch(&file, &config, &changed);
        }
    }
}

fn read(file: &Path, in_force: &AgentConfig) -> Result<AgentConfig, Error> {
    let fail = |source| Error::ReadFile { what: "agent's file", path: file.into(), source };
    let text = std::fs::read_to_string(file).map_err(fail)?;
    let config = AgentConfig::parse(&text, &file.display().to_string()).map_err(Error::Configuration)?;
    let fixed = in_force.needs_restart(&config);
    if fixed.is_empty() { Ok(config) } else { Err(Error::NeedsRestart(fixed)) }
}

/// None if they can't be watched: then the interval has to do.
fn watch(file: &Path, config: &AgentConfig, changed: &Arc<Notify>) -> Option<FileWatch> {
    let told = Arc::clone(changed);
    // Any name will do: its directory is watched.
    let rules =
        config.health.rules_dir.as_ref().filter(|directory| directory.is_dir()).map(|directory| directory.join("rules.yaml"));
    let files = config.files().into_iter().chain([file]).chain(rules.as_deref());
    FileWatch::new(files, move || told.notify_one())
        .inspect_err(|error| tracing::warn!(error = %chain(error), "files are looked at every 30 s instead"))
        .ok()
}

fn digests(config: &AgentConfig) -> Vec<Option<Digest>> {
    config.files().into_iter().map(digest).collect()
}

fn rules_digest(config: &AgentConfig) -> Option<Digest> {
    config.health.rules_dir.as_deref().and_then(crate::rules::digest)
}

/// What a file holds; none if it can't be read.
fn digest(file: &Path) -> Option<Digest> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(file).ok()?.take(LARGEST).read_to_end(&mut bytes).ok()?;
    Some(Digest::of(&bytes))
}
