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

/// What one connection may take, and how many there are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections: usize,
    /// How long a handshake may take.
    pub handshake: Duration,
    /// How long the head of a request may take, and how long a connection may be idle between two.
    pub head: Duration,
    /// How long a connection is used before it is closed after what is under way: nobody keeps a place by going on asking.
    pub connection: Duration,
    /// How long what is under way then may take.
    pub last: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            // Far more than people and their programs need, and each costs some 100 KiB at most while it waits.
            connections: 256,
            // Over a slow line and through a port that is forwarded.
            handshake: Duration::from_secs(10),
            head: Duration::from_secs(15),
            connection: Duration::from_secs(600),
            // Longer than the API keeps a caller waiting, and the answer being read.
            last: Duration::from_secs(180),
        }
    }
}

/// The most bytes that the head of a request may have: a token of the largest size, and some.
const LARGEST_HEAD: usize = 64 * 1024;
/// After the operating system did not give a connection, mostly because there are too many open files.
const REFUSED: Duration = Duration::from_millis(200);

/// Serves until told to stop, then until what is under way is answered. Without certificates it is plain HTTP.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    certificates: Option<Arc<Certificates>>,
    limits: Limits,
    stop: CancellationToken,
) {
    let acceptor = certificates.map(|certificates| TlsAcceptor::from(certificates.server()));
    let places = Arc::new(Semaphore::new(limits.connections));
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
                None => converse(stream, router, limits, stop).await,
                Some(acceptor) => match tokio::time::timeout(limits.handshake, acceptor.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, router, limits, stop).await,
                    // Whoever speaks no TLS, or does not believe the certificate, is told so by TLS itself.
                    Ok(Err(error)) => tracing::debug!(%error, "a handshake failed"),
                    Err(_) => tracing::debug!("a handshake took too long"),
                },
            }
            drop(place);
        });
    }
    // Every place is free again when every connection has ended.
    places.acquire_many(limits.connections as u32).await.ok();
}

