//! Recorded releases, as people and programs see them: in a list, one by one, and as YAML that kubectl applies. The same from
//! a running agent and from the files of one that is gone. Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tk8s_core::{
    CommitId, ComponentName, Digest, Environment, FIELD_MANAGER, InstanceName, Level, Placed, ReleaseId, ReleaseNumber,
    SecretFields, Timestamp, Trust,
};
use tk8s_history::{ReleaseView, Story};

use crate::engine::WarningView;
use crate::plain_yaml;

/// One release, as history lists it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseEntry {
    pub release: ReleaseNumber,
    /// Of the environment for which its revision was verified.
    #[serde(default)]
    pub level: Option<Level>,
    pub revision: String,
    pub commit: CommitId,
    pub tag: Option<String>,
    pub digest: Digest,
    pub objects: usize,
    pub staged_at: Timestamp,
    pub outcome: Option<String>,
    pub message: Option<String>,
    pub trust: Trust,
    /// Whether it is what runs.
    pub current: bool,
    /// What the API server warned about its objects, if it is what runs.
    #[serde(default)]
    pub warnings: Vec<WarningView>,
}

/// One release with all that is known of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDetails {
    pub component: ComponentName,
    #[serde(flatten)]
    pub entry: ReleaseEntry,
    pub reference: String,
    pub environment: Environment,
    /// In apply order.
    pub contents: Vec<ObjectView>,
    pub story: Story,
}

/// One object of a release.
#[derive(Debug, Serialize, Deserialize)]
pub struct ObjectView {
    pub object: String,
    #[serde(rename = "apiVersion")]
    pub api_version: String,
    pub layer: String,
    /// The file that it was rendered from, and the line.
    pub from: String,
}

/// The objects of a release, to be applied by somebody else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    pub instance: InstanceName,
    pub release: ReleaseId,
    pub revision: String,
    /// As the agent applies them, in its order.
    pub objects: Vec<Value>,
    /// Objects that hold secrets, and are not among them.
    pub left_out: Vec<String>,
}

/// The releases of a component as a list.
pub fn entries(
    releases: Vec<ReleaseView>,
    current: Option<ReleaseNumber>,
    warnings: impl Fn() -> Vec<WarningView>,
) -> Vec<ReleaseEntry> {
    let entry = |known: ReleaseView| {
        let current = current == Some(known.release.id.number);
        let warnings = if current { warnings() } else { Vec::new() };
        ReleaseEntry { warnings, ..entry(known, current) }
    };
    releases.into_iter().map(entry).collect()
}

fn entry(known: ReleaseView, current: bool) -> ReleaseEntry {
    let ReleaseView { release, outcome, .. } = known;
    ReleaseEntry {
        release: release.id.number,
        level: Some(Level::of(release.environment, false)),
        revision: release.revision.label().into(),
        commit: release.revision.commit.clone(),
        tag: release.revision.tag.as_ref().map(|tag| tag.name.clone()),
        digest: release.content,
        objects: release.objects,
        staged_at: release.staged_at,
        outcome: outcome.as_ref().map(|outcome| format!("{:?}", outcome.status)),
        message: outcome.map(|outcome| outcome.message).filter(|message| !message.is_empty()),
        trust: release.trust,
        current,
        warnings: Vec::new(),
    }
}

/// All that is known of a release.
pub fn details(known: ReleaseView, current: Option<ReleaseNumber>, objects: Vec<Placed>, story: Story) -> ReleaseDetails {
    let (component, environment) = (known.release.id.component.clone(), known.release.environment);
    let reference = known.release.revision.reference.clone();
    let object = |placed: Placed| ObjectView {
        object: placed.manifest.key().to_string(),
        api_version: placed.manifest.kind().api_version(),
        layer: placed.layer.to_string(),
        from: placed.manifest.origin().to_string(),
    };
    let contents = tk8s_diff::in_order(objects).into_iter().map(object).collect();
    let current = current == Some(known.release.id.number);
    ReleaseDetails { component, entry: entry(known, current), reference, environment, contents, story }
}

/// The objects of a release as the agent applies them. Those that hold secrets are left out unless they are asked for: what
/// is masked must not be applied.
pub fn export(instance: &InstanceName, known: &ReleaseView, objects: Vec<Placed>, with_secrets: bool) -> Exported {
    let release = known.release.id.clone();
    let (mut exported, mut left_out) = (Vec::new(), Vec::new());
    for placed in tk8s_diff::in_order(objects) {
        let manifest = placed.manifest.owned_by(instance, &release.component);
        let value = manifest.to_value();
        match manifest.is_secret() || !SecretFields::of(&value).is_empty() {
            true if !with_secrets => left_out.push(manifest.key().to_string()),
            _ => exported.push(value),
        }
    }
    let revision = known.release.revision.label().into();
    Exported { instance: instance.clone(), release, revision, objects: exported, left_out }
}

impl Exported {
    /// As YAML that `kubectl apply --server-side` takes.
    pub fn to_yaml(&self) -> String {
        let Exported { release, revision, .. } = self;
        let mut text = format!(
            "# {release} ({}), in apply order:\n# kubectl apply --server-side --force-conflicts --field-manager={FIELD_MANAGER} -f -\n",
            tk8s_core::printable(revision, 200)
        );
        for object in &self.left_out {
            let object = tk8s_core::printable(object, 600);
            text.push_str(&format!("# left out, because it holds secrets (--show-secrets): {object}\n"));
        }
        for object in &self.objects {
            text.push_str("---\n");
            text.push_str(&plain_yaml::write(object));
        }
        text
    }
}
