//! error: E0308 expected `ApprovedPlan`, found `Plan`
//! A plan that no gate let pass can't be applied.

use tk8s_deploy::ApplyOptions;
use tk8s_diff::{Plan, cluster::Cluster, live::Live};
use tk8s_history::Begun;

fn wrong(cluster: &Cluster, live: &Live, plan: Plan, begun: Begun, options: &ApplyOptions) {
    let _ = tk8s_deploy::apply(cluster, live, plan, begun, options, &|_| ());
}

fn main() {
    let _ = wrong;
}
