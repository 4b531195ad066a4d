//! Git over https, with the real `git http-backend` behind a server that tells what it was asked.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use support::web::{Answer, Certificates, Seen, Web, WebProxy};
use support::{KeyType, Repository, Signer};
use tk8s_core::{Classified as _, chain};
use tk8s_gitsync::{
    Accepted, Commits, Depth, Follow, GithubApp, HttpsAccess, HttpsLogin, Policy, Proxy, ProxyLogin, Source, StagingPolicy,
    TokenCache, fetch, verify,
};

/// A repository with one signed commit, and certificates for whoever serves it.
struct Home {
    repository: Repository,
    alice: Signer,
    certificates: Certificates,
}

impl Home {
    fn new() -> Home {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        repository.write("a.yaml", "a: 1\n");
        repository.commit("first", Some(&alice));
        let certificates = Certificates::make(repository.home());
        Home { repository, alice, certificates }
    }

    fn serve(&self, answer: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Web {
        Web::start(self.repository.home(), Some(&self.certificates), answer)
    }

    fn source(&self, web: &Web) -> Source {
        let mirror = self.repository.home().join("mirror.git");
        Source {
            https: HttpsAccess { ca_file: Some(self.certificates.authority()), ..HttpsAccess::default() },
            timeout: Duration::from_secs(30),
            ..Source::new(web.url("/origin.git").parse().unwrap(), mirror, Follow::Branch("main".into()))
        }
    }

    fn with_login(&self, web: &Web, login: HttpsLogin) -> Source {
        let mut source = self.source(web);
        source.https.login = login;
        source
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.repository.home().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Fetches and verifies; gives the commit.
    fn accepted(&self, source: &Source) -> String {
        let policy = Policy::Staging(StagingPolicy { signers: support::signers(&[&self.alice]), commits: Commits::Head });
        let fetched = fetch(source).map_err(|error| chain(&error)).unwrap();
        let verification = verify(&fetched, &policy, &Accepted::default()).unwrap();
        verification.revision.unwrap().revision().commit.to_string()
    }
}

fn refused(source: &Source) -> (&'static str, String) {
    let error = fetch(source).err().expect("because it is refused");
    (error.reason(), chain(&error))
}

fn asked(web: &Web) -> Vec<&'static str> {
    web.seen().iter().map(Seen::step).collect()
}

#[test]
fn a_repository_is_fetched_over_https_and_a_fetch_that_brings_nothing_is_one_request() {
    let home = Home::new();
    let web = home.serve(|_| Answer::Git);
    let source = home.source(&web);
    assert_eq!(home.accepted(&source), home.repository.git(&["rev-parse", "HEAD"]));
    assert_eq!(asked(&web), ["info/refs", "ls-refs", "fetch"]);
    // The first mirror was not there yet to remember anything in.
    home.accepted(&source);
    assert_eq!(asked(&web), ["info/refs", "ls-refs"]);
    home.accepted(&source);
    assert_eq!(asked(&web), ["ls-refs"]);
    home.repository.write("a.yaml", "a: 2\n");
    let second = home.repository.commit("second", Some(&home.alice));
    assert_eq!(home.accepted(&source), second);
    assert_eq!(asked(&web), ["ls-refs", "fetch"]);
}

#[test]
fn what_a_server_could_do_is_asked_again_when_it_does_not_answer_as_it_did() {
    let home = Home::new();
    let moved = Arc::new(AtomicUsize::new(0));
    let is_moved = Arc::clone(&moved);
    let web = home.serve(move |seen| {
        let old = seen.path.starts_with("/origin.git");
        match (is_moved.load(Ordering::SeqCst), old) {
            (1, true) => Answer::Plain(301, vec![("Location", seen.path.replace("/origin.git", "/moved.git"))], Vec::new()),
            _ => Answer::Git,
        }
    });
    let source = home.source(&web);
    home.accepted(&source);
    home.accepted(&source);
    std::fs::rename(&home.repository.bare, home.repository.home().join("moved.git")).unwrap();
    moved.store(1, Ordering::SeqCst);
    web.seen();
    home.accepted(&source);
    let paths: Vec<_> = web.seen().iter().map(|seen| seen.path.split('?').next().unwrap().to_owned()).collect();
    // Remembered, then asked again and sent on within the same host, and from then on where it is.
    let expected = ["/origin.git/git-upload-pack", "/origin.git/info/refs", "/moved.git/info/refs", "/moved.git/git-upload-pack"];
    assert_eq!(paths, expected);
    home.accepted(&source);
    assert_eq!(web.seen().len(), 1);
}

#[test]
fn only_the_newest_commit_is_fetched_where_history_is_not_needed_and_all_of_it_once_it_is() {
    let home = Home::new();
    for round in 0..3 {
        home.repository.write("a.yaml", &format!("a: 1{round}\n"));
        home.repository.commit("next", Some(&home.alice));
    }
    let web = home.serve(|_| Answer::Git);
    let mut source = Source { depth: Depth::Head, ..home.source(&web) };
    let count = || {
        let mirror = home.repository.home().join("mirror.git");
        let output = Command::new("git").arg("--git-dir").arg(mirror).args(["rev-list", "--count", "refs/heads/main"]).output();
        String::from_utf8(output.unwrap().stdout).unwrap().trim().to_owned()
    };
    home.accepted(&source);
    assert_eq!(count(), "1");
    home.accepted(&source);
    web.seen();
    home.accepted(&source);
    assert_eq!(asked(&web), ["ls-refs"]);
    home.repository.write("a.yaml", "a: 9\n");
    let newest = home.repository.commit("next", Some(&home.alice));
    assert_eq!(home.accepted(&source), newest);
    // A rewritten branch is followed.
    home.repository.git(&["commit", "-q", "--amend", "--allow-empty", "-m", "again"]);
    home.repository.git(&["push", "-q", "--force", "origin", "main"]);
    fetch(&source).unwrap();
    source.depth = Depth::Full;
    fetch(&source).unwrap();
    assert_eq!(count(), "5");
}

#[test]
fn a_login_is_sent_as_it_is_configured_and_files_are_read_again_when_they_rotate() {
    let home = Home::new();
    let wanted = Arc::new(std::sync::Mutex::new(String::new()));
    let right = Arc::clone(&wanted);
    let web = home.serve(move |seen| match seen.header("authorization") == Some(&*right.lock().unwrap()) {
        true => Answer::Git,
        false => Answer::Plain(401, vec![("WWW-Authenticate", "Basic".into())], Vec::new()),
    });
    let want = |value: String| *wanted.lock().unwrap() = value;
    let token_file = home.file("token", "secret-1\n");
    let bearer = home.with_login(&web, HttpsLogin::Bearer { token_file: token_file.clone() });
    want("Bearer secret-1".into());
    home.accepted(&bearer);
    // Rotated at the server, and not yet here: refused, said without the token, and not asked for ever.
    want("Bearer secret-2".into());
    web.seen();
    let (reason, message) = refused(&bearer);
    assert_eq!(reason, "Unauthenticated");
    assert!(message.contains("401") && !message.contains("secret"), "{message}");
    assert!(web.seen().len() <= 2);
    std::fs::write(&token_file, "secret-2").unwrap();
    home.accepted(&bearer);
    want(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode("robot:secret-2")));
    home.accepted(&home.with_login(&web, HttpsLogin::Basic { username: "robot".into(), password_file: token_file }));
    assert_eq!(refused(&home.source(&web)).0, "Unauthenticated");
    for (text, reason) in [("", "CredentialUnusable"), ("a\nb", "CredentialUnusable"), ("\u{1b}", "CredentialUnusable")] {
        let token_file = home.file("bad", text);
        assert_eq!(refused(&home.with_login(&web, HttpsLogin::Bearer { token_file })).0, reason);
    }
    let token_file = home.file("large", &"x".repeat(4 * 1024 * 1024 + 1));
    assert_eq!(refused(&home.with_login(&web, HttpsLogin::Bearer { token_file })).0, "FileUnreadable");
    let missing = HttpsLogin::Bearer { token_file: "/nowhere".into() };
    assert_eq!(refused(&home.with_login(&web, missing)).0, "FileUnreadable");
}

