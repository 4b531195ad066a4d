//! error: E0308 expected `Desired`
//! Objects that the history does not vouch for can't be planned.

fn wrong(objects: Vec<tk8s_core::Placed>, instance: &tk8s_core::InstanceName, hooks: &tk8s_diff::Hooks) {
    let _ = tk8s_diff::turns(objects, instance, hooks);
}

fn main() {
    let _ = wrong;
}
