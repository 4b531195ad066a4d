//! Files and directories that were made to hurt: each is read by a process of its own, which says what came of it and how
//! much memory that took.

#![allow(clippy::unwrap_used)]

mod support;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Repository, component};
use tk8s_core::{SourceTree as _, chain};
use tk8s_render::{Bounds, Options, Renderers, WorkingDirectory, preview, render};

/// No file may take more than this many KiB, the process itself with it.
const MOST_KIB: u64 = 64 * 1024;

/// Reads a directory in a process of its own: what it said, and its largest memory in KiB.
fn read(directory: &Path) -> (String, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tk8s-stand-in"));
    let mut child = command.arg("read").arg(directory).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > Duration::from_secs(240) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{} is still being read", directory.display());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "it said: {}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).unwrap();
    let (told, peak) = said.trim_end().rsplit_once('\n').unwrap_or_else(|| panic!("it died: {said}"));
    (told.to_owned(), peak.trim().parse().unwrap())
}

const HEAD: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    let mut text = HEAD.to_owned();
    (0..count).for_each(|index| writeln!(text, "{}", line(index)).unwrap());
    text
}

const FULL: &str = "its values take more than 25165824 bytes of memory, once aliases are written out";

/// What the text is, the text, and what is said of it.
fn texts() -> Vec<(&'static str, String, &'static str)> {
    const MILLION: usize = 1_000_000;
    const MIB: usize = 1024 * 1024;
    let deep = |open: &str| format!("{HEAD}v: {}", open.repeat(100_000));
    let stairs = |step: &dyn Fn(usize) -> String| format!("{HEAD}v:\n{}", (1..2500).map(step).collect::<String>());
    vec![
        ("a million separators", "---\n".repeat(MILLION), "a.yaml:100000: more than 100000 documents"),
        ("half a million objects", "a: 1\n---\n".repeat(MILLION / 2), FULL),
        ("a million objects of JSON", "{}\n".repeat(MILLION), "a.yaml:100001: more than 100000 documents"),
        ("more than a file may have", " ".repeat(8 * MIB + 1), "at most 8388608 are read"),
        ("one large text", format!("{HEAD}v: {}\n", "x".repeat(8 * MIB - 100)), "a.yaml:1: an object of 8388"),
        ("as large a text as can be sent", format!("{HEAD}v: {}\n", "x".repeat(3 * MIB - 100)), "1 objects"),
        ("one large text in quotes", format!("{HEAD}v: \"{}\"\n", "x".repeat(4 * MIB)), "a.yaml:1: an object of 419"),
        ("one large block", format!("{HEAD}v: |\n{}", "  x\n".repeat(MIB)), "a.yaml:1: an object of 314"),
        ("lists in lists", deep("["), "a.yaml:4: it is nested deeper than 100 levels"),
        ("maps in maps", deep("{a: "), "a.yaml:4: it is nested deeper than 100 levels"),
        ("lists and maps in each other", deep("[{a: "), "a.yaml:4: it is nested deeper than 100 levels"),
        ("lists of blocks", format!("{HEAD}v:\n{}", "- ".repeat(100_000)), "a.yaml:5: it is nested deeper than 100 levels"),
        ("maps of blocks", stairs(&|step| format!("{}a:\n", " ".repeat(step))), "it is nested deeper than 100 levels"),
        (
            "lists and maps of blocks",
            stairs(&|step| format!("{}- a:\n", "  ".repeat(step))),
            "it is nested deeper than 100 levels",
        ),
        (
            "JSON in JSON",
            format!("{{\"a\":{}", "[".repeat(100_000)),
            "a.json:1: it is not JSON: it is nested deeper than 100 levels",
        ),
        ("questions in questions", deep("? "), "a.yaml:4"),
        ("half a million keys", lines(MILLION / 2, |index| format!("k{index}: 1")), FULL),
        ("a million aliases", lines(MILLION, |_| "- *x".into()).replacen("- *x", "a: &x 1\nv:\n- *x", 1), FULL),
        (
            "half a million anchors",
            lines(MILLION / 2, |index| format!("- &a{index} x")).replacen("- &a0", "v:\n- &a0", 1),
            "a.yaml:10005: more than 10000 anchors",
        ),
        ("a long anchor", format!("{HEAD}v: &{} 1\n", "a".repeat(4 * MIB)), "1 objects"),
        ("a long tag", format!("{HEAD}v: !{} 1\n", "a".repeat(4 * MIB)), "1 objects"),
        ("a long key", format!("{HEAD}{}: 1\n", "a".repeat(4 * MIB)), "a.yaml:4"),
        ("a million words in a list", format!("{HEAD}v: [{}]\n", "x, ".repeat(MILLION)), FULL),
        ("a million pairs in a list", format!("{HEAD}v: [{}]\n", "a: 1, ".repeat(MILLION / 4)), FULL),
        ("a million questions", lines(MILLION / 2, |index| format!("? k{index}")), FULL),
        ("a quote without an end", format!("{HEAD}v: \"{}", "x y\n\n".repeat(MIB)), "a.yaml:"),
        ("a quote of one line without an end", format!("{HEAD}v: '{}", "x ".repeat(2 * MIB)), "a.yaml:"),
        ("half a million comments", lines(MILLION / 2, |index| format!("# {index}")), "1 objects"),
        ("a million empty lines", lines(2 * MILLION, |_| String::new()), "1 objects"),
        (
            "half a million directives",
            format!("{HEAD}...\n{}", "%TAG !a! b\n".repeat(MILLION / 2)),
            "a.yaml:105: more than 100 lines begin with `%`",
        ),
        (
            "many directives for tags",
            format!("{HEAD}...\n{}", (0..200_000).map(|index| format!("%TAG !a{index}! b\n")).collect::<String>()),
            "lines begin with `%`",
        ),
        ("spaces before everything", format!("{HEAD}v:\n{}a: 1\n", " ".repeat(4 * MIB)), "1 objects"),
        (
            "an item far to the right",
            format!("{HEAD}v:\n{}", (0..100).map(|_| format!("{}- a\n", " ".repeat(MIB / 40))).collect::<String>()),
            "1 objects",
        ),
        ("a list of empty lists", format!("{HEAD}v: [{}]\n", "[],".repeat(2 * MIB)), FULL),
        ("JSON of empty lists", format!("{{\"a\": [{}0]}}", "[],".repeat(2 * MIB)), FULL),
        (
            "anchors around anchors",
            format!(
                "{HEAD}v: {}{}{}",
                (0..90).map(|index| format!("&a{index} [")).collect::<String>(),
                "x,".repeat(MIB),
                "]".repeat(90)
            ),
            FULL,
        ),
        (
            "a list of more objects than a component may have",
            format!(
                "kind: List\napiVersion: v1\nitems:\n{}",
                (0..100_001)
                    .map(|index| format!("- {{kind: ConfigMap, apiVersion: v1, metadata: {{name: a{index}}}}}\n"))
                    .collect::<String>()
            ),
            FULL,
        ),
        (
            "what the parser panics at",
            format!("{HEAD}---\n[!,\n").repeat(10_000),
            "1002 findings: mistakes in `.`: 1001, at most 1000",
        ),
        ("zeros", "\0".repeat(4 * MIB), "a.yaml:1"),
        ("bytes that are no text", "\u{ff}\u{fe}".repeat(MIB), "a.yaml:1"),
    ]
}