#[test]
fn a_credential_never_leaves_the_scheme_host_and_port_it_is_for() {
    let home = Home::new();
    let other = home.serve(|_| Answer::Git);
    let plain = Web::start(home.repository.home(), None, |_| Answer::Git);
    for (to, word) in [(other.url(""), "https://127.0.0.1"), (plain.url(""), "http://127.0.0.1")] {
        let target = to.clone();
        let web = home.serve(move |seen| Answer::Plain(302, vec![("Location", format!("{target}{}", seen.path))], Vec::new()));
        let token_file = home.file("token", "secret");
        for login in [HttpsLogin::Bearer { token_file }, HttpsLogin::None] {
            let (reason, message) = refused(&home.with_login(&web, login));
            assert_eq!(reason, "RedirectRefused");
            assert!(message.contains(word) && message.contains("repository.url"), "{message}");
        }
    }
    // Nothing arrived there, with or without a credential.
    assert!(other.seen().is_empty() && plain.seen().is_empty());
    // With more headers than anybody has.
    let wordy = home.serve(|_| Answer::Plain(200, vec![("X-Long", "x".repeat(128 * 1024))], Vec::new()));
    assert_eq!(refused(&home.source(&wordy)).0, "HttpFailed");
    // In circles, and in the middle of a fetch.
    let circles = home.serve(|seen| Answer::Plain(302, vec![("Location", seen.path.clone())], Vec::new()));
    assert_eq!(refused(&home.source(&circles)).0, "RedirectRefused");
    assert!(circles.seen().len() <= 6);
    let late = home.serve(|seen| match seen.step() {
        "info/refs" => Answer::Git,
        _ => Answer::Plain(307, vec![("Location", seen.path.clone())], Vec::new()),
    });
    assert_eq!(refused(&home.source(&late)).0, "RedirectRefused");
}

