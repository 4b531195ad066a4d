//! The vocabulary of tk8s-agent: what every stage talks about.
//!
//! Ids, object keys, manifests, secrets that can't be printed, the trust that a revision carries, and the classes of
//! errors. Everything here is parsed once, at the edge, and then carries its proof in its type. No I/O, no async, no
//! clock.

mod account;
pub mod crash;
mod drift;
mod environment;
mod error;
mod fields;
mod health;
mod hidden;
mod hook;
mod ids;
mod level;
mod manifest;
mod object;
mod pauses;
mod placed;
mod promotion;
mod removal;
mod revision;
mod secret;
mod text;
mod time;
mod tree;
mod trial;

pub use account::ServiceAccount;
pub use drift::{Conflicts, DriftMode};
pub use environment::Environment;
pub use error::{Class, Classified, chain};
pub use fields::{SECRET_FIELDS_ANNOTATION, SecretFields};
pub use health::{Health, HealthState, LAST_RUN_FAILED};
pub use hidden::Hidden;
pub use hook::{HOOK_ANNOTATION, HOOK_OF_ANNOTATION, Hook, HookError, Moment};
pub use ids::{CommitId, ComponentName, Digest, IdError, InstanceName, LayerId, ReleaseId, ReleaseNumber, TagId, TreeId};
pub use jiff::Timestamp;
pub use level::Level;
pub use manifest::{Manifest, ManifestError, Origin, canonical_json};
pub use object::{GroupVersionKind, KINDS_THAT_HOLD, ObjectKey};
pub use pauses::Pauses;
pub use placed::Placed;
pub use promotion::{ComponentTree, Promoted};
pub use removal::{Removal, WrittenWindow};
pub use revision::{ApprovedBy, Revision, TagRef, Trust};
pub use secret::{Place, RepositoryUrl, Secret, UrlError};
pub use text::{printable, redacted};
pub use time::read_duration;
pub use tree::{ReadError, SourceTree, TreeEntry, TreePath, no_pointer};
pub use trial::{OwnDeployment, trial};

/// The field manager under which every server-side apply of the agent is sent.
pub const FIELD_MANAGER: &str = "tk8s-agent";
/// Label on every object the agent owns: the instance that owns it.
pub const INSTANCE_LABEL: &str = "agent.tk8s.io/instance";
/// Label on every object the agent owns: the component it belongs to.
pub const COMPONENT_LABEL: &str = "agent.tk8s.io/component";
/// Label or annotation that layers an object in a repository without a platform file, for example `2-sovereign-services`.
pub const LAYER_LABEL: &str = "tk8s.io/layer";
