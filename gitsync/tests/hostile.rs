//! Servers and repositories that mean harm: bounded in time and memory, a clear error, nothing accepted, and a mirror
//! that the next good answer finds usable.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, dead_code)]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::packs::{entry, pack};
use support::web::{Answer, Certificates, Seen, Web, line, refs, scripted};
use support::{KeyType, Repository, Signer, Sshd};
use tk8s_core::{Classified as _, ReadError, SourceTree as _, TreePath, chain};
use tk8s_gitsync::{
    Accepted, Commits, DevPolicy, Follow, HttpsAccess, Limits, Policy, ProductionPolicy, Rule, Source, SshAuth, StagingPolicy,
    VerifiedTree, Versions, Waiver, fetch, tree, verify,
};

/// Bytes that can't be compressed.
fn noise(count: usize) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

type Script = Box<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// A repository behind a server whose manners change.
struct Home {
    repository: Repository,
    alice: Signer,
    web: Web,
    source: Source,
    script: Arc<Mutex<Option<Script>>>,
}

impl Home {
    fn new() -> Home {
        let repository = Repository::new();
        let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
        repository.write("a.yaml", "a: 1\n");
        repository.commit("first", Some(&alice));
        let certificates = Certificates::make(repository.home());
        let script = Arc::new(Mutex::new(None::<Script>));
        let played = Arc::clone(&script);
        let web = Web::start(repository.home(), Some(&certificates), move |seen| {
            played.lock().unwrap().as_ref().map_or(Answer::Git, |script| script(seen))
        });
        let mirror = repository.home().join("mirror.git");
        let source = Source {
            https: HttpsAccess { ca_file: Some(certificates.authority()), ..HttpsAccess::default() },
            timeout: Duration::from_secs(20),
            ..Source::new(web.url("/origin.git").parse().unwrap(), mirror, Follow::Branch("main".into()))
        };
        Home { repository, alice, web, source, script }
    }

    fn accepted(&self) -> String {
        let policy = Policy::Staging(StagingPolicy { signers: support::signers(&[&self.alice]), commits: Commits::Head });
        let fetched = fetch(&self.source).map_err(|error| chain(&error)).unwrap();
        verify(&fetched, &policy, &Accepted::default()).unwrap().revision.unwrap().revision().commit.to_string()
    }

