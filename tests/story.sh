# What the stories of crashes and faults share: a control plane, a repository on disk, an agent in `dev`. To be sourced.
# shellcheck shell=bash
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
agent="${TK8S_AGENT_BIN:?the path of the tk8s-agent program}"
check="${TK8S_CHECK_BIN:?the path of the check-history program}"
assets="${TK8S_ASSETS:?the directory that tests/cluster/build.sh prints}"
home="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-story-XXXXXX")"
# shellcheck source=tests/cluster/control-plane.sh
source "$here/cluster/control-plane.sh"
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    [ "$code" -eq 0 ] || tail -n 30 "$home"/agent.log 2>/dev/null || true
    end_all
    rm -rf "$home"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=A GIT_COMMITTER_EMAIL=a@example.com
kube() { "$assets/kubectl" --kubeconfig "$home/kubeconfig" "$@"; }
tk8s() { "$agent" "$@" --server "http://$(sed 's/.*"api":"\([^"]*\)".*/\1/' "$home/address")" --token-file "$home/token"; }
fail() { echo "$*"; exit 1; }
until_is() {
    local wanted="$1" found=
    shift
    for _ in $(seq 400); do
        found="$("$@" 2>/dev/null || true)"
        [ "$found" = "$wanted" ] && return 0
        sleep 0.05
    done
    fail "at $point: expected '$wanted', found '$found': $*"
}
state() { tk8s status --output json | python3 -c 'import json,sys; print(next((c["state"] for c in json.load(sys.stdin)["components"]), "none"))'; }
leads() { tk8s status --output json | python3 -c 'import json,sys; print(json.load(sys.stdin)["leading"])'; }
objects() { kube -n crash get configmap -l agent.tk8s.io/instance=crash -o 'jsonpath={range .items[*]}{.metadata.name}={.data.at} {end}'; }
ended() { for _ in $(seq 400); do kill -0 "$pid_agent" 2>/dev/null || return 0; sleep 0.05; done; return 1; }

start_control_plane
kube create namespace crash >/dev/null
openssl genpkey -algorithm ed25519 -out "$home/identity.pem" 2>/dev/null
openssl rand -hex 32 >"$home/history.key"
openssl rand -hex 32 >"$home/token"
git init -q -b main "$home/repo"
cat >"$home/agent.yaml" <<YAML
apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
instance: crash
cluster: test
environment: dev
repository: {url: "file://$home/repo", branch: main, interval: 1s}
trust: {waive: {reason: "a test of crashes"}}
history: {dir: $home/history, identityKeyFile: $home/identity.pem, encryptionKeyFile: $home/history.key}
api: {listen: "127.0.0.1:0", healthListen: "127.0.0.1:0", metricsListen: "127.0.0.1:0", tls: none, tokenFile: $home/token, addressFile: $home/address}
lease: {namespace: crash}
YAML
run_agent() {
    # A lease of a process that was killed runs out after 30 s; the next one need not wait for that here.
    kube -n crash delete lease tk8s-agent-crash --ignore-not-found >/dev/null
    rm -f "$home/address"
    start agent "$agent" run --config "$home/agent.yaml" --kubeconfig "$home/agent.kubeconfig"
    wait_for "the agent" "$home/agent.log" test -s "$home/address"
}
