//! The way from a command to a running agent: where it is, by what it is known there, and what is shown to it.
//!
//! Without an address the agent is found through the kubeconfig, and reached through the API server as `kubectl port-forward`
//! does it, in this process: nothing listens on this machine. It is known by the certificate that it published in the
//! cluster. No token is sent before that is proven, and none over a line that others can read.

mod forward;
pub(crate) mod tls;
mod token;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tk8s_core::{ServiceAccount, chain};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use url::{Host, Url};

/// How long it may take until the agent is reached: through the API server it is several connections.
const CONNECTING: Duration = Duration::from_secs(20);
/// How long an answer is waited for: a little longer than the agent itself keeps a caller waiting.
const PATIENCE: Duration = Duration::from_secs(130);
/// The largest answer that is read.
const LARGEST: usize = 64 * 1024 * 1024;

/// Where the agent is, and what is shown to it.
#[derive(Args)]
pub(in crate::cli) struct Agent {
    /// The agent's API, for example `https://tk8s-agent.example.com`; otherwise it is found through the kubeconfig.
    #[arg(long, env = "TK8S_SERVER", value_name = "URL", help_heading = REACHING)]
    server: Option<String>,
    /// Certificates that are believed of `--server`, as PEM; otherwise the system's.
    #[arg(long, env = "TK8S_CA_FILE", value_name = "FILE", requires = "server", help_heading = REACHING)]
    ca_file: Option<PathBuf>,
    /// The cluster; otherwise KUBECONFIG, or the pod's own account.
    #[arg(long, value_name = "FILE", help_heading = REACHING)]
    kubeconfig: Option<PathBuf>,
    /// Which of the kubeconfig's contexts; otherwise the current one.
    #[arg(long, value_name = "NAME", help_heading = REACHING)]
    context: Option<String>,
    /// The agent's namespace in the cluster.
    #[arg(long, env = "TK8S_NAMESPACE", value_name = "NAME", default_value = "tk8s-system", help_heading = REACHING)]
    namespace: String,
    /// Which agent, if several are in that namespace.
    #[arg(long, env = "TK8S_INSTANCE", value_name = "NAME", help_heading = REACHING)]
    instance: Option<String>,
    /// A file that holds a token for the agent.
    #[arg(long, env = "TK8S_TOKEN_FILE", value_name = "FILE", help_heading = REACHING)]
    token_file: Option<PathBuf>,
    /// Call as this account: a token is asked for that is good for ten minutes and for nobody but the agent.
    #[arg(long, env = "TK8S_SERVICE_ACCOUNT", value_name = "NAMESPACE/NAME", conflicts_with = "token_file", help_heading = REACHING)]
    service_account: Option<ServiceAccount>,
    /// For whom that token is made: one of the agent's `api.audiences`.
    #[arg(long, env = "TK8S_AUDIENCE", value_name = "NAME", default_value = tk8s_config::AUDIENCE, help_heading = REACHING)]
    audience: String,
    /// Send the token of the kubeconfig, whomever it was made for: whoever runs the agent could use it as you.
    #[arg(long, conflicts_with_all = ["token_file", "service_account"], help_heading = REACHING)]
    kubeconfig_token: bool,
}

/// Where `--help` lists what all of these commands take.
const REACHING: &str = "The agent";

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("could not read `{}`", .0.display())]
    Read(PathBuf, #[source] std::io::Error),
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Unreachable(String),
}

/// An answer of the agent, whatever it says.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// What bytes go through.
pub(crate) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// An open line to the agent.
struct Reached {
    line: Box<dyn Line>,
    /// As which it is addressed.
    host: String,
    /// What stands before the API's paths.
    prefix: String,
}

impl Agent {
    /// What it is called in messages.
    pub(super) fn place(&self) -> String {
        match &self.server {
            Some(server) => server.clone(),
            None => format!("its Pod in the namespace {}", self.namespace),
        }
    }

    /// Asks the agent once.
    pub(super) async fn exchange(&self, method: Method, path: &str, body: Option<Value>) -> Result<Answer, Error> {
        Talk::with(self).exchange(&method, path, body.as_ref()).await
    }

