//! `installation`: what of the cluster is the agent's own, where it can't find that out, or there is more.

use tk8s_core::ServiceAccount;

use crate::fields::Fields;

/// `installation`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InstallationConfig {
    /// The agent's account; found out by default.
    pub service_account: Option<ServiceAccount>,
    /// Its Deployment; found out by default.
    pub deployment: Option<String>,
    /// What else is its own, and no release may touch.
    pub objects: Vec<OwnObjectConfig>,
}

/// Objects, by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnObjectConfig {
    /// Their kind, of any group.
    pub kind: String,
    /// A glob.
    pub name: String,
    /// Their namespace; any, and none, if not given.
    pub namespace: Option<String>,
}

pub(crate) fn read(fields: &mut Fields<'_>) -> InstallationConfig {
    let service_account = fields.parse("serviceAccount");
    let deployment = fields.text("deployment");
    let (nodes, base) = (fields.list("objects"), fields.join("objects"));
    let mut objects = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let mut inner = Fields::of(node, format!("{base}[{index}]"), fields.problems);
        let (kind, name, namespace) = (inner.required("kind"), inner.required::<String>("name"), inner.text("namespace"));
        if let Some(error) = name.as_ref().and_then(|name| globset::Glob::new(name).err()) {
            inner.problem("name", tk8s_core::printable(&error.to_string(), 200));
        }
        inner.finish(&[("group", "write `kind` alone: it means those of every group")]);
        objects.extend(kind.zip(name).map(|(kind, name)| OwnObjectConfig { kind, name, namespace }));
    }
    InstallationConfig { service_account, deployment, objects }
}
