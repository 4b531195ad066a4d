//! Git's protocol, over whatever transport: which refs are there, which objects are missing, the pack that brings them.
//!
//! Everything a server says is counted and bounded before it is kept, and a ref is written only when the object it names
//! has arrived: whatever goes wrong in between, the mirror is what it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use gix::ObjectId;
use gix::bstr::{BStr, BString, ByteSlice as _};
use gix::protocol::fetch::{self, Arguments, RefMap, Response, Shallow, Tags, negotiate, refmap};
use gix::protocol::handshake::Ref;
use gix::protocol::ls_refs::RefPrefixes;
use gix::protocol::transport::client::Capabilities;
use gix::protocol::transport::client::blocking_io::Transport;
use gix::protocol::transport::{Protocol, Service};
use gix::refs::transaction::{Change, LogChange, PreviousValue, RefEdit, RefLog};

use crate::pack::Watched;
use crate::source::{Depth, Source};
use crate::talk::Talk;
use crate::{Error, mirror};

/// The refs that were asked for, as the server showed them: full name to object id.
pub(crate) type Shown = BTreeMap<String, String>;

/// Talks. Returns what the server showed; all of it is in the mirror then.
pub(crate) fn converse(source: &Source, transport: impl Transport, talk: &Arc<Talk>) -> Result<Shown, Error> {
    let result = Conversation { source, talk, alarm: Alarm::set(talk) }.run(transport);
    // What a transport met is nearer to the cause than what the layers above made of it.
    result.map_err(|error| talk.fault().unwrap_or(error))
}

struct Conversation<'a> {
    source: &'a Source,
    talk: &'a Arc<Talk>,
    alarm: Alarm,
}

