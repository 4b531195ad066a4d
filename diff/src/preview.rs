//! What applying objects would change, for people, with their own credentials. Never a plan.

use http::StatusCode;
use serde_json::Value;
use tk8s_core::{Manifest, ObjectKey, SecretFields};
use tokio::time::Instant;

use crate::cluster::{Cluster, dry_run_request};
use crate::mask::Masker;
use crate::sealed::Action;
use crate::{Error, text};

/// How long one object may take.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// What would become of one object.
#[derive(Debug)]
pub struct PreviewDiff {
    /// What would happen to it.
    pub action: Action,
    /// A unified diff, masked; empty if nothing changes.
    pub diff: String,
    /// What the API server warns about.
    pub warnings: Vec<String>,
}

/// Dry-runs each object by itself. What would be made by the same files (a namespace, a CRD) does not exist yet, so that
/// what needs it is answered by the API server's own error.
pub async fn preview(cluster: &Cluster, objects: Vec<Manifest>, masker: &Masker) -> Vec<(ObjectKey, Result<PreviewDiff, Error>)> {
    let mut answers = Vec::new();
    for manifest in objects {
        let key = manifest.key().clone();
        answers.push((key, one(cluster, manifest, masker).await));
    }
    answers
}

async fn one(cluster: &Cluster, manifest: Manifest, masker: &Masker) -> Result<PreviewDiff, Error> {
    let Some(resource) = cluster.resource(manifest.kind()).await? else {
        return Err(Error::UnknownKind { kind: manifest.kind().clone(), object: manifest.key().to_string() });
    };
    let manifest = if resource.namespaced { manifest } else { manifest.without_namespace() };
    let (key, body) = (manifest.key().clone(), manifest.to_value());
    let live = cluster.get(&resource, &key).await?;
    let request = || dry_run_request(&resource, &key, &body);
    let reply = cluster.exchange_until(request, Instant::now() + PATIENCE).await?.yes_to(&key, &body)?;
    let fields = live.iter().map(SecretFields::of).fold(SecretFields::of(&body), SecretFields::and);
    let planned = masker.mask_also(reply.body, &fields);
    // An apply by the agent adds its labels; a person wants to see the files' own changes.
    let live: Option<Value> = live.map(|live| masker.mask_also(live, &fields));
    let diff = text::unified(&key.to_string(), live.as_ref(), &planned);
    let action = match (&live, diff.is_empty()) {
        _ if reply.status == StatusCode::CREATED => Action::Create,
        (_, true) => Action::Unchanged,
        _ => Action::Configure,
    };
    Ok(PreviewDiff { action, diff, warnings: reply.warnings })
}