#[test]
fn a_server_is_believed_by_its_certificate_only() {
    let home = Home::new();
    let web = home.serve(|_| Answer::Git);
    let mut source = home.source(&web);
    source.https.ca_file = None;
    let (reason, message) = refused(&source);
    assert_eq!(reason, "CertificateRefused");
    assert!(message.contains("repository.caFile"), "{message}");
    let stranger = Repository::new();
    source.https.ca_file = Some(Certificates::make(stranger.home()).authority());
    assert_eq!(refused(&source).0, "CertificateRefused");
    source.https.ca_file = Some(home.file("ca", "nonsense"));
    assert_eq!(refused(&source).0, "CredentialUnusable");
    assert!(web.seen().is_empty());
}

#[test]
fn an_unprotected_connection_is_spoken_only_when_allowed_and_never_with_a_credential() {
    let home = Home::new();
    let web = Web::start(home.repository.home(), None, |_| Answer::Git);
    let mut source = home.source(&web);
    assert_eq!(refused(&source).0, "InsecureUrl");
    source.allow_insecure = true;
    home.accepted(&source);
    web.seen();
    source.https.login = HttpsLogin::Bearer { token_file: home.file("token", "secret") };
    assert_eq!(refused(&source).0, "InsecureUrl");
    assert!(web.seen().is_empty());
    // Git's own protocol, from the real daemon.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    // By its own name: `git daemon` would leave it behind.
    let programs = Command::new("git").arg("--exec-path").output().unwrap().stdout;
    let mut daemon = Command::new(Path::new(String::from_utf8(programs).unwrap().trim()).join("git-daemon"))
        .args(["--listen=127.0.0.1", &format!("--port={port}"), "--export-all", "--reuseaddr"])
        .arg(format!("--base-path={}", home.repository.home().display()))
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let began = std::time::Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "git daemon does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = format!("git://127.0.0.1:{port}/origin.git").parse().unwrap();
    let mut source = Source { mirror: home.repository.home().join("daemon.git"), ..Source { url, ..home.source(&web) } };
    let forbidden = fetch(&source).err().map(|error| error.reason());
    source.allow_insecure = true;
    let fetched = fetch(&source).map(|_| ()).map_err(|error| chain(&error));
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert_eq!((forbidden, fetched), (Some("InsecureUrl"), Ok(())));
}

