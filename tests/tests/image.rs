//! The image, built from the agent beside this test: what is in it, that it can be made again, that it runs as a container
//! does, and that what is signed of it can be verified. The agent of a release is static; this one is not, and brings its
//! loader and libraries.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// What `install/image/build.sh` wrote.
struct Image(TempDir);

/// A file or directory of the image, as `tar` lists it.
struct Entry {
    mode: String,
    owner: String,
    path: String,
}

static IMAGE: LazyLock<Image> = LazyLock::new(Image::build);

impl Image {
    fn build() -> Image {
        Image::build_from("https://git.example.com/tk8s-agent")
    }

    /// An image of the same files, that says its source is here.
    fn build_from(source: &str) -> Image {
        let directory = tempfile::tempdir().unwrap();
        let agent = directory.path().join("agent");
        must(Command::new("strip").arg("-o").arg(&agent).arg(tk8s_tests::program("tk8s-agent")));
        let out = directory.path().join("image");
        let script = tk8s_tests::top().join("install/image/build.sh");
        let renderers = tk8s_tests::renderers();
        must(
            Command::new(script)
                .arg(&out)
                .env("AGENT", &agent)
                .env("TK8S_RENDERERS", renderers)
                .env("IMAGE_SOURCE", source)
                .env_remove("IMAGE_NAME"),
        );
        Image(directory)
    }

    fn file(&self, path: &str) -> PathBuf {
        self.0.path().join("image").join(path)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.file(path)).unwrap()).unwrap()
    }

    fn blob(&self, descriptor: &Value) -> PathBuf {
        self.file("layout/blobs").join(descriptor["digest"].as_str().unwrap().replace(':', "/"))
    }

    fn blob_json(&self, descriptor: &Value) -> Value {
        serde_json::from_slice(&std::fs::read(self.blob(descriptor)).unwrap()).unwrap()
    }

    fn manifest(&self) -> Value {
        self.blob_json(&self.json("layout/index.json")["manifests"][0])
    }

    fn config(&self) -> Value {
        self.blob_json(&self.manifest()["config"])
    }

    fn layers(&self) -> Vec<PathBuf> {
        self.manifest()["layers"].as_array().unwrap().iter().map(|layer| self.blob(layer)).collect()
    }

    fn entries(&self) -> Vec<Entry> {
        let listings = self.layers().into_iter().map(|layer| {
            let output = must(Command::new("tar").args(["--numeric-owner", "-tvzf"]).arg(layer));
            String::from_utf8(output.stdout).unwrap()
        });
        let parse = |line: &str| {
            let words: Vec<&str> = line.split_whitespace().collect();
            Entry { mode: words[0].into(), owner: words[1].into(), path: format!("/{}", words[5..].join(" ")) }
        };
        listings.flat_map(|listing| listing.lines().map(parse).collect::<Vec<_>>()).collect()
    }

    /// The digests of its files, by their paths.
    fn files(&self) -> BTreeMap<String, String> {
        let room = tempfile::tempdir().unwrap();
        for layer in self.layers() {
            must(Command::new("tar").args(["--no-same-owner", "-xzf"]).arg(layer).arg("-C").arg(room.path()));
        }
        let files = self.entries().into_iter().filter(|entry| entry.mode.starts_with('-'));
        files.map(|Entry { path, .. }| (path.clone(), sha256(&room.path().join(&path[1..])))).collect()
    }
}

/// What a command said, if it succeeded.
fn must(command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
}

/// All files below a directory, by their paths in it, with their digests.
fn below(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(next) = todo.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => drop(found.insert(path.strip_prefix(directory).unwrap().to_owned(), sha256(&path))),
            }
        }
    }
    found
}

#[test]
fn the_same_programs_make_the_same_image_with_the_same_papers() {
    let again = Image::build();
    let (first, second) = (below(&IMAGE.file("")), below(&again.file("")));
    assert!(first.len() >= 10, "a layout with four layers, an archive, a bill, a provenance, a digest: {first:?}");
    assert_eq!(first, second);
}

