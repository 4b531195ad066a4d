//! What can go wrong between the remote and the tree. What a rule refuses is not an error but a [`crate::Refusal`].

use std::path::PathBuf;
use std::time::Duration;

use tk8s_core::{Class, Classified, RepositoryUrl};

/// Why nothing was fetched or read. No message holds key material or what the server printed beyond one bounded line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`{url}` needs `repository.auth`: SSH keys and a known_hosts file")]
    /// SSH without credentials.
    NoCredentials {
        /// The repository.
        url: RepositoryUrl,
    },
    /// A file that has to be there can't be read.
    #[error("could not read the {what} `{}`", path.display())]
    ReadFile {
        /// What the file is.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The private key can't be used.
    #[error("the SSH key `{}` can't be used: {why}", path.display())]
    Key {
        /// Where.
        path: PathBuf,
        /// Why, without key material.
        why: String,
    },
    /// A line of the known_hosts file can't be read.
    #[error("`{}`, line {line}: {why}", path.display())]
    KnownHosts {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// The known_hosts file has no entry for the host.
    #[error(
        "the host `{host}` is not in the known_hosts file (it shows {fingerprint}): compare the fingerprint with what its owner publishes and add it"
    )]
    UnknownHost {
        /// The host, with its port unless that is 22.
        host: String,
        /// What it showed.
        fingerprint: String,
    },
    /// The host shows a key that is not the known one.
    #[error(
        "the host `{host}` shows the key {fingerprint}, which is not the one in the known_hosts file: somebody may be in between; replace the entry only after asking the host's owner"
    )]
    ChangedHostKey {
        /// The host, with its port unless that is 22.
        host: String,
        /// What it showed.
        fingerprint: String,
    },
    /// The host shows a key that is marked as revoked.
    #[error("the host `{host}` shows the key {fingerprint}, which the known_hosts file marks as revoked")]
    RevokedHostKey {
        /// The host, with its port unless that is 22.
        host: String,
        /// What it showed.
        fingerprint: String,
    },
    /// The host shows a certificate of an authority that is known, and it is still not good.
    #[error("the certificate that the host `{host}` shows is refused: {why}")]
    HostCertificate {
        /// The host, with its port unless that is 22.
        host: String,
        /// Why.
        why: String,
    },
    /// Nobody protects what this URL brings.
    #[error(
        "`{url}` is not protected on its way: use `https:` or SSH, or write `repository.allowInsecure: true` and no credentials"
    )]
    Insecure {
        /// The repository.
        url: RepositoryUrl,
    },
    /// A file with something secret, or with certificates, that can't be used.
    #[error("`{}` can't be used: {why}", path.display())]
    Credential {
        /// Where.
        path: PathBuf,
        /// Why, without its content.
        why: String,
    },
    /// TLS with somebody who can't prove to be the host.
    #[error(
        "the certificate of `{host}` is refused ({why}): if its authority is your own, name its certificate in `repository.caFile`"
    )]
    Certificate {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The https conversation broke.
    #[error("could not talk https with `{host}`: {why}")]
    Http {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The server wants a login, or another one.
    #[error("`{host}` does not let us in ({status}): compare `repository.auth` with what the Git host issued")]
    LoginRefused {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// Any other answer that is no success.
    #[error("`{host}` answers {status}{}", match status {
        404 => ": there is no such repository, or these credentials may not see it",
        429 => ": we ask too often; raise `repository.interval`",
        _ => "",
    })]
    Status {
        /// The host.
        host: String,
        /// The HTTP status.
        status: u16,
    },
    /// A redirect that is not followed.
    #[error(
        "`{from}` sends us to `{to}`, where we don't follow: if that is where the repository is now, write it into `repository.url`"
    )]
    Redirect {
        /// What was asked.
        from: String,
        /// Where it leads, without anything that could be a secret.
        to: String,
    },
    /// Something answers, and it is no Git server.
    #[error("`{url}` is answered, but not by a Git server: compare `repository.url`")]
    NotGit {
        /// What was asked.
        url: String,
    },
    /// The text that should name a proxy.
    #[error("the proxy's URL (`repository.proxy.url` or `HTTPS_PROXY`) can't be used: {why}")]
    ProxyUrl {
        /// Why.
        why: String,
    },
    /// The proxy does not connect us.
    #[error("the proxy `{proxy}` does not connect us: {why}")]
    Proxy {
        /// The proxy, without a login.
        proxy: String,
        /// Why.
        why: String,
    },
    /// GitHub's API gives no token.
    #[error("`{host}` gives no token for the GitHub App: {why}")]
    GithubApp {
        /// The API's host.
        host: String,
        /// Why.
        why: String,
    },
    /// The pack is not one.
    #[error("`{url}` sends a pack that is refused: {why}")]
    BadPack {
        /// The repository.
        url: String,
        /// Why.
        why: String,
    },
    /// More than is taken.
    #[error("`{url}` sends more than {limit} {what}: if that is as it should be, raise `repository.limits.{key}`")]
    TooLarge {
        /// The repository.
        url: String,
        /// Of what.
        what: &'static str,
        /// How many are taken.
        limit: u64,
        /// The key that says so.
        key: &'static str,
    },
    /// A walk through history that does not end.
    #[error("no answer within {limit} commits before {commit}: if history is that long, raise `repository.limits.commits`")]
    LongHistory {
        /// Where the walk began.
        commit: String,
        /// How many commits were looked at.
        limit: usize,
    },
    /// A repository that borrows objects from somewhere else.
    #[error("`{}` borrows objects from another directory, which is not followed: run `git repack -a -d` and remove it", path.display())]
    Alternates {
        /// The file that says so.
        path: PathBuf,
    },
    /// No TCP connection.
    #[error("could not connect to `{host}`")]
    Connect {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The SSH conversation failed.
    #[error("could not talk SSH with `{host}`: {why}")]
    Ssh {
        /// The host.
        host: String,
        /// Why.
        why: String,
    },
    /// The server does not let us in.
    #[error(
        "`{host}` refused every key for the user `{user}`: register the public half of one at the Git host as a read-only deploy key"
    )]
    Unauthenticated {
        /// The host.
        host: String,
        /// Who tried to log in.
        user: String,
    },
    /// A wait ended without an answer.
    #[error("`{host}` did not answer in time ({} s) while {phase}", after.as_secs())]
    Timeout {
        /// The host.
        host: String,
        /// What we were doing.
        phase: &'static str,
        /// How long we waited.
        after: Duration,
    },
    /// The Git conversation failed.
    #[error("could not fetch from `{url}`: {why}")]
    Fetch {
        /// The repository.
        url: String,
        /// Why.
        why: String,
    },
    /// There is no such branch.
    #[error("`{url}` has no {reference}: push it, or name another in `repository.branch`")]
    NoSuchRef {
        /// The repository.
        url: String,
        /// The full ref.
        reference: String,
    },
    /// More refs than are looked at.
    #[error("`{url}` shows more than {limit} refs: if that is as it should be, raise `repository.limits.refs`")]
    TooManyRefs {
        /// The repository.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// The mirror on disk can't be made or used.
    #[error("the mirror `{}` can't be used: {why}", path.display())]
    Mirror {
        /// Where.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// An object is missing or its bytes are not what its id says.
    #[error("the object {id} can't be read: {why}")]
    Object {
        /// The object.
        id: String,
        /// Why.
        why: String,
    },
    /// The signers file can't be used.
    #[error("`{name}`{}: {why}", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Signers {
        /// The file.
        name: String,
        /// From 1, where lines matter.
        line: Option<usize>,
        /// What is wrong, and what to write instead.
        why: String,
    },
    /// The revocation file can't be used.
    #[error("`{name}`{}: {why}; nothing new is accepted until it can be read to its end", line.map(|line| format!(", line {line}")).unwrap_or_default())]
    Revocations {
        /// The file.
        name: String,
        /// From 1, where lines matter.
        line: Option<usize>,
        /// What is wrong.
        why: String,
    },
    /// A revision that is no name of one thing.
    #[error("`{revision}` {why}")]
    Revision {
        /// As it was given.
        revision: String,
        /// Why.
        why: String,
    },
    /// A waiver without a reason.
    #[error("`trust.waive.reason` is empty: write why signatures are waived, it stays visible in status and ledger")]
    NoReason,
}

