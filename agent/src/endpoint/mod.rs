//! Where the API is listened for: connections with TLS, each of them bounded before anybody is known to be at its other end.
//!
//! A stranger may hold a connection for as long as a handshake or the head of a request may take, and of all connections
//! only so many are open at once; more wait in the queue of the operating system. Health and metrics have listeners of
//! their own, so the kubelet is never among those who wait.

pub mod certificate;
pub mod published;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use self::certificate::Certificates;

/// How many connections are open at once: far more than people and their programs need, and each costs some 100 KiB.
const CONNECTIONS: usize = 256;
/// How long a handshake may take, over a slow line and through a port that is forwarded.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and how long a connection may be idle between two.
const HEAD: Duration = Duration::from_secs(15);
/// How long a connection is used before it is closed after what is under way: nobody keeps a place by going on asking.
const CONNECTION: Duration = Duration::from_secs(600);
/// How long what is under way then may take: longer than the API keeps a caller waiting, and the answer being read.
const LAST: Duration = Duration::from_secs(180);
/// The most bytes that the head of a request may have: a token of the largest size, and some.
const LARGEST_HEAD: usize = 64 * 1024;
/// After the operating system did not give a connection, mostly because there are too many open files.
const REFUSED: Duration = Duration::from_millis(200);

/// Serves until told to stop, then until what is under way is answered. Without certificates it is plain HTTP.
pub async fn serve(listener: TcpListener, router: Router, certificates: Option<Arc<Certificates>>, stop: CancellationToken) {
    let acceptor = certificates.map(|certificates| TlsAcceptor::from(certificates.server()));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place.expect("because nobody closes it"),
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::debug!(%error, "a connection was not given");
                tokio::time::sleep(REFUSED).await;
                continue;
            }
        };
        stream.set_nodelay(true).ok();
        let (acceptor, router, stop) = (acceptor.clone(), router.clone(), stop.clone());
        tokio::spawn(async move {
            match acceptor {
                None => converse(stream, router, stop).await,
                Some(acceptor) => match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router, stop).await,
                    // Whoever speaks no TLS, or does not believe the certificate, is told so by TLS itself.
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => tracing::debug!("a handshake took too long"),
                },
            }
            drop(place);
        });
    }
    // Every place is free again when every connection has ended.
    places.acquire_many(CONNECTIONS as u32).await.ok();
}

/// One connection, to its end.
async fn converse<S>(stream: S, router: Router, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LARGEST_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(CONNECTION) => None,
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(LAST, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection was cut: its answer was not taken"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}
