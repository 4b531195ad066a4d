//! A node with nothing on it but the two answers of a kubelet that the API server needs to tell logs and to forward ports.
//! Pods that name the node are never run: what becomes of them is written into their status by the test, and their ports are
//! those of this machine.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::cluster::ControlPlane;

/// Answers every request with the same text, or forwards to the port that it names, and writes down what was asked for.
const PROGRAM: &str = r#"
import base64, hashlib, http.server, select, socket, ssl, struct, sys, urllib.parse
here = sys.argv[1]
class Kubelet(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open(here + "/asked", "a") as asked:
            asked.write(self.path + "\n")
        if self.path.startswith("/portForward/"):
            return self.forward()
        body = open(here + "/log", "rb").read()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def forward(self):
        port = int(urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["port"][0])
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.protocol_version, self.close_connection = "HTTP/1.1", True
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.send_header("Sec-WebSocket-Protocol", "v4.channel.k8s.io")
        self.end_headers()
        self.wfile.flush()
        line = self.connection
        def send(channel, data):
            size = 1 + len(data)
            line.sendall(b"\x82" + (bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size)) + bytes([channel]) + data)
        for channel in (0, 1):
            send(channel, struct.pack("<H", port))
        try:
            pod = socket.create_connection(("127.0.0.1", port))
        except OSError as error:
            return send(1, f"nobody listens on port {port}: {error}".encode())
        read = b""
        while True:
            ready = [line] if line.pending() else select.select([line, pod], [], [])[0]
            if pod in ready:
                data = pod.recv(16384)
                if not data:
                    return line.sendall(b"\x88\x00")
                send(0, data)
            if line in ready:
                data = line.recv(65536)
                if not data:
                    return
                read += data
                while len(read) >= 2:
                    size, at = read[1] & 127, 2
                    if size == 126:
                        size, at = (struct.unpack(">H", read[2:4])[0] if len(read) >= 4 else 1 << 60), 4
                    elif size == 127:
                        size, at = (struct.unpack(">Q", read[2:10])[0] if len(read) >= 10 else 1 << 60), 10
                    if len(read) < at + 4 + size:
                        break
                    mask, data = read[at:at + 4], read[at + 4:at + 4 + size]
                    data = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
                    opcode, read = read[0] & 15, read[at + 4 + size:]
                    if opcode == 8:
                        return
                    if opcode == 2 and data[:1] == b"\x00":
                        pod.sendall(data[1:])
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
