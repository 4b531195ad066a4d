//! What can go wrong when the cluster is asked. Messages about Secrets hold reasons and fields, never what the API server
//! quoted.

use serde_json::Value;
use tk8s_core::{Class, Classified, GroupVersionKind, ObjectKey, ServiceAccount};

use crate::account::can_i;

/// Why the cluster did not answer as needed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// No answer, or none in time.
    #[error("the API server did not answer about {about}: {why}")]
    NoAnswer {
        /// What was asked about.
        about: String,
        /// Why.
        why: String,
    },
    /// An answer that says no.
    #[error("the API server refused {about} ({code} {reason}): {message}")]
    Refused {
        /// What was asked about.
        about: String,
        /// The HTTP status.
        code: u16,
        /// The reason of the Status.
        reason: String,
        /// The message of the Status, cut.
        message: String,
    },
    /// The account of a component lacks a right.
    #[error(
        "the service account {account} may not {verb} {object}: let it, or name another `serviceAccount`; this shows it: {}",
        can_i(.verb, .resource, .object, &.account.user())
    )]
    NotAllowed {
        /// Who was refused.
        account: ServiceAccount,
        /// What it may not do.
        verb: String,
        /// With which resource, with its group.
        resource: String,
        /// With which object.
        object: ObjectKey,
    },
    /// The agent lacks the right to act for the account of a component.
    #[error(
        "the agent ({agent}) may not act as the service account {account}, as {object} needs it: let it; this shows it: kubectl auth can-i impersonate serviceaccounts/{} -n {} --as={agent}",
        .account.name(),
        .account.namespace()
    )]
    MayNotActAs {
        /// The agent's own user name.
        agent: String,
        /// For whom it was to act.
        account: ServiceAccount,
        /// The object that needs it.
        object: ObjectKey,
    },
    /// A kind that the API server does not serve.
    #[error("the cluster does not serve {kind} ({object}): install its CRD first, in a lower layer or in this component")]
    UnknownKind {
        /// The kind.
        kind: GroupVersionKind,
        /// The object that needs it.
        object: String,
    },
    /// A kind that the API server served before, in this version.
    #[error(
        "the API server does not serve the kind of {0}: its CRD, or this version of it, is gone; nothing is taken to be gone for it"
    )]
    Unserved(ObjectKey),
    /// An object that only the API server could place.
    #[error("{object} lies outside of the component's `confine`: {why}")]
    Outside {
        /// The object.
        object: String,
        /// Which list it is not on.
        why: String,
    },
    /// A namespaced object without a namespace.
    #[error(
        "{object} (from {origin}) lives in a namespace and names none: write `metadata.namespace`, or `namespace` in the platform file"
    )]
    NoNamespace {
        /// The object.
        object: String,
        /// Where it was read.
        origin: String,
    },
    /// The API server answers with another image than was sent.
    #[error("{key}: somebody between us and the API server replaced the image `{sent}` by `{stored}`")]
    ImageReplaced {
        /// The object.
        key: ObjectKey,
        /// What was sent.
        sent: String,
        /// What is, or would be, stored.
        stored: String,
    },
    /// An object was there a moment ago.
    #[error("{0} vanished while it was planned: it is planned again")]
    Vanished(ObjectKey),
    /// A field has another value and can't be changed.
    #[error("{key}: {} can't be changed once the object is there: {next}", .fields.join(", "))]
    Immutable {
        /// The object.
        key: ObjectKey,
        /// The fields.
        fields: Vec<String>,
        /// What to do.
        next: &'static str,
    },
    /// A wave that is none.
    #[error("{object}: `{text}` is no wave: write a whole number from -1000 to 1000 for `tk8s.io/wave`")]
    Wave {
        /// The object.
        object: String,
        /// What it says.
        text: String,
    },
    /// A write that was due when this process was not the writer any more.
    #[error("{0} was not sent: another process may be the writer of this instance by now")]
    Fenced(String),
    /// An object that says it is a hook and can't be one.
    #[error(transparent)]
    Hook(tk8s_core::HookError),
    /// Several objects of a turn were refused.
    #[error("{} objects were refused: {}", .0.len(), .0.iter().map(tk8s_core_chain).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

fn tk8s_core_chain(error: &Error) -> String {
    tk8s_core::chain(error)
}

