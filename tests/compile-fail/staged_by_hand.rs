//! error: E0451 are private
//! A release is staged by the history only, after it is on disk.

fn wrong(release: std::sync::Arc<tk8s_history::Release>) {
    let _ = tk8s_history::Staged { release, objects: Vec::new() };
}

fn main() {
    let _ = wrong;
}
