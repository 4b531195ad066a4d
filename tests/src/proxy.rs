//! A proxy between the agent and a real API server that does what networks and overloaded servers do: refuses, keeps
//! silent, is slow, loses the question or the answer, cuts answers off, ends streams, forgets what was before.
//!
//! It speaks plain HTTP to the agent and the API server's own protocol to the other side, as the user whose client it was
//! given, so the audit log tells one agent from another. Every request is counted, whatever became of it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = UnsyncBoxBody<Bytes, Failure>;

/// What becomes of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered by a Status, and never reaches the API server.
    Status {
        /// The HTTP status.
        code: u16,
        /// The Status' reason.
        reason: &'static str,
        /// After how many seconds to ask again.
        retry_after: Option<u32>,
    },
    /// The connection ends before the request is sent on.
    LostQuestion,
    /// The request is carried out, and the connection ends before the answer.
    LostAnswer,
    /// The answer ends after this many bytes, in good order: nothing but its content says that something is missing.
    CutOff(usize),
    /// Request and answer take this long.
    Slow(Duration),
    /// A watch is told that its place is too old, as API servers say it: by an event.
    TooOld,
    /// A watch is opened, and tells nothing until the stream is ended.
    Mute,
    /// Nothing is sent on, and nothing is answered, until [`Proxy::calm`] ends the connection.
    Silence,
}

/// A request, as the proxy saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub uri: String,
}

impl Seen {
    /// Whether it is a server-side apply that writes an object.
    pub fn is_patch(&self) -> bool {
        self.method == Method::PATCH && !self.uri.contains("dryRun=All") && !self.is_report()
    }

    /// Whether it is a server-side apply that is only tried.
    pub fn is_dry_run(&self) -> bool {
        self.method == Method::PATCH && self.uri.contains("dryRun=All")
    }

    /// Whether it opens a watch.
    pub fn is_watch(&self) -> bool {
        self.method == Method::GET && self.uri.contains("watch=true")
    }

    /// Whether it asks for all objects of a kind: as a list, or as a watch that begins with one.
    pub fn is_list(&self) -> bool {
        self.method == Method::GET
            && self.uri.contains("labelSelector=")
            && (!self.is_watch() || self.uri.contains("sendInitialEvents=true"))
    }

    /// A parameter of its query.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let (_, query) = self.uri.split_once('?')?;
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether it tells the cluster about the agent: a `Component` resource, the definition of it, an Event.
    pub fn is_report(&self) -> bool {
        is_report(&self.uri)
    }

    /// Whether it reads or writes the anchor.
    pub fn is_anchor(&self) -> bool {
        let path = self.uri.split('?').next().unwrap_or_default();
        let made = self.method == Method::POST && path.ends_with("/configmaps");
        made || path.contains("/configmaps/tk8s-agent-")
    }

    /// Whether it keeps the agent informed or in office, or tells of it: the Lease, the anchor, a list, a watch, a report, the
    /// question who it is.
    /// Everything else asks about an object.
    pub fn is_background(&self) -> bool {
        let path = self.uri.split('?').next().unwrap_or_default();
        if self.is_anchor() || path.ends_with("/selfsubjectreviews") {
            return true;
        }
        let collection = path.rsplit('/').next().is_some_and(|last| last.ends_with('s'));
        self.is_report() || path.contains("/leases/") || path.ends_with("/leases") || (self.method == Method::GET && collection)
    }
}

/// Whether a request tells the cluster about the agent, and is about no object that the agent manages.
pub fn is_report(uri: &str) -> bool {
    let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/components.agent.tk8s.io";
    ["/apis/agent.tk8s.io/", "/apis/events.k8s.io/", definition].iter().any(|path| uri.starts_with(path))
}

struct Rule {
    concerns: Box<dyn Fn(&Seen) -> bool + Send>,
    fault: Fault,
    times: usize,
}

struct Inner {
    client: kube::Client,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    /// Counts up when all that streams has to end.
    streams: watch::Sender<u64>,
}

/// The proxy. It ends with the last clone.
#[derive(Clone)]
pub struct Proxy {
    inner: Arc<Inner>,
    address: SocketAddr,
    _accepting: Arc<tokio_util::task::AbortOnDropHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    /// A proxy before the API server of this client, which does nothing to what passes.
    pub async fn before(client: kube::Client) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("because a port is free");
        let address = listener.local_addr().expect("because it is bound");
        let inner = Arc::new(Inner { client, rules: Mutex::default(), seen: Mutex::default(), streams: watch::Sender::new(0) });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&inner)));
        Proxy { inner, address, _accepting: Arc::new(tokio_util::task::AbortOnDropHandle::new(accepting)) }
    }

    /// Writes a kubeconfig that leads here.
    pub fn write_kubeconfig(&self, path: &Path) {
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{server: \"http://{}\"}}}}]\nusers: [{{name: u, user: {{}}}}]\ncontexts: [{{name: c, context: {{cluster: c, user: u}}}}]\ncurrent-context: c\n",
            self.address
        );
        std::fs::write(path, text).expect("because the directory is ours");
    }

    /// From now on this happens to the next `times` requests that the rule concerns.
    pub fn disturb(&self, times: usize, fault: Fault, concerns: impl Fn(&Seen) -> bool + Send + 'static) {
        lock(&self.inner.rules).push(Rule { concerns: Box::new(concerns), fault, times });
    }

    /// From now on nothing happens to anything.
    pub fn calm(&self) {
        lock(&self.inner.rules).clear();
        self.end_streams();
    }

    /// How many disturbances are still to come.
    pub fn left(&self) -> usize {
        lock(&self.inner.rules).iter().map(|rule| rule.times).sum()
    }

    /// Ends every answer that is still under way: watches, above all.
    pub fn end_streams(&self) {
        self.inner.streams.send_modify(|count| *count += 1);
    }

    /// Every request since the last call.
    pub fn take_seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *lock(&self.inner.seen))
    }

    /// Every request since the last [`Proxy::take_seen`].
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.inner.seen).clone()
    }
}

