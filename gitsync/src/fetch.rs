//! From the remote to refs and objects on disk.
//!
//! Over SSH into a bare mirror, with exactly the refs that are followed; a repository on the same volume (`file:`) is read
//! where it is, because copying it would only add a second thing that can be stale. A mirror that turns out to be
//! broken is thrown away and fetched again, once, by itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tk8s_core::RepositoryUrl;

use crate::sealed::Fetched;
use crate::store::Store;
use crate::{Error, ssh};

/// Version tags that are looked at. More than this is no release history but a mistake or an attack.
const MOST_TAGS: usize = 10_000;

/// What is fetched, from where, to where.
#[derive(Clone, Debug)]
pub struct Source {
    /// The repository.
    pub url: RepositoryUrl,
    /// Needed for SSH.
    pub ssh: Option<SshAuth>,
    /// The directory of the bare mirror. Ours alone: it is deleted when it is broken.
    pub mirror: PathBuf,
    /// Which refs.
    pub follow: Follow,
    /// For the whole fetch, from connecting to the last byte.
    pub timeout: Duration,
}

/// How to log in over SSH. Both files are read for each fetch, so that rotated ones are in force at once.
#[derive(Clone, Debug)]
pub struct SshAuth {
    /// An OpenSSH private key without a passphrase.
    pub key_file: PathBuf,
    /// The hosts that are talked to, and their keys.
    pub known_hosts_file: PathBuf,
}

/// Which refs are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The head of a branch.
    Branch(String),
    /// Version tags (`v1.2.3`) whose commits are reachable from the release branch.
    Tags {
        /// For example `main`.
        release_branch: String,
    },
}

impl Follow {
    /// The branch that is fetched in any case.
    pub(crate) fn branch(&self) -> &str {
        match self {
            Follow::Branch(branch) => branch,
            Follow::Tags { release_branch } => release_branch,
        }
    }

    /// What is asked of the server, by full names; `+` so that a ref that moved is seen as moved.
    fn refspecs(&self) -> Vec<String> {
        let branch = self.branch();
        let mut specs = vec![format!("+refs/heads/{branch}:refs/heads/{branch}")];
        if matches!(self, Follow::Tags { .. }) {
            specs.push("+refs/tags/v*:refs/tags/v*".into());
        }
        specs
    }
}

/// Fetches. Blocks until it is done or the deadline has passed.
pub fn fetch(source: &Source) -> Result<Fetched, Error> {
    let branch = source.follow.branch();
    if gix::validate::reference::name(gix::bstr::BStr::new(&format!("refs/heads/{branch}"))).is_err() {
        return Err(Error::NoSuchRef {
            url: source.url.to_string(),
            reference: format!("branch `{}`", tk8s_core::printable(branch, 80)),
        });
    }
    match &source.url {
        RepositoryUrl::File { path } => read_refs(Store::open(Path::new(path))?, source, None),
        RepositoryUrl::Ssh { .. } => match fetch_over_ssh(source) {
            Err(error) if error.is_broken_mirror() => {
                tracing::warn!(error = %tk8s_core::chain(&error), "the mirror is broken: fetching it again from nothing");
                discard(&source.mirror)?;
                fetch_over_ssh(source)
            }
            result => result,
        },
    }
}

/// Throws a mirror away. Renamed first, so that an interrupted deletion leaves nothing that looks like a mirror.
pub(crate) fn discard(mirror: &Path) -> Result<(), Error> {
    let fail = |error: std::io::Error| Error::Mirror { path: mirror.into(), why: error.to_string() };
    let aside = mirror.with_extension("broken");
    if aside.exists() {
        std::fs::remove_dir_all(&aside).map_err(fail)?;
    }
    match std::fs::rename(mirror, &aside) {
        Ok(()) => std::fs::remove_dir_all(&aside).map_err(fail),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(fail(error)),
    }
}

fn fetch_over_ssh(source: &Source) -> Result<Fetched, Error> {
    let RepositoryUrl::Ssh { user, host, port, path } = &source.url else {
        return Err(Error::Fetch { url: source.url.to_string(), why: "it is not an SSH URL".into() });
    };
    let auth = source.ssh.as_ref().ok_or_else(|| Error::NoCredentials { url: source.url.clone() })?;
    let session = ssh::open(&ssh::Target { user, host, port: *port, path }, auth, source.timeout)?;
    let fault = session.fault.clone();
    let advertised = receive(source, session).map_err(|error| fault.take().unwrap_or(error))?;
    read_refs(Store::open(&source.mirror)?, source, Some(&advertised))
}

