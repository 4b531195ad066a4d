//! A kustomization with bases and plugins: which files it refers to. The program itself is not started.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tk8s_core::TreePath;
use tk8s_fuzz::{Tree, let_the_parser_panic};
use tk8s_render::{Component, Kind, Options, Placement, Renderers, input};

/// Two bases, and what kustomizations and plugins refer to.
const FILES: [&str; 6] = [
    "app/kustomization.yaml",
    "base/kustomization.yaml",
    "base/more/Kustomization",
    "app/plugin.yaml",
    "app/values.env",
    "base/objects.yaml",
];

// Any program will do: only its digest is asked for, once.
static RENDERERS: LazyLock<Renderers> =
    LazyLock::new(|| Renderers::new(Options { kustomize: Some("/bin/true".into()), ..Options::default() }));

fuzz_target!(|data: &[u8]| {
    let_the_parser_panic();
    let tree = Tree::cut(data, &FILES);
    let component = Component {
        name: "fuzzed".parse().expect("a name"),
        layer: Placement::ByLabel,
        path: "app".parse::<TreePath>().expect("a path"),
        kind: Some(Kind::Kustomize),
        helm: None,
        include: Vec::new(),
        exclude: Vec::new(),
        namespace: None,
        create_namespace: false,
        substitute: false,
    };
    let read = || input(&tree, &component, &RENDERERS).map_err(|error| error.to_string());
    assert_eq!(read(), read());
});
