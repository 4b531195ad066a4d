# Functions that start and end a real control plane with a simulated node. To be sourced; needs `assets` (from build.sh) and
# `home` (an empty directory of the caller's). Everything listens on 127.0.0.1, but for the API server where the caller says
# `api_host` and `api_port`, and ends with the caller.
# shellcheck shell=bash

children=()

# Starts a program in the background, its output in a file of its own; it ends with this shell, whatever ends it.
start() {
    local name="$1"
    shift
    if command -v setpriv >/dev/null; then
        setpriv --pdeathsig KILL -- "$@" >"$home/$name.log" 2>&1 </dev/null &
    else
        "$@" >"$home/$name.log" 2>&1 </dev/null &
    fi
    children+=($!)
    disown
    eval "pid_${name//-/_}=$!"
}

end_all() {
    local index deadline=$((SECONDS + 3))
    for ((index = ${#children[@]} - 1; index >= 0; index--)); do kill "${children[index]}" 2>/dev/null || true; done
    # They were all told at once, and have the same three seconds.
    for index in "${children[@]}"; do
        while [ "$SECONDS" -lt "$deadline" ] && kill -0 "$index" 2>/dev/null; do sleep 0.05; done
        kill -9 "$index" 2>/dev/null || true
    done
    wait 2>/dev/null || true
    children=()
}

free_port() {
    python3 - 2>/dev/null <<'PY' || { local port; for port in $(shuf -i 20000-60000 -n 50); do (: </dev/tcp/127.0.0.1/"$port") 2>/dev/null || { echo "$port"; return; }; done; }
import socket
s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])
PY
}

# Waits for a command to succeed; prints the log that belongs to it if it does not.
wait_for() {
    local what="$1" log="$2"
    shift 2
    for _ in $(seq 600); do "$@" >/dev/null 2>&1 && return 0; sleep 0.1; done
    echo "waited a minute for $what; the end of $log:" >&2
    tail -n 20 "$log" >&2
    return 1
}

kubeconfig_for() {
    cat <<YAML
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://$api_host:$api_port", insecure-skip-tls-verify: true}}]
users: [{name: u, user: {token: "$1"}}]
contexts: [{name: c, context: {cluster: c, user: u}}]
current-context: c
YAML
}

random_token() { od -An -N16 -tx1 /dev/urandom | tr -d ' \n'; }

start_control_plane() {
    local etcd_port peer_port admin_token agent_token node_token
    etcd_port="$(free_port)" peer_port="$(free_port)" api_host="${api_host:-127.0.0.1}" api_port="${api_port:-$(free_port)}"
    admin_token="$(random_token)" agent_token="$(random_token)" node_token="$(random_token)"
    openssl genrsa -out "$home/service-account.key" 2048 2>/dev/null
    printf '%s\n' "$admin_token,admin,admin,system:masters" "$agent_token,tk8s-agent,tk8s-agent,system:masters" \
        "$node_token,system:node:real,system:node:real,system:nodes" >"$home/tokens.csv"
    cat >"$home/audit-policy.yaml" <<'YAML'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
    kubeconfig_for "$admin_token" >"$home/kubeconfig"
    kubeconfig_for "$agent_token" >"$home/agent.kubeconfig"
    kubeconfig_for "$node_token" >"$home/node.kubeconfig"
    start etcd "$assets/etcd" --data-dir "$home/etcd" --unsafe-no-fsync --log-level error \
        --listen-client-urls "http://127.0.0.1:$etcd_port" --advertise-client-urls "http://127.0.0.1:$etcd_port" \
        --listen-peer-urls "http://127.0.0.1:$peer_port" --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
        --initial-cluster "default=http://127.0.0.1:$peer_port"
    start kube-apiserver "$assets/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_port" --cert-dir "$home/certs" \
        --secure-port "$api_port" --bind-address "$api_host" --token-auth-file "$home/tokens.csv" --authorization-mode Node,RBAC \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$home/service-account.key" \
        --service-account-signing-key-file "$home/service-account.key" --service-cluster-ip-range 10.96.0.0/16 \
        --kubelet-preferred-address-types InternalIP \
        --audit-policy-file "$home/audit-policy.yaml" --audit-log-path "$home/audit.log" --audit-log-maxsize 100000
    wait_for "the API server" "$home/kube-apiserver.log" "$assets/kubectl" --kubeconfig "$home/kubeconfig" get --raw /readyz
    # The file holds the server's certificate, and then its authority's.
    awk '/BEGIN/ { count++ } count == 2' "$home/certs/apiserver.crt" >"$home/ca.crt"
    # A measurement of the API server and its clients is not to measure who else is busy with what they write.
    [ -z "${TK8S_NO_CONTROLLERS:-}" ] || return 0
    start kube-controller-manager "$assets/kube-controller-manager" --kubeconfig "$home/kubeconfig" --leader-elect=false ${TK8S_REAL_NODE:+--root-ca-file "$home/ca.crt"} \
        --use-service-account-credentials --service-account-private-key-file "$home/service-account.key" --secure-port "$(free_port)" --bind-address 127.0.0.1
    start kube-scheduler "$assets/kube-scheduler" --kubeconfig "$home/kubeconfig" --leader-elect=false --secure-port "$(free_port)" --bind-address 127.0.0.1
    [ -z "${TK8S_REAL_NODE:-}" ] || return 0
    start kwok "$assets/kwok" --kubeconfig "$home/kubeconfig" --config "$assets/kwok-stages.yaml" \
        --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --node-lease-duration-seconds=40 --server-address "127.0.0.1:$(free_port)"
    "$assets/kubectl" --kubeconfig "$home/kubeconfig" apply -f - >/dev/null <<'YAML'
apiVersion: v1
kind: Node
metadata: {name: simulated, annotations: {kwok.x-k8s.io/node: fake}, labels: {kubernetes.io/hostname: simulated}}
status: {allocatable: {cpu: "32", memory: 256Gi, pods: "1000"}, capacity: {cpu: "32", memory: 256Gi, pods: "1000"}}
YAML
}
