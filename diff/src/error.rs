//! What can go wrong when the cluster is asked. Messages about Secrets hold reasons and fields, never what the API server
//! quoted.

use tk8s_core::{Class, Classified, GroupVersionKind, ObjectKey};

/// Why the cluster did not answer as needed.
#[derive(Debug, thiserror::Error)]
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
    /// A kind that the API server does not serve.
    #[error("the cluster does not serve {kind} ({object}): install its CRD first, in a lower layer or in this component")]
    UnknownKind {
        /// The kind.
        kind: GroupVersionKind,
        /// The object that needs it.
        object: String,
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
    /// Several objects of a turn were refused.
    #[error("{} objects were refused: {}", .0.len(), .0.iter().map(tk8s_core_chain).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
}

fn tk8s_core_chain(error: &Error) -> String {
    tk8s_core::chain(error)
}

impl Error {
    /// From a Status of the API server.
    pub fn refused(about: &str, secret: bool, code: u16, status: &serde_json::Value) -> Error {
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
            tk8s_core::printable(text("message"), 1000)
        };
        Error::Refused { about: about.into(), code, reason: tk8s_core::printable(text("reason"), 80), message }
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::NoAnswer { .. } => Class::Transient,
            Error::Refused { code: 429 | 500 | 502 | 503 | 504, .. } => Class::Transient,
            // A token that is being rotated, a namespace that is not there yet, an object that changed meanwhile.
            Error::Refused { code: 401 | 403 | 404 | 409, .. } | Error::UnknownKind { .. } => Class::Waiting,
            Error::Refused { .. } | Error::NoNamespace { .. } => Class::Stalled,
            Error::ImageReplaced { .. } => Class::Denied,
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
            Error::Refused { code: 403, .. } => "Forbidden",
            Error::Refused { code: 404, .. } => "NotFound",
            Error::Refused { code: 409, .. } => "Conflict",
            Error::Refused { code: 422 | 400, .. } => "Invalid",
            Error::Refused { code: 429, .. } => "TooManyRequests",
            Error::Refused { .. } => "Refused",
            Error::UnknownKind { .. } => "UnknownKind",
            Error::NoNamespace { .. } => "NoNamespace",
            Error::ImageReplaced { .. } => "ImageReplaced",
            Error::Several(errors) => errors.first().map_or("Refused", Classified::reason),
        }
    }
}