impl Error {
    /// Whether throwing the mirror away and fetching again may help.
    pub(crate) fn is_broken_mirror(&self) -> bool {
        matches!(self, Error::Mirror { .. } | Error::Object { .. })
    }
}

impl Classified for Error {
    fn class(&self) -> Class {
        match self {
            Error::Connect { .. }
            | Error::Ssh { .. }
            | Error::Timeout { .. }
            | Error::Fetch { .. }
            | Error::Http { .. }
            | Error::Proxy { .. }
            | Error::GithubApp { .. }
            | Error::Mirror { .. }
            | Error::Object { .. } => Class::Transient,
            Error::Status { status, .. } if *status >= 500 || *status == 429 => Class::Transient,
            Error::UnknownHost { .. }
            | Error::ChangedHostKey { .. }
            | Error::RevokedHostKey { .. }
            | Error::HostCertificate { .. }
            | Error::Certificate { .. }
            | Error::LoginRefused { .. }
            | Error::Redirect { .. }
            | Error::BadPack { .. }
            | Error::TooLarge { .. }
            | Error::TooManyRefs { .. }
            | Error::Unauthenticated { .. } => Class::Denied,
            Error::NoSuchRef { .. } => Class::Waiting,
            _ => Class::Stalled,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Error::NoCredentials { .. } => "NoCredentials",
            Error::ReadFile { .. } => "FileUnreadable",
            Error::Key { .. } => "SshKeyUnusable",
            Error::KnownHosts { .. } => "KnownHostsMalformed",
            Error::UnknownHost { .. } => "UnknownHost",
            Error::ChangedHostKey { .. } => "HostKeyChanged",
            Error::RevokedHostKey { .. } => "HostKeyRevoked",
            Error::HostCertificate { .. } => "HostCertificateRefused",
            Error::Insecure { .. } => "InsecureUrl",
            Error::Credential { .. } => "CredentialUnusable",
            Error::Certificate { .. } => "CertificateRefused",
            Error::Http { .. } => "HttpFailed",
            Error::LoginRefused { .. } => "Unauthenticated",
            Error::Status { .. } => "HttpStatus",
            Error::Redirect { .. } => "RedirectRefused",
            Error::NotGit { .. } => "NotGit",
            Error::ProxyUrl { .. } => "ProxyUrlMalformed",
            Error::Proxy { .. } => "ProxyFailed",
            Error::GithubApp { .. } => "GithubAppFailed",
            Error::BadPack { .. } => "PackRefused",
            Error::TooLarge { .. } => "LimitExceeded",
            Error::LongHistory { .. } => "LimitExceeded",
            Error::Alternates { .. } => "AlternatesRefused",
            Error::Connect { .. } => "ConnectFailed",
            Error::Ssh { .. } => "SshFailed",
            Error::Unauthenticated { .. } => "Unauthenticated",
            Error::Timeout { .. } => "Timeout",
            Error::Fetch { .. } => "FetchFailed",
            Error::NoSuchRef { .. } => "NoSuchRef",
            Error::TooManyRefs { .. } => "TooManyRefs",
            Error::Mirror { .. } => "MirrorBroken",
            Error::Object { .. } => "ObjectBroken",
            Error::Signers { .. } => "SignersRefused",
            Error::Revocations { .. } => "RevocationsRefused",
            Error::Revision { .. } => "NoSuchRevision",
            Error::NoReason => "NoReason",
        }
    }
}