    /// What a fetch from a server with these manners ends with; afterwards a good answer is taken as if nothing had been.
    fn refused(&self, source: &Source, script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> (&'static str, String) {
        *self.script.lock().unwrap() = Some(Box::new(script));
        let began = Instant::now();
        let error = fetch(source).err().expect("because nothing of it may be accepted");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        *self.script.lock().unwrap() = None;
        assert_eq!(self.accepted(), self.repository.git(&["rev-parse", "HEAD"]));
        let fsck =
            Command::new("git").arg("--git-dir").arg(&self.source.mirror).args(["fsck", "--no-dangling"]).output().unwrap();
        assert!(fsck.status.success(), "{}", String::from_utf8_lossy(&fsck.stderr));
        (error.reason(), chain(&error))
    }

    fn next(&self) {
        self.repository.write("a.yaml", &format!("a: {:?}\n", Instant::now()));
        self.repository.commit("next", Some(&self.alice));
    }

    /// The source, but for a few limits.
    fn limited(&self, change: impl FnOnce(&mut Limits)) -> Source {
        let mut source = self.source.clone();
        change(&mut source.limits);
        source
    }
}

fn only_at(step: &'static str, answer: impl Fn() -> Answer) -> impl Fn(&Seen) -> Answer {
    move |seen| if seen.step() == step { answer() } else { Answer::Git }
}

const RESULT: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-result\r\n";

#[test]
fn a_connection_that_is_cut_at_any_place_leaves_the_mirror_as_it_was() {
    let home = Home::new();
    home.accepted();
    for step in ["info/refs", "ls-refs", "fetch"] {
        for (part, of) in [(0, 1), (1, 3), (2, 3), (9, 10)] {
            home.next();
            // What the server could do is asked again, too.
            std::fs::remove_file(home.source.mirror.join("tk8s-capabilities")).ok();
            let cut = move || Answer::Changed(Box::new(move |body: Vec<u8>| body[..body.len() * part / of].to_vec()));
            let (reason, message) = home.refused(&home.source, only_at(step, cut));
            assert!(
                ["FetchFailed", "HttpFailed", "PackRefused", "NotGit"].contains(&reason),
                "{step} {part}/{of}: {reason} {message}"
            );
        }
        home.next();
        std::fs::remove_file(home.source.mirror.join("tk8s-capabilities")).ok();
        let broken = || {
            Answer::Raw(Box::new(|out: &mut dyn std::io::Write| {
                out.write_all(&[RESULT, b"Content-Length: 5000\r\n\r\n", &line(b"packfile\n")].concat())
            }))
        };
        let reason = home.refused(&home.source, only_at(step, broken)).0;
        assert!(["HttpFailed", "FetchFailed", "NotGit"].contains(&reason), "{reason}");
    }
}

/// TUF, endless data.
#[test]
fn a_server_that_falls_silent_or_dribbles_is_left() {
    let home = Home::new();
    home.accepted();
    for step in ["info/refs", "ls-refs", "fetch"] {
        home.next();
        std::fs::remove_file(home.source.mirror.join("tk8s-capabilities")).ok();
        let silent = Source { timeout: Duration::from_secs(20), ..home.limited(|limits| limits.stall = Duration::from_secs(1)) };
        let hang = || {
            Answer::Raw(Box::new(|out: &mut dyn std::io::Write| {
                out.write_all(RESULT)?;
                out.flush()?;
                std::thread::sleep(Duration::from_secs(10));
                Ok(())
            }))
        };
        let (reason, message) = home.refused(&silent, only_at(step, hang));
        assert_eq!(reason, "Timeout", "{message}");
        assert!(message.contains("(1 s)"), "{message}");
    }
    // A byte now and then keeps the first clock from ringing; the second one rings.
    home.next();
    let slow = Source { timeout: Duration::from_secs(3), ..home.source.clone() };
    let dribble = || {
        Answer::Raw(Box::new(|out: &mut dyn std::io::Write| {
            out.write_all(&[RESULT, b"Transfer-Encoding: chunked\r\n\r\n"].concat())?;
            for byte in line(&[b'#'; 60_000]) {
                out.write_all(&[b"1\r\n".as_slice(), &[byte], b"\r\n"].concat())?;
                out.flush()?;
                std::thread::sleep(Duration::from_millis(200));
            }
            Ok(())
        }))
    };
    let (reason, message) = home.refused(&slow, only_at("fetch", dribble));
    assert_eq!(reason, "Timeout", "{message}");
    assert!(message.contains("(3 s)"), "{message}");
}

/// TUF, endless data.
#[test]
fn an_answer_without_end_is_cut_at_its_limit() {
    let home = Home::new();
    let endless = |start: &'static [u8], kind: &'static str| {
        move || {
            Answer::Raw(Box::new(move |out: &mut dyn std::io::Write| {
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/x-git-upload-pack-{kind}\r\n");
                out.write_all(&[head.as_bytes(), b"Content-Length: 10000000000\r\n\r\n", start].concat())?;
                let part = line(&[1; 60_000]);
                loop {
                    out.write_all(&part)?;
                }
            }))
        }
    };
    let source = home.limited(|limits| limits.fetch_bytes = 3_000_000);
    let (reason, message) = home.refused(&source, only_at("info/refs", endless(b"", "advertisement")));
    assert_eq!(reason, "TooManyRefs", "{message}");
    home.next();
    let (reason, message) = home.refused(&source, only_at("ls-refs", endless(b"", "result")));
    assert!(["TooManyRefs", "FetchFailed"].contains(&reason), "{message}");
    home.next();
    // The pack itself is right as far as it goes: only the limit on its bytes can end it.
    let body = || {
        let noise = noise(4_000_000);
        pack(2, &[entry(3, noise.len() as u64, b"", &noise)])
    };
    let pack = body();
    assert!(pack.len() > 3_100_000);
    home.next();
    let head = home.repository.git(&["rev-parse", "HEAD"]);
    let listing = refs(&[(&head, b"refs/heads/main")]);
    let (reason, message) = home.refused(&source, move |seen| scripted(seen, &listing, &pack));
    assert_eq!(reason, "LimitExceeded", "{message}");
    assert!(message.contains("3000000 bytes") && message.contains("fetchBytes"), "{message}");
    // Headers without end.
    let headers = || {
        Answer::Raw(Box::new(|out: &mut dyn std::io::Write| {
            out.write_all(b"HTTP/1.1 200 OK\r\n")?;
            loop {
                out.write_all(b"X-Y: 0123456789012345678901234567890123456789\r\n")?;
            }
        }))
    };
    std::fs::remove_file(home.source.mirror.join("tk8s-capabilities")).unwrap();
    assert_eq!(home.refused(&source, only_at("info/refs", headers)).0, "HttpFailed");
}

#[test]
fn refs_that_git_does_not_allow_and_refs_beyond_the_limit_are_refused() {
    let home = Home::new();
    home.accepted();
    let head = home.repository.git(&["rev-parse", "HEAD"]);
    let bad: [&[u8]; 7] = [
        b"refs/heads/../../../etc/passwd",
        b"refs/heads/main.lock",
        b"refs/heads/a\x1b[2Jb",
        b"refs/tags/v1..2",
        b"refs/heads//main",
        b"../config",
        b"refs/tags/v\xff\x7f",
    ];
    for name in bad {
        let (shown, name) = (head.clone(), name.to_vec());
        let (reason, message) =
            home.refused(&home.source, move |seen| scripted(seen, &refs(&[(&shown, b"refs/heads/main"), (&shown, &name)]), b""));
        assert_eq!(reason, "FetchFailed");
        assert!(!message.contains('\u{1b}') && message.contains("Git doesn't allow"), "{message}");
    }
    for listing in [
        refs(&[(&head, b"refs/heads/main"), (&head, b"refs/heads/main")]),
        refs(&[("zzzz", b"refs/heads/main")]),
        b"ffffnonsense".to_vec(),
        line(b"ERR go away\n"),
    ] {
        let (reason, message) = home.refused(&home.source, move |seen| scripted(seen, &listing, b""));
        assert_eq!(reason, "FetchFailed", "{message}");
    }
    let many = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("refs/tags/v{number}")).collect();
        refs(&names.iter().map(|name| (head.as_str(), name.as_bytes())).collect::<Vec<_>>())
    };
    for count in [10_001, 1_000_000] {
        let listing = many(count);
        let (reason, message) = home.refused(&home.source, move |seen| scripted(seen, &listing, b""));
        assert_eq!(reason, "TooManyRefs");
        assert!(message.contains("more than 10000 refs") && message.contains("repository.limits.refs"), "{message}");
    }
    // No such branch, in as many words.
    let none = refs(&[]);
    assert_eq!(home.refused(&home.source, move |seen| scripted(seen, &none, b"")).0, "NoSuchRef");
}

