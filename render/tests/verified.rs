//! What the pipeline gets of a verified tree with mistakes in it.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Repository, component, renderers};
use tk8s_core::Classified as _;
use tk8s_render::{Kind, render};

#[test]
fn a_verified_tree_with_mistakes_gives_no_object_and_names_the_first_twenty() {
    let repository = Repository::new(&[("web/good.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: good}\n")]);
    assert_eq!(render(&repository.commit(), &component("web"), &renderers()).unwrap().parts().objects.len(), 1);
    (0..30).for_each(|number| repository.write(&format!("web/bad-{number:02}.yaml"), "a: [\n"));
    let plain = tk8s_render::Component { kind: Some(Kind::Yaml), ..component("web") };
    let error = render(&repository.commit(), &plain, &renderers()).unwrap_err();
    assert_eq!((error.each().0.len(), error.reason()), (30, "SeveralFindings"));
    let told = error.to_string();
    assert!(told.starts_with("30 findings: web/bad-00.yaml:"), "{told}");
    assert!(told.contains("web/bad-19.yaml:") && !told.contains("web/bad-20.yaml"), "{told}");
    assert!(told.ends_with("; and 10 more: `tk8s-agent check` lists them"), "{told}");
}