/// One connection, to its end.
async fn converse<S>(stream: S, router: Router, limits: Limits, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head).max_buf_size(LARGEST_HEAD);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = tokio::time::sleep(limits.connection) => None,
        () = stop.cancelled() => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(limits.last, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection was cut: its answer was not taken"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::process::{Command, Output};

    use tk8s_config::TlsConfig;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    /// An endpoint that answers everything by the same word, with a certificate in a file.
    struct Served {
        address: SocketAddr,
        certificates: Arc<Certificates>,
        directory: tempfile::TempDir,
        stop: CancellationToken,
    }

    impl Served {
        async fn new(tls: &TlsConfig, limits: Limits) -> Served {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let certificates = Certificates::new(tls, "tk8s-system", "tk8s").unwrap().unwrap();
            let router = Router::new().fallback(|| async { "answered" });
            let stop = CancellationToken::new();
            tokio::spawn(serve(listener, router, Some(Arc::clone(&certificates)), limits, stop.clone()));
            tokio::spawn(Arc::clone(&certificates).follow(stop.clone()));
            Served { address, certificates, directory: tempfile::tempdir().unwrap(), stop }
        }

        /// What curl says, which believes this certificate.
        async fn curl(&self, host: &str, certificate: &str, more: &[&str]) -> Output {
            let file = self.directory.path().join("believed.pem");
            std::fs::write(&file, certificate).unwrap();
            let port = self.address.port();
            let mut command = Command::new("curl");
            command.args([
                "-sS",
                "--noproxy",
                "*",
                "--max-time",
                "20",
                "--resolve",
                &format!("{host}:{port}:127.0.0.1"),
                "--cacert",
            ]);
            command.arg(file).args(more).arg(format!("https://{host}:{port}/"));
            tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
        }

        fn certificate(&self) -> String {
            self.certificates.told().borrow().clone()
        }
    }

    impl Drop for Served {
        fn drop(&mut self) {
            self.stop.cancel();
        }
    }

    fn text(output: &Output) -> String {
        String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_own_certificate_is_good_under_its_names_for_whoever_believes_it_and_with_tls_of_today() {
        let served = Served::new(&TlsConfig::Own, Limits::default()).await;
        for host in ["localhost", "tk8s-agent", "tk8s-agent.tk8s-system.svc", "tk8s-agent.tk8s-system.svc.cluster.local"] {
            assert_eq!(text(&served.curl(host, &served.certificate(), &[]).await), "answered", "{host}");
        }
        for version in ["--tlsv1.3", "--tls-max 1.2"] {
            let words: Vec<_> = version.split(' ').collect();
            assert_eq!(text(&served.curl("localhost", &served.certificate(), &words).await), "answered", "{version}");
        }
        let old = served.curl("localhost", &served.certificate(), &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]).await;
        assert!(!old.status.success(), "{}", text(&old));
        assert!(!served.curl("elsewhere", &served.certificate(), &[]).await.status.success());
        // The next start has another one, with another key.
        let other = Served::new(&TlsConfig::Own, Limits::default()).await;
        assert!(!served.curl("localhost", &other.certificate(), &[]).await.status.success());
        // Plain HTTP is no way in.
        let mut plain = TcpStream::connect(served.address).await.unwrap();
        plain.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut said = Vec::new();
        plain.read_to_end(&mut said).await.ok();
        assert!(!String::from_utf8_lossy(&said).contains("answered"));
    }

    fn write_pair(directory: &std::path::Path, name: &str) {
        let at = |file: &str| directory.join(file).display().to_string();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
            .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
            .args(["-keyout", &at("new.key"), "-out", &at("new.crt")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made));
        std::fs::rename(at("new.crt"), at("tls.crt")).unwrap();
        std::fs::rename(at("new.key"), at("tls.key")).unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn files_are_read_again_when_they_change_and_broken_ones_leave_in_force_what_was() {
        let directory = tempfile::tempdir().unwrap();
        let at = |file: &str| directory.path().join(file);
        write_pair(directory.path(), "first.example.com");
        let served = Served::new(&TlsConfig::Files { certificate: at("tls.crt"), key: at("tls.key") }, Limits::default()).await;
        let first = std::fs::read_to_string(at("tls.crt")).unwrap();
        assert_eq!(text(&served.curl("first.example.com", &first, &[]).await), "answered");
        assert_eq!(served.certificate(), first, "what is told is what is in the file");

        let mut told = served.certificates.told();
        told.mark_unchanged();
        write_pair(directory.path(), "second.example.com");
        tokio::time::timeout(Duration::from_secs(60), told.changed()).await.unwrap().unwrap();
        let second = std::fs::read_to_string(at("tls.crt")).unwrap();
        assert_eq!(text(&served.curl("second.example.com", &second, &[]).await), "answered");
        assert!(!served.curl("first.example.com", &first, &[]).await.status.success());

        // Of another certificate, no PEM, nothing, too large, gone.
        let key = std::fs::read(at("tls.key")).unwrap();
        write_pair(directory.path(), "third.example.com");
        std::fs::write(at("tls.key"), key).unwrap();
        served.certificates.renew();
        for broken in [&b"-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"[..], b"", &[b'a'; 1024 * 1024 + 1]] {
            std::fs::write(at("tls.crt"), broken).unwrap();
            served.certificates.renew();
        }
        std::fs::remove_file(at("tls.crt")).unwrap();
        served.certificates.renew();
        assert_eq!(text(&served.curl("second.example.com", &second, &[]).await), "answered");
        // At a start there is nothing that could stay in force.
        let why =
            Certificates::new(&TlsConfig::Files { certificate: at("tls.crt"), key: at("tls.key") }, "x", "tk8s").unwrap_err();
        assert!(why.to_string().contains("could not read") && why.to_string().contains("tls.crt"), "{why}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn strangers_hold_only_so_many_places_and_none_of_them_for_long() {
        let limits = Limits {
            connections: 2,
            handshake: Duration::from_millis(500),
            head: Duration::from_millis(500),
            ..Limits::default()
        };
        let served = Served::new(&TlsConfig::Own, limits).await;
        // They say nothing, or begin a handshake and fall silent.
        let mut silent = Vec::new();
        for begun in [&b""[..], b"\x16\x03\x01", b"", b"\x16"] {
            let mut stream = TcpStream::connect(served.address).await.unwrap();
            stream.write_all(begun).await.unwrap();
            silent.push(stream);
        }
        assert_eq!(text(&served.curl("localhost", &served.certificate(), &[]).await), "answered");
        for mut stream in silent {
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut Vec::new())).await;
            assert!(ended.is_ok(), "it was cut");
        }
        // A head that never ends, or is too large.
        for head in [b"GET / HTTP/1.1\r\na: b".to_vec(), [b"GET / HTTP/1.1\r\na: ", &[b'a'; 100_000][..]].concat()] {
            let mut roots = rustls::RootCertStore::empty();
            use rustls::pki_types::pem::PemObject as _;
            roots.add(rustls::pki_types::CertificateDer::from_pem_slice(served.certificate().as_bytes()).unwrap()).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let client = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
            let client = client.with_root_certificates(roots).with_no_client_auth();
            let stream = TcpStream::connect(served.address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
            let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
            stream.write_all(&head).await.ok();
            let mut said = Vec::new();
            let ended = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut said)).await;
            assert!(ended.is_ok() && !String::from_utf8_lossy(&said).contains("answered"));
        }
        assert_eq!(text(&served.curl("localhost", &served.certificate(), &[]).await), "answered");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_waits_for_what_is_under_way_and_takes_nothing_new() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (begun, stop) = (Arc::new(tokio::sync::Notify::new()), CancellationToken::new());
        let (says, goes_on) = (Arc::clone(&begun), stop.clone());
        let router = Router::new().fallback(move || async move {
            says.notify_one();
            goes_on.cancelled().await;
            "answered"
        });
        let serving = tokio::spawn(serve(listener, router, None, Limits::default(), stop.clone()));
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        begun.notified().await;
        stop.cancel();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert!(said.ends_with("answered"), "{said}");
        tokio::time::timeout(Duration::from_secs(60), serving).await.unwrap().unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