#[test]
fn a_proxy_is_gone_through_and_one_that_refuses_is_named() {
    let home = Home::new();
    let web = home.serve(|_| Answer::Git);
    let through = |port: u16, no_proxy: &str| {
        let mut source = home.source(&web);
        source.https.proxy = Some(Proxy::parse(&format!("http://me:hunter2@127.0.0.1:{port}"), no_proxy).unwrap());
        source
    };
    let proxy = WebProxy::start(None);
    home.accepted(&through(proxy.port, "example.com"));
    let asked = proxy.asked();
    assert!(asked[0].starts_with(&format!("CONNECT 127.0.0.1:{} ", web.port())), "{asked:?}");
    assert!(asked[0].contains("Proxy-Authorization: Basic bWU6aHVudGVyMg=="), "{asked:?}");
    // The login of a proxy is the proxy's alone.
    assert!(web.seen().iter().all(|seen| seen.header("proxy-authorization").is_none()));
    home.accepted(&through(proxy.port, "127.0.0.0/8"));
    assert!(proxy.asked().is_empty());
    let file = home.file("proxy-login", "you:secret\n");
    let mut source = through(proxy.port, "");
    source.https.proxy = source.https.proxy.map(|proxy| proxy.with_login(ProxyLogin::File(file)));
    home.accepted(&source);
    assert!(proxy.asked()[0].contains("Basic eW91OnNlY3JldA=="));
    for (answer, word) in [
        ("HTTP/1.1 403 No\r\n\r\n", "403"),
        ("HTTP/1.1 407 Who\r\n\r\n", "login"),
        ("nonsense\r\n\r\n", "does not talk like a proxy"),
        ("", "does not connect us"),
    ] {
        let (reason, message) = refused(&through(WebProxy::start(Some(answer)).port, ""));
        assert_eq!(reason, "ProxyFailed");
        assert!(message.contains(word) && !message.contains("hunter2"), "{message}");
    }
}

/// GitHub: its API, and the repository behind the tokens that it gives out.
struct Github {
    web: Web,
    given: Arc<AtomicUsize>,
}

impl Github {
    /// Tokens that end in so many seconds.
    fn start(home: &Home, lifetime: i64) -> Github {
        let key = home.repository.home().join("app.pem");
        let public = home.repository.home().join("app.pub");
        run(Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048"));
        run(Command::new("openssl").args(["rsa", "-pubout", "-in"]).arg(&key).arg("-out").arg(&public));
        let (given, scratch) = (Arc::new(AtomicUsize::new(0)), home.repository.home().to_owned());
        let count = Arc::clone(&given);
        std::fs::create_dir(home.repository.home().join("org")).unwrap();
        std::os::unix::fs::symlink(&home.repository.bare, home.repository.home().join("org/platform.git")).unwrap();
        let web = home.serve(move |seen| {
            let authorization = seen.header("authorization").unwrap_or_default().to_owned();
            let json = |status, value: serde_json::Value| {
                Answer::Plain(status, vec![("Content-Type", "application/json".into())], value.to_string().into_bytes())
            };
            match (seen.method.as_str(), seen.path.as_str()) {
                ("GET", "/api/v3/repos/org/platform/installation") if is_the_app(&authorization, &public, &scratch) => {
                    json(200, serde_json::json!({"id": 77}))
                }
                ("POST", "/api/v3/app/installations/77/access_tokens") if is_the_app(&authorization, &public, &scratch) => {
                    let wanted: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
                    assert_eq!(wanted, serde_json::json!({"repositories": ["platform"], "permissions": {"contents": "read"}}));
                    let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                    let expires = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + lifetime).unwrap();
                    json(201, serde_json::json!({"token": format!("ghs_{number}"), "expires_at": expires.to_string()}))
                }
                (_, path) if path.starts_with("/api") => json(401, serde_json::json!({})),
                _ => {
                    let token = format!("x-access-token:ghs_{}", count.load(Ordering::SeqCst));
                    match authorization == format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(token)) {
                        true => Answer::Git,
                        false => Answer::Plain(401, Vec::new(), Vec::new()),
                    }
                }
            }
        });
        Github { web, given }
    }

    fn source(&self, home: &Home, installation_id: Option<u64>) -> Source {
        let app = GithubApp {
            app_id: "4711".into(),
            installation_id,
            private_key_file: home.repository.home().join("app.pem"),
            api_url: Some(self.web.url("/api/v3")),
            tokens: TokenCache::default(),
        };
        let url = self.web.url("/org/platform.git").parse().unwrap();
        Source { url, ..home.with_login(&self.web, HttpsLogin::GithubApp(app)) }
    }
}

