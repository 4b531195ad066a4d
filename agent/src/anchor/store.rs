//! Where the anchor is kept: one ConfigMap of the instance, in the namespace of its Lease. Whoever wrote to it since we read
//! it is noticed, because each write names the version that it replaces.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ObjectMeta, PostParams};
use tk8s_core::{InstanceName, ObjectKey};

/// The key of the ConfigMap under which the signed text stands.
const DATA: &str = "anchor";
/// The largest text that an API server takes into a ConfigMap, with room for the rest of it.
const LARGEST: usize = 1_000_000;

/// The ConfigMap of an instance, as an object that no release may delete.
pub fn key(namespace: &str, instance: &InstanceName) -> ObjectKey {
    ObjectKey { group: String::new(), kind: "ConfigMap".into(), namespace: Some(namespace.into()), name: name_of(instance) }
}

fn name_of(instance: &InstanceName) -> String {
    format!("tk8s-agent-{instance}")
}

/// What became of a write.
#[derive(Debug, PartialEq, Eq)]
pub enum Written {
    Yes,
    /// Somebody else wrote to it, or deleted it: it is read before it is written again.
    Overtaken,
}

/// Why the anchor could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the API server did not take, or give, the anchor")]
    Refused(#[source] Box<kube::Error>),
    #[error("{0} bytes are more than a ConfigMap holds: there are too many components")]
    TooLarge(usize),
}

impl Error {
    /// Whether the agent may not do that: waiting does not help.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Error::Refused(error) if matches!(&**error, kube::Error::Api(status) if status.code == 403))
    }
}

impl From<kube::Error> for Error {
    fn from(error: kube::Error) -> Error {
        Error::Refused(Box::new(error))
    }
}

/// The ConfigMap, as it was read or written last.
pub struct Store {
    maps: kube::Api<ConfigMap>,
    name: String,
    known: Option<ConfigMap>,
}

impl Store {
    pub fn new(client: kube::Client, namespace: &str, instance: &InstanceName) -> Store {
        Store { maps: kube::Api::namespaced(client, namespace), name: name_of(instance), known: None }
    }

    /// What stands there. A ConfigMap without it is one that somebody emptied.
    pub async fn read(&mut self) -> Result<Option<String>, Error> {
        self.known = self.maps.get_opt(&self.name).await?;
        Ok(self.known.as_ref().map(|map| map.data.as_ref().and_then(|data| data.get(DATA)).cloned().unwrap_or_default()))
    }

    /// Replaces what was read or written last.
    pub async fn write(&mut self, text: String) -> Result<Written, Error> {
        if text.len() > LARGEST {
            return Err(Error::TooLarge(text.len()));
        }
        let data = Some(BTreeMap::from([(DATA.to_owned(), text)]));
        let written = match self.known.clone() {
            Some(known) => {
                let map = ConfigMap { data, binary_data: None, ..known };
                self.maps.replace(&self.name, &PostParams::default(), &map).await
            }
            None => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..Default::default() };
                self.maps.create(&PostParams::default(), &ConfigMap { metadata, data, ..Default::default() }).await
            }
        };
        match written {
            Ok(map) => {
                self.known = Some(map);
                Ok(Written::Yes)
            }
            Err(kube::Error::Api(status)) if status.code == 409 || (status.code == 404 && self.known.is_some()) => {
                Ok(Written::Overtaken)
            }
            Err(error) => Err(error.into()),
        }
    }
}
