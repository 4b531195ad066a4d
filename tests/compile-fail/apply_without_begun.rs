//! error: E0308 expected `Begun`, found `Intent`
//! Nothing is applied before the ledger says that it was begun.

use tk8s_deploy::{ApplyOptions, ApprovedPlan};
use tk8s_diff::{cluster::Cluster, live::Live};

fn wrong(cluster: &Cluster, live: &Live, plan: ApprovedPlan, options: &ApplyOptions) {
    let intent = plan.intent();
    let _ = tk8s_deploy::apply(cluster, live, plan, intent, options, &|_| ());
}

fn main() {
    let _ = wrong;
}
