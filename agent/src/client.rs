//! The way to the API server: kube's own layers, and beneath them the last question whether a write may still be sent.
//!
//! A request waits in several places after it was made: for the client's worker, for a connection, for the task that writes
//! to it. A process that stands still in between would send it when it goes on. So the fence that a request carries is asked
//! once more where its body is handed to the connection: a request whose body is missing is none. And a request that is made
//! for a service account is one of that account, whatever the login has added to it. Nothing is repeated here; whoever asks
//! decides that.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Request;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt as _};
use tk8s_diff::account::{Acting, act_as};
use tk8s_diff::fence::{Fence, Gate, UNDER_WAY};
use tower::{BoxError, ServiceBuilder};

/// How long it may take to reach the API server.
const CONNECTING: Duration = Duration::from_secs(10);

/// A client as kube makes it by itself, with the fence beneath it.
pub fn client(config: kube::Config) -> Result<kube::Client> {
    ensure!(
        config.proxy_url.is_none(),
        "the API server is to be reached through a proxy, which is not supported: take it out of the kubeconfig and the environment"
    );
    // Taken by somebody else already, it is the same one.
    rustls::crypto::aws_lc_rs::default_provider().install_default().ok();
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(CONNECTING));
    // What the network did not take in that time is not delivered later.
    connector.set_tcp_user_timeout(Some(UNDER_WAY));
    let connector = config.rustls_https_connector_with_connector(connector).context("could not prepare TLS")?;
    let sending: Client<_, Guarded> = Client::builder(TokioExecutor::new()).build(connector);
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(tower_http::decompression::DecompressionLayer::new().gzip(!config.disable_compression))
        .option_layer(config.auth_layer().context("could not prepare the login")?)
        .layer(config.extra_headers_layer().context("could not prepare the login")?)
        .map_err(BoxError::from)
        .map_request(guard)
        .service(sending);
    Ok(kube::Client::new(service, config.default_namespace))
}

fn guard(mut request: Request<Body>) -> Request<Guarded> {
    // A kubeconfig may say whom to act for as well, for every request alike.
    if let Some(account) = request.extensions().get::<Acting>().cloned() {
        act_as(request.headers_mut(), &account);
    }
    let fence = request.extensions().get::<Fence>().cloned();
    request.map(|body| Guarded { body, fence })
}

/// A body that is not handed over once the fence is closed.
struct Guarded {
    body: Body,
    fence: Option<Fence>,
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        if this.fence.as_ref().is_some_and(|fence| fence.gate() == Gate::Closed) {
            return Poll::Ready(Some(Err("another process may be the writer by now".into())));
        }
        Pin::new(&mut this.body).poll_frame(context).map_err(BoxError::from)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn request(path: &str) -> Request<Body> {
        Request::builder().method("PATCH").uri(path).body(Body::from(b"a change".to_vec())).unwrap()
    }

    fn fenced(fence: Fence) -> Request<Body> {
        let mut request = request("/apis/x");
        request.extensions_mut().insert(fence);
        request
    }

    /// Hands on what a server that answers everything by yes was sent.
    async fn server() -> (kube::Client, tokio::sync::mpsc::Receiver<String>) {
        server_for(|_| ()).await
    }

    /// The same, with a login.
    async fn server_for(login: impl FnOnce(&mut kube::Config)) -> (kube::Client, tokio::sync::mpsc::Receiver<String>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, received) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (mut text, mut bytes) = (String::new(), [0; 1024]);
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    text.push_str(&String::from_utf8_lossy(&bytes[..read]));
                    if text.ends_with("a change") {
                        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                        send.send(std::mem::take(&mut text)).await.unwrap();
                    }
                }
            }
        });
        let mut config = kube::Config::new(url.parse().unwrap());
        login(&mut config);
        (client(config).unwrap(), received)
    }

    #[tokio::test]
    async fn what_is_asked_for_an_account_is_asked_for_nobody_else_whatever_the_login_says() {
        let (client, mut received) = server_for(|config| {
            config.auth_info.impersonate = Some("admin".into());
            config.auth_info.impersonate_groups = Some(vec!["system:masters".into()]);
        })
        .await;
        let cluster = tk8s_diff::cluster::Cluster::new(client, Vec::new());
        let account = "shop/deployer".parse().unwrap();
        for (cluster, expected) in [
            (cluster.acting_as(Some(&account)), vec!["impersonate-user: system:serviceaccount:shop:deployer"]),
            (cluster.acting_as(Some(&account)).as_itself(), vec!["impersonate-user: admin", "impersonate-group: system:masters"]),
        ] {
            let request = Request::builder().method("PATCH").uri("/apis/x").body(b"a change".to_vec()).unwrap();
            // The answer is empty, which is none to whoever waits for an object.
            cluster.exchange(request).await.unwrap_err();
            let text = received.recv().await.unwrap();
            let of_somebody: Vec<_> = text.lines().filter(|line| line.starts_with("impersonate-")).collect();
            assert_eq!(of_somebody, expected);
        }
    }

    #[tokio::test]
    async fn a_request_that_was_made_in_time_and_waits_is_not_sent_once_the_fence_is_closed() {
        let (client, mut received) = server().await;
        let closed = Arc::new(AtomicBool::new(false));
        let fence = {
            let closed = Arc::clone(&closed);
            Fence::new(move || if closed.load(Ordering::SeqCst) { Gate::Closed } else { Gate::Open })
        };
        assert!(client.send(fenced(fence.clone())).await.unwrap().status().is_success());
        assert!(received.recv().await.unwrap().starts_with("PATCH /apis/x "));
        // Made while it was open, sent after that.
        let waiting = fenced(fence);
        closed.store(true, Ordering::SeqCst);
        assert!(client.send(waiting).await.is_err());
        assert!(received.try_recv().is_err(), "nothing whole was received");
        // What writes nothing carries no fence.
        assert!(client.send(request("/reviews")).await.unwrap().status().is_success());
    }
}
