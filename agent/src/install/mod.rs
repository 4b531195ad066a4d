//! How the agent is put into a cluster: the objects of `install/base` for one installation, with its file, its keys and its
//! rights; what a person has to register elsewhere; and how the agent is taken out again.
//!
//! The base is the one source: what stands here puts names, image, mounts and peers into it. Tests hold the result, the base
//! and the chart together. Pure, but for [`existing`], which asks a cluster which Secrets it has, and [`first`], which looks at
//! a tree.

pub mod existing;
pub mod first;
mod manifests;
pub mod removal;
mod secrets;

pub use manifests::{Parts, labels, objects};
pub use secrets::{Keys, Random, deploy_key, of_git, of_keys, of_webhook};

use serde_json::Value;
use tk8s_core::InstanceName;

use crate::plain_yaml;

/// What an installation is called.
#[derive(Clone, Debug)]
pub struct Called {
    pub instance: InstanceName,
    pub namespace: String,
}

/// The Secrets that an installation has: what they hold beside its name.
pub const KEYS: (&str, &[&str]) = ("keys", &["identity.pem", "encryption.key"]);
pub const WEBHOOK: (&str, &[&str]) = ("webhook", &["secret"]);

impl Called {
    /// What the Deployment, the Service, the account and the roles are called.
    pub fn name(&self) -> String {
        crate::identity::installed_as(self.instance.as_str())
    }

    /// What one of its Secrets or ConfigMaps is called.
    pub fn part(&self, part: &str) -> String {
        format!("{}-{part}", self.name())
    }
}

/// Objects as `kubectl apply -f -` takes them.
pub fn text(objects: &[Value]) -> String {
    let document = |object: &Value| format!("---\n{}", plain_yaml::write(object));
    objects.iter().map(document).collect()
}