/// The raw bytes of a delta: sizes, then instructions.
fn delta(base: u64, result: u64, instructions: &[u8]) -> Vec<u8> {
    let number = |mut number: u64| {
        let mut bytes = Vec::new();
        while number > 0x7f {
            bytes.push(number as u8 & 0x7f | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        bytes
    };
    [number(base), number(result), instructions.to_vec()].concat()
}

/// TUF, endless data.
#[test]
fn a_pack_that_lies_or_grows_beyond_bounds_is_refused_before_it_is_held() {
    let home = Home::new();
    home.accepted();
    let mib = 1024 * 1024;
    let small = |limits: &mut Limits| {
        (limits.objects, limits.object_bytes, limits.unpacked_bytes) = (100, 4 * mib, 16 * mib);
    };
    let zeros = vec![0; 4 * mib as usize];
    let blob = || entry(3, zeros.len() as u64, b"", &zeros);
    // One copy instruction of 16 MiB costs seven bytes.
    let copies = |times: usize| [0xf0, 0xff, 0xff, 0xff].repeat(times);
    let bomb = delta(4 * mib, 64 * 1024 * mib, &copies(1000));
    let grown = delta(4 * mib, 4 * mib, &copies(1));
    let based = |delta: &[u8], back: u8| entry(6, delta.len() as u64, &[back], delta);
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("more objects than allowed", pack(101, &[]), "`repository.limits.objects`"),
        ("four billion objects", pack(u32::MAX, &[]), "`repository.limits.objects`"),
        ("a size that is declared", pack(1, &[entry(3, 4 * mib + 1, b"", b"x")]), "`repository.limits.objectBytes`"),
        ("a size beyond any machine", pack(1, &[entry(3, u64::MAX / 2, b"", b"x")]), "`repository.limits.objectBytes`"),
        ("larger than it says", pack(1, &[entry(3, 10, b"", &zeros)]), "larger than it says"),
        ("smaller than it says", pack(1, &[entry(3, 10, b"", b"x")]), "smaller than it says"),
        ("a delta bomb", pack(2, &[entry(3, 1, b"", b"x"), based(&bomb, 10)]), "`repository.limits.objectBytes`"),
        ("many deltas", pack(90, &[&[blob()][..], &vec![based(&grown, 10); 89]].concat()), "`repository.limits.unpackedBytes`"),
        ("many zeros", pack(90, &vec![blob(); 90]), "`repository.limits.unpackedBytes`"),
        ("a delta without sizes", pack(1, &[entry(6, 1, &[1], &[0xff])]), "no sizes"),
        ("no kind", pack(1, &[entry(5, 1, b"", b"x")]), "no kind"),
        ("a size without end", pack(1, &[vec![0xff; 30]]), "without end"),
        ("not compressed", pack(1, &[[&[0x31][..], &[0xaa; 100]].concat()]), "can't be unpacked"),
        ("not a pack", b"PICK\0\0\0\x02\0\0\0\x01xxxxxxxxxxxxxxxxxxxxxxxxxxxxx".to_vec(), "does not begin like a pack"),
    ];
    for (what, bytes, word) in table {
        home.next();
        let head = home.repository.git(&["rev-parse", "HEAD"]);
        let listing = refs(&[(&head, b"refs/heads/main")]);
        let (reason, message) = home.refused(&home.limited(small), move |seen| scripted(seen, &listing, &bytes));
        assert!(["LimitExceeded", "PackRefused"].contains(&reason), "{what}: {message}");
        assert!(message.contains(word), "{what}: {message}");
    }
    // What only the whole pack shows: a wrong checksum, a base that is not there, an object that was promised.
    let mut wrong = pack(1, &[entry(3, 1, b"", b"x")]);
    *wrong.last_mut().unwrap() ^= 1;
    let lost = pack(1, &[entry(7, grown.len() as u64, &[7; 20], &grown)]);
    let other = pack(1, &[entry(3, 1, b"", b"x")]);
    for bytes in [wrong, lost, other] {
        home.next();
        let head = home.repository.git(&["rev-parse", "HEAD"]);
        let listing = refs(&[(&head, b"refs/heads/main")]);
        let (reason, message) = home.refused(&home.source, move |seen| scripted(seen, &listing, &bytes));
        assert_eq!(reason, "FetchFailed", "{message}");
    }
}

/// How far back a base is, as a pack has it.
fn back(distance: usize) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![distance as u8 & 0x7f], distance >> 7);
    while rest > 0 {
        rest -= 1;
        bytes.insert(0, rest as u8 & 0x7f | 0x80);
        rest >>= 7;
    }
    bytes
}