impl Conversation<'_> {
    fn failed(&self, error: &dyn std::fmt::Display) -> Error {
        let why = tk8s_core::printable(&format!("{error:#}").replace('\n', " "), 400);
        Error::Fetch { url: self.source.url.to_string(), why }
    }

    fn run(&self, transport: impl Transport) -> Result<Shown, Error> {
        // Says goodbye when it is dropped, so that no server waits for more.
        let mut transport = gix::protocol::SendFlushOnDrop::new(transport, false);
        let mut quiet = gix::progress::Discard;
        // Credentials are the transport's own affair; without this the library asks on a terminal.
        let nobody = |_| Err(gix::error::message("the agent has no other credentials").into());
        let mut handshake = gix::protocol::handshake(&mut transport.inner, Service::UploadPack, nobody, Vec::new(), &mut quiet)
            .map_err(|error| self.failed(&error))?;
        let refs = match handshake.refs.take() {
            Some(refs) => refs,
            None => self.list(&mut transport.inner, &handshake.capabilities)?,
        };
        let followed = self.followed(refs)?;
        let format = object_format(&handshake.capabilities).map_err(|error| self.failed(&error))?;
        let repository = mirror::open_or_create(&self.source.mirror, format)?;
        if let Some(name) = dangling(&repository, &followed) {
            // The server would be told that we have it, and send nothing.
            let why = format!("its `{name}` names an object that is missing");
            return Err(Error::Mirror { path: self.source.mirror.clone(), why });
        }
        if !is_up_to_date(&repository, &followed) {
            let shallow = self.shallow(&handshake);
            self.receive(&repository, &mut transport.inner, &mut handshake, &followed, &shallow)?;
            write_refs(&repository, &followed)
                .map_err(|why| Error::Mirror { path: self.source.mirror.clone(), why: tk8s_core::printable(&why, 300) })?;
        }
        transport.indicate_end_of_interaction().ok();
        Ok(followed.iter().map(|(name, reference)| (name.clone(), target(reference).to_string())).collect())
    }

    fn list(&self, transport: &mut impl Transport, capabilities: &Capabilities) -> Result<Vec<Ref>, Error> {
        let mut prefixes = RefPrefixes::new();
        prefixes.extend([BString::from(format!("refs/heads/{}", self.source.follow.branch()))]);
        prefixes.extend(self.source.follow.tags().map(|prefix| BString::from(format!("refs/tags/{prefix}"))));
        prefixes.extend(self.source.follow.evidence().map(BString::from));
        gix::protocol::LsRefsCommand::new(Some(prefixes), capabilities, agent())
            .invoke_blocking(transport, &mut gix::progress::Discard, false)
            .map_err(|error| self.failed(&error))
    }

    /// Those of the refs that are followed. A server may show any others, as many as it likes up to the limit.
    fn followed(&self, refs: Vec<Ref>) -> Result<BTreeMap<String, Ref>, Error> {
        if refs.len() > self.talk.limits().refs {
            return Err(Error::TooManyRefs { url: self.source.url.to_string(), limit: self.talk.limits().refs });
        }
        let mut followed = BTreeMap::new();
        for reference in refs {
            let (name, id, _) = reference.unpack();
            let shown = name.to_str_lossy().into_owned();
            if gix::validate::reference::name(name).is_err() {
                return Err(
                    self.failed(&format!("the server shows a ref named `{}`, which Git doesn't allow", shown.escape_default()))
                );
            }
            if !self.source.follow.includes(&shown) || id.is_none() {
                continue;
            }
            if followed.insert(shown.clone(), reference).is_some() {
                return Err(self.failed(&format!("the server shows `{shown}` twice")));
            }
        }
        Ok(followed)
    }

    /// A mirror that has all history keeps it; a server that can't leave it out sends it.
    fn shallow(&self, handshake: &gix::protocol::Handshake) -> Shallow {
        let whole = self.source.mirror.join("packed-refs").exists()
            || self.source.mirror.join("objects/pack").read_dir().is_ok_and(|mut packs| packs.next().is_some());
        let is_whole = whole && !mirror::is_shallow(&self.source.mirror);
        let able = match handshake.server_protocol_version {
            Protocol::V2 => {
                handshake.capabilities.capability("fetch").and_then(|fetch| fetch.supports("shallow")).unwrap_or(false)
            }
            _ => handshake.capabilities.contains("shallow"),
        };
        match self.source.depth {
            Depth::Head if able && !is_whole => Shallow::DepthAtRemote(std::num::NonZeroU32::MIN),
            _ => Shallow::NoChange,
        }
    }

    fn receive(
        &self,
        repository: &gix::Repository,
        transport: &mut impl Transport,
        handshake: &mut gix::protocol::Handshake,
        followed: &BTreeMap<String, Ref>,
        shallow: &Shallow,
    ) -> Result<(), Error> {
        let ref_map = self.ref_map(followed, &handshake.capabilities).map_err(|error| self.failed(&error))?;
        let mut graph = repository.revision_graph(None);
        let mut negotiation = Negotiation {
            repository,
            graph: &mut graph,
            ref_map: &ref_map,
            shallow,
            negotiator: gix::negotiate::Algorithm::Consecutive.into_negotiator(),
        };
        let options = fetch::Options {
            shallow_file: self.source.mirror.join("shallow"),
            shallow,
            tags: Tags::None,
            reject_shallow_remote: *shallow == Shallow::NoChange && !mirror::is_shallow(&self.source.mirror),
        };
        let context = fetch::Context { handshake, transport, user_agent: agent(), trace_packetlines: false };
        self.talk.expect_a_pack();
        gix::protocol::fetch(
            &mut negotiation,
            |pack, progress, interrupt| {
                let mut watched = Watched::new(pack, repository.object_hash().len_in_bytes(), self.talk);
                store(&mut watched, repository, progress, interrupt)?;
                Ok(true)
            },
            gix::progress::Discard,
            &self.alarm.rang,
            context,
            options,
        )
        .map_err(|error| match self.alarm.rang.load(Ordering::Relaxed) {
            true => Error::Timeout { host: self.source.url.to_string(), phase: "unpacking", after: self.source.timeout },
            false => self.failed(&error),
        })?;
        for (name, reference) in followed {
            if !repository.has_object(target(reference)) {
                return Err(self.failed(&format!("the server did not send {}, which its `{name}` names", target(reference))));
            }
        }
        Ok(())
    }

    fn ref_map(&self, followed: &BTreeMap<String, Ref>, capabilities: &Capabilities) -> gix::Result<RefMap> {
        let specs = self.source.follow.refspecs();
        let fetch_refspecs = specs
            .iter()
            .map(|spec| gix::refspec::parse(BStr::new(spec), gix::refspec::parse::Operation::Fetch).map(|spec| spec.to_owned()))
            .collect::<Result<_, _>>()?;
        let context = refmap::init::Context { fetch_refspecs, extra_refspecs: Vec::new() };
        RefMap::from_refs(followed.values().cloned().collect(), capabilities, context)
    }
}

/// Stores a pack and its index, whole or not at all.
fn store(
    pack: &mut dyn std::io::BufRead,
    repository: &gix::Repository,
    progress: &mut dyn gix::progress::DynNestedProgress,
    interrupt: &AtomicBool,
) -> gix::Result<()> {
    let directory = repository.objects.store_ref().path().join("pack");
    let outcome = gix::odb::pack::Bundle::write_to_directory(
        pack,
        Some(&directory),
        progress,
        interrupt,
        Some(repository.objects.clone()),
        repository.object_hash(),
        gix::odb::pack::bundle::write::Options::default(),
    )?;
    // It keeps a garbage collector away, and there is none.
    if let Some(keep) = outcome.keep_path {
        std::fs::remove_file(keep).ok();
    }
    Ok(())
}

