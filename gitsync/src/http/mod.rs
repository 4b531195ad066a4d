//! Git over https, in the process: the two requests of Git's "smart" protocol, with our own say in where credentials go.
//!
//! - Credentials are read for each fetch, and sent to the scheme, host and port that the configuration names, nowhere else.
//! - A redirect is followed within that origin, for the first request only; any other is refused by name.
//! - A server that was asked before is asked for its refs at once: what it can do is remembered beside the mirror, so a
//!   fetch that brings nothing is one request.

mod github;
mod login;
mod proxy;
mod wire;

use std::io::{self, BufRead, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use gix::protocol::transport::Protocol;
use gix::protocol::transport::client::blocking_io::http as smart;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION};
use hyper::{Method, Request, Response, StatusCode};
use tk8s_core::Place;

pub use github::{GithubApp, TokenCache};
pub use login::HttpsLogin;
pub use proxy::{Proxy, ProxyLogin};
pub(crate) use wire::{Origin, Wire};

use crate::Error;
use crate::conversation::{Shown, converse};
use crate::source::Source;
use crate::talk::Talk;

/// How to get in over https.
#[derive(Clone, Debug, Default)]
pub struct HttpsAccess {
    /// Who we are.
    pub login: HttpsLogin,
    /// A PEM file with the certificates of the authorities that are believed, instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// What connections go through.
    pub proxy: Option<Proxy>,
}

/// Redirects of one request: a moved repository takes one, and whoever needs more goes in circles.
const MOST_REDIRECTS: usize = 5;

/// What the first request of a fetch ends with.
const FIRST: &str = "/info/refs?service=git-upload-pack";

/// Where the server's answer to the first request is kept, in the mirror.
const REMEMBERED: &str = "tk8s-capabilities";

/// An answer of good will is a few hundred bytes.
const LARGEST_REMEMBERED: usize = 64 * 1024;

/// Fetches over https, or over plain http where that was allowed.
pub(crate) fn fetch(source: &Source, place: &Place, tls: bool) -> Result<Shown, Error> {
    if !tls && !matches!(source.https.login, HttpsLogin::None) {
        return Err(Error::Insecure { url: source.url.clone() });
    }
    let memory = Memory::read(source);
    let remembered = memory.answer.is_some();
    match once(source, place, tls, memory) {
        // What a server could do yesterday may not be what it can do today, and a token that was kept may have been
        // taken back: asked afresh, once.
        Err(error) if remembered || (matches!(error, Error::LoginRefused { .. }) && source.https.login.is_kept()) => {
            tracing::debug!(error = %tk8s_core::chain(&error), "asking the server again what it can do");
            once(source, place, tls, Memory::forget(source))
        }
        result => result,
    }
}

fn once(source: &Source, place: &Place, tls: bool, memory: Memory) -> Result<Shown, Error> {
    let talk = Talk::begin(source)?;
    let origin = Origin { tls, host: place.host.clone(), port: place.port };
    let tls_config = if tls { Some(wire::tls_config(source.https.ca_file.as_deref())?) } else { None };
    let login = talk.run(login::header(&source.https, place, &talk, tls_config.as_ref()))?;
    let wire = Wire::new(&talk, origin, tls_config, source.https.proxy.clone());
    let client = Client { wire: Arc::new(wire), login, memory, base: None };
    let url = gix::url::parse(source.url.to_string().as_str())
        .map_err(|error| Error::Fetch { url: source.url.to_string(), why: tk8s_core::printable(&error.to_string(), 200) })?;
    let shown = converse(source, smart::Transport::new_http(client, url, Protocol::V2, false), &talk);
    if let Err(Error::LoginRefused { .. }) = &shown {
        source.https.login.forget();
    }
    shown
}

/// The server's answer to the first request, as it was last time.
struct Memory {
    file: PathBuf,
    url: String,
    answer: Option<(String, Vec<u8>)>,
}