/// Whoever resolves a chain holds what others wait for: a small pack could fill the memory level by level.
#[test]
fn a_chain_of_deltas_that_all_wait_for_each_other_is_refused_before_it_is_resolved() {
    let home = Home::new();
    home.accepted();
    let mib = 1024 * 1024;
    let zeros = vec![0; mib];
    let same = delta(mib as u64, mib as u64, &[0xf0, 0xff, 0xff, 0x0f, 0xf0, 0, 0, 0x10]);
    let chain = |levels: usize, side: bool| {
        let (mut entries, mut last) = (vec![entry(3, mib as u64, b"", &zeros)], 0);
        let mut ends: Vec<usize> = vec![entries[0].len()];
        for _ in 0..levels {
            let begins = if last == 0 { 0 } else { ends[last - 1] };
            for _ in 0..if side { 2 } else { 1 } {
                let end = ends[ends.len() - 1];
                entries.push(entry(6, same.len() as u64, &back(end - begins), &same));
                ends.push(end + entries[entries.len() - 1].len());
            }
            last = entries.len() - 1;
        }
        pack(entries.len() as u32, &entries)
    };
    let named = |count: usize| pack(count as u32, &vec![entry(7, same.len() as u64, &[7; 20], &same); count]);
    let small = |limits: &mut Limits| limits.delta_bytes = 8 * mib as u64;
    for (what, bytes, refused) in [
        ("all wait", chain(9, true), true),
        ("as many as may", chain(8, true), false),
        ("none waits", chain(40, false), false),
        ("named by id", named(65), true),
        ("as many as may, named by id", named(64), false),
    ] {
        home.next();
        let head = home.repository.git(&["rev-parse", "HEAD"]);
        let listing = refs(&[(&head, b"refs/heads/main")]);
        let (reason, message) = home.refused(&home.limited(small), move |seen| scripted(seen, &listing, &bytes));
        // What is right but brings nothing that was promised fails later.
        assert_eq!(message.contains("`repository.limits.deltaBytes`"), refused, "{what}: {message}");
        assert_eq!(reason, if refused { "LimitExceeded" } else { "FetchFailed" }, "{what}: {message}");
    }
}