/// What a ref names: for an annotated tag the tag object.
fn target(reference: &Ref) -> ObjectId {
    let (_, id, _) = reference.unpack();
    id.map(ToOwned::to_owned).unwrap_or(ObjectId::null(gix::hash::Kind::Sha1))
}

fn agent() -> gix::protocol::command::Feature {
    ("agent", Some(concat!("git/tk8s-agent-", env!("CARGO_PKG_VERSION")).into()))
}

fn object_format(capabilities: &Capabilities) -> Result<gix::hash::Kind, String> {
    match capabilities
        .capability("object-format")
        .and_then(|capability| capability.value().map(|value| value.to_str_lossy().into_owned()))
    {
        None => Ok(gix::hash::Kind::Sha1),
        Some(name) => name.parse().map_err(|_| format!("the object format `{}` is unknown", tk8s_core::printable(&name, 40))),
    }
}

/// What a ref of the mirror names.
fn known(repository: &gix::Repository, name: &str) -> Option<ObjectId> {
    let reference = repository.try_find_reference(name).ok().flatten()?;
    reference.try_id().map(|id| id.detach())
}

/// A ref of the mirror whose object is missing: refs are written after objects, so something was lost.
fn dangling<'f>(repository: &gix::Repository, followed: &'f BTreeMap<String, Ref>) -> Option<&'f String> {
    followed.keys().find(|name| known(repository, name).is_some_and(|id| !repository.has_object(id)))
}

/// Whether every followed ref is in the mirror already.
fn is_up_to_date(repository: &gix::Repository, followed: &BTreeMap<String, Ref>) -> bool {
    followed.iter().all(|(name, reference)| known(repository, name) == Some(target(reference)))
}

fn write_refs(repository: &gix::Repository, followed: &BTreeMap<String, Ref>) -> Result<(), String> {
    let mut edits = Vec::new();
    for (name, reference) in followed {
        edits.push(RefEdit {
            change: Change::Update {
                log: LogChange { mode: RefLog::AndReference, force_create_reflog: false, message: "fetch".into() },
                expected: PreviousValue::Any,
                new: gix::refs::Target::Object(target(reference)),
            },
            name: name.as_str().try_into().map_err(|_| format!("`{name}` is no ref"))?,
            deref: false,
        });
    }
    repository.edit_references_as(edits, None).map(|_| ()).map_err(|error| error.to_string())
}

struct Negotiation<'a, 'b, 'c> {
    repository: &'a gix::Repository,
    graph: &'a mut gix::negotiate::Graph<'b, 'c>,
    ref_map: &'a RefMap,
    shallow: &'a Shallow,
    negotiator: Box<dyn gix::negotiate::Negotiator>,
}

impl fetch::Negotiate for Negotiation<'_, '_, '_> {
    fn mark_complete_and_common_ref(&mut self) -> gix::Result<negotiate::Action> {
        negotiate::mark_complete_and_common_ref(
            &self.repository.objects,
            &self.repository.refs,
            // A mirror borrows no objects.
            || Ok(std::iter::empty::<(gix::refs::file::Store, gix::OdbHandle)>()),
            &mut *self.negotiator,
            self.graph,
            self.ref_map,
            self.shallow,
            negotiate::make_refmapping_ignore_predicate(Tags::None, self.ref_map),
        )
    }

    fn add_wants(&mut self, arguments: &mut Arguments, known: &[bool]) -> bool {
        negotiate::add_wants(
            &self.repository.objects,
            arguments,
            self.ref_map,
            known,
            self.shallow,
            negotiate::make_refmapping_ignore_predicate(Tags::None, self.ref_map),
        )
    }

    fn one_round(
        &mut self,
        state: &mut negotiate::one_round::State,
        arguments: &mut Arguments,
        previous: Option<&Response>,
    ) -> gix::Result<(negotiate::Round, bool)> {
        negotiate::one_round(&mut *self.negotiator, self.graph, state, arguments, previous)
    }
}

/// Rings at the deadline: unpacking asks it between objects, as it waits for nothing that has a deadline of its own.
struct Alarm {
    rang: Arc<AtomicBool>,
    /// Dropped with the alarm, which ends its thread.
    _done: mpsc::Sender<()>,
}

impl Alarm {
    fn set(talk: &Talk) -> Alarm {
        let (done, waiting) = mpsc::channel::<()>();
        let rang = Arc::new(AtomicBool::new(false));
        let (ring, deadline) = (Arc::clone(&rang), talk.deadline());
        std::thread::spawn(move || {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if waiting.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                ring.store(true, Ordering::Relaxed);
            }
        });
        Alarm { rang, _done: done }
    }
}
