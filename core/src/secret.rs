//! Values that must not be printed: `Debug` and `Display` show that there is something, never what.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

/// Bytes that are never printed and are wiped from memory when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Secret {
        Secret(Zeroizing::new(bytes))
    }

    /// The bytes. Named so that a reader of the code sees where a secret is used.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a text is not a repository URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither a URL nor the short form of SSH.
    #[error("the repository URL cannot be read: {0}")]
    Malformed(String),
    /// A scheme that the agent does not speak.
    #[error(
        "the repository URL has the scheme `{0}`: use `https://host/path`, `ssh://user@host/path`, `user@host:path` or `file:///path`"
    )]
    Scheme(String),
    /// A password in the URL would end up in configuration, logs and process lists.
    #[error(
        "the repository URL holds a password, or something that looks like one: put credentials into files named under `repository.auth`"
    )]
    Password,
    /// A user name is half of a login, and belongs to its other half.
    #[error("the repository URL holds a user name, which `{0}` does not need: put credentials under `repository.auth`")]
    User(&'static str),
    /// Control characters, or parts that a program could take for an option.
    #[error("the repository URL holds {0}, which is refused")]
    Hostile(&'static str),
}

/// Where the repository is. Cannot hold a password, and prints without anything that could be one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum RepositoryUrl {
    /// `ssh://user@host:port/path` or `user@host:path`.
    Ssh {
        /// Who logs in; `git` at every known host.
        user: String,
        /// Host name or address, without brackets.
        host: String,
        /// 22 unless given.
        port: u16,
        /// As the server is to see it, for example `/org/platform.git`, or relative for the short form.
        path: String,
    },
    /// `https://host:port/path`.
    Https(Place),
    /// `http://host:port/path`: anybody on the way can read and change what is sent.
    Http(Place),
    /// `git://host:port/path`: the same, without even a name for the server.
    Git(Place),
    /// `file:///absolute/path`, for repositories on the same volume.
    File {
        /// The absolute path.
        path: String,
    },
}

/// A repository on a host that nobody logs in to by name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Host name or address, without brackets, in lower case.
    pub host: String,
    /// The scheme's own unless given.
    pub port: u16,
    /// As the server is to see it, for example `/org/platform.git`.
    pub path: String,
}

impl FromStr for RepositoryUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.chars().any(|c| c.is_control())
            || text.to_ascii_lowercase().contains("%0a")
            || text.to_ascii_lowercase().contains("%0d")
        {
            return Err(UrlError::Hostile("a control character"));
        }
        if !text.contains("://") {
            return Self::short_form(text);
        }
        let url = url::Url::parse(text).map_err(|e| UrlError::Malformed(e.to_string()))?;
        if url.password().is_some() {
            return Err(UrlError::Password);
        }
        // Behind the host a login serves nobody, but would be shown wherever the URL is.
        if crate::text::holds_login(&unescaped(url.path())) {
            return Err(UrlError::Password);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(UrlError::Malformed("it holds a query or a fragment".into()));
        }
        match url.scheme() {
            "file" if url.has_host() => Err(UrlError::Malformed("`file:` takes no host: write `file:///absolute/path`".into())),
            "file" => Ok(RepositoryUrl::File { path: url.path().into() }),
            "ssh" => {
                let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
                let user = if url.username().is_empty() { "git" } else { url.username() };
                Self::ssh(user, host, url.port().unwrap_or(22), url.path())
            }
            "https" => Self::place(&url, 443, "https").map(RepositoryUrl::Https),
            "http" => Self::place(&url, 80, "http").map(RepositoryUrl::Http),
            "git" => Self::place(&url, 9418, "git").map(RepositoryUrl::Git),
            other => Err(UrlError::Scheme(crate::printable(other, 20))),
        }
    }
}

impl RepositoryUrl {
    /// Whether nobody on the way can read or change what is sent.
    pub fn is_protected(&self) -> bool {
        !matches!(self, RepositoryUrl::Http(_) | RepositoryUrl::Git(_))
    }

    fn place(url: &url::Url, port: u16, scheme: &'static str) -> Result<Place, UrlError> {
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if !url.username().is_empty() {
            return Err(UrlError::User(scheme));
        }
        if host.is_empty() {
            return Err(UrlError::Malformed("it names no host".into()));
        }
        let plain = host.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b));
        if !plain || host.starts_with('-') {
            return Err(UrlError::Hostile("an unusual character in the host name"));
        }
        let path = url.path();
        if path.trim_matches('/').is_empty() {
            return Err(UrlError::Malformed("it names no repository".into()));
        }
        if !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(UrlError::Hostile("an unusual character in the path"));
        }
        Ok(Place { host, port: url.port().unwrap_or(port), path: path.trim_end_matches('/').into() })
    }

    /// `user@host:path`, as `git clone` takes it.
    fn short_form(text: &str) -> Result<Self, UrlError> {
        let malformed = || UrlError::Malformed("neither a URL nor `user@host:path`".into());
        let (login, path) = text.split_once(':').ok_or_else(malformed)?;
        // `git:password@host:path`: Git takes `git` for the host and shows the rest as the path.
        let further = unescaped(path);
        if further.split_once('@').is_some_and(|(_, after)| !login.contains('@') || after.contains(':'))
            || crate::text::holds_login(&format!(":{further}"))
        {
            return Err(UrlError::Password);
        }
        let (user, host) = login.split_once('@').unwrap_or(("git", login));
        if path.is_empty() || login.contains('/') {
            return Err(malformed());
        }
        Self::ssh(user, host, 22, path)
    }

    fn ssh(user: &str, host: &str, port: u16, path: &str) -> Result<Self, UrlError> {
        if host.is_empty() {
            return Err(UrlError::Malformed("it names no host".into()));
        }
        if path.trim_matches('/').is_empty() {
            return Err(UrlError::Malformed("it names no repository".into()));
        }
        for part in [user, host, path] {
            if part.starts_with('-') {
                return Err(UrlError::Hostile("a part that begins with `-`"));
            }
        }
        if path.starts_with(':') {
            return Err(UrlError::Hostile("the name of a transport program"));
        }
        let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:".contains(&b));
        if !plain(user) || !plain(host) {
            return Err(UrlError::Hostile("an unusual character in the user or host name"));
        }
        Ok(RepositoryUrl::Ssh { user: user.into(), host: host.into(), port, path: path.into() })
    }
}

