//! error: E0308 expected `Plan`, found `PreviewDiff`
//! What a person looked at, of a working tree that nobody signed, passes no gate.

use tk8s_deploy::{GateRules, Trigger};
use tk8s_diff::PreviewDiff;

fn wrong(look: PreviewDiff, rules: &GateRules) {
    let _ = tk8s_deploy::gate(look, &Trigger::Sync, rules);
}

fn main() {
    let _ = wrong;
}