/// Judges a statement as GitHub does, with the real `openssl`: algorithm, signature, issuer, ten minutes.
fn is_the_app(authorization: &str, public: &Path, scratch: &Path) -> bool {
    let Some(statement) = authorization.strip_prefix("Bearer ") else { return false };
    let parts: Vec<_> = statement.split('.').collect();
    let decode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&decode(parts[0])).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&decode(parts[1])).unwrap();
    std::fs::write(scratch.join("signed"), format!("{}.{}", parts[0], parts[1])).unwrap();
    std::fs::write(scratch.join("signature"), decode(parts[2])).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["dgst", "-sha256", "-verify"]).arg(public).arg("-signature").arg(scratch.join("signature"));
    let verified = openssl.arg(scratch.join("signed")).output().unwrap().status.success();
    let now = jiff::Timestamp::now().as_second();
    let (issued, ends) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
    verified && header["alg"] == "RS256" && claims["iss"] == "4711" && issued <= now && ends > now && ends - now <= 600
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_github_app_trades_its_key_for_a_token_once_for_many_fetches() {
    let home = Home::new();
    let github = Github::start(&home, 3600);
    // The installation is found by the repository's name.
    let source = github.source(&home, None);
    for _ in 0..3 {
        home.accepted(&source);
    }
    assert_eq!(github.given.load(Ordering::SeqCst), 1);
    let lookups = github.web.seen().iter().filter(|seen| seen.path.starts_with("/api")).count();
    assert_eq!(lookups, 2);
    // Or it is configured.
    home.accepted(&github.source(&home, Some(77)));
    assert_eq!(github.web.seen().iter().filter(|seen| seen.path.starts_with("/api")).count(), 1);
    // A token that the server no longer takes is replaced at once.
    github.given.fetch_add(1, Ordering::SeqCst);
    home.accepted(&source);
}

#[test]
fn a_token_is_replaced_before_it_ends() {
    let home = Home::new();
    let github = Github::start(&home, 240);
    let source = github.source(&home, Some(77));
    home.accepted(&source);
    home.accepted(&source);
    assert_eq!(github.given.load(Ordering::SeqCst), 2);
}

#[test]
fn a_key_that_is_not_the_app_s_or_no_key_at_all_gives_a_clear_error_without_it() {
    let home = Home::new();
    let github = Github::start(&home, 3600);
    let source = github.source(&home, Some(77));
    let key = home.repository.home().join("app.pem");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"));
    let (reason, message) = refused(&source);
    assert_eq!(reason, "GithubAppFailed");
    assert!(message.contains("appId"), "{message}");
    for text in ["", "hunter2", "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n"] {
        std::fs::write(&key, text).unwrap();
        let (reason, message) = refused(&source);
        assert_eq!(reason, "CredentialUnusable");
        assert!(!message.contains("hunter2"), "{message}");
    }
    run(Command::new("openssl").args(["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"]).arg(&key));
    assert!(refused(&source).1.contains("RSA"));
}

#[test]
fn an_answer_of_the_api_that_is_too_long_or_no_answer_at_all_gives_no_token() {
    let home = Home::new();
    let (status, body) = (Arc::new(AtomicUsize::new(201)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let (said, shown) = (Arc::clone(&status), Arc::clone(&body));
    let web = home.serve(move |_| {
        let status = u16::try_from(said.load(Ordering::SeqCst)).unwrap();
        Answer::Plain(status, vec![("Location", "https://elsewhere.example.com/".into())], shown.lock().unwrap().clone())
    });
    let key = home.repository.home().join("app.pem");
    run(Command::new("openssl").args(["genrsa", "-out"]).arg(&key).arg("2048"));
    let app = GithubApp {
        app_id: "4711".into(),
        installation_id: Some(77),
        private_key_file: key,
        api_url: Some(web.url("/api/v3")),
        tokens: TokenCache::default(),
    };
    let url = web.url("/org/platform.git").parse().unwrap();
    let source = Source { url, ..home.with_login(&web, HttpsLogin::GithubApp(app)) };
    let long = format!("{{\"token\": \"{}\"}}", "x".repeat(64 * 1024));
    let table = [
        (201, long.as_str(), "HttpFailed", "too long"),
        (201, "nonsense", "HttpFailed", "not JSON"),
        (201, "{}", "GithubAppFailed", "no token"),
        (201, r#"{"token": "a\nb", "expires_at": "2999-01-01T00:00:00Z"}"#, "GithubAppFailed", "no token"),
        (302, "", "GithubAppFailed", "302"),
        (404, "", "GithubAppFailed", "installed"),
        (422, "", "GithubAppFailed", "no access"),
        (500, "", "GithubAppFailed", "500"),
    ];
    for (code, text, expected, word) in table {
        status.store(code, Ordering::SeqCst);
        *body.lock().unwrap() = text.as_bytes().to_vec();
        let (reason, message) = refused(&source);
        assert_eq!(reason, expected, "{message}");
        assert!(message.contains(word), "{message}");
    }
}
