//! One origin over the network: TCP (through a proxy or not), TLS, HTTP/1.1, one connection that is used again.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HOST, USER_AGENT};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

use super::Proxy;
use crate::Error;
use crate::talk::Talk;

/// What a server's headers may take: a hundred lines of good will fit many times.
const LARGEST_HEAD: usize = 64 * 1024;

/// Scheme, host and port: where credentials belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Origin {
    /// The host for people, with its port unless that is the scheme's own.
    pub(crate) fn name(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", if self.tls { "https" } else { "http" }, self.name())
    }

    /// The path of a URL of this origin.
    pub(super) fn path_of(&self, url: &str) -> String {
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        rest.find('/').map_or("/", |at| &rest[at..]).to_owned()
    }
}

/// TLS with the system's authorities, or with exactly those of a file.
pub(crate) fn tls_config(ca_file: Option<&Path>) -> Result<Arc<rustls::ClientConfig>, Error> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let bytes = crate::read_small(path, "CA file")?;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                let added = certificate.ok().and_then(|certificate| roots.add(certificate).ok());
                added.ok_or_else(|| Error::Credential { path: path.into(), why: "a certificate in it can't be read".into() })?;
            }
            if roots.is_empty() {
                return Err(Error::Credential { path: path.into(), why: "it holds no certificate in PEM form".into() });
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("because the provider has suites for both versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Sender = http1::SendRequest<Full<Bytes>>;

/// The way to one origin.
pub(crate) struct Wire {
    talk: Arc<Talk>,
    origin: Origin,
    tls: Option<Arc<rustls::ClientConfig>>,
    proxy: Option<Proxy>,
    open: Mutex<Option<Sender>>,
}

impl Wire {
    pub(crate) fn new(talk: &Arc<Talk>, origin: Origin, tls: Option<Arc<rustls::ClientConfig>>, proxy: Option<Proxy>) -> Wire {
        let proxy = proxy.filter(|proxy| origin.tls && proxy.serves(&origin.host, origin.port));
        Wire { talk: Arc::clone(talk), origin, tls, proxy, open: Mutex::new(None) }
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn talk(&self) -> &Arc<Talk> {
        &self.talk
    }

    /// A request to this origin.
    pub(crate) fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, self.origin.name())
            .header(USER_AGENT, concat!("tk8s-agent/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(body))
            .map_err(|_| self.broken("the request can't be written"))
    }

    /// Sends a request; a connection that the server closed in the meantime is opened again.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        let name = self.origin.name();
        let mut open = self.open.lock().await;
        if let Some(mut sender) = open.take()
            && self.talk.until(&name, "writing", sender.ready()).await?.is_ok()
            && let Ok(response) = self.talk.until(&name, "waiting for an answer", sender.send_request(request.clone())).await?
        {
            *open = Some(sender);
            return Ok(response);
        }
        let mut sender = self.connect().await?;
        let response = self.talk.until(&name, "waiting for an answer", sender.send_request(request)).await?;
        let response = response.map_err(|error| self.broken(&tk8s_core::chain(&error)))?;
        *open = Some(sender);
        Ok(response)
    }

    /// The next part of a body, counted.
    pub(super) async fn next_part(&self, body: &mut Incoming) -> Result<Option<Bytes>, Error> {
        loop {
            match self.talk.until(&self.origin.name(), "reading", body.frame()).await? {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.broken(&tk8s_core::chain(&error))),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.talk.count(data.len())?;
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// A whole body, counted.
    pub(crate) async fn read(&self, mut body: Incoming) -> Result<Bytes, Error> {
        let mut whole = Vec::new();
        while let Some(part) = self.next_part(&mut body).await? {
            whole.extend_from_slice(&part);
        }
        Ok(whole.into())
    }

    fn broken(&self, why: &str) -> Error {
        Error::Http { host: self.origin.name(), why: tk8s_core::printable(why, 200) }
    }

    async fn connect(&self) -> Result<Sender, Error> {
        let name = self.origin.name();
        let mut stream: Box<dyn Stream> = match &self.proxy {
            None => Box::new(self.talk.connect(&self.origin.host, self.origin.port).await?),
            Some(proxy) => self.connect_through(proxy).await?,
        };
        if let Some(config) = &self.tls {
            stream = self.talk.until(&name, "agreeing on keys", encrypt(config, &self.origin.host, stream)).await??;
        }
        let mut builder = http1::Builder::new();
        builder.max_buf_size(LARGEST_HEAD).max_headers(100);
        let connected = self.talk.until(&name, "connecting", builder.handshake(TokioIo::new(stream))).await?;
        let (sender, connection) = connected.map_err(|error| self.broken(&tk8s_core::chain(&error)))?;
        tokio::spawn(connection);
        Ok(sender)
    }

    /// A tunnel: the proxy sees the host's name and port, and encrypted bytes.
    async fn connect_through(&self, proxy: &Proxy) -> Result<Box<dyn Stream>, Error> {
        let failed = |why: String| Error::Proxy { proxy: proxy.name(), why };
        let connected = self.talk.connect(proxy.host(), proxy.port()).await;
        let mut stream: Box<dyn Stream> = Box::new(connected.map_err(|error| failed(tk8s_core::chain(&error)))?);
        if let (true, Some(config)) = (proxy.is_tls(), &self.tls) {
            let act = encrypt(config, proxy.host(), stream);
            stream = self.talk.until(&proxy.name(), "agreeing on keys", act).await??;
        }
        let target = format!("{}:{}", bracketed(&self.origin.host), self.origin.port);
        let login = proxy.header()?.map(|value| format!("Proxy-Authorization: {value}\r\n")).unwrap_or_default();
        let ask = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n");
        let act = async {
            stream.write_all(ask.as_bytes()).await?;
            stream.flush().await?;
            read_head(&mut stream).await
        };
        let head = self.talk.until(&proxy.name(), "asking the proxy", act).await?;
        let head = head.map_err(|error| failed(tk8s_core::printable(&error.to_string(), 100)))?;
        match status(&head) {
            Some(200) => Ok(stream),
            Some(407) => Err(failed("it wants a login, or another one (407)".into())),
            Some(other) => Err(failed(format!("it refuses to connect to `{target}` ({other})"))),
            None => Err(failed("it does not talk like a proxy".into())),
        }
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.into() }
}

async fn encrypt(config: &Arc<rustls::ClientConfig>, host: &str, stream: Box<dyn Stream>) -> Result<Box<dyn Stream>, Error> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| Error::Certificate { host: host.into(), why: "its name can't be in a certificate".into() })?;
    match TlsConnector::from(Arc::clone(config)).connect(name, stream).await {
        Ok(stream) => Ok(Box::new(stream)),
        Err(error) => Err(judge(host, error)),
    }
}

/// A certificate that isn't believed is a refusal; anything else about TLS may pass.
fn judge(host: &str, error: io::Error) -> Error {
    let why = tk8s_core::printable(&error.to_string(), 200);
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::InvalidCertificate(problem)) => {
            let own = format!("{problem:?}").contains("CaUsedAsEndEntity");
            let hint = if own {
                ": it is an authority's certificate (CA:TRUE), which a server may not show; issue one from it"
            } else {
                ""
            };
            Error::Certificate { host: host.into(), why: format!("{why}{hint}") }
        }
        _ => Error::Http { host: host.into(), why },
    }
}

/// The head of a proxy's answer, byte by byte: what follows belongs to the tunnel.
async fn read_head(stream: &mut Box<dyn Stream>) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > LARGEST_HEAD {
            return Err(io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

fn status(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.split(|&byte| byte == b'\r').next()?).ok()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    words.next()?.parse().ok()
}

/// A body of a JSON API, which is small or not what we asked for.
pub(super) async fn read_json(wire: &Wire, response: Response<Incoming>, limit: usize) -> Result<serde_json::Value, Error> {
    let mut whole = Vec::new();
    let mut body = response.into_body();
    while let Some(part) = wire.next_part(&mut body).await? {
        whole.extend_from_slice(&part);
        if whole.len() > limit {
            return Err(wire.broken("its answer is too long"));
        }
    }
    serde_json::from_slice(&whole).map_err(|_| wire.broken("its answer is not JSON"))
}
