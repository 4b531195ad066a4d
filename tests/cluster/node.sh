# Functions that start a real node: containerd and kubelet, in the network, mounts and processes of the caller, who has to have
# all three for itself (`unshare --net --mount --pid`), because pods, their file systems and their programs end with it. To be
# sourced after control-plane.sh; needs root.
# shellcheck shell=bash

# What of a node is missing on this machine, as Debian's packages; nothing if it can run pods.
missing_for_a_node() {
    local missing=()
    [ "$(id -u)" -eq 0 ] || missing+=("root")
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
    [ -x /bin/busybox ] || missing+=(busybox-static)
    grep -qw overlay /proc/filesystems || missing+=("a kernel with overlayfs")
    [ -e /sys/fs/cgroup/cgroup.controllers ] || [ -d /sys/fs/cgroup/memory ] || missing+=("control groups")
    echo "${missing[*]}"
}

# Takes away the control groups of containers that have ended, which no namespace holds. Others have processes, and stay.
remove_control_groups() { find /sys/fs/cgroup -depth -path '*/k8s.io*' -type d -exec rmdir {} \; 2>/dev/null || true; }

# A network without a way out, in which pods reach what listens on 192.0.2.1, and the API server where they look for it.
make_network() {
    ip link set lo up
    ip address add 10.96.0.1/32 dev lo
    ip link add outside type veth peer name nobody
    ip address add 192.0.2.1/24 dev outside
    ip link set nobody up
    ip link set outside up
    ip route add default dev outside
    # What a node and its pods would leave behind in places of the machine.
    local place
    for place in /run /var/lib/cni /var/lib/kubelet /var/log; do
        mkdir -p "$place"
        mount -t tmpfs tmpfs "$place"
    done
    mkdir -p /run/sshd
}

# An image of one file system with busybox, for `ctr image import`: what runs in pods here, and what holds their network.
busybox_image() { # name:tag
    python3 - "$1" "$home/image.tar" <<'PY'
import hashlib, io, json, sys, tarfile
name, target = sys.argv[1:]
def packed(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for path, content, mode in files:
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()
digest = lambda content: hashlib.sha256(content).hexdigest()
# Each image has something of its own to say.
layer = packed([("bin/busybox", open("/bin/busybox", "rb").read(), 0o755), ("www/index.html", name.encode(), 0o644)])
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/bin/busybox"], "Cmd": ["sleep", "1000000000"]},
                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest(layer)]}}).encode()
manifest = [{"Config": digest(config) + ".json", "RepoTags": [name], "Layers": ["layer.tar"]}]
open(target, "wb").write(packed([("manifest.json", json.dumps(manifest).encode(), 0o644), (digest(config) + ".json", config, 0o644), ("layer.tar", layer, 0o644)]))
PY
    ctr --address "$home/containerd.sock" --namespace k8s.io images import "$home/image.tar" >/dev/null
}

start_node() {
    mkdir -p "$home/cni" /run/containerd
    cat >"$home/cni/pods.conflist" <<'JSON'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "loopback"}]}
JSON
    cat >"$home/containerd.toml" <<TOML
version = 2
root = "$home/containerd"
state = "/run/containerd"
[grpc]
address = "$home/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "localhost/pause:1"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "$home/cni"
TOML
    cat >"$home/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
containerRuntimeEndpoint: unix://$home/containerd.sock
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
evictionHard: {}
failSwapOn: false
# A program that was killed is started again soon: how long a node waits is not what is told here.
crashLoopBackOff: {maxContainerRestartPeriod: 1s}
featureGates: {KubeletCrashLoopBackOffMax: true}
YAML
    start containerd containerd --config "$home/containerd.toml"
    wait_for "containerd" "$home/containerd.log" ctr --address "$home/containerd.sock" version
    busybox_image localhost/pause:1
    start kubelet "$assets/kubelet" --config "$home/kubelet.yaml" --kubeconfig "$home/node.kubeconfig" --hostname-override real --node-ip 192.0.2.1
    wait_for "the node" "$home/kubelet.log" node_is_ready
}

node_is_ready() { [ "$("$assets/kubectl" --kubeconfig "$home/kubeconfig" get node real -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')" = True ]; }