impl Memory {
    fn read(source: &Source) -> Memory {
        let mut memory = Memory { file: source.mirror.join(REMEMBERED), url: source.url.to_string(), answer: None };
        let text = std::fs::read(&memory.file).unwrap_or_default();
        let mut parts = text.splitn(3, |&byte| byte == b'\n');
        if let (Some(url), Some(base), Some(body)) = (parts.next(), parts.next(), parts.next())
            && url == memory.url.as_bytes()
            && text.len() <= LARGEST_REMEMBERED
            && let Ok(base) = std::str::from_utf8(base)
        {
            memory.answer = Some((base.into(), body.to_vec()));
        }
        memory
    }

    fn forget(source: &Source) -> Memory {
        let file = source.mirror.join(REMEMBERED);
        std::fs::remove_file(&file).ok();
        Memory { file, url: source.url.to_string(), answer: None }
    }

    /// Keeps an answer that holds no refs: those of version 2 don't. A mirror that isn't there yet keeps nothing.
    fn keep(&self, base: &str, body: &[u8]) {
        let start = &body[..body.len().min(100)];
        if start.windows(10).any(|part| part == b"version 2\n") && body.len() < LARGEST_REMEMBERED / 2 {
            let mut text = format!("{}\n{base}\n", self.url).into_bytes();
            text.extend_from_slice(body);
            std::fs::write(&self.file, text).ok();
        }
    }
}

/// The http under Git's protocol.
struct Client {
    wire: Arc<Wire>,
    login: Option<HeaderValue>,
    memory: Memory,
    /// Where the repository really is, after redirects within the origin.
    base: Option<String>,
}

impl Client {
    /// The first request, and wherever it is sent on to.
    async fn ask(&self, url: &str, headers: &[(HeaderName, HeaderValue)]) -> Result<(String, Bytes), Error> {
        let mut path = self.wire.origin().path_of(url);
        for _ in 0..=MOST_REDIRECTS {
            let response = self.wire.send(request(Method::GET, &self.wire, &path, headers, &self.login, Bytes::new())?).await?;
            if !response.status().is_redirection() {
                let response = accepted(&self.wire, response)?;
                if !is_kind(&response, "application/x-git-upload-pack-advertisement") {
                    return Err(Error::NotGit { url: self.wire.origin().url(&path) });
                }
                let body = self.wire.read(response.into_body()).await?;
                return Ok((path, body));
            }
            path = next_place(self.wire.origin(), &path, response.headers().get(LOCATION))?;
        }
        Err(Error::Redirect { from: self.wire.origin().url(&path), to: "in circles".into() })
    }
}

/// Where a redirect leads, if it stays within the origin and still asks the same.
fn next_place(origin: &Origin, path: &str, location: Option<&HeaderValue>) -> Result<String, Error> {
    let from = url::Url::parse(&origin.url(path)).ok();
    let to = from.as_ref().and_then(|from| from.join(location?.to_str().ok()?).ok());
    let refused = |to: String| Error::Redirect { from: origin.url(path.split('?').next().unwrap_or(path)), to };
    let Some(to) = to else { return Err(refused("nowhere".into())) };
    let shown = format!("{}://{}{}", to.scheme(), to.host_str().unwrap_or_default(), to.path());
    let shown = tk8s_core::printable(shown.strip_suffix("/info/refs").unwrap_or(&shown), 200);
    let same = to.scheme() == if origin.tls { "https" } else { "http" }
        && to.host_str().is_some_and(|host| host.trim_matches(['[', ']']).eq_ignore_ascii_case(&origin.host))
        && to.port_or_known_default() == Some(origin.port)
        && to.username().is_empty();
    let path = format!("{}?{}", to.path(), to.query().unwrap_or_default());
    if same && path.ends_with(FIRST) { Ok(path) } else { Err(refused(shown)) }
}

/// A response that is one, or the error that says why not.
fn accepted(wire: &Wire, response: Response<Incoming>) -> Result<Response<Incoming>, Error> {
    let host = wire.origin().name();
    match response.status() {
        StatusCode::OK => Ok(response),
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => Err(Error::LoginRefused { host, status: status.as_u16() }),
        status => Err(Error::Status { host, status: status.as_u16() }),
    }
}

fn is_kind(response: &Response<Incoming>, kind: &str) -> bool {
    response.headers().get(hyper::header::CONTENT_TYPE).is_some_and(|value| value.as_bytes() == kind.as_bytes())
}