#[test]
fn everything_is_what_its_digest_says_and_nothing_else_is_there() {
    let index = IMAGE.json("layout/index.json");
    let images = index["manifests"].as_array().unwrap();
    assert_eq!(images.len(), 1);
    let manifest = IMAGE.manifest();
    let layers = manifest["layers"].as_array().unwrap();
    let named: Vec<&Value> = images.iter().chain([&manifest["config"]]).chain(layers).collect();
    for descriptor in &named {
        let blob = IMAGE.blob(descriptor);
        assert_eq!(descriptor["digest"], format!("sha256:{}", sha256(&blob)));
        assert_eq!(descriptor["size"], blob.metadata().unwrap().len());
    }
    assert_eq!(below(&IMAGE.file("layout/blobs")).len(), named.len());
    let unpacked: Vec<String> = IMAGE.layers().iter().map(|layer| unpacked_digest(layer)).collect();
    assert_eq!(IMAGE.config()["rootfs"]["diff_ids"], serde_json::json!(unpacked));
    let told = std::fs::read_to_string(IMAGE.file("digest")).unwrap();
    assert_eq!(told.trim(), images[0]["digest"]);
}

fn unpacked_digest(layer: &Path) -> String {
    let output = must(Command::new("gzip").arg("-dc").arg(layer));
    format!("sha256:{}", hex::encode(Sha256::digest(output.stdout)))
}

#[test]
fn the_archive_is_the_layout() {
    let room = tempfile::tempdir().unwrap();
    must(Command::new("tar").arg("-xf").arg(IMAGE.file("image.tar")).arg("-C").arg(room.path()));
    assert_eq!(below(room.path()), below(&IMAGE.file("layout")));
}

#[test]
fn it_runs_as_a_number_that_is_not_root_and_reads_the_usual_file() {
    let config = &IMAGE.config()["config"];
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["Entrypoint"], serde_json::json!(["/usr/local/bin/tk8s-agent"]));
    assert_eq!(config["Cmd"], serde_json::json!(["run", "--config", "/etc/tk8s/agent.yaml"]));
}

#[test]
fn its_user_may_write_its_data_and_scratch_and_nothing_lends_rights() {
    let entries = IMAGE.entries();
    let paths: BTreeSet<&str> = entries.iter().map(|entry| entry.path.as_str()).collect();
    for needed in ["/tmp/", "/var/lib/tk8s/", "/etc/tk8s/", "/usr/local/bin/kustomize", "/usr/local/bin/helm", "/etc/passwd"] {
        assert!(paths.contains(needed), "{needed} is missing: {paths:?}");
    }
    for Entry { mode, owner, path } in &entries {
        assert!(mode.starts_with(['d', '-']), "{path} is neither a file nor a directory: {mode}");
        assert!(!mode.contains(['s', 'S']), "{path} lends rights: {mode}");
        match path.as_str() {
            "/tmp/" => assert_eq!(mode, "drwxrwxrwt"),
            "/var/lib/tk8s/" => assert_eq!((mode.as_str(), owner.as_str()), ("drwx------", "65532/65532")),
            _ => {
                assert_eq!(owner, "0/0", "{path}");
                assert!(
                    mode.as_bytes()[5] == b'-' && mode.as_bytes()[8] == b'-',
                    "{path} can be written by others than root: {mode}"
                );
            }
        }
    }
}