    /// An open line to the agent, and whose word goes over it.
    async fn open(&self) -> Result<Open, Error> {
        let token = token::of(self).await?;
        let reached = tokio::time::timeout(CONNECTING, self.reach()).await;
        let Reached { line, host, prefix } = reached.map_err(|_| unreachable("it can't be reached in time"))??;
        let mut authorization: header::HeaderValue =
            format!("Bearer {token}").parse().map_err(|_| Error::Usage("the token holds what no token holds".into()))?;
        authorization.set_sensitive(true);
        let opened = tokio::time::timeout(CONNECTING, hyper::client::conn::http1::handshake(TokioIo::new(line))).await;
        let opened = opened.map_err(|_| unreachable("it can't be reached in time"))?;
        let (sender, connection) = opened.map_err(|error| unreachable(&chain(&error)))?;
        tokio::spawn(connection);
        Ok(Open { sender, host, prefix, authorization })
    }

    async fn reach(&self) -> Result<Reached, Error> {
        match &self.server {
            Some(server) => self.by_address(server).await,
            None => forward::reach(self).await,
        }
    }

    async fn by_address(&self, server: &str) -> Result<Reached, Error> {
        let usage = |why: &str| Error::Usage(format!("`{}`: {why}", tk8s_core::printable(server, 200)));
        let url = Url::parse(server).map_err(|error| usage(&error.to_string()))?;
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(usage("it names no host: write `https://HOST:PORT`"));
        };
        let is_here = match &host {
            Host::Domain(name) => *name == "localhost",
            Host::Ipv4(address) => address.is_loopback(),
            Host::Ipv6(address) => address.is_loopback(),
        };
        let text = host.to_string();
        let address = text.trim_matches(['[', ']']);
        let connect = async || {
            let stream = TcpStream::connect((address, port)).await.map_err(|error| unreachable(&error.to_string()))?;
            stream.set_nodelay(true).ok();
            Ok(stream)
        };
        let line: Box<dyn Line> = match url.scheme() {
            "https" => Box::new(tls::by_authorities(connect().await?, address, self.ca_file.as_deref()).await?),
            "http" if is_here => Box::new(connect().await?),
            "http" => return Err(usage("everybody on the way could read the token: write `https:`")),
            _ => return Err(usage("it is neither `https:` nor `http:`")),
        };
        Ok(Reached { line, host: format!("{text}:{port}"), prefix: url.path().trim_end_matches('/').to_owned() })
    }

    /// How the cluster is reached.
    async fn cluster(&self) -> Result<kube::Config, Error> {
        let settings = crate::run::settings(self.kubeconfig.as_deref(), self.context.as_deref()).await;
        settings.map_err(|error| Error::Usage(format!("{error:#}; or name the agent's address: `--server URL`")))
    }
}

/// A line that questions go over.
struct Open {
    sender: SendRequest<Full<Bytes>>,
    host: String,
    prefix: String,
    authorization: header::HeaderValue,
}

/// Several questions, over one line as long as it holds.
pub(super) struct Talk<'a> {
    agent: &'a Agent,
    open: Option<Open>,
}

impl<'a> Talk<'a> {
    pub(super) fn with(agent: &'a Agent) -> Talk<'a> {
        Talk { agent, open: None }
    }

    /// Looks at something. The agent ends a line that was idle or open for long: then it is asked again, over another one.
    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, Error> {
        let before = self.open.is_some();
        match self.exchange(&Method::GET, path, None).await {
            Err(Error::Unreachable(_)) if before => self.exchange(&Method::GET, path, None).await,
            answer => answer,
        }
    }

    async fn exchange(&mut self, method: &Method, path: &str, body: Option<&Value>) -> Result<Answer, Error> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.agent.open().await?,
        };
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", open.prefix))
            .header(header::HOST, &open.host)
            .header(header::AUTHORIZATION, &open.authorization);
        let request = match body {
            Some(body) => request.header(header::CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body.to_string()))),
            None => request.body(Full::default()),
        };
        let request = request.map_err(|error| Error::Usage(error.to_string()))?;
        let asked = async {
            open.sender.ready().await?;
            let answer = open.sender.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await.map_err(|error| error.to_string());
            Ok::<_, hyper::Error>((status, body))
        };
        let asked = tokio::time::timeout(PATIENCE, asked).await.map_err(|_| unreachable("it does not answer"))?;
        let (status, body) = asked.map_err(|error| unreachable(&chain(&error)))?;
        let body = body.map_err(Error::Unreachable)?.to_bytes();
        self.open = Some(open);
        Ok(Answer { status, body })
    }
}

fn unreachable(why: &str) -> Error {
    Error::Unreachable(why.to_owned())
}

/// A client for the cluster.
fn client(settings: kube::Config) -> Result<kube::Client, Error> {
    crate::client::client(settings).map_err(|error| Error::Usage(format!("{error:#}")))
}
