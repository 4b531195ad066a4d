//! `ignore` of a component: fields that are left to others.

use crate::fields::Fields;

/// `ignore`: fields that are left to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IgnoreSpec {
    /// Of which kind; all if not given.
    pub kind: Option<String>,
    /// Of which objects, by a glob; all if not given.
    pub name: Option<String>,
    /// These fields, as JSON pointers (RFC 6901).
    pub pointers: Vec<String>,
    /// Whatever these field managers own.
    pub managers: Vec<String>,
}

pub(crate) fn read_ignore(fields: &mut Fields<'_>) -> Vec<IgnoreSpec> {
    let nodes = fields.list("ignore");
    let base = fields.join("ignore");
    let mut rules = Vec::new();
    for (index, node) in nodes.iter().enumerate() {
        let mut inner = Fields::of(node, format!("{base}[{index}]"), fields.problems);
        let rule = IgnoreSpec {
            kind: inner.text("kind"),
            name: inner.text("name"),
            pointers: inner.texts("pointers"),
            managers: inner.texts("managers"),
        };
        if rule.pointers.is_empty() && rule.managers.is_empty() {
            inner.problem("pointers", "say which fields (`pointers: [/spec/replicas]`), or whose (`managers: [name]`)");
        }
        if let Some(pointer) = rule.pointers.iter().find(|pointer| !pointer.starts_with('/') || pointer.len() == 1) {
            let shown = tk8s_core::printable(pointer, 80);
            inner.problem(
                "pointers",
                format!("`{shown}` is no JSON pointer to a field: it begins with `/`, as in `/spec/replicas`"),
            );
        }
        if let Some(error) = rule.name.as_ref().and_then(|name| globset::Glob::new(name).err()) {
            inner.problem("name", tk8s_core::printable(&error.to_string(), 200));
        }
        inner.finish(&[("jsonPointers", "write `pointers`"), ("paths", "write `pointers`")]);
        rules.push(rule);
    }
    rules
}
