//! Triggers that need no caller: a change in a `file:` repository, seen by the file system.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use notify::{RecursiveMode, Watcher as _};
use tk8s_core::RepositoryUrl;

use crate::engine::Engine;

/// Watches the refs of a `file:` repository; other repositories have webhooks. The watch ends when it is dropped.
pub fn watch_file_repository(engine: &Arc<Engine>) -> Result<Option<notify::RecommendedWatcher>> {
    let config = engine.config();
    let RepositoryUrl::File { path } = &config.repository.url else { return Ok(None) };
    let path = Path::new(path);
    let git = if path.join(".git").is_dir() { path.join(".git") } else { path.to_owned() };
    // The watch has a thread of its own, which may outlive the last run: it keeps nothing of the engine open.
    let woken = Arc::downgrade(engine);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reads by the agent's own fetch are not changes; everything else only costs a look.
        if event.is_ok_and(|event| !event.kind.is_access())
            && let Some(engine) = woken.upgrade()
        {
            engine.wake(false);
        }
    })
    .context("could not watch the repository")?;
    if !git.is_dir() {
        tracing::warn!(repository = %config.repository.url, "the repository is not there yet: it is looked for at each interval");
        return Ok(None);
    }
    // Refs live in `refs/` and in `packed-refs`, which is replaced by renaming; objects are not watched.
    watcher.watch(&git, RecursiveMode::NonRecursive).with_context(|| format!("could not watch `{}`", git.display()))?;
    watcher.watch(&git.join("refs"), RecursiveMode::Recursive).with_context(|| format!("could not watch `{}`", git.display()))?;
    Ok(Some(watcher))
}