#[test]
fn no_file_takes_much_memory_or_time_or_is_refused_without_its_place() {
    let mut wrong = Vec::new();
    for (about, text, expected) in texts() {
        let directory = tempfile::tempdir().unwrap();
        let name = if about.starts_with("JSON") { "a.json" } else { "a.yaml" };
        std::fs::write(directory.path().join(name), text).unwrap();
        let begun = Instant::now();
        let (told, peak) = read(directory.path());
        println!("{about}: {} MiB, {} ms: {}", peak / 1024, begun.elapsed().as_millis(), told.lines().next().unwrap_or_default());
        if !told.contains(expected) || told.len() > 16 * 1024 || peak > MOST_KIB {
            wrong.push(format!("{about}: expected `{expected}`, {peak} KiB, found `{told}`"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn write(directory: &Path, path: &str, text: &str) {
    let place = directory.join(path);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::write(place, text).unwrap();
}

fn look(directory: &Path) -> Result<usize, String> {
    look_with(directory, Options::default())
}

fn look_with(directory: &Path, options: Options) -> Result<usize, String> {
    let component = support::component("web");
    let component = tk8s_render::Component { path: ".".parse().unwrap(), ..component };
    let preview = preview(&WorkingDirectory::new(directory), &component, &Renderers::new(options));
    preview.map(|preview| preview.objects().len()).map_err(|error| chain(&error))
}

#[test]
fn a_component_may_bring_as_much_as_it_may_and_no_byte_and_no_object_more() {
    let directory = tempfile::tempdir().unwrap();
    let (one, other) = (map("a"), map("b"));
    write(directory.path(), "a.yaml", &one);
    write(directory.path(), "b.yaml", &other);
    let enough = Bounds { file: one.len() as u64, files: (one.len() + other.len()) as u64, values: 10_000, objects: 2 };
    let look = |bounds| look_with(directory.path(), Options { bounds, ..Options::default() });
    assert_eq!(look(enough), Ok(2));
    for (bounds, refused) in [
        (Bounds { file: enough.file - 1, ..enough }, "`a.yaml` has 51 bytes, at most 50 are read"),
        (Bounds { files: enough.files - 1, ..enough }, "bytes in `.`: 102, at most 101 are read"),
        (Bounds { objects: 1, ..enough }, "objects in `.`: 2, at most 1 are read"),
        (Bounds { values: 2500, ..enough }, "b.yaml:3: its values take more than 2500 bytes of memory"),
    ] {
        let error = look(bounds).unwrap_err();
        assert!(error.contains(refused), "{error}");
    }
}

fn map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n")
}

/// What is done to a directory, how, and what is said of it.
type Harm = (&'static str, fn(&Path), &'static str);

#[test]
fn nothing_in_a_working_directory_is_followed_or_waited_for() {
    let table: &[Harm] = &[
        (
            "a fifo",
            |top| assert!(Command::new("mkfifo").arg(top.join("x.yaml")).status().unwrap().success()),
            "`x.yaml` is a special file",
        ),
        (
            "a socket",
            |top| drop(std::os::unix::net::UnixListener::bind(top.join("x.yaml")).unwrap()),
            "`x.yaml` is a special file",
        ),
        ("a link to itself", |top| symlink("x.yaml", top.join("x.yaml")).unwrap(), "`x.yaml` is a symbolic link"),
        (
            "links to each other",
            |top| (symlink("y.yaml", top.join("x.yaml")).unwrap(), symlink("x.yaml", top.join("y.yaml")).unwrap()).0,
            "`x.yaml` is a symbolic link",
        ),
        ("a link out of the tree", |top| symlink("/etc/passwd", top.join("x.yaml")).unwrap(), "`x.yaml` is a symbolic link"),
        ("a link to a device", |top| symlink("/dev/zero", top.join("x.yaml")).unwrap(), "`x.yaml` is a symbolic link"),
        ("a link to a directory", |top| symlink("/etc", top.join("more")).unwrap(), "`more` is a symbolic link"),
        ("a link to the directory above", |top| symlink(".", top.join("more")).unwrap(), "`more` is a symbolic link"),
        (
            "a pointer of Git LFS",
            |top| write(top, "x.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 1\n"),
            "`x.yaml` is a pointer of Git LFS",
        ),
        (
            "a large file",
            |top| std::fs::File::create(top.join("x.yaml")).unwrap().set_len(1 << 40).unwrap(),
            "`x.yaml` has 1099511627776 bytes",
        ),
        ("a name with a new line", |top| write(top, "x\ny.yaml", ""), "an entry named `x\\ny.yaml`"),
        ("a name that moves the cursor", |top| write(top, "\u{1b}[2Jy.yaml", ""), "an entry named `\\u{1b}[2Jy.yaml`"),
        (
            "a name that is no UTF-8",
            |top| drop(std::fs::File::create(top.join(OsString::from_vec(b"\xff.yaml".to_vec()))).unwrap()),
            "an entry named `\u{fffd}.yaml`",
        ),
        ("what Windows takes for .git", |top| write(top, "git~1/x.yaml", ""), "an entry named `git~1`"),
        ("what macOS takes for .git", |top| write(top, ".g\u{200c}it/x.yaml", ""), "an entry named `.g\\u{200c}it`"),
        (
            "directories in directories",
            |top| write(top, &format!("{}x.yaml", "d/".repeat(1000)), ""),
            "directories below each other",
        ),
        (
            "one directory more than may be below each other",
            |top| write(top, &format!("{}x.yaml", "d/".repeat(65)), ""),
            "65, at most 64",
        ),
        (
            "as many directories as may be below each other",
            |top| write(top, &format!("{}x.yaml", "d/".repeat(64)), ""),
            "1 objects",
        ),
        (
            "more files than a directory may have",
            |top| (0..100_000).for_each(|index| drop(std::fs::File::create(top.join(format!("x{index}"))).unwrap())),
            "it holds more than 100000 entries",
        ),
        (
            "more bytes than a component may have",
            |top| (0..9).for_each(|index| write(top, &format!("x{index}.yaml"), &"#".repeat(7 * 1024 * 1024 + 500 * 1024))),
            "bytes in `.`: ",
        ),
    ];
    for (about, make, expected) in table {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), "a.yaml", &map("a"));
        make(directory.path());
        let (told, _) = read(directory.path());
        assert!(told.contains(expected), "{about}: {told}");
    }
}

#[test]
fn git_s_own_directory_is_no_manifest_in_any_case_and_names_that_differ_in_case_are_two() {
    let directory = tempfile::tempdir().unwrap();
    for (path, name) in [("a.yaml", "a"), ("A.yaml", "b"), ("sub/c.yaml", "c"), ("Sub/c.yaml", "d")] {
        write(directory.path(), path, &map(name));
    }
    for path in [".git/x.yaml", ".GIT/x.yaml", ".Git/x.yaml", "sub/.gIt/x.yaml"] {
        write(directory.path(), path, "nonsense: [");
    }
    assert_eq!(look(directory.path()), Ok(4));
}

#[test]
fn a_file_that_may_not_be_read_is_named() {
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "a.yaml", &map("a"));
    std::fs::set_permissions(directory.path().join("a.yaml"), std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything.
    match look(directory.path()) {
        Ok(count) => assert!(rustix::process::geteuid().is_root() && count == 1),
        Err(error) => assert!(error.contains("could not read `a.yaml`"), "{error}"),
    }
}

#[test]
fn a_directory_that_changes_while_it_is_read_gives_what_was_there_or_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    write(outside.path(), "secret.yaml", &map("outside"));
    write(directory.path(), "sub/a.yaml", &map("inside"));
    let (sub, aside) = (directory.path().join("sub"), directory.path().join(".aside"));
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&sub, &aside).unwrap();
                symlink(outside.path(), &sub).unwrap();
                std::fs::remove_file(&sub).unwrap();
                std::fs::rename(&aside, &sub).unwrap();
                let mut file = std::fs::OpenOptions::new().append(true).open(sub.join("a.yaml")).unwrap();
                writeln!(file, "# more").unwrap();
            }
        });
        let tree = WorkingDirectory::new(directory.path());
        for _ in 0..2000 {
            for path in ["sub/a.yaml", "sub/secret.yaml"] {
                if let Ok(bytes) = tree.read(&path.parse().unwrap(), 1024 * 1024) {
                    assert!(String::from_utf8(bytes).unwrap().contains("inside"));
                }
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let tree = WorkingDirectory::new(directory.path());
    let size = std::fs::metadata(sub.join("a.yaml")).unwrap().len();
    assert!(tree.read(&"sub/a.yaml".parse().unwrap(), size).is_ok());
    assert!(tree.read(&"sub/a.yaml".parse().unwrap(), size - 1).unwrap_err().to_string().contains("bytes, at most"));
}

#[test]
fn ten_thousand_files_and_kinds_are_read_in_time_that_grows_with_them() {
    let repository = Repository::new(&[]);
    for index in 0..10_000 {
        let group = format!("g{}.example.com", index % 100);
        let object = if index < 100 {
            format!(
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {{name: things.{group}}}\nspec: {{group: {group}, scope: Cluster, names: {{kind: Thing, plural: things}}}}\n"
            )
        } else {
            format!("apiVersion: {group}/v1\nkind: Thing\nmetadata: {{name: t{index}}}\n")
        };
        repository.write(&format!("web/one/two/three/f{index:05}.yaml"), &object);
    }
    let tree = repository.commit();
    let begun = Instant::now();
    let rendered = render(&tree, &component("web"), &Renderers::new(Options::default())).unwrap();
    let took = begun.elapsed();
    println!("10,000 files: {took:?}");
    assert_eq!(rendered.parts().objects.len(), 10_000);
    assert!(rendered.parts().objects.iter().all(|placed| placed.manifest.key().namespace.is_none()));
    // Quadratic, it took minutes.
    assert!(took < Duration::from_secs(30), "{took:?}");
}

/// A tree that holds another ten times, that one another ten times, and so on.
#[test]
fn a_small_repository_that_stands_for_billions_of_paths_is_refused() {
    let repository = Repository::new(&[]);
    let git = |arguments: &[&str], input: &str| {
        let mut command = Command::new("git");
        command.current_dir(repository.path()).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    for (kind, file) in [("yaml", "a.yaml"), ("chart", "Chart.yaml")] {
        let blob = git(&["hash-object", "-w", "--stdin"], "# nothing\n");
        let mut tree = git(&["mktree"], &format!("100644 blob {blob}\ta.yaml\n"));
        for _ in 0..10 {
            let entries: String = (0..10).map(|index| format!("040000 tree {tree}\td{index}\n")).collect();
            tree = git(&["mktree"], &entries);
        }
        let bomb = git(&["mktree"], &format!("100644 blob {blob}\t{file}\n040000 tree {tree}\tdeep\n"));
        let top = git(&["mktree"], &format!("040000 tree {bomb}\t{kind}\n"));
        let commit = git(&["-c", "user.name=T", "-c", "user.email=t@example.com", "commit-tree", &top, "-m", "a bomb"], "");
        git(&["update-ref", "refs/heads/main", &commit], "");
        let tree = repository.verified();
        let error = render(&tree, &component(kind), &support::renderers()).unwrap_err();
        let (error, expected) = (
            chain(&error),
            if kind == "yaml" { "files and directories in `yaml`: 100001, at most 100000" } else { "in `chart`" },
        );
        assert!(error.contains(expected), "{error}");
    }
}
