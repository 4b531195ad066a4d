//! error: E0382 use of moved value: `plan`
//! A plan goes through the gate once.

fn wrong(plan: tk8s_diff::Plan, trigger: &tk8s_deploy::Trigger, rules: &tk8s_deploy::GateRules) {
    let _ = tk8s_deploy::gate(plan, trigger, rules);
    let _ = tk8s_deploy::gate(plan, trigger, rules);
}

fn main() {
    let _ = wrong;
}
