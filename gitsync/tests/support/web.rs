//! A web server that speaks http as badly as a test wants, with the real `git http-backend` behind it; a proxy; and the
//! certificates for both, made by the real `openssl`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// `info/refs`, `ls-refs` or `fetch`.
    pub fn step(&self) -> &'static str {
        let body = String::from_utf8_lossy(&self.body);
        match self.method.as_str() {
            "GET" => "info/refs",
            _ if body.contains("command=ls-refs") => "ls-refs",
            _ => "fetch",
        }
    }
}

/// What a test answers: `Git` leaves it to the real program.
pub enum Answer {
    Git,
    /// The real program's answer, changed.
    Changed(Box<dyn FnOnce(Vec<u8>) -> Vec<u8>>),
    Plain(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Whatever is written; the connection ends then.
    Raw(Box<Speech>),
}

type Speech = dyn FnOnce(&mut dyn Write) -> std::io::Result<()>;

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub struct Web {
    port: u16,
    tls: bool,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Web {
    /// Serves the bare repositories below `root`.
    pub fn start(
        root: &Path,
        certificates: Option<&Certificates>,
        answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static,
    ) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let config = certificates.map(Certificates::server);
        let (root, answer, log) = (root.to_owned(), Arc::new(answer), Arc::clone(&seen));
        std::thread::spawn(move || {
            for tcp in listener.incoming().flatten() {
                let (config, root, answer, log) = (config.clone(), root.clone(), Arc::clone(&answer), Arc::clone(&log));
                std::thread::spawn(move || {
                    let stream: Box<dyn Stream> = match config {
                        Some(config) => Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), tcp)),
                        None => Box::new(tcp),
                    };
                    // A client that goes away is no failure of the test.
                    let _ = serve(stream, &root, &*answer, &log);
                });
            }
        });
        Web { port, tls: certificates.is_some(), seen }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}://127.0.0.1:{}{path}", if self.tls { "https" } else { "http" }, self.port)
    }

    /// What was asked since the last time.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

fn serve(stream: Box<dyn Stream>, root: &Path, answer: &dyn Fn(&Seen) -> Answer, log: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(": ") else { break };
            headers.insert(name.to_ascii_lowercase(), value.to_owned());
        }
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let seen = Seen { method, path, headers, body };
        log.lock().unwrap().push(seen.clone());
        let (status, headers, body) = match answer(&seen) {
            Answer::Git => backend(root, &seen, |body| body),
            Answer::Changed(change) => backend(root, &seen, change),
            Answer::Plain(status, headers, body) => {
                (status, headers.into_iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect(), body)
            }
            Answer::Raw(write) => {
                write(stream.get_mut())?;
                return stream.get_mut().flush();
            }
        };
        let head = format!("HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        let out = stream.get_mut();
        out.write_all(head.as_bytes())?;
        out.write_all(&body)?;
        out.flush()?;
    }
}

/// Asks the real program, as a web server would.
fn backend(root: &Path, seen: &Seen, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> (u16, String, Vec<u8>) {
    let (path, query) = seen.path.split_once('?').unwrap_or((&seen.path, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("GIT_PROJECT_ROOT", root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("REQUEST_METHOD", &seen.method)
        .env("CONTENT_TYPE", seen.header("content-type").unwrap_or_default())
        .env("GIT_PROTOCOL", seen.header("git-protocol").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&seen.body).ok();
    let output = child.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&output[..end + 2]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).map_or(200, |status| status[..3].parse().unwrap());
    let headers = head.split_inclusive("\r\n").filter(|line| line.starts_with("Content-Type")).collect();
    (status, headers, change(output[end + 4..].to_vec()))
}

/// An authority, and what it issued for 127.0.0.1.
pub struct Certificates {
    home: PathBuf,
}

impl Certificates {
    pub fn make(home: &Path) -> Certificates {
        let home = home.join("certificates");
        std::fs::create_dir_all(&home).unwrap();
        std::fs::write(home.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let openssl = |arguments: &[&str]| {
            let output = Command::new("openssl").args(arguments).current_dir(&home).output().unwrap();
            assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let authority = ["req", "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=Test authority"];
        openssl(&[&authority[..], &key, &["-addext", "keyUsage=critical,keyCertSign"]].concat());
        openssl(&[&["req", "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=Test"][..], &key].concat());
        let sign = ["x509", "-req", "-in", "leaf.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        openssl(&[&sign[..], &["-extfile", "names", "-out", "leaf.pem"]].concat());
        Certificates { home }
    }

    pub fn authority(&self) -> PathBuf {
        self.home.join("ca.pem")
    }

    fn server(&self) -> Arc<rustls::ServerConfig> {
        let chain = CertificateDer::pem_file_iter(self.home.join("leaf.pem")).unwrap().map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_file(self.home.join("leaf.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    }
}

/// A proxy that connects, or refuses with a status; what it was asked is kept.
pub struct WebProxy {
    pub port: u16,
    asked: Arc<Mutex<Vec<String>>>,
}

impl WebProxy {
    pub fn start(refuse: Option<&'static str>) -> WebProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for mut client in listener.incoming().flatten() {
                let mut head = Vec::new();
                let mut byte = [0];
                while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|count| count == 1) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8(head).unwrap();
                log.lock().unwrap().push(head.clone());
                if let Some(refuse) = refuse {
                    let _ = client.write_all(refuse.as_bytes());
                    continue;
                }
                let server = TcpStream::connect(head.split(' ').nth(1).unwrap()).unwrap();
                client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").unwrap();
                for (mut from, mut to) in [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        WebProxy { port, asked }
    }

    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// A line of Git's protocol.
pub fn line(bytes: &[u8]) -> Vec<u8> {
    [format!("{:04x}", bytes.len() + 4).as_bytes(), bytes].concat()
}

/// The capabilities of a server that speaks version 2.
pub fn capabilities() -> Vec<u8> {
    let lines = ["version 2\n", "agent=test\n", "ls-refs=unborn\n", "fetch=shallow\n", "object-format=sha1\n"];
    let service = [line(b"# service=git-upload-pack\n"), b"0000".to_vec()].concat();
    [service, lines.iter().flat_map(|text| line(text.as_bytes())).collect(), b"0000".to_vec()].concat()
}

/// A list of refs.
pub fn refs(lines: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (id, name) in lines {
        bytes.extend(line(&[id.as_bytes(), b" ", name, b"\n"].concat()));
    }
    bytes.extend(b"0000");
    bytes
}

/// A pack as the server sends it.
pub fn packfile(pack: &[u8]) -> Vec<u8> {
    let mut bytes = line(b"packfile\n");
    for part in pack.chunks(60_000) {
        bytes.extend(line(&[&[1], part].concat()));
    }
    bytes.extend(b"0000");
    bytes
}

/// Whether an answer is a fixed one for each step of a fetch.
pub fn scripted(seen: &Seen, refs: &[u8], pack: &[u8]) -> Answer {
    let (kind, body) = match seen.step() {
        "info/refs" => ("advertisement", capabilities()),
        "ls-refs" => ("result", refs.to_vec()),
        _ => ("result", packfile(pack)),
    };
    Answer::Plain(200, vec![("Content-Type", format!("application/x-git-upload-pack-{kind}"))], body)
}
