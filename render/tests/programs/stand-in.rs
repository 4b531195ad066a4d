//! In the tests of this crate: the agent's binary, as far as the launcher needs it, and every program that means harm.

use std::io::Write as _;
use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let word = arguments.next().unwrap_or_default();
    let denied = |result: std::io::Result<()>| match result {
        Ok(()) => "allowed".to_owned(),
        Err(error) => format!("{:?}", error.kind()),
    };
    let said = match word.to_str().unwrap_or_default() {
        tk8s_render::launcher::child::WORD => return tk8s_render::launcher::child::main(arguments),
        "environment" => std::env::vars().map(|(name, _)| name).collect::<Vec<_>>().join(" "),
        "connect" => denied(std::net::TcpStream::connect("127.0.0.1:1").map(drop)),
        "listen" => denied(std::os::unix::net::UnixListener::bind("socket").map(drop)),
        "start" => denied(Command::new("/bin/true").status().map(drop)),
        "thread" => std::thread::spawn(|| "a thread ran".to_owned()).join().unwrap_or_default(),
        "signal" => {
            let parent = rustix::process::getppid().expect("because it has a parent");
            denied(rustix::process::test_kill_process(parent).map_err(Into::into))
        }
        "look" => denied(std::fs::read("/etc/passwd").map(drop)),
        "write" => denied(std::fs::File::create("big").and_then(|mut file| file.write_all(&vec![1; 3 * 1024 * 1024]))),
        "eat" => {
            let mut eaten = Vec::new();
            loop {
                eaten.push(vec![1_u8; 1024 * 1024]);
            }
        }
        "shout" => loop {
            if std::io::stdout().write_all(&[b'x'; 4096]).is_err() {
                return ExitCode::FAILURE;
            }
        },
        "complain" => {
            for _ in 0..100_000 {
                eprintln!("this is not good");
            }
            eprintln!("the end");
            return ExitCode::FAILURE;
        }
        // In the place of kustomize and Helm: everything that they could see, in hex, so that nothing of it is recognised.
        "build" | "template" => seen(),
        "spin" => {
            println!("{}", std::process::id());
            std::io::stdout().flush().ok();
            loop {
                std::hint::spin_loop();
            }
        }
        "read" => return read(&std::path::PathBuf::from(arguments.next().unwrap_or_default())),
        _ => return ExitCode::FAILURE,
    };
    println!("{said}");
    ExitCode::SUCCESS
}

/// Reads a directory of manifests, and says what came of it and how much memory it took.
fn read(directory: &std::path::Path) -> ExitCode {
    use tk8s_render::{Component, Options, Placement, Renderers, WorkingDirectory, preview};
    let component = Component {
        name: "web".parse().expect("because it is a name"),
        layer: Placement::Fixed("1-a".parse().expect("because it is a layer")),
        path: tk8s_core::TreePath::root(),
        kind: None,
        include: Vec::new(),
        exclude: Vec::new(),
        helm: None,
        namespace: Some("shop".into()),
        create_namespace: false,
        substitute: false,
    };
    match preview(&WorkingDirectory::new(directory), &component, &Renderers::new(Options::default())) {
        Ok(preview) => println!("{} objects", preview.objects().len()),
        Err(error) => println!("{}", tk8s_core::chain(&error)),
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    println!("{}", peak.trim().trim_end_matches(" kB"));
    ExitCode::SUCCESS
}

/// A ConfigMap with what a program sees of its files, arguments and environment. Standard input is only counted.
fn seen() -> String {
    let mut files = Vec::new();
    let mut left = vec![std::path::PathBuf::from(".")];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                true => left.push(entry.path()),
                false => files.extend(std::fs::read(entry.path()).unwrap_or_default()),
            }
        }
    }
    let arguments =
        std::env::args().collect::<Vec<_>>().join(" ") + &std::fs::read_to_string("/proc/self/cmdline").unwrap_or_default();
    let environment = std::env::vars().map(|(name, value)| format!("{name}={value} ")).collect::<String>();
    let input = std::io::read_to_string(std::io::stdin()).unwrap_or_default().len();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: seen}}\ndata: {{files: \"{}\", arguments: \"{}\", environment: \"{}\", input: \"{input}\"}}",
        hex::encode(files),
        hex::encode(arguments),
        hex::encode(environment),
    )
}
