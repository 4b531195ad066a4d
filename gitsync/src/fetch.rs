//! From the remote to refs and objects on disk.
//!
//! Over SSH, https or (where that is allowed) a plain connection into a bare mirror, with exactly the refs that are
//! followed; a repository on the same volume (`file:`) is read where it is, because copying it would only add a second
//! thing that can be stale. A mirror that turns out to be broken is thrown away and fetched again, once, by itself.

use std::collections::BTreeMap;
use std::path::Path;

use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::git::ConnectMode;
use gix::protocol::transport::client::git::blocking_io::Connection;
use tk8s_core::{Place, RepositoryUrl};

use crate::conversation::{Shown, converse};
use crate::sealed::Fetched;
use crate::source::{Follow, Source};
use crate::store::Store;
use crate::talk::Talk;
use crate::{Error, http, mirror, ssh};

/// Fetches. Blocks until it is done or the deadline has passed.
pub fn fetch(source: &Source) -> Result<Fetched, Error> {
    let branch = source.follow.branch();
    if gix::validate::reference::name(gix::bstr::BStr::new(&format!("refs/heads/{branch}"))).is_err() {
        return Err(Error::NoSuchRef {
            url: source.url.to_string(),
            reference: format!("branch `{}`", tk8s_core::printable(branch, 80)),
        });
    }
    if !source.url.is_protected() {
        if !source.allow_insecure {
            return Err(Error::Insecure { url: source.url.clone() });
        }
        tracing::warn!(url = %source.url, "fetching over a connection that anybody on the way can change: only signatures protect what it brings");
    }
    if let RepositoryUrl::File { path } = &source.url {
        return read_refs(Store::open(Path::new(path), source.limits.commits)?, source, None);
    }
    mirror::prepare(source)?;
    match fetch_into_mirror(source) {
        Err(error) if error.is_broken_mirror() => {
            tracing::warn!(error = %tk8s_core::chain(&error), "the mirror is broken: fetching it again from nothing");
            mirror::discard(&source.mirror)?;
            fetch_into_mirror(source)
        }
        result => result,
    }
}

fn fetch_into_mirror(source: &Source) -> Result<Fetched, Error> {
    let shown = match &source.url {
        RepositoryUrl::Ssh { user, host, port, path } => {
            let auth = source.ssh.as_ref().ok_or_else(|| Error::NoCredentials { url: source.url.clone() })?;
            over_ssh(source, &ssh::Target { user, host, port: *port, path }, auth)?
        }
        RepositoryUrl::Https(place) => http::fetch(source, place, true)?,
        RepositoryUrl::Http(place) => http::fetch(source, place, false)?,
        RepositoryUrl::Git(place) => over_git(source, place)?,
        RepositoryUrl::File { .. } => {
            return Err(Error::Fetch { url: source.url.to_string(), why: "it is read in place".into() });
        }
    };
    read_refs(Store::of_mirror(&source.mirror, source.limits.commits)?, source, Some(&shown))
}

fn over_ssh(source: &Source, target: &ssh::Target<'_>, auth: &crate::SshAuth) -> Result<Shown, Error> {
    let talk = Talk::begin(source)?;
    let (reader, writer) = ssh::open(target, auth, &talk)?;
    let nowhere = None::<(String, Option<u16>)>;
    let transport = Connection::new(reader, writer, Protocol::V2, "", nowhere, ConnectMode::Process, false);
    converse(source, transport.custom_url(Some(source.url.to_string().into())), &talk)
}

/// Git's own protocol over a plain connection.
fn over_git(source: &Source, place: &Place) -> Result<Shown, Error> {
    let talk = Talk::begin(source)?;
    let tcp = talk.run(talk.connect(&place.host, place.port))?;
    let (read, write) = tcp.into_split();
    let keep = std::sync::Arc::new(());
    let reader = crate::talk::End::new(read, &place.host, &talk, keep.clone());
    let writer = crate::talk::End::new(write, &place.host, &talk, keep);
    let host = Some((place.host.clone(), Some(place.port)));
    converse(source, Connection::new(reader, writer, Protocol::V2, place.path.as_str(), host, ConnectMode::Daemon, false), &talk)
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
                for prefix in source.follow.tags().map(|prefix| format!("refs/tags/{prefix}")) {
                    for reference in references.prefixed(prefix.as_str()).map_err(|error| broken(error.to_string()))? {
                        let reference = reference.map_err(|error| broken(error.to_string()))?;
                        let name = reference.name().as_bstr().to_string();
                        if let (Some(name), Some(id)) = (name.strip_prefix("refs/tags/"), reference.try_id()) {
                            tags.insert(name.to_owned(), id.to_string());
                        }
                    }
                }
            }
        }
        if tags.len() > source.limits.refs {
            return Err(Error::TooManyRefs { url: source.url.to_string(), limit: source.limits.refs });
        }
    }
    let mut evidence = BTreeMap::new();
    if let Some(prefix) = source.follow.evidence() {
        match advertised {
            Some(shown) => evidence
                .extend(shown.iter().filter(|(name, _)| name.starts_with(prefix)).map(|(name, id)| (name.clone(), id.clone()))),
            None => {
                let references = repository.references().map_err(|error| broken(error.to_string()))?;
                for reference in references.prefixed(prefix).map_err(|error| broken(error.to_string()))? {
                    let reference = reference.map_err(|error| broken(error.to_string()))?;
                    evidence.extend(reference.try_id().map(|id| (reference.name().as_bstr().to_string(), id.to_string())));
                }
            }
        }
        if evidence.len() > source.limits.refs {
            return Err(Error::TooManyRefs { url: source.url.to_string(), limit: source.limits.refs });
        }
    }
    // The newest object must be whole, or the mirror is not: found here, where it can be thrown away.
    store.read(&head)?;
    let (approvals, tags) = tags.into_iter().partition(|(name, _): &(String, String)| name.starts_with(crate::verify::APPROVALS));
    Ok(Fetched { store, follow: source.follow.clone(), head, tags, approvals, evidence })
}
