//! What the agent needs whatever the platform is: for what it keeps of itself, in its own namespace, and for the definition
//! of its own resource. The one source of these rules: manifests and the chart are compared with it.

use super::{Holder, Reach, Right, Rights};
use crate::report::{GROUP, definition};

/// By it commands know whom they speak to.
const CERTIFICATE: &str = "the certificate of its API";

impl Rights {
    pub(super) fn add_own(&mut self) {
        let (namespace, instance) = (self.installation.account.namespace().to_owned(), self.installation.instance.clone());
        let own = Reach::Namespace(namespace.clone());
        let lease = crate::lease::key(&namespace, &instance).name;
        let anchor = crate::anchor::store::key(&namespace, &instance).name;
        let certificate = crate::endpoint::published::key(&namespace, &instance).name;
        // A name can't limit a creation by POST: the API server decides before it reads the object.
        for (group, resource, verbs, purpose, name) in [
            ("coordination.k8s.io", "leases", &["create"][..], "its Lease", None),
            ("coordination.k8s.io", "leases", &["get", "update"], "its Lease", Some(lease.as_str())),
            ("", "configmaps", &["create"], "its anchor, and the certificate of its API", None),
            ("", "configmaps", &["get", "update"], "its anchor", Some(anchor.as_str())),
            ("", "configmaps", &["get", "update"], CERTIFICATE, Some(certificate.as_str())),
            (GROUP, "components", &["get", "list", "create", "update", "delete"], "tells how components are", None),
            (GROUP, "components/status", &["update"], "tells how components are", None),
            ("events.k8s.io", "events", &["create", "patch"], "tells what happened", None),
        ] {
            self.add(Holder::Agent, own.clone(), Right { group, resource, verbs, purpose }, name, None);
        }
        let definitions = Right {
            group: "apiextensions.k8s.io",
            resource: "customresourcedefinitions",
            verbs: &["get", "list", "create", "patch"],
            purpose: "brings the definition of its own resource",
        };
        self.add(Holder::Agent, Reach::Cluster, definitions, Some(definition::NAME), None);
        for (group, resource) in [("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews")] {
            let purpose = "asks who calls its API, and what they may";
            self.add(Holder::Agent, Reach::Cluster, Right { group, resource, verbs: &["create"], purpose }, None, None);
        }
    }

    /// What the objects that hold these rights are called. It begins with `tk8s-agent`, so that those in no namespace are the
    /// agent's own, which no release may touch.
    pub(super) fn name(&self) -> String {
        crate::identity::installed_as(self.installation.instance.as_str())
    }

    pub(super) fn name_for(&self, holder: &Holder) -> String {
        match holder {
            Holder::Agent => self.name(),
            Holder::Account(account) => format!("{}:{}:{}", self.name(), account.namespace(), account.name()),
        }
    }
}