#[test]
fn labels_say_which_commit_it_is_and_when_that_was_made() {
    let git = |arguments: &[&str]| {
        let output = must(Command::new("git").arg("-C").arg(tk8s_tests::top()).args(arguments).env("TZ", "UTC"));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let labels = IMAGE.config()["config"]["Labels"].clone();
    assert_eq!(labels["org.opencontainers.image.revision"], git(&["rev-parse", "HEAD"]));
    assert_eq!(labels["org.opencontainers.image.source"], "https://git.example.com/tk8s-agent");
    assert_eq!(labels["org.opencontainers.image.licenses"], "Apache-2.0");
    let created = labels["org.opencontainers.image.created"].as_str().unwrap();
    assert_eq!(created, git(&["show", "-s", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd", "HEAD"]), "in UTC");
    assert_eq!(IMAGE.manifest()["annotations"], labels);
}

#[test]
fn every_file_stands_in_the_bill_with_its_digest_and_what_it_is_made_of() {
    let bill = IMAGE.json("bill.cdx.json");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.6".into()));
    let components = bill["components"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let stated: BTreeMap<String, String> = components
        .iter()
        .filter(|component| component["type"] == "file")
        .map(|component| (text(&component["name"]), text(&component["hashes"][0]["content"])))
        .collect();
    assert_eq!(stated, IMAGE.files());
    let uses = |reference: &str| -> Vec<String> {
        let dependencies = bill["dependencies"].as_array().unwrap();
        let found = dependencies.iter().find(|dependency| dependency["ref"] == reference);
        let found = found.unwrap_or_else(|| panic!("the bill does not say what {reference} is made of"));
        found["dependsOn"].as_array().unwrap().iter().map(text).collect()
    };
    let agent = &uses("/usr/local/bin/tk8s-agent")[0];
    assert!(uses(agent).contains(&"cargo:tk8s-core@0.1.0".into()) && uses(agent).contains(&"glibc".into()));
    let helm = &uses("/usr/local/bin/helm")[0];
    assert!(helm.starts_with("pkg:golang/helm.sh/helm/v4@v4.") && uses(helm).len() > 50, "{helm}");
    assert!(uses("/etc/ssl/certs/ca-certificates.crt")[0].starts_with("pkg:golang/golang.org/x/crypto/x509roots"));
    let known: BTreeSet<String> = components.iter().map(|component| text(&component["bom-ref"])).collect();
    assert_eq!(known.len(), components.len(), "a reference names one component");
    for dependency in bill["dependencies"].as_array().unwrap() {
        for used in dependency["dependsOn"].as_array().unwrap() {
            assert!(known.contains(&text(used)), "{used} is used and not described");
        }
    }
}

/// The lock file has more: what other systems, tests and build scripts need.
#[test]
fn the_bill_has_the_crates_of_the_lock_file_with_their_checksums_and_none_of_the_tests() {
    let bill = IMAGE.json("bill.cdx.json");
    let lock = std::fs::read_to_string(tk8s_tests::top().join("Cargo.lock")).unwrap();
    let mut crates = 0;
    for component in bill["components"].as_array().unwrap() {
        let Some(url) = component["purl"].as_str().and_then(|url| url.strip_prefix("pkg:cargo/")) else { continue };
        let (name, version) = url.split_once('@').unwrap();
        let block = lock.split("\n\n").find(|it| it.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"))).unwrap();
        assert!(block.contains(component["hashes"][0]["content"].as_str().unwrap()), "{url}");
        crates += 1;
    }
    assert!(crates > 300, "{crates}");
    let names: BTreeSet<&str> = bill["components"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    assert!(names.contains("rustls") && names.contains("tikv-jemalloc-sys"), "{names:?}");
    for absent in ["tk8s-tests", "proptest", "serde_derive", "cc"] {
        assert!(!names.contains(absent), "{absent} is not in the agent");
    }
}

#[test]
fn the_provenance_is_about_this_image_and_names_what_went_in() {
    let provenance = IMAGE.json("provenance.json");
    assert_eq!(provenance["_type"], "https://in-toto.io/Statement/v1");
    assert_eq!(provenance["predicateType"], "https://slsa.dev/provenance/v1");
    let digest = std::fs::read_to_string(IMAGE.file("digest")).unwrap();
    assert_eq!(format!("sha256:{}", provenance["subject"][0]["digest"]["sha256"].as_str().unwrap()), digest.trim());
    let definition = &provenance["predicate"]["buildDefinition"];
    let used = definition["resolvedDependencies"].as_array().unwrap();
    assert_eq!(used[0]["digest"]["gitCommit"], IMAGE.config()["config"]["Labels"]["org.opencontainers.image.revision"]);
    assert_eq!(used[1]["digest"]["sha256"], sha256(&tk8s_tests::top().join("Cargo.lock")));
    let bill = &provenance["predicate"]["runDetails"]["byproducts"][0];
    assert_eq!(bill["digest"]["sha256"], sha256(&IMAGE.file("bill.cdx.json")));
}

/// As in a Restricted pod: nobody's rights, a read-only root, and nothing of this machine but two volumes.
#[test]
fn inside_it_renders_kustomizations_and_charts_as_outside() {
    if !is_root() {
        return eprintln!("only root can make the file systems of a container: the image is not run");
    }
    let room = tempfile::tempdir().unwrap();
    let work = room.path().join("work");
    for (path, text) in [
        ("base/kustomization.yaml", "namePrefix: inside-\nresources: [map.yaml]\n"),
        ("base/map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one, namespace: a}\ndata: {k: v}\n"),
        ("chart/Chart.yaml", "apiVersion: v2\nname: shop\nversion: 1.0.0\n"),
        (
            "chart/templates/map.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-map}\ndata: {k: v}\n",
        ),
        (
            "tk8s.yaml",
            "apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: l, components: [{name: base, path: base}, {name: chart, path: chart, namespace: a, helm: {}}]}\n",
        ),
    ] {
        std::fs::create_dir_all(work.join(path).parent().unwrap()).unwrap();
        std::fs::write(work.join(path), text).unwrap();
    }
    must(Command::new("chmod").args(["-R", "a+rX"]).arg(room.path()));
    let inside = inside(room.path(), &[format!("{}:/work", work.display())], &["render", "/work"]);
    let path = format!("{}:{}", tk8s_tests::renderers(), std::env::var("PATH").unwrap());
    let outside = must(Command::new(tk8s_tests::program("tk8s-agent")).arg("render").arg(&work).env("PATH", path));
    assert_eq!(inside, String::from_utf8(outside.stdout).unwrap());
    assert!(inside.contains("name: inside-one") && inside.contains("kind: ConfigMap"), "{inside}");
}

/// By name and over TLS, with all that it writes in its volume and in scratch.
#[test]
fn inside_it_finds_the_cluster_and_deploys() {
    if !is_root() {
        return eprintln!("only root can make the file systems of a container: the image is not run");
    }
    let script = tk8s_tests::top().join("install/image/measure.sh");
    let output = must(Command::new(script).arg(IMAGE.file("")).env("TK8S_ASSETS", tk8s_tests::assets()).env("IDLE", "0"));
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(told.starts_with("ready after ") && told.contains(" resident"), "{told}");
}

/// The chart, the image and the agent in it under a real kubelet: `tests/node.sh` tells what happens.
#[test]
fn on_a_real_node_it_is_installed_killed_upgraded_put_back_loses_its_volume_releases_itself_and_is_taken_away() {
    if !is_root() {
        return eprintln!("only root can run a node: chart and base are tested on simulated ones");
    }
    let next = Image::build_from("https://git.example.com/next");
    let mut story = tk8s_tests::story("tests/node.sh");
    story.env("TK8S_RENDERERS", tk8s_tests::renderers());
    let output = story.env("TK8S_IMAGE", IMAGE.file("")).env("TK8S_NEXT_IMAGE", next.file("")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.lines().filter(|line| line.starts_with('✔')).count(), 15, "{said}");
}

/// An empty registry on this machine, until it is dropped.
struct Registry {
    process: Child,
    _room: TempDir,
    address: String,
}

impl Registry {
    fn start() -> Registry {
        let room = tempfile::tempdir().unwrap();
        let (config, log) = (room.path().join("config.yml"), room.path().join("log"));
        let text = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '127.0.0.1:0'}}\n",
            room.path().join("data").display()
        );
        std::fs::write(&config, text).unwrap();
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut registry = Registry { process, _room: room, address: String::new() };
        let begun = Instant::now();
        while registry.address.is_empty() {
            let told = std::fs::read_to_string(&log).unwrap();
            let listening = told.split("listening on ").nth(1).and_then(|rest| rest.split_once(['"', '\n', ',']));
            registry.address = listening.map(|(address, _)| address.to_owned()).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(60), "the registry does not listen: {told}");
            std::thread::sleep(Duration::from_millis(20));
        }
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// cosign, with a home, keys and a registry of its own.
struct Signing {
    room: TempDir,
    registry: Registry,
    programs: String,
}

impl Signing {
    fn new() -> Signing {
        let programs = must(&mut Command::new(tk8s_tests::top().join("scripts/cosign.sh"))).stdout;
        let signing = Signing {
            room: tempfile::tempdir().unwrap(),
            registry: Registry::start(),
            programs: String::from_utf8(programs).unwrap().trim().into(),
        };
        for pair in ["ours", "theirs"] {
            must(&mut signing.cosign(&["generate-key-pair", "--output-key-prefix", pair]));
        }
        signing
    }

    fn at_home(&self, mut command: Command) -> Command {
        command.current_dir(self.room.path()).env("HOME", self.room.path()).env("COSIGN_PASSWORD", "");
        command.env("TK8S_COSIGN", &self.programs);
        command
    }

    fn cosign(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(Path::new(&self.programs).join("cosign"));
        command.args(arguments).stdin(Stdio::null());
        self.at_home(command)
    }

    /// Pushes and signs an image with our key, without any service, and gives its name with digest.
    fn publish(&self, image: &Image, tag: &str, flags: &[&str]) -> String {
        let mut command = self.at_home(Command::new(tk8s_tests::top().join("install/image/publish.sh")));
        // What Go keeps is not in this home.
        command.env("HOME", std::env::var("HOME").unwrap());
        let name = format!("{}/tk8s-agent:{tag}", self.registry.address);
        let output = must(command.arg(image.file("")).arg(name).args(flags));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The predicate that was signed, if it verifies.
    fn predicate(&self, kind: &str, name: &str) -> Value {
        let arguments = ["verify-attestation", "--insecure-ignore-tlog", "--key", "ours.pub", "--type", kind, name];
        let output = must(&mut self.cosign(&arguments));
        let envelope: Value = serde_json::from_slice(&output.stdout).unwrap();
        let statement: Value = serde_json::from_slice(&unbase64(envelope["payload"].as_str().unwrap())).unwrap();
        statement["predicate"].clone()
    }
}

fn unbase64(text: &str) -> Vec<u8> {
    let mut child = Command::new("base64").arg("-d").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, text) = (child.stdin.take().unwrap(), text.to_owned());
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.stdout
}

#[test]
fn what_is_published_is_verified_by_cosign_and_nothing_else_is() {
    let signing = Signing::new();
    let name = signing.publish(&IMAGE, "1", &["--key", "ours.key", "--use-signing-config=false", "--tlog-upload=false"]);
    assert!(name.ends_with(std::fs::read_to_string(IMAGE.file("digest")).unwrap().trim()), "{name}");
    let verify =
        |key: &str, name: &str| signing.cosign(&["verify", "--insecure-ignore-tlog", "--key", key, name]).output().unwrap();
    assert!(verify("ours.pub", &name).status.success());
    let stranger = verify("theirs.pub", &name);
    assert!(!stranger.status.success(), "{}", String::from_utf8_lossy(&stranger.stdout));
    assert_eq!(signing.predicate("cyclonedx", &name), IMAGE.json("bill.cdx.json"));
    assert_eq!(signing.predicate("slsaprovenance1", &name), IMAGE.json("provenance.json")["predicate"]);
    // The same files from elsewhere are another image, and nobody signed that with our key.
    let other = Image::build_from("https://git.example.com/somebody-else");
    let other = signing.publish(&other, "2", &["--key", "theirs.key", "--use-signing-config=false", "--tlog-upload=false"]);
    assert!(other != name && !verify("ours.pub", &other).status.success(), "{other}");
}

fn is_root() -> bool {
    must(Command::new("id").arg("-u")).stdout == b"0\n"
}

/// Runs the image with these arguments, and gives what it wrote.
fn inside(room: &Path, volumes: &[String], arguments: &[&str]) -> String {
    let script = tk8s_tests::top().join("install/image/inside.sh");
    let mut command = Command::new(script);
    let output = must(command.arg(IMAGE.file("")).arg(room).args(volumes).arg("--").args(arguments));
    String::from_utf8(output.stdout).unwrap()
}
