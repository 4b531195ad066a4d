//! A node with nothing on it but the one answer of a kubelet that the API server needs to tell logs. Pods that name the node
//! are never run: what becomes of them is written into their status by the test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::ControlPlane;

/// Answers every request with the same text, and writes down what was asked for.
const PROGRAM: &str = r#"
import http.server, ssl, sys
here = sys.argv[1]
class Kubelet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(here + "/asked", "a") as asked:
            asked.write(self.path + "\n")
        body = open(here + "/log", "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Kubelet)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(here + "/cert.pem", here + "/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// Ends with its value.
pub struct Kubelet {
    directory: TempDir,
    child: Child,
}

impl Kubelet {
    /// A node of this name, of whose containers each has logged this.
    pub fn start(plane: &ControlPlane, node: &str, log: &str) -> Kubelet {
        let directory = tempfile::tempdir().expect("because there is room");
        let path = |file: &str| directory.path().join(file);
        std::fs::write(path("log"), log).expect("because the directory is ours");
        let words = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kubelet", "-keyout"];
        let made = Command::new("openssl").args(words).arg(path("key.pem")).arg("-out").arg(path("cert.pem")).output();
        assert!(made.expect("because openssl is there").status.success());
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "--", "python3", "-c", PROGRAM])
            .arg(directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .expect("because setpriv is part of util-linux");
        let mut port = String::new();
        BufReader::new(child.stdout.take().expect("because it is piped")).read_line(&mut port).expect("it says its port");
        let port: u16 = port.trim().parse().expect("a port");
        plane.apply(&format!("apiVersion: v1\nkind: Node\nmetadata: {{name: {node}}}\n"));
        let status = format!(
            r#"{{"status": {{"addresses": [{{"type": "InternalIP", "address": "127.0.0.1"}}], "daemonEndpoints": {{"kubeletEndpoint": {{"Port": {port}}}}}}}}}"#
        );
        plane.kubectl(&["patch", "node", node, "--subresource=status", "--type=merge", "-p", &status]);
        Kubelet { directory, child }
    }

    /// What was asked for, line by line.
    pub fn asked(&self) -> String {
        let path: PathBuf = self.directory.path().join("asked");
        std::fs::read_to_string(path).unwrap_or_default()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
