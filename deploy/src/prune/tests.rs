//! What is deleted, what is left, and when something counts as gone.

use super::*;

fn standing() -> Standing {
    Standing { uid: "u".into(), resource_version: "7".into(), deleting: false, ours: true }
}

#[test]
fn only_the_object_that_we_made_and_that_is_still_ours_is_deleted() {
    assert_eq!(without_asking(&standing(), "u"), None);
    let replaced = without_asking(&standing(), "another");
    assert_eq!(replaced, Some(Fate::Released("another object has its name now")));
    let taken = Standing { ours: false, ..standing() };
    assert!(matches!(without_asking(&taken, "u"), Some(Fate::Released(why)) if why.contains("somebody else's")));
    // Also if it is on its way out: who deletes it is not our business then.
    assert!(matches!(without_asking(&Standing { deleting: true, ..taken }, "u"), Some(Fate::Released(_))));
    assert_eq!(without_asking(&Standing { deleting: true, ..standing() }, "u"), Some(Fate::Deleting));
}

#[test]
fn a_deletion_names_the_incarnation_and_the_version_that_were_read() {
    let key = ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: Some("shop".into()), name: "web".into() };
    let kind = tk8s_core::GroupVersionKind::new("apps/v1", "Deployment");
    let resource = tk8s_diff::cluster::Resource { kind, plural: "deployments".into(), namespaced: true };
    let request =
        request(&Prune { key, resource, uid: "u".into(), propagation: Default::default(), confirm: false }, &standing());
    assert_eq!((request.method().as_str(), request.uri().path()), ("DELETE", "/apis/apps/v1/namespaces/shop/deployments/web"));
    let body: Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body["preconditions"], json!({"uid": "u", "resourceVersion": "7"}));
    assert_eq!(body["propagationPolicy"], "Background");
}

#[test]
fn a_status_says_gone_and_an_object_says_soon() {
    assert_eq!(answered(&json!({"kind": "Status", "status": "Success", "metadata": {}})), Fate::Gone);
    assert_eq!(answered(&json!({"kind": "Namespace", "metadata": {"uid": "u"}})), Fate::Deleting);
    assert_eq!(answered(&json!({"kind": "Status", "apiVersion": "example.com/v1", "metadata": {"uid": "u"}})), Fate::Deleting);
}

#[test]
fn a_watch_that_has_not_listed_does_not_say_that_something_is_gone() {
    assert!(is_there(&Seen::Unwatched, "u"));
    assert!(!is_there(&Seen::Absent, "u"));
}