/// With the marks as they are that part a login from a host, and it from itself.
fn unescaped(text: &str) -> String {
    ["%40", "%3a", "%3A", "%2f", "%2F"]
        .iter()
        .zip(["@", ":", ":", "/", "/"])
        .fold(text.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

impl Place {
    fn write(&self, f: &mut fmt::Formatter<'_>, scheme: &str, port: u16) -> fmt::Result {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        write!(f, "{scheme}://{host}")?;
        if self.port != port {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(&self.path)
    }
}

impl fmt::Display for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RepositoryUrl::Https(place) => place.write(f, "https", 443),
            RepositoryUrl::Http(place) => place.write(f, "http", 80),
            RepositoryUrl::Git(place) => place.write(f, "git", 9418),
            RepositoryUrl::Ssh { user, host, port, path } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                let slash = if path.starts_with('/') { "" } else { "/" };
                match port {
                    22 => write!(f, "ssh://{user}@{host}{slash}{path}"),
                    port => write!(f, "ssh://{user}@{host}:{port}{slash}{path}"),
                }
            }
            RepositoryUrl::File { path } => write!(f, "file://{path}"),
        }
    }
}

impl fmt::Debug for RepositoryUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Secret::new(b"hunter2".to_vec())), "Secret(..)");
    }

    #[test]
    fn repository_urls_are_read_as_git_reads_them() {
        let table = [
            ("ssh://git@git.example.com/org/platform.git", "ssh://git@git.example.com/org/platform.git"),
            ("ssh://git.example.com:2222/org/platform.git", "ssh://git@git.example.com:2222/org/platform.git"),
            ("git@git.example.com:org/platform.git", "ssh://git@git.example.com/org/platform.git"),
            ("git@git.example.com:org/platform@v2.git", "ssh://git@git.example.com/org/platform@v2.git"),
            ("https://git.example.com/org/platform@v2", "https://git.example.com/org/platform@v2"),
            ("ssh://git@[::1]:22/x", "ssh://git@[::1]/x"),
            ("file:///srv/platform.git", "file:///srv/platform.git"),
            ("https://Git.example.com/org/platform.git", "https://git.example.com/org/platform.git"),
            ("https://git.example.com:443/org/x/", "https://git.example.com/org/x"),
            ("https://[::1]:8443/x", "https://[::1]:8443/x"),
            ("http://git.example.com/x", "http://git.example.com/x"),
            ("git://git.example.com/x", "git://git.example.com/x"),
        ];
        for (text, printed) in table {
            assert_eq!(text.parse::<RepositoryUrl>().unwrap().to_string(), printed);
        }
    }

    #[test]
    fn a_url_that_could_leak_or_be_taken_for_an_option_is_refused() {
        let table = [
            "ssh://git:hunter2@host/x",
            "https://user:hunter2@host/x",
            "https://hunter2@host/x",
            "https://host/x?token=hunter2",
            "https://user:hun%40ter2:hunter2@host/x",
            "https://user:hunter2%40host/x",
            "https://user%3Ahunter2@host/x",
            "https://host/user:hunter2@x",
            "https://host/user%3Ahunter2%40x",
            "https://proxy/https://user:hunter2@host/x",
            "ssh://host/user:hunter2@x",
            "ssh://git%3ahunter2@host/x",
            "file:///user:hunter2@host/x",
            "git:hunter2@host:path",
            "git:hunter2@host/path",
            "git:hunter2%40host:path",
            "git:hun/hunter2@host:path",
            "git:hun:hunter2@host:path",
            "me@example.com:hunter2@host:path",
            "me@example.com:hun/hunter2@host:path",
            "https://host/",
            "https:///x",
            "ftp://host/x",
            "ext::sh -c id",
            "ssh://-oProxyCommand=id/x",
            "ssh://git@host/x\nfoo",
            "ssh://git@host/x%0aHost:y",
            "file://elsewhere/x",
            "-x",
            "git@host:-x",
            "ssh://host/",
            "",
        ];
        for text in table {
            let error = text.parse::<RepositoryUrl>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_the_url_reader_panic_and_what_is_read_prints_as_itself(
            any in "\\PC{0,80}",
            near in "(https|http|git|ssh|file|ext|HTTPS)?(:|://|::)?[a-zA-Z0-9@:.%\\[\\]/?#~ _-]{0,60}",
        ) {
            for text in [any, near] {
                // The short form of SSH takes any path, and prints as a URL, which does not.
                if let (Ok(url), true) = (text.parse::<RepositoryUrl>(), text.contains("://")) {
                    let printed = url.to_string();
                    proptest::prop_assert_eq!(printed.parse::<RepositoryUrl>().map(|url| url.to_string()), Ok(printed));
                }
            }
        }
    }
}
