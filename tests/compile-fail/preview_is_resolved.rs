//! error: E0308 expected `Rendered`, found `Preview`
//! What was rendered to look at can't go on.

fn wrong(preview: tk8s_render::Preview) {
    let _ = tk8s_images::resolve(preview, tk8s_images::Policy::Unverified);
}

fn main() {
    let _ = wrong;
}