async fn accept(listener: TcpListener, inner: Arc<Inner>) {
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let inner = Arc::clone(&inner);
        connections.spawn(async move {
            let service = hyper::service::service_fn(|request| pass(Arc::clone(&inner), request));
            // A disturbed connection ends by an error: that is the disturbance.
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let seen = Seen { method: request.method().clone(), uri: request.uri().to_string() };
    lock(&inner.seen).push(seen.clone());
    let fault = {
        let mut rules = lock(&inner.rules);
        let rule = rules.iter_mut().find(|rule| rule.times > 0 && (rule.concerns)(&seen));
        rule.map(|rule| {
            rule.times -= 1;
            rule.fault.clone()
        })
    };
    match fault {
        None => send_on(&inner, request).await,
        Some(Fault::Status { code, reason, retry_after }) => {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": format!("the proxy says {reason}"), "reason": reason, "code": code});
            let mut response = Response::builder().status(code).header("content-type", "application/json");
            if let Some(seconds) = retry_after {
                response = response.header("retry-after", seconds);
            }
            Ok(response.body(text(status.to_string()))?)
        }
        Some(Fault::CutOff(bytes)) => {
            let (mut parts, body) = send_on(&inner, request).await?.into_parts();
            parts.headers.remove(http::header::CONTENT_LENGTH);
            let frames = futures::stream::unfold((body.into_data_stream(), bytes), |(mut frames, left)| async move {
                let chunk = if left == 0 { None } else { frames.next().await };
                chunk.map(|chunk| {
                    let part = chunk.map(|chunk| chunk.slice(..chunk.len().min(left)));
                    let left = left - part.as_ref().map_or(0, Bytes::len);
                    (part.map(Frame::data), (frames, left))
                })
            });
            Ok(Response::from_parts(parts, StreamBody::new(Box::pin(frames)).boxed_unsync()))
        }
        Some(Fault::Slow(time)) => {
            tokio::time::sleep(time).await;
            let answer = send_on(&inner, request).await;
            tokio::time::sleep(time).await;
            answer
        }
        Some(Fault::TooOld) => {
            let status = serde_json::json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "too old resource version: 1 (2)", "reason": "Expired", "code": 410});
            let event = serde_json::json!({"type": "ERROR", "object": status});
            Ok(Response::builder().header("content-type", "application/json").body(text(format!("{event}\n")))?)
        }
        Some(Fault::Mute) => {
            let mut ended = inner.streams.subscribe();
            ended.mark_unchanged();
            let nothing = futures::stream::once(async move {
                ended.changed().await.ok();
                Err(Failure::from("the stream is ended"))
            });
            Ok(Response::builder().header("content-type", "application/json").body(StreamBody::new(nothing).boxed_unsync())?)
        }
        Some(Fault::LostQuestion) => Err("the question is lost".into()),
        Some(Fault::LostAnswer) => {
            send_on(&inner, request).await?.into_body().collect().await?;
            Err("the answer is lost".into())
        }
        Some(Fault::Silence) => {
            inner.streams.subscribe().changed().await.ok();
            Err("nobody answers".into())
        }
    }
}

fn text(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

async fn send_on(inner: &Inner, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
    let (mut parts, body) = request.into_parts();
    parts.headers.remove(http::header::HOST);
    parts.uri = parts.uri.path_and_query().expect("because a request names a path").to_string().parse()?;
    let body = kube::client::Body::from(body.collect().await?.to_bytes());
    let mut ended = inner.streams.subscribe();
    ended.mark_unchanged();
    let response = match inner.client.send(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(error) => {
            let body = Full::new(Bytes::from(error.to_string())).map_err(|never| match never {});
            return Ok(Response::builder().status(StatusCode::BAD_GATEWAY).body(body.boxed_unsync())?);
        }
    };
    let (mut parts, body) = response.into_parts();
    parts.headers.remove(http::header::TRANSFER_ENCODING);
    let frames = Box::pin(body.into_data_stream().map(|chunk| chunk.map(Frame::data).map_err(Failure::from)));
    let stream = futures::stream::unfold(Some((frames, ended)), |under_way| async {
        let (mut frames, mut ended) = under_way?;
        tokio::select! {
            biased;
            _ = ended.changed() => Some((Err("the stream is ended".into()), None)),
            frame = frames.next() => frame.map(|frame| (frame, Some((frames, ended)))),
        }
    });
    Ok(Response::from_parts(parts, StreamBody::new(stream).boxed_unsync()))
}
