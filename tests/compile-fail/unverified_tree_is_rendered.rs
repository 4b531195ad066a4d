//! error: E0308 expected `&Arc<VerifiedTree>`
//! A directory that nobody verified can't be rendered for the pipeline.

fn wrong(component: &tk8s_render::Component, renderers: &tk8s_render::Renderers) {
    let tree = std::sync::Arc::new(tk8s_render::WorkingDirectory::new(std::path::Path::new(".")));
    let _ = tk8s_render::render(&tree, component, renderers);
}

fn main() {
    let _ = wrong;
}