fn request(
    method: Method,
    wire: &Wire,
    path: &str,
    headers: &[(HeaderName, HeaderValue)],
    login: &Option<HeaderValue>,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Error> {
    let mut request = wire.request(method, path, body)?;
    for (name, value) in headers {
        request.headers_mut().insert(name, value.clone());
    }
    if let Some(login) = login {
        request.headers_mut().insert(AUTHORIZATION, login.clone());
    }
    Ok(request)
}

/// The headers that the protocol layer writes as lines. Its own user agent gives way to ours.
fn lines(headers: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<(HeaderName, HeaderValue)> {
    let parse = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let name: HeaderName = name.trim().parse().ok()?;
        (name != hyper::header::USER_AGENT).then_some((name, value.trim().parse().ok()?))
    };
    headers.into_iter().filter_map(|line| parse(line.as_ref())).collect()
}

impl smart::Http for Client {
    type Headers = Headers;
    type ResponseBody = Answer;
    type PostBody = Question;

    fn get(
        &mut self,
        url: &str,
        _base: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
    ) -> gix::Result<smart::GetResponse<Headers, Answer>> {
        let body = match self.memory.answer.take() {
            Some((base, body)) => {
                self.base = Some(base);
                Bytes::from(body)
            }
            None => {
                let talk = Arc::clone(self.wire.talk());
                let (path, body) = talk.run(self.ask(url, &lines(headers))).map_err(|error| gone(&talk, error))?;
                let base = self.wire.origin().url(path.strip_suffix(FIRST).unwrap_or(&path));
                self.memory.keep(&base, &body);
                self.base = Some(base);
                body
            }
        };
        let exchange = Exchange::done(&self.wire, "application/x-git-upload-pack-advertisement", body);
        Ok(smart::GetResponse { headers: Headers::of(&exchange), body: Answer::of(&exchange) })
    }

    fn post(
        &mut self,
        url: &str,
        _base: &str,
        headers: impl IntoIterator<Item = impl AsRef<str>>,
        _kind: smart::PostBodyDataKind,
    ) -> gix::Result<smart::PostResponse<Headers, Answer, Question>> {
        let exchange = Exchange::new(&self.wire, self.wire.origin().path_of(url), lines(headers), self.login.clone());
        Ok(smart::PostResponse {
            post_body: Question(Arc::clone(&exchange)),
            headers: Headers::of(&exchange),
            body: Answer::of(&exchange),
        })
    }

    fn configure(&mut self, _: &dyn std::any::Any) -> gix::Result {
        Ok(())
    }

    fn redirected_base_url(&self) -> Option<String> {
        self.base.clone()
    }
}

/// An error as the protocol layer takes it; our own words stay with the talk.
fn gone(talk: &Talk, error: Error) -> gix::Error {
    use gix::error::ErrorExt as _;
    talk.fail(error).raise()
}

/// One question and its answer. It is asked when the answer is first looked at: then the question is complete.
struct Exchange {
    wire: Arc<Wire>,
    path: String,
    headers: Vec<(HeaderName, HeaderValue)>,
    login: Option<HeaderValue>,
    state: Mutex<State>,
}

enum State {
    Asking(Vec<u8>),
    Answered { kind: String, body: Option<Incoming>, first: Bytes },
    Failed,
}

impl Exchange {
    fn new(wire: &Arc<Wire>, path: String, headers: Vec<(HeaderName, HeaderValue)>, login: Option<HeaderValue>) -> Arc<Exchange> {
        Arc::new(Exchange { wire: Arc::clone(wire), path, headers, login, state: Mutex::new(State::Asking(Vec::new())) })
    }

    fn done(wire: &Arc<Wire>, kind: &str, body: Bytes) -> Arc<Exchange> {
        let state = Mutex::new(State::Answered { kind: kind.into(), body: None, first: body });
        Arc::new(Exchange { wire: Arc::clone(wire), path: String::new(), headers: Vec::new(), login: None, state })
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, if that was not done yet.
    fn ask(&self) -> io::Result<()> {
        let mut state = self.state();
        let State::Asking(question) = &mut *state else { return Ok(()) };
        let question = Bytes::from(std::mem::take(question));
        *state = State::Failed;
        let talk = self.wire.talk();
        let answer = talk.run(async {
            let request = request(Method::POST, &self.wire, &self.path, &self.headers, &self.login, question)?;
            let response = self.wire.send(request).await?;
            if response.status().is_redirection() {
                let from = self.wire.origin().url(&self.path);
                return Err(Error::Redirect { from, to: "elsewhere, in the middle of a fetch".into() });
            }
            accepted(&self.wire, response)
        });
        let response = answer.map_err(|error| talk.fail(error))?;
        let kind = response.headers().get(hyper::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        *state = State::Answered { kind: kind.into(), body: Some(response.into_body()), first: Bytes::new() };
        Ok(())
    }
}

/// The question, written piece by piece.
struct Question(Arc<Exchange>);

impl Write for Question {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut *self.0.state() {
            State::Asking(question) => question.extend_from_slice(bytes),
            _ => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The answer's headers, as far as the protocol layer asks for them: its kind.
struct Headers {
    exchange: Arc<Exchange>,
    text: Option<io::Cursor<Vec<u8>>>,
}

impl Headers {
    fn of(exchange: &Arc<Exchange>) -> Headers {
        Headers { exchange: Arc::clone(exchange), text: None }
    }
}

impl BufRead for Headers {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.text.is_none() {
            self.exchange.ask()?;
            let State::Answered { kind, .. } = &*self.exchange.state() else { return Err(io::ErrorKind::BrokenPipe.into()) };
            self.text = Some(io::Cursor::new(format!("content-type: {kind}\n").into_bytes()));
        }
        self.text.as_mut().map_or(Ok(&[][..]), |text| text.fill_buf())
    }

    fn consume(&mut self, count: usize) {
        if let Some(text) = &mut self.text {
            text.consume(count);
        }
    }
}

impl Read for Headers {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// The answer's body, as it comes.
struct Answer {
    exchange: Arc<Exchange>,
    body: Option<Incoming>,
    begun: bool,
    chunk: Bytes,
}

impl Answer {
    fn of(exchange: &Arc<Exchange>) -> Answer {
        Answer { exchange: Arc::clone(exchange), body: None, begun: false, chunk: Bytes::new() }
    }
}

impl BufRead for Answer {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if !self.begun {
            self.exchange.ask()?;
            self.begun = true;
            if let State::Answered { body, first, .. } = &mut *self.exchange.state() {
                (self.body, self.chunk) = (body.take(), std::mem::take(first));
            }
        }
        let wire = &self.exchange.wire;
        while self.chunk.is_empty() {
            let Some(body) = &mut self.body else { break };
            match wire.talk().run(wire.next_part(body)).map_err(|error| wire.talk().fail(error))? {
                Some(part) => self.chunk = part,
                None => self.body = None,
            }
        }
        Ok(&self.chunk)
    }

    fn consume(&mut self, count: usize) {
        let _ = self.chunk.split_to(count.min(self.chunk.len()));
    }
}

impl Read for Answer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_followed_within_the_origin_only() {
        let origin = Origin { tls: true, host: "git.example.com".into(), port: 443 };
        let path = format!("/old{FIRST}");
        let to = |location: &str| next_place(&origin, &path, Some(&location.parse().unwrap())).map_err(|error| error.to_string());
        assert_eq!(to(&format!("/new{FIRST}")), Ok(format!("/new{FIRST}")));
        assert_eq!(to(&format!("https://GIT.example.com:443/new{FIRST}")), Ok(format!("/new{FIRST}")));
        for elsewhere in [
            &format!("https://elsewhere.example.com/new{FIRST}"),
            &format!("http://git.example.com/new{FIRST}"),
            &format!("https://git.example.com:8443/new{FIRST}"),
            &format!("https://me@git.example.com/new{FIRST}"),
            &format!("//elsewhere.example.com/new{FIRST}"),
            "/login?then=git-upload-pack",
            "file:///etc/passwd",
            "::",
        ] {
            assert!(to(elsewhere).unwrap_err().contains("repository.url"), "{elsewhere}");
        }
        assert!(next_place(&origin, &path, None).is_err());
    }
}
