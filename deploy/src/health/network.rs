//! What leads traffic to pods.

use serde_json::Value;
use tk8s_core::Health;

use super::{items, progressing};

pub(super) fn service(object: &Value) -> Health {
    if object["spec"]["type"] == "LoadBalancer" && !is_assigned(object) {
        return progressing("AddressPending", "no load balancer has given it an address yet");
    }
    Health::healthy()
}

pub(super) fn ingress(object: &Value) -> Health {
    if is_assigned(object) {
        return Health::healthy();
    }
    let class = object["spec"]["ingressClassName"].as_str().unwrap_or("default");
    progressing("AddressPending", format!("no ingress controller has given it an address yet (class `{class}`)"))
}

fn is_assigned(object: &Value) -> bool {
    !items(&object["status"]["loadBalancer"]["ingress"]).is_empty()
}