impl Error {
    /// From a Status of the API server.
    pub fn refused(about: &str, secret: bool, code: u16, status: &Value) -> Error {
        let text = |field: &str| status[field].as_str().unwrap_or_default();
        let message = if secret {
            // The message of an invalid Secret quotes its values; fields and reasons do not.
            let causes = status["details"]["causes"].as_array().map(Vec::as_slice).unwrap_or_default();
            let named: Vec<_> = causes
                .iter()
                .map(|cause| format!("{} {}", cause["field"].as_str().unwrap_or("?"), cause["reason"].as_str().unwrap_or("?")))
                .collect();
            format!(
                "its message is not shown, because it can quote values; fields: {}",
                if named.is_empty() { "none named".into() } else { named.join(", ") }
            )
        } else {
            tk8s_core::printable(&without_values(text("message"), code, &status["details"]["causes"]), 1000)
        };
        Error::Refused { about: about.into(), code, reason: tk8s_core::printable(text("reason"), 80), message }
    }
}

/// What the API server says to an object that it calls invalid, without the values that it quotes: of a Pod template that
/// may be all of it, with every variable of its environment.
fn without_values(message: &str, code: u16, causes: &Value) -> String {
    let causes = causes.as_array().map(Vec::as_slice).unwrap_or_default();
    if code != 422 || causes.is_empty() {
        return message.into();
    }
    let said = |cause: &Value| {
        let message = without_value(cause["message"].as_str().unwrap_or_default());
        format!("{}: {message}", cause["field"].as_str().unwrap_or("?"))
    };
    causes.iter().map(said).collect::<Vec<_>>().join("; ")
}

/// A cause's message is a phrase and a colon, the value as Go prints it, and mostly a colon and an explanation
/// (`k8s.io/apimachinery/pkg/util/validation/field`).
fn without_value(message: &str) -> String {
    const QUOTING: [&str; 6] = ["Invalid value", "Unsupported value", "Duplicate value", "Not found", "Too long", "Too many"];
    let Some((phrase, rest)) = message.split_once(": ").filter(|(phrase, _)| QUOTING.contains(phrase)) else {
        return message.into();
    };
    let explanation = match rest.strip_prefix('"') {
        Some(quoted) => end_of_quoted(quoted).and_then(|rest| rest.strip_prefix(": ")),
        // Numbers hold no colon. Of anything else only the last part is surely no value.
        None if rest.starts_with(|c: char| c.is_ascii_digit() || c == '-') => rest.split_once(": ").map(|(_, rest)| rest),
        None => rest.rsplit_once(": ").map(|(_, rest)| rest).filter(|rest| !rest.ends_with(['}', ']', '"'])),
    };
    explanation.map_or_else(|| phrase.into(), |explanation| format!("{phrase}: {explanation}"))
}

/// What follows the quote that ends a Go string, of which the first one is gone already.
fn end_of_quoted(text: &str) -> Option<&str> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return Some(&text[at + 1..]),
            _ => {}
        }
    }
    None
}