#[test]
fn an_object_that_the_server_left_out_is_noticed_when_it_is_needed_and_fetched_by_the_next_look() {
    let home = Home::new();
    home.repository.write("apps/b.yaml", "b: 1\n");
    home.repository.commit("second", Some(&home.alice));
    // A pack of the real commit and root tree, without anything below.
    let objects = ["HEAD", "HEAD^{tree}"].map(|name| {
        let kind = home.repository.git(&["cat-file", "-t", name]);
        let raw = home.repository.raw(&kind, name);
        entry(if kind == "commit" { 1 } else { 2 }, raw.len() as u64, b"", &raw)
    });
    let (head, bytes) = (home.repository.git(&["rev-parse", "HEAD"]), pack(2, &objects));
    let listing = refs(&[(&head, b"refs/heads/main")]);
    *home.script.lock().unwrap() = Some(Box::new(move |seen| scripted(seen, &listing, &bytes)));
    let apps: TreePath = "apps/b.yaml".parse().unwrap();
    let open = || {
        let policy = Policy::Staging(StagingPolicy { signers: support::signers(&[&home.alice]), commits: Commits::Head });
        let fetched = fetch(&home.source).map_err(|error| chain(&error)).unwrap();
        tree(&Arc::new(verify(&fetched, &policy, &Accepted::default()).unwrap().revision.unwrap())).unwrap()
    };
    assert!(matches!(open().read(&apps, 100), Err(ReadError::Broken { .. })));
    *home.script.lock().unwrap() = None;
    assert_eq!(open().read(&apps, 100).unwrap(), b"b: 1\n");
}

/// Puts other bytes under the id of an object, as a loose one.
fn swap(bare: &Path, id: &str, kind: &str, bytes: &[u8]) {
    let path = bare.join("objects").join(&id[..2]).join(&id[2..]);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::remove_file(&path).ok();
    let mut deflate = flate2::write::ZlibEncoder::new(std::fs::File::create(path).unwrap(), flate2::Compression::fast());
    deflate.write_all(&[format!("{kind} {}\0", bytes.len()).as_bytes(), bytes].concat()).unwrap();
    deflate.finish().unwrap();
}

#[test]
fn an_object_that_is_larger_than_what_is_read_is_not_unpacked() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let (tree, path) = (waived(&repository), "a.yaml".parse::<TreePath>().unwrap());
    let largest = 64 * 1024 * 1024;
    swap(&repository.bare, &repository.git(&["rev-parse", "HEAD:a.yaml"]), "blob", &vec![b'a'; largest + 1]);
    let error = tree.read(&path, u64::MAX).unwrap_err().to_string();
    assert!(error.contains("at most 67108864 are read"), "{error}");
    // One byte less is read, and found to be something else.
    swap(&repository.bare, &repository.git(&["rev-parse", "HEAD:a.yaml"]), "blob", &vec![b'a'; largest]);
    let error = waived(&repository).read(&path, u64::MAX).unwrap_err().to_string();
    assert!(error.contains("not what its id says"), "{error}");
}

/// A repository on the same volume, read in place.
fn in_place(repository: &Repository, follow: Follow) -> Source {
    let url = format!("file://{}", repository.bare.display()).parse().unwrap();
    Source::new(url, repository.home().join("unused"), follow)
}

fn waived(repository: &Repository) -> VerifiedTree {
    let policy = Policy::Dev(DevPolicy { signers: None, waive: Some(Waiver::new("a test").unwrap()) });
    let fetched = fetch(&in_place(repository, Follow::Branch("main".into()))).map_err(|error| chain(&error)).unwrap();
    tree(&Arc::new(verify(&fetched, &policy, &Accepted::default()).unwrap().revision.unwrap())).unwrap()
}

/// TUF, mix-and-match.
#[test]
fn an_object_swapped_under_its_id_is_never_used() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.write("apps/b.yaml", "b: 1\n");
    repository.commit("first", Some(&alice));
    let id = |name: &str| repository.git(&["rev-parse", name]);
    let path = |text: &str| text.parse::<TreePath>().unwrap();
    // A file, then a directory.
    swap(&repository.bare, &id("HEAD:a.yaml"), "blob", b"a: 2\n");
    let error = waived(&repository).read(&path("a.yaml"), 100).unwrap_err().to_string();
    assert!(error.contains("not what its id says"), "{error}");
    swap(&repository.bare, &id("HEAD:apps"), "tree", &repository.raw("tree", "HEAD"));
    assert!(waived(&repository).read(&path("apps/b.yaml"), 100).is_err());
    assert!(waived(&repository).list(&path("apps")).is_err());
    // The commit.
    let forged = String::from_utf8(repository.raw("commit", "HEAD")).unwrap().replace("first", "other");
    swap(&repository.bare, &id("HEAD"), "commit", forged.as_bytes());
    assert_eq!(fetch(&in_place(&repository, Follow::Branch("main".into()))).err().unwrap().reason(), "ObjectBroken");
}

