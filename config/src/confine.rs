//! `confine` of a component: what it may touch at all.

use crate::fields::Fields;

/// `confine`: what lies outside is refused. Of a layer and of a component both count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfineSpec {
    /// Globs of the namespaces of its objects; any if not given. A Namespace is in itself.
    pub namespaces: Option<Vec<String>>,
    /// Its kinds, as `Kind` or `group/Kind`, with globs; any if not given.
    pub kinds: Option<Vec<String>>,
    /// Those of its kinds whose objects are in no namespace, written the same way; none if not given and `namespaces` is.
    pub cluster_scoped: Option<Vec<String>>,
}

pub(crate) fn read(fields: &mut Fields<'_>) -> Option<ConfineSpec> {
    let node = fields.node("confine")?;
    let path = fields.join("confine");
    let mut inner = Fields::of(node, path, fields.problems);
    let spec = ConfineSpec {
        namespaces: globs(&mut inner, "namespaces"),
        kinds: globs(&mut inner, "kinds"),
        cluster_scoped: globs(&mut inner, "clusterScoped"),
    };
    if spec == ConfineSpec::default() {
        inner.problem("", "say what it may touch: `namespaces`, `kinds` or `clusterScoped`");
    }
    for (key, kinds) in [("kinds", &spec.kinds), ("clusterScoped", &spec.cluster_scoped)] {
        for kind in kinds.iter().flatten().filter(|kind| kind.matches('/').count() > 1) {
            let shown = tk8s_core::printable(kind, 80);
            inner.problem(key, format!("`{shown}` is no kind: write `Kind` or `group/Kind`, without a version"));
        }
    }
    inner.finish(&[("namespace", "write `namespaces`"), ("kind", "write `kinds`")]);
    Some(spec)
}

/// A list of globs. An empty one is a list all the same: it lets nothing in.
fn globs(fields: &mut Fields<'_>, key: &'static str) -> Option<Vec<String>> {
    fields.node(key)?;
    let globs = fields.texts(key);
    for error in globs.iter().filter_map(|glob| globset::Glob::new(glob).err()) {
        fields.problem(key, tk8s_core::printable(&error.to_string(), 200));
    }
    Some(globs)
}

#[cfg(test)]
mod tests {
    use crate::ConfineSpec;
    use crate::platform::of_one_layer as parse;

    #[test]
    fn a_component_has_its_layer_s_confinement_and_its_own() {
        let components =
            "  - {name: one, path: one}\n  - {name: two, path: two, confine: {kinds: [apps/*], clusterScoped: []}}\n";
        let platform = parse("confine: {namespaces: [shop-*]}", components).unwrap();
        let of_layer = ConfineSpec { namespaces: Some(vec!["shop-*".into()]), ..ConfineSpec::default() };
        let own = ConfineSpec { kinds: Some(vec!["apps/*".into()]), cluster_scoped: Some(vec![]), ..ConfineSpec::default() };
        assert_eq!(platform.components()[0].confine, std::slice::from_ref(&of_layer));
        assert_eq!(platform.components()[1].confine, [of_layer, own]);
    }

    #[test]
    fn what_is_wrong_with_it_is_named() {
        for (keys, word) in [
            ("confine: {}", "say what it may touch"),
            ("confine: {namespace: shop}", "write `namespaces`"),
            ("confine: {namespaces: ['[']}", "confine.namespaces: error parsing glob"),
            ("confine: {kinds: [apps/v1/Deployment]}", "`apps/v1/Deployment` is no kind"),
            ("confine: {clusterScoped: true}", "confine.clusterScoped: it has to be a list"),
        ] {
            let found = parse("namespace:", &format!("  - {{name: one, path: one, {keys}}}\n")).unwrap_err();
            assert!(found.contains(word), "{keys}: {found}");
        }
    }
}
