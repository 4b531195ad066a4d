//! A manifest file, as plain YAML or JSON: no panic, and reading it twice gives the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tk8s_core::TreePath;
use tk8s_fuzz::{Tree, let_the_parser_panic};
use tk8s_render::{Component, Kind, Options, Placement, Renderers, preview};

fuzz_target!(|data: &[u8]| {
    let_the_parser_panic();
    let tree = Tree::whole(data, "all.yaml");
    let component = Component {
        name: "fuzzed".parse().expect("a name"),
        layer: Placement::ByLabel,
        path: TreePath::root(),
        kind: Some(Kind::Yaml),
        helm: None,
        include: Vec::new(),
        exclude: Vec::new(),
        namespace: Some("fuzzed".into()),
        create_namespace: false,
        substitute: false,
    };
    let renderers = Renderers::new(Options::default());
    let read = || {
        let objects = preview(&tree, &component, &renderers).map(|preview| preview.objects().to_vec());
        objects.map(|objects| objects.iter().map(|placed| placed.manifest.digest()).collect::<Vec<_>>()).map_err(|error| error.to_string())
    };
    assert_eq!(read(), read());
});