/// TUF, rollback.
#[test]
fn history_is_not_bent_by_replacements_a_commit_graph_or_a_swapped_commit() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", Some(&alice));
    repository.write("a.yaml", "a: 2\n");
    let accepted = repository.commit("second", Some(&alice));
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    repository.write("a.yaml", "a: 3\n");
    let middle = repository.commit("another second", Some(&alice));
    repository.write("a.yaml", "a: 4\n");
    repository.commit("third", Some(&alice));
    repository.git(&["push", "-q", "origin", &format!("{accepted}:refs/heads/kept")]);
    let policy = Policy::Staging(StagingPolicy { signers: support::signers(&[&alice]), commits: Commits::Head });
    let before = Accepted { head: Some(accepted.parse().unwrap()), ..Accepted::default() };
    let judge = || {
        let fetched = fetch(&in_place(&repository, Follow::Branch("main".into()))).unwrap();
        verify(&fetched, &policy, &before).map(|verification| verification.refused.iter().map(|it| it.rule).collect::<Vec<_>>())
    };
    assert_eq!(judge().unwrap(), [Rule::NotDescendant]);
    // The commit in the middle says that it descends from what was accepted.
    let forged = String::from_utf8(repository.raw("commit", &middle)).unwrap();
    let forged = forged.replacen("parent ", &format!("parent {accepted}\nparent "), 1);
    let mut child = Command::new("git")
        .arg("--git-dir")
        .arg(&repository.bare)
        .args(["hash-object", "-t", "commit", "-w", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(forged.as_bytes()).unwrap();
    let replacement = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("--git-dir").arg(&repository.bare).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["replace", &middle, replacement.trim()]);
    let deceived = Command::new("git")
        .arg("--git-dir")
        .arg(&repository.bare)
        .args(["merge-base", "--is-ancestor", &accepted, "main"])
        .status()
        .unwrap();
    assert!(deceived.success(), "because Git itself believes it, or this test shows nothing");
    assert!(judge().is_err() || judge().unwrap() == [Rule::NotDescendant]);
    git(&["replace", "-d", &middle]);
    // The same lie in a commit-graph, written while the commit was swapped.
    swap(&repository.bare, &middle, "commit", forged.as_bytes());
    git(&["commit-graph", "write", "--reachable"]);
    assert_eq!(judge().unwrap_err().reason(), "ObjectBroken");
    swap(&repository.bare, &middle, "commit", &repository.raw("commit", &middle));
    assert_eq!(judge().unwrap(), [Rule::NotDescendant]);
}

#[test]
fn a_walk_through_history_has_an_end() {
    let repository = Repository::new();
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("a.yaml", "a: 0\n");
    let old = repository.commit("first", Some(&alice));
    for round in 1..=5 {
        repository.write("a.yaml", &format!("a: {round}\n"));
        repository.commit("next", Some(&alice));
    }
    let policy = Policy::Staging(StagingPolicy { signers: support::signers(&[&alice]), commits: Commits::Head });
    let before = Accepted { head: Some(old.parse().unwrap()), ..Accepted::default() };
    let judge = |commits: usize| {
        let mut source = in_place(&repository, Follow::Branch("main".into()));
        source.limits.commits = commits;
        verify(&fetch(&source).unwrap(), &policy, &before).map(|verification| verification.revision.is_some())
    };
    assert!(judge(5).unwrap());
    let error = judge(4).unwrap_err();
    assert_eq!(error.reason(), "LimitExceeded");
    assert!(error.to_string().contains("repository.limits.commits"), "{error}");
}

