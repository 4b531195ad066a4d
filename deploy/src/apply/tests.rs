//! What answers mean, without anybody who answers.

use serde_json::json;
use tk8s_core::{Digest, GroupVersionKind, ObjectKey};
use tk8s_diff::cluster::Resource;

use super::*;

fn change(action: Action, uid: Option<&str>) -> Change {
    let kind = GroupVersionKind::new("apps/v1", "Deployment");
    Change {
        key: ObjectKey { group: "apps".into(), kind: "Deployment".into(), namespace: Some("shop".into()), name: "web".into() },
        resource: Resource { kind, plural: "deployments".into(), namespaced: true },
        action,
        body: json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}}}),
        uid: uid.map(String::from),
        overrides: Vec::new(),
        version: None,
        yielded: Vec::new(),
        takes_over: false,
        migrates: Vec::new(),
        desired: Digest::of("web"),
        sent: Digest::of("web"),
        diff: String::new(),
        warnings: Vec::new(),
    }
}

fn answer(created: bool, image: &str) -> Answer {
    let change = change(Action::Create, None);
    Answer {
        key: change.key,
        resource: change.resource,
        uid: "u".into(),
        created,
        object: json!({"spec": {"template": {"spec": {"containers": [{"name": "web", "image": image}]}}}}),
        ownership: None,
        desired: change.desired,
        warnings: Vec::new(),
        altered: Vec::new(),
    }
}

fn reason(error: Option<Error>) -> Option<&'static str> {
    error.map(|error| tk8s_core::Classified::reason(&error))
}

#[test]
fn refusals_that_mean_another_object_lead_to_another_plan() {
    let conflict = json!({"reason": "Conflict", "details": {"causes": [{"reason": "FieldManagerConflict"}]}});
    let exists = json!({"reason": "AlreadyExists"});
    let plain = json!({"reason": "Conflict", "message": "uid mismatch"});
    // What the API server says when another object has the name: the UID is a field like others then.
    let immutable =
        json!({"reason": "Invalid", "details": {"causes": [{"reason": "FieldValueInvalid", "field": "metadata.uid"}]}});
    let (create, configure, adopt) =
        (change(Action::Create, None), change(Action::Configure, Some("u")), change(Action::Adopt, Some("u")));
    let takes = Change { version: Some("7".into()), ..change(Action::Configure, Some("u")) };
    for (change, status, answer, expected) in [
        (&create, 409, &conflict, Some("MadeByOther")),
        (&create, 409, &exists, Some("MadeByOther")),
        (&create, 409, &plain, None),
        (&create, 404, &plain, None),
        (&create, 422, &plain, None),
        (&configure, 409, &plain, Some("Vanished")),
        (&configure, 404, &plain, Some("Vanished")),
        (&configure, 409, &conflict, Some("Overtaken")),
        (&takes, 409, &plain, Some("Overtaken")),
        (&adopt, 409, &plain, Some("Vanished")),
        (&configure, 422, &immutable, Some("Vanished")),
        (&configure, 422, &plain, None),
        (&create, 422, &immutable, None),
        (&adopt, 403, &plain, None),
    ] {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(reason(overtaken(change, status, answer)), expected, "{:?} {status} {answer}", change.action);
    }
}

#[test]
fn a_yes_that_was_not_planned_stops_the_plan() {
    let create = change(Action::Create, None);
    assert_eq!(reason(unforeseen(&create, &answer(true, "web:1"))), None);
    assert_eq!(reason(unforeseen(&create, &answer(false, "web:1"))), Some("MadeByOther"));
    assert_eq!(reason(unforeseen(&create, &answer(true, "mirror/web:1"))), Some("ImageReplaced"));
    assert_eq!(reason(unforeseen(&change(Action::Configure, Some("u")), &answer(false, "web:1"))), None);
}

#[test]
fn a_doubt_about_who_made_an_object_means_somebody_else() {
    let managed = |entries: Value| json!({"metadata": {"managedFields": entries}});
    let ours = json!({"manager": "tk8s-agent", "operation": "Apply"});
    let status = json!({"manager": "kube-controller-manager", "operation": "Update", "subresource": "status"});
    assert!(only_we_wrote(&managed(json!([ours]))));
    assert!(only_we_wrote(&managed(json!([ours, status]))));
    for other in [
        json!({"manager": "kubectl-create", "operation": "Update"}),
        json!({"manager": "kustomize-controller", "operation": "Apply"}),
        json!({"manager": "tk8s-agent", "operation": "Update"}),
    ] {
        assert!(!only_we_wrote(&managed(json!([ours, other]))), "{other}");
    }
    assert!(!only_we_wrote(&managed(json!([status]))) && !only_we_wrote(&json!({})));
}
