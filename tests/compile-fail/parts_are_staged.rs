//! error: E0308 expected `Resolved`, found `ResolvedParts`
//! Plain data can't be turned back into what was proven.

fn wrong(history: &tk8s_history::History, parts: tk8s_images::ResolvedParts, now: tk8s_core::Timestamp) {
    let _ = history.stage(parts, now);
}

fn main() {
    let _ = wrong;
}
