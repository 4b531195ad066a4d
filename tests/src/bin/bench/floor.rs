//! The floor: the same requests from a client that does nothing else. It knows what to send beforehand, reads no answer but
//! its status, writes nothing down and watches nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use http::Request;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tk8s_core::{COMPONENT_LABEL, INSTANCE_LABEL};
use tk8s_diff::cluster::{Demands, apply_request};
use tk8s_tests::cluster::ControlPlane;

use crate::line::median;
use crate::workload::{self, Workload};

fn demands(dry_run: bool) -> Demands<'static> {
    Demands { force: true, dry_run, ..Demands::default() }
}

/// The numbers of connections that are tried.
const CONNECTIONS: [usize; 3] = [8, 16, 32];

/// A bare client, with a namespace of its own.
pub(crate) struct Floor {
    client: kube::Client,
    pub(crate) namespace: String,
    workload: Workload,
    version: usize,
}

impl Floor {
    pub(crate) async fn new(plane: &ControlPlane, namespace: &str, workload: Workload) -> Floor {
        plane.kubectl(&["create", "namespace", namespace]);
        Floor { client: plane.client_as(Some(namespace)).await, namespace: namespace.into(), workload, version: 0 }
    }

    /// Changes every object, each with its dry-run before it; how many seconds that took.
    pub(crate) async fn change_all(&mut self, connections: usize) -> f64 {
        self.send_all(connections, &[true, false]).await
    }

    /// The same without the dry-runs.
    pub(crate) async fn change_all_unseen(&mut self, connections: usize) -> f64 {
        self.send_all(connections, &[false]).await
    }

    async fn send_all(&mut self, connections: usize, steps: &[bool]) -> f64 {
        self.version += 1;
        let mut queue = VecDeque::with_capacity(self.workload.objects());
        for component in 0..self.workload.components {
            for number in 0..self.workload.each {
                let mut object = self.workload.object(component, number, &self.namespace, &format!("f{}", self.version));
                self.label(component, &mut object);
                let (resource, key) = workload::named(&object);
                let requests = steps.iter().map(|dry_run| apply_request(&resource, &key, &object, demands(*dry_run)));
                queue.push_back(requests.collect::<Vec<_>>());
            }
        }
        let queue = Arc::new(Mutex::new(queue));
        let began = Instant::now();
        let mut workers = tokio::task::JoinSet::new();
        for _ in 0..connections {
            let (queue, client) = (Arc::clone(&queue), self.client.clone());
            workers.spawn(async move {
                let next = || queue.lock().expect("because nobody panics with it").pop_front();
                while let Some(requests) = next() {
                    for request in requests {
                        send(&client, request).await;
                    }
                }
            });
        }
        while let Some(ended) = workers.join_next().await {
            ended.expect("because the API server takes what it is sent");
        }
        began.elapsed().as_secs_f64()
    }

    /// As large as the agent's: with the labels that it puts on everything.
    fn label(&self, component: usize, object: &mut Value) {
        object["metadata"]["labels"][INSTANCE_LABEL] = self.namespace.as_str().into();
        object["metadata"]["labels"][COMPONENT_LABEL] = self.workload.component(component).into();
    }

    /// Lists every object of an instance, as the agent's watches begin; how many seconds that took.
    pub(crate) async fn list_all(&self, instance: &str) -> f64 {
        let began = Instant::now();
        for kind in workload::kinds() {
            let mut more = Some(String::new());
            while let Some(token) = more {
                let path = format!("{}?labelSelector={INSTANCE_LABEL}%3D{instance}&limit=500&continue={token}", kind.path(None));
                let request = Request::get(path).body(kube::client::Body::empty()).expect("because the path is valid");
                let response = self.client.send(request).await.expect("because the API server answers");
                let body = response.into_body().collect().await.expect("because the answer is whole").to_bytes();
                let list: Value = serde_json::from_slice(&body).expect("because it is JSON");
                let next = list["metadata"]["continue"].as_str().unwrap_or_default();
                more = (!next.is_empty()).then(|| next.to_owned());
            }
        }
        began.elapsed().as_secs_f64()
    }

    /// Removes its objects, so that the next measurement finds the API server as this one did.
    pub(crate) async fn clear(&self) {
        clear(&self.client, &self.namespace).await;
    }
}

/// Removes every object of a namespace.
pub(crate) async fn clear(client: &kube::Client, namespace: &str) {
    for kind in workload::kinds() {
        let request = Request::delete(kind.path(Some(namespace))).body(Vec::new()).expect("because the path is valid");
        send(client, request).await;
    }
}

async fn send(client: &kube::Client, request: Request<Vec<u8>>) {
    let about = format!("{} {}", request.method(), request.uri());
    let (parts, body) = request.into_parts();
    let request = Request::from_parts(parts, kube::client::Body::from(body));
    let response = client.send(request).await.unwrap_or_else(|error| panic!("{about}: {error}"));
    let status = response.status();
    let body = response.into_body().collect().await.expect("because the answer is whole").to_bytes();
    assert!(status.is_success(), "{about}: {status}: {}", String::from_utf8_lossy(&body));
}

/// With how many connections the floor is the fastest here.
pub(crate) async fn best_number_of_connections(plane: &ControlPlane, objects: usize, rounds: usize) -> usize {
    let mut floor = Floor::new(plane, "floor-connections", Workload::spread(objects)).await;
    floor.change_all(CONNECTIONS[0]).await;
    let mut found = Vec::new();
    for connections in CONNECTIONS {
        let mut took = Vec::new();
        for _ in 0..rounds {
            took.push(floor.change_all(connections).await);
        }
        let took = median(&took);
        println!("floor: {objects} objects changed over {connections} connections: {took:.3} s");
        found.push((took, connections));
    }
    floor.clear().await;
    found.sort_by(|a, b| a.0.total_cmp(&b.0));
    found[0].1
}
