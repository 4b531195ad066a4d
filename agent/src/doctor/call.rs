//! One request over a line of our own: what a probe, a Git host's webhook or a clock is asked by.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tk8s_core::{chain, printable};
use tokio::net::TcpStream;

use crate::cli::reach::Line;

/// How long one request may take: a webhook waits for a look at Git.
const PATIENCE: Duration = Duration::from_secs(20);
/// How much of an answer is read.
const LARGEST: usize = 64 * 1024;

/// What was answered.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// When the other side thinks it is.
    pub(super) date: Option<String>,
    pub(super) body: String,
}

/// Why there is no answer.
pub(super) enum Silence {
    /// Nobody listens there.
    Nobody(String),
    /// Somebody does, and it does not go well.
    Broken(String),
}

/// A listener's address as a process beside it reaches it.
pub(super) fn beside(listen: SocketAddr) -> SocketAddr {
    let here = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(here, listen.port())
}

pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, Silence> {
    match tokio::time::timeout(PATIENCE, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err(error)) => Err(Silence::Nobody(error.to_string())),
        Err(_) => Err(Silence::Nobody(format!("no connection within {} s", PATIENCE.as_secs()))),
    }
}

/// Sends a request over a line that is open.
pub(super) async fn ask(line: Box<dyn Line>, request: Request<Full<Bytes>>) -> Result<Answer, Silence> {
    let asked = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(line)).await?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        let (status, date) =
            (answer.status(), answer.headers().get(header::DATE).and_then(|date| date.to_str().ok()).map(String::from));
        let body = Limited::new(answer.into_body(), LARGEST).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Ok::<_, hyper::Error>(Answer { status, date, body: printable(&String::from_utf8_lossy(&body), 400) })
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer.map_err(|error| Silence::Broken(printable(&chain(&error), 300))),
        Err(_) => Err(Silence::Broken(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_for_everybody_is_reached_on_this_machine() {
        for (listen, reached) in [
            ("0.0.0.0:8443", "127.0.0.1:8443"),
            ("[::]:8443", "[::1]:8443"),
            ("10.1.2.3:1", "10.1.2.3:1"),
            ("127.0.0.1:9", "127.0.0.1:9"),
        ] {
            assert_eq!(beside(listen.parse().unwrap()), reached.parse().unwrap());
        }
    }
}