/// Writes a tree that Git itself would refuse to write, and a commit of it on `main`.
fn commit_tree(repository: &Repository, entries: &[(&str, &[u8], &str)]) {
    let mut raw = Vec::new();
    for (mode, name, id) in entries {
        raw.extend([mode.as_bytes(), b" ", name, b"\0"].concat());
        raw.extend(hex::decode(id).unwrap());
    }
    let git = |arguments: &[&str], input: &[u8]| {
        let mut child = Command::new("git")
            .arg("--git-dir")
            .arg(&repository.bare)
            .args(["-c", "user.name=T", "-c", "user.email=t@example.com"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
    };
    let tree = git(&["hash-object", "-t", "tree", "-w", "--stdin", "--literally"], &raw);
    let commit = git(&["commit-tree", "-m", "hostile", &tree], b"");
    git(&["update-ref", "refs/heads/main", &commit], b"");
}

#[test]
fn a_tree_with_a_name_or_mode_that_git_never_writes_is_refused_by_that_name() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let blob = repository.git(&["rev-parse", "HEAD:a.yaml"]);
    let root = TreePath::root();
    let names: [&[u8]; 13] = [
        b"..",
        b".",
        b"",
        b"a/b",
        b".git",
        b".GIT",
        b".Git",
        ".g\u{200c}it".as_bytes(),
        b"git~1",
        b"GIT~1",
        b".git ",
        b".git.",
        b".git::$INDEX_ALLOCATION",
    ];
    for name in names {
        commit_tree(&repository, &[("100644", name, &blob)]);
        let error = waived(&repository).list(&root).unwrap_err().to_string();
        assert!(error.contains("Git itself never writes") || error.contains("malformed"), "{name:?}: {error}");
        assert!(waived(&repository).read(&"a.yaml".parse().unwrap(), 100).is_err());
    }
    for mode in ["100000", "100777", "106644", "60644", "0", "20000"] {
        commit_tree(&repository, &[(mode, b"a.yaml", &blob)]);
        let error = waived(&repository).list(&root).unwrap_err().to_string();
        assert!(error.contains(mode) || error.contains("malformed"), "{mode}: {error}");
    }
    commit_tree(&repository, &[("100644", b"a.yaml", &blob), ("100644", b"a.yaml", &blob)]);
    assert!(waived(&repository).list(&root).unwrap_err().to_string().contains("twice"));
    commit_tree(&repository, &[("100644", b"\xff\xfe", &blob)]);
    assert!(waived(&repository).list(&root).unwrap_err().to_string().contains("UTF-8"));
    let many: Vec<_> = (0..=100_000).map(|number| format!("f{number:06}")).collect();
    let entries = |count: usize| many[..count].iter().map(|name| ("100644", name.as_bytes(), blob.as_str())).collect::<Vec<_>>();
    commit_tree(&repository, &entries(100_000));
    assert_eq!(waived(&repository).list(&root).unwrap().len(), 100_000);
    commit_tree(&repository, &entries(100_001));
    assert!(waived(&repository).list(&root).unwrap_err().to_string().contains("more than 100000 entries"));
}

#[test]
fn links_submodules_and_lfs_pointers_are_named_and_never_followed() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.write("lfs.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
    repository.write(".gitmodules", "[submodule \"sub\"]\n\tpath = sub\n\turl = https://elsewhere.example.com/x.git\n");
    std::os::unix::fs::symlink("../../../../etc", repository.work.join("out")).unwrap();
    std::os::unix::fs::symlink("loop", repository.work.join("loop")).unwrap();
    let first = repository.commit("first", None);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{first},sub")]);
    repository.git(&["commit", "-q", "-m", "second"]);
    repository.git(&["push", "-q", "origin", "main"]);
    let tree = waived(&repository);
    let path = |text: &str| text.parse::<TreePath>().unwrap();
    for (name, word) in [("out", "a symbolic link"), ("loop", "a symbolic link"), ("sub", "a submodule"), ("lfs.yaml", "Git LFS")]
    {
        let error = tree.read(&path(name), 1000).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains(name), "{error}");
    }
    for name in ["out/passwd", "sub/a.yaml", "loop/loop", "a.yaml/b"] {
        assert!(matches!(tree.read(&path(name), 1000), Err(ReadError::Kind { .. })), "{name}");
    }
    // Names that differ by case only are two files, each read by its own name.
    repository.write("A.yaml", "A: 2\n");
    repository.git(&["rm", "-q", "--cached", "sub"]);
    repository.commit("third", None);
    let tree = waived(&repository);
    assert_eq!(tree.read(&path("a.yaml"), 100).unwrap(), b"a: 1\n");
    assert_eq!(tree.read(&path("A.yaml"), 100).unwrap(), b"A: 2\n");
}

#[test]
fn a_repository_that_borrows_objects_is_refused_by_the_name_of_the_file() {
    let repository = Repository::new();
    repository.write("a.yaml", "a: 1\n");
    repository.commit("first", None);
    let secret = Repository::new();
    for name in ["alternates", "http-alternates"] {
        let file = repository.bare.join("objects/info").join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, format!("{}\n", secret.bare.join("objects").display())).unwrap();
        let error = fetch(&in_place(&repository, Follow::Branch("main".into()))).err().unwrap();
        assert_eq!(error.reason(), "AlternatesRefused");
        assert!(error.to_string().contains(name), "{error}");
        std::fs::remove_file(file).unwrap();
    }
    fetch(&in_place(&repository, Follow::Branch("main".into()))).unwrap();
}

