//! Who we are to an https server. Every file is read for each fetch, so that a rotated one is in force at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use hyper::header::HeaderValue;
use tk8s_core::{Place, Secret};

use super::{GithubApp, HttpsAccess, github};
use crate::Error;
use crate::talk::Talk;

/// How to log in.
#[derive(Clone, Debug, Default)]
pub enum HttpsLogin {
    /// Not at all: the repository is public.
    #[default]
    None,
    /// `Authorization: Bearer`, with the token that a file holds.
    Bearer {
        /// The file.
        token_file: PathBuf,
    },
    /// `Authorization: Basic`.
    Basic {
        /// Whatever the Git host wants to read there.
        username: String,
        /// The file with the password, or with a token that the host takes for one.
        password_file: PathBuf,
    },
    /// As an installation of a GitHub App, with tokens that live for an hour.
    GithubApp(GithubApp),
}

impl HttpsLogin {
    /// Whether it is something that was asked for before and kept.
    pub(super) fn is_kept(&self) -> bool {
        matches!(self, HttpsLogin::GithubApp(_))
    }

    /// A token that was refused is not used again.
    pub(super) fn forget(&self) {
        if let HttpsLogin::GithubApp(app) = self {
            app.tokens.forget();
        }
    }
}

/// The value of `Authorization`.
pub(super) async fn header(
    access: &HttpsAccess,
    place: &Place,
    talk: &Arc<Talk>,
    tls: Option<&Arc<rustls::ClientConfig>>,
) -> Result<Option<HeaderValue>, Error> {
    let basic = |username: &str, password: &Secret| {
        let mut pair = format!("{username}:").into_bytes();
        pair.extend_from_slice(password.expose());
        sensitive(&format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
    };
    match &access.login {
        HttpsLogin::None => Ok(None),
        HttpsLogin::Bearer { token_file } => {
            let token = read_secret(token_file, "token file")?;
            let token = std::str::from_utf8(token.expose()).unwrap_or_default();
            sensitive(&format!("Bearer {token}"))
        }
        HttpsLogin::Basic { username, password_file } => basic(username, &read_secret(password_file, "password file")?),
        HttpsLogin::GithubApp(app) => {
            let token = github::token(app, place, talk, tls, access.proxy.as_ref()).await?;
            basic("x-access-token", &token)
        }
    }
}

fn sensitive(text: &str) -> Result<Option<HeaderValue>, Error> {
    let mut value = HeaderValue::from_str(text).expect("because secrets are visible ASCII and base64 is too");
    value.set_sensitive(true);
    Ok(Some(value))
}

/// The one line of a secret file.
pub(super) fn read_secret(path: &Path, what: &'static str) -> Result<Secret, Error> {
    let mut bytes = crate::read_small(path, what)?;
    while bytes.last().is_some_and(u8::is_ascii_whitespace) {
        bytes.pop();
    }
    let wrong = |why: &str| Err(Error::Credential { path: path.into(), why: why.into() });
    if bytes.is_empty() {
        return wrong("it is empty");
    }
    if !bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
        return wrong("it holds more than one line of plain characters");
    }
    Ok(Secret::new(bytes))
}