/// The Git conversation: asks for the followed refs and stores what comes. Returns the refs that the server showed.
fn receive(source: &Source, session: ssh::Session) -> Result<BTreeMap<String, String>, Error> {
    let url = source.url.to_string();
    let failed =
        |error: &dyn std::fmt::Display| Error::Fetch { url: url.clone(), why: tk8s_core::printable(&format!("{error:#}"), 400) };
    let repository = open_or_create(&source.mirror)?;
    let transport = gix::protocol::transport::client::git::blocking_io::Connection::new(
        session.reader,
        session.writer,
        gix::protocol::transport::Protocol::V2,
        "",
        None::<(String, Option<u16>)>,
        gix::protocol::transport::client::git::ConnectMode::Process,
        false,
    )
    .custom_url(Some(url.as_str().into()));
    let remote = repository
        .remote_at_without_url_rewrite(url.as_str())
        .and_then(|remote| {
            remote
                .with_fetch_tags(gix::remote::fetch::Tags::None)
                .with_refspecs(source.follow.refspecs().iter().map(String::as_str), gix::remote::Direction::Fetch)
        })
        .map_err(|error| failed(&error))?;
    let interrupt = std::sync::atomic::AtomicBool::new(false);
    let outcome = remote
        .to_connection_with_transport(transport)
        .prepare_fetch(gix::progress::Discard, gix::remote::ref_map::Options::default())
        .and_then(|prepared| {
            prepared
                .with_reflog_message(gix::remote::fetch::RefLogMessage::Override { message: "fetch".into() })
                .receive(gix::progress::Discard, &interrupt)
        })
        .map_err(|error| failed(&error))?;
    let mut shown = BTreeMap::new();
    for mapping in &outcome.ref_map.mappings {
        if let (Some(name), Some(id)) = (mapping.remote.as_name(), mapping.remote.as_id()) {
            shown.insert(name.to_string(), id.to_string());
        }
    }
    Ok(shown)
}

fn open_or_create(mirror: &Path) -> Result<gix::Repository, Error> {
    let fail = |why: String| Error::Mirror { path: mirror.into(), why: tk8s_core::printable(&why, 300) };
    if mirror.exists() {
        return gix::open::Options::isolated()
            .open_path_as_is(true)
            .open(mirror)
            .map(Into::into)
            .map_err(|error| fail(error.to_string()));
    }
    std::fs::create_dir_all(mirror).map_err(|error| fail(error.to_string()))?;
    gix::ThreadSafeRepository::init_opts(
        mirror,
        gix::create::Kind::Bare,
        gix::create::Options::default(),
        gix::open::Options::isolated(),
    )
    .map(Into::into)
    .map_err(|error| fail(error.to_string()))
}

/// The refs as they are now on disk. A tag that the server no longer shows is left out: it vanished.
fn read_refs(store: Store, source: &Source, advertised: Option<&BTreeMap<String, String>>) -> Result<Fetched, Error> {
    let repository = store.local();
    let broken = |why: String| Error::Mirror { path: source.mirror.clone(), why: tk8s_core::printable(&why, 300) };
    let branch = format!("refs/heads/{}", source.follow.branch());
    let missing = || Error::NoSuchRef { url: source.url.to_string(), reference: format!("branch `{}`", source.follow.branch()) };
    let head = match advertised {
        Some(shown) => shown.get(&branch).cloned().ok_or_else(missing)?,
        None => {
            let reference =
                repository.try_find_reference(branch.as_str()).map_err(|error| broken(error.to_string()))?.ok_or_else(missing)?;
            reference.try_id().ok_or_else(missing)?.to_string()
        }
    };
    let mut tags = BTreeMap::new();
    if matches!(source.follow, Follow::Tags { .. }) {
        match advertised {
            Some(shown) => {
                tags.extend(shown.iter().filter_map(|(name, id)| Some((name.strip_prefix("refs/tags/")?.to_owned(), id.clone()))))
            }
            None => {
                let references = repository.references().map_err(|error| broken(error.to_string()))?;
                for reference in references.prefixed("refs/tags/v").map_err(|error| broken(error.to_string()))? {
                    let reference = reference.map_err(|error| broken(error.to_string()))?;
                    let name = reference.name().as_bstr().to_string();
                    if let (Some(name), Some(id)) = (name.strip_prefix("refs/tags/"), reference.try_id()) {
                        tags.insert(name.to_owned(), id.to_string());
                    }
                }
            }
        }
        if tags.len() > MOST_TAGS {
            return Err(Error::TooManyRefs { url: source.url.to_string(), limit: MOST_TAGS });
        }
    }
    // The newest object must be whole, or the mirror is not: found here, where it can be thrown away.
    store.read(&head)?;
    Ok(Fetched { store, follow: source.follow.clone(), head, tags })
}