#[test]
fn a_mirror_that_has_grown_beyond_its_limit_is_made_anew() {
    let home = Home::new();
    home.accepted();
    let objects = || std::fs::read_dir(home.source.mirror.join("objects/pack")).unwrap().count();
    for _ in 0..3 {
        home.next();
        home.accepted();
    }
    let before = objects();
    let bytes: u64 = std::fs::read_dir(home.source.mirror.join("objects/pack"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    fetch(&home.limited(|limits| limits.mirror_bytes = bytes)).unwrap();
    assert_eq!(objects(), before);
    fetch(&home.limited(|limits| limits.mirror_bytes = bytes - 1)).unwrap();
    assert!(objects() < before);
    home.accepted();
    // So is one in too many pieces: a pack and its index for each of 200 fetches, and one more.
    let mut pieces = objects();
    while pieces < 401 {
        std::fs::write(home.source.mirror.join(format!("objects/pack/piece-{pieces}")), b"").unwrap();
        pieces += 1;
    }
    home.accepted();
    assert!(objects() < before);
}

#[test]
fn a_repository_of_sha_256_is_fetched_verified_and_read_over_every_transport() {
    let repository = Repository::of_format("sha256");
    let alice = Signer::new(repository.home(), "alice", KeyType::Ed25519);
    repository.write("apps/a.yaml", "a: 1\n");
    let commit = repository.commit("first", Some(&alice));
    repository.tag("v1.0.0", Some(&alice));
    assert_eq!(commit.len(), 64);
    let certificates = Certificates::make(repository.home());
    let web = Web::start(repository.home(), Some(&certificates), |_| Answer::Git);
    let sshd = Sshd::start(repository.home());
    let tags = Follow::Tags { release_branch: "main".into(), approvals: false, evidence: false };
    let base = Source {
        https: HttpsAccess { ca_file: Some(certificates.authority()), ..HttpsAccess::default() },
        ssh: Some(SshAuth { key_files: vec![sshd.client_key()], known_hosts_file: sshd.known_hosts() }),
        ..in_place(&repository, tags)
    };
    let urls = [format!("file://{}", repository.bare.display()), web.url("/origin.git"), sshd.url(&repository.bare)];
    for (number, url) in urls.iter().enumerate() {
        let mirror = repository.home().join(format!("mirror-{number}.git"));
        let source = Source { url: url.parse().unwrap(), mirror, ..base.clone() };
        let policy = Policy::Production(ProductionPolicy {
            signers: support::signers(&[&alice]),
            approvals: None,
            versions: Versions::default(),
        });
        for _ in 0..2 {
            let fetched = fetch(&source).map_err(|error| format!("{url}: {}", chain(&error))).unwrap();
            let revision = verify(&fetched, &policy, &Accepted::default()).unwrap().revision.unwrap();
            assert_eq!(revision.revision().commit.as_str(), commit);
            let tree = tree(&Arc::new(revision)).unwrap();
            assert_eq!(tree.read(&"apps/a.yaml".parse().unwrap(), 100).unwrap(), b"a: 1\n");
        }
    }
    // A mirror of the other format is made anew.
    let other = Repository::new();
    other.write("a.yaml", "a: 1\n");
    other.commit("first", Some(&alice));
    let web = Web::start(other.home(), Some(&certificates), |_| Answer::Git);
    let mirror = repository.home().join("mirror-1.git");
    fetch(&Source { url: web.url("/origin.git").parse().unwrap(), mirror, follow: Follow::Branch("main".into()), ..base })
        .unwrap();
}

#[test]
fn what_is_hashed_is_watched_for_attacks_on_sha_1() {
    // The two messages of the SHAmbles attack: different bytes, one SHA-1.
    // No attack with a Git object's header before the bytes was ever published, so the hasher itself is asked.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/shambles");
    for name in ["sha-mbles-1.bin", "sha-mbles-2.bin"] {
        let mut hasher = gix::hash::hasher(gix::hash::Kind::Sha1);
        hasher.update(&std::fs::read(folder.join(name)).unwrap());
        assert!(hasher.try_finalize().is_err(), "{name}");
    }
    let mut harmless = gix::hash::hasher(gix::hash::Kind::Sha1);
    harmless.update(b"a: 1\n");
    assert!(harmless.try_finalize().is_ok());
}

#[test]
fn a_pack_is_counted_over_ssh_as_well() {
    let home = Home::new();
    std::fs::write(home.repository.work.join("big"), noise(2_000_000)).unwrap();
    home.repository.commit("big", Some(&home.alice));
    let sshd = Sshd::start(home.repository.home());
    let source = Source {
        url: sshd.url(&home.repository.bare).parse().unwrap(),
        ssh: Some(SshAuth { key_files: vec![sshd.client_key()], known_hosts_file: sshd.known_hosts() }),
        ..home.limited(|limits| limits.fetch_bytes = 100_000)
    };
    let error = fetch(&source).err().unwrap();
    assert_eq!(error.reason(), "LimitExceeded", "{error}");
    fetch(&Source { limits: Limits::default(), ..source }).unwrap();
}