impl Error {
    /// Whether the API server was asked about this very object and does not take it: asked again, as things are, it says the
    /// same. Not so where it has no time, does not know us, or the object changes meanwhile.
    pub fn is_rejection(&self) -> bool {
        match self {
            Error::Refused { code, .. } => !matches!(code, 401 | 409 | 410 | 429 | 500 | 502 | 503 | 504),
            Error::NoAnswer { .. } | Error::Vanished(_) | Error::MayNotActAs { .. } => false,
            Error::Several(errors) => errors.iter().all(Error::is_rejection),
            _ => true,
        }
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::NoAnswer { .. } | Error::Vanished(_) => Class::Transient,
            Error::Refused { code: 429 | 500 | 502 | 503 | 504, .. } => Class::Transient,
            // A token that is being rotated, a namespace that is not there yet, a CRD that is on its way out (405), an object
            // that changed meanwhile, a place in a list that is too old (410).
            Error::Refused { code: 401 | 403 | 404 | 405 | 409 | 410, .. }
            | Error::NotAllowed { .. }
            | Error::MayNotActAs { .. }
            | Error::UnknownKind { .. }
            | Error::Unserved(_)
            | Error::Fenced(_) => Class::Waiting,
            Error::Refused { .. } | Error::NoNamespace { .. } | Error::Immutable { .. } | Error::Wave { .. } | Error::Hook(_) => {
                Class::Stalled
            }
            Error::ImageReplaced { .. } | Error::Outside { .. } => Class::Denied,
            Error::Several(errors) => errors
                .iter()
                .map(Classified::class)
                .max_by_key(|class| matches!(class, Class::Stalled | Class::Denied))
                .unwrap_or(Class::Bug),
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::NoAnswer { .. } => "NoAnswer",
            Error::Refused { code: 401, .. } => "Unauthorized",
            Error::Refused { code: 403, .. } | Error::NotAllowed { .. } => "Forbidden",
            Error::MayNotActAs { .. } => "MayNotActAs",
            Error::Refused { code: 404, .. } => "NotFound",
            Error::Refused { code: 409, .. } => "Conflict",
            Error::Refused { code: 422 | 400, .. } => "Invalid",
            Error::Refused { code: 429, .. } => "TooManyRequests",
            Error::Refused { .. } => "Refused",
            Error::UnknownKind { .. } | Error::Unserved(_) => "UnknownKind",
            Error::NoNamespace { .. } => "NoNamespace",
            Error::Outside { .. } => "OutsideConfinement",
            Error::ImageReplaced { .. } => "ImageReplaced",
            Error::Immutable { .. } => "Immutable",
            Error::Vanished(_) => "Vanished",
            Error::Wave { .. } => "BadWave",
            Error::Fenced(_) => "NotLeading",
            Error::Hook(_) => "HookRefused",
            Error::Several(errors) => errors.first().map_or("Refused", Classified::reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_the_api_server_quotes_are_not_told_on() {
        for (message, expected) in [
            (
                "Invalid value: 99999: must be between 1 and 65535, inclusive",
                "Invalid value: must be between 1 and 65535, inclusive",
            ),
            (r#"Invalid value: "a: \"hunter2\"": a DNS label: it must"#, "Invalid value: a DNS label: it must"),
            (
                r#"Invalid value: core.PodTemplateSpec{Env: []core.EnvVar{{Value: "hunter2"}}}: field is immutable"#,
                "Invalid value: field is immutable",
            ),
            (r#"Invalid value: {"password": "hunter2"}"#, "Invalid value"),
            (r#"Invalid value: "hunter2"#, "Invalid value"),
            (
                r#"Unsupported value: "hunter2": supported values: "Always", "Never""#,
                r#"Unsupported value: supported values: "Always", "Never""#,
            ),
            (r#"Duplicate value: "hunter2""#, "Duplicate value"),
            ("Required value: name is required", "Required value: name is required"),
            ("Forbidden: updates to spec are forbidden: all of them", "Forbidden: updates to spec are forbidden: all of them"),
        ] {
            assert_eq!(without_value(message), expected, "{message}");
        }
    }

    #[test]
    fn a_refusal_of_an_object_is_told_from_a_server_that_has_no_time() {
        let refused = |code| Error::refused("ConfigMap a/b", false, code, &Value::Null);
        for (code, expected) in
            [(400, true), (403, true), (404, true), (422, true), (401, false), (409, false), (429, false), (503, false)]
        {
            assert_eq!(refused(code).is_rejection(), expected, "{code}");
        }
        let no_answer = || Error::NoAnswer { about: "ConfigMap a/b".into(), why: "reset".into() };
        assert!(!no_answer().is_rejection());
        // One that may be taken later keeps the whole open.
        assert!(!Error::Several(vec![refused(422), no_answer()]).is_rejection());
        assert!(Error::Several(vec![refused(422), refused(403)]).is_rejection());
    }

    #[test]
    fn an_invalid_object_is_refused_with_its_fields_and_without_its_values() {
        let status = serde_json::json!({"reason": "Invalid", "message": "Job \"j\" is invalid: spec.template: Invalid value: {hunter2}",
            "details": {"causes": [{"field": "spec.template", "message": "Invalid value: {hunter2}: field is immutable"}]}});
        let error = Error::refused("Job shop/j", false, 422, &status);
        assert!(error.to_string().ends_with("spec.template: Invalid value: field is immutable"), "{error}");
    }
}
