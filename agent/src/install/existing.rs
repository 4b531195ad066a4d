//! What an installation has already: asked of the cluster, so that doing it again changes no key.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Secret as KubeSecret};
use tk8s_core::{Secret, chain, printable};

use super::{Called, KEYS, WEBHOOK};

/// A Secret's files.
pub type Files = BTreeMap<String, Secret>;

/// What is there; nothing where an installation is the first.
#[derive(Debug, Default)]
pub struct Existing {
    pub keys: Option<Files>,
    pub git: Option<Files>,
    pub webhook: Option<Files>,
}

/// Why it can't be told, or can't be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "could not ask the cluster for {what}: {why}; if this is the first installation, or its Secrets are made otherwise, say so: `--secrets make` or `--secrets leave-out`"
    )]
    Ask { what: String, why: String },
    #[error("the Secret {secret} is there without `{key}`: add it, or delete the Secret if nothing was made with it")]
    Incomplete { secret: String, key: String },
    #[error(
        "the volume {volume} is there, and the Secret {secret} with the keys of its history is not: put it back from your copy; if that history may be lost, delete the volume, or say `--secrets make`"
    )]
    KeysLost { volume: String, secret: String },
}

impl Existing {
    /// Asks. `git`: what the Secret for Git has to hold.
    pub async fn ask(client: &kube::Client, called: &Called, git: &[&str]) -> Result<Existing, Error> {
        let secrets: kube::Api<KubeSecret> = kube::Api::namespaced(client.clone(), &called.namespace);
        let find = async |part: &str, needed: &[&str]| {
            let name = called.part(part);
            let what = format!("the Secret {}/{name}", called.namespace);
            let found = secrets.get_opt(&name).await;
            let found = found.map_err(|error| Error::Ask { what, why: printable(&chain(&error), 300) })?;
            let files = found.map(|found| files(found.data.unwrap_or_default()));
            match files.as_ref().and_then(|files| needed.iter().find(|key| !files.contains_key(**key))) {
                Some(key) => Err(Error::Incomplete { secret: format!("{}/{name}", called.namespace), key: (*key).to_owned() }),
                None => Ok(files),
            }
        };
        let (keys, git, webhook) = (find(KEYS.0, KEYS.1).await?, find("git", git).await?, find(WEBHOOK.0, WEBHOOK.1).await?);
        let (volumes, volume) =
            (kube::Api::<PersistentVolumeClaim>::namespaced(client.clone(), &called.namespace), called.part("history"));
        let what = format!("the volume {}/{volume}", called.namespace);
        let found = volumes.get_opt(&volume).await;
        let is_there = found.map_err(|error| Error::Ask { what, why: printable(&chain(&error), 300) })?.is_some();
        if is_there && keys.is_none() {
            let secret = format!("{}/{}", called.namespace, called.part(KEYS.0));
            return Err(Error::KeysLost { volume: format!("{}/{volume}", called.namespace), secret });
        }
        Ok(Existing { keys, git, webhook })
    }
}

fn files(data: BTreeMap<String, k8s_openapi::ByteString>) -> Files {
    data.into_iter().map(|(name, bytes)| (name, Secret::new(bytes.0))).collect()
}
