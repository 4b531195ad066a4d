#!/usr/bin/env bash
# Runs the image against a control plane and prints how long it takes to be ready, and what memory it has when all is done.
#
#   install/image/measure.sh IMAGE          IMAGE is what build.sh wrote; TK8S_ASSETS what tests/cluster/build.sh prints
#
# The API server is reached as in a cluster: by a name that a DNS server knows, over TLS that is verified. So a program whose
# C library can't ask servers does not get ready. A kustomization is among what is deployed: the programs inside work too.
# Everything runs in a network of its own. Needs root.
set -euo pipefail
image="$(cd "${1:?what build.sh wrote}" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"
[ "$(id -u)" -eq 0 ] || { echo "image: only root can make the file systems of a container: nothing is measured" >&2; exit 1; }
[ -n "${TK8S_MEASURING:-}" ] || TK8S_MEASURING=1 exec unshare --net "$0" "$image"
command -v ip >/dev/null || { echo "image: ip is missing: on Debian, apt-get install iproute2" >&2; exit 1; }
ip link set lo up
# The API server wants to see a way out of here. There is nobody behind this one.
ip link add outside type veth peer name nobody
ip address add 192.0.2.1/24 dev outside
ip link set nobody up
ip link set outside up
ip route add default dev outside

assets="${TK8S_ASSETS:?the directory that tests/cluster/build.sh prints}"
home="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-measure-XXXXXX")"
# shellcheck source=tests/cluster/control-plane.sh
source "$here/../../tests/cluster/control-plane.sh"
# The agent hears nothing of the end of the program that made its room: it became somebody else's since.
process=
trap 'kill "$process" 2>/dev/null || true; end_all; rm -rf "$home"' EXIT
trap 'exit 130' INT TERM
kube() { "$assets/kubectl" --kubeconfig "$home/kubeconfig" "$@"; }

TK8S_NO_CONTROLLERS=1 start_control_plane

# Knows one name.
start dns python3 -c '
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    name, kind = query[12:end - 4], query[end - 4:end - 2]
    known = name == b"\x0akubernetes\x07default\x03svc\0" and kind == b"\0\1"
    answer = b"\xc0\x0c\0\1\0\1\0\0\0\x0a\0\4\x7f\0\0\1" if known else b""
    server.sendto(query[:2] + (b"\x81\x80" if known or kind != b"\0\1" else b"\x81\x83") + b"\0\1\0" + bytes([known]) + bytes(4) + query[12:end] + answer, client)
'
echo 'nameserver 127.0.0.1' >"$home/resolv.conf"
mkdir "$home/etc" "$home/data" "$home/room"
sed "s|https://127.0.0.1:|https://kubernetes.default.svc:|; s|insecure-skip-tls-verify: true|certificate-authority: /etc/tk8s/ca.crt|" \
    "$home/agent.kubeconfig" >"$home/etc/kubeconfig"
cp "$home/ca.crt" "$home/etc/ca.crt"

git init -q -b main "$home/repository"
mkdir -p "$home/repository"/{maps,patched}
printf 'apiVersion: tk8s.io/v1alpha1\nkind: Platform\nlayers:\n  - {number: 0, name: l0, namespace: default, components: [{name: maps, path: maps}, {name: patched, path: patched}]}\n' >"$home/repository/tk8s.yaml"
for number in $(seq 100); do printf -- '---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: map-%s}\ndata: {number: "%s"}\n' "$number" "$number"; done >"$home/repository/maps/all.yaml"
printf 'namePrefix: patched-\nresources: [map.yaml]\n' >"$home/repository/patched/kustomization.yaml"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n' >"$home/repository/patched/map.yaml"
git -C "$home/repository" add -A
git -C "$home/repository" -c user.name=a -c user.email=a@example.com commit -qm first

openssl genpkey -algorithm ed25519 -out "$home/etc/identity.pem" 2>/dev/null
openssl rand -hex 32 >"$home/etc/history.key"
cat >"$home/etc/agent.yaml" <<'YAML'
apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
cluster: measured
environment: dev
repository: {url: file:///repository, branch: main}
trust: {waive: {reason: a measurement}}
history: {dir: /var/lib/tk8s, identityKeyFile: /etc/tk8s/identity.pem, encryptionKeyFile: /etc/tk8s/history.key}
YAML
chown -R 65532:65532 "$home/etc" "$home/data" "$home/repository"
chmod 755 "$home"

milliseconds() { echo $((${EPOCHREALTIME/./} / 1000)); }
ready() { { exec 3<>/dev/tcp/127.0.0.1/8081; } 2>/dev/null && printf 'GET /readyz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n' >&3 && head -n 1 <&3 | grep -q ' 200 '; }
# Starts the image; afterwards `process` is the agent's, and `took` how many milliseconds it took to be ready.
start_image() {
    local began=
    rm -rf "$home/room" && mkdir "$home/room"
    start image "$here/inside.sh" "$image" "$home/room" "$home/etc:/etc/tk8s" "$home/data:/var/lib/tk8s" "$home/repository:/repository" \
        "$home/resolv.conf:/etc/resolv.conf" -- run --config /etc/tk8s/agent.yaml --kubeconfig /etc/tk8s/kubeconfig
    # From when the process is the agent: before that, it unpacks.
    for _ in $(seq 6000); do
        process="$(ps -o pid= --ppid "$pid_image" | tr -d ' ' || true)"
        case "$(readlink "/proc/$process/exe" || true)" in */tk8s-agent) began="$(milliseconds)"; break ;; esac
        sleep 0.01
    done
    [ -n "$began" ] || { tail "$home/image.log" >&2; exit 1; }
    for _ in $(seq 6000); do
        if ready; then took=$(($(milliseconds) - began)); return 0; fi
        sleep 0.01
    done
    echo "image: it did not become ready; the end of its log:" >&2
    tail "$home/image.log" >&2
    exit 1
}
memory() { awk -v key="$1:" '$1 == key { printf "%.0f MiB", $2 / 1024 }' "/proc/$process/status"; }

start_image
first="$took"
wait_for "what is deployed" "$home/image.log" kube get configmap map-100 patched-map
kill "$process"
for _ in $(seq 600); do kill -0 "$pid_image" 2>/dev/null || break; sleep 0.05; done
start_image
sleep "${IDLE:-20}"
printf 'ready after %s ms, and after %s ms when started again with 101 objects\nidle after that: %s resident, %s at most\n' \
    "$first" "$took" "$(memory VmRSS)" "$(memory VmHWM)"
