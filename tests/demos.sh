# What the stories share that are shown to people: how they are told, a Git server over SSH, people with keys, what they push and
# say yes to, agents. To be sourced, after a story's own header, which `--help` prints.
#
# Everything that a story makes is below `room`, which is gone at its end, with every process. `home` is the directory of the
# cluster that is meant, and `instance` the agent in it; a story of one cluster has both in one place.
# shellcheck shell=bash

if [ $# -gt 0 ]; then
    case "$1" in
        -h | --help) sed -n '2,${/^#/!q;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
        *) echo "$0 takes no arguments: $1 (--help says what it does)" >&2; exit 2 ;;
    esac
fi
tests="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
agent="${TK8S_AGENT_BIN:?the path of the tk8s-agent program}"
assets="${TK8S_ASSETS:?the directory that tests/cluster/build.sh prints}"
room="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-$(basename "$0" .sh)-XXXXXX")"
home="$room"
# A cluster of the caller's, if the story can be told on one.
own_cluster=
# shellcheck source=tests/cluster/control-plane.sh
source "$tests/cluster/control-plane.sh"

# What a story has to undo elsewhere.
undo() { :; }
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    [ "$code" -eq 0 ] || [ "$code" -ge 128 ] || { echo; echo "the end of the agents' logs:"; find "$room" -name 'agent-*.log' -exec tail -n 25 {} + 2>/dev/null || true; }
    undo
    end_all
    rm -rf "$room"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

began=$EPOCHREALTIME
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f s", b - a }'; }
step() { step_began=$EPOCHREALTIME; printf '\n\033[1m%s\033[0m\n' "$*"; }
passed() { printf '  ✔ %s (%s)\n' "$*" "$(since "$step_began")"; }
fail() { printf '  ✘ %s\n' "$*"; exit 1; }
the_end() { printf '\n\033[1mEverything did what it should, in %s.\033[0m\n' "$(since "$began")"; }
# Shows what a command prints.
show() { "$@" | sed 's/^/    /'; }
kube() { "$assets/kubectl" --kubeconfig "${own_cluster:-$home/kubeconfig}" "$@"; }
address() { printf 'http://%s' "$(sed 's/.*"api":"\([^"]*\)".*/\1/' "$home/$instance.address")"; }
tk8s() { "$agent" --log-format json "$@" --server "$(address)" --token-file "$room/token"; }
field() { kube get "$1" -n "$2" "$3" -o "jsonpath={$4}" 2>/dev/null; }
# Waits until a command prints what is expected.
until_is() {
    local wanted="$1" found=
    shift
    for _ in $(seq 600); do
        found="$("$@" 2>/dev/null || true)"
        [ "$found" = "$wanted" ] && return 0
        sleep 0.05
    done
    fail "expected '$wanted', found '$found': $*"
}
state_of() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(next((c["state"] for c in s["components"] if c["name"]==sys.argv[1]), "none"))' "$1"; }
refused() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(" ".join(r["reason"] for r in s["refused"]))'; }
# The roles in which somebody still has to say yes to a release.
missing() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(" ".join(sorted(m["role"] for r in s["unapproved"] if r["tag"] == sys.argv[1] for m in r["missing"])))' "$1"; }

# A repository that sshd serves, a clone of it, and who may sign and say yes.
# shellcheck source=tests/git-server.sh
source "$tests/git-server.sh"
start_git_server() {
    ssh_port="$(free_port)"
    serve_git 127.0.0.1 "$ssh_port"
    local person
    for person in lea sam pia; do make_key "$person"; done
    cat >"$room/signers.yaml" <<YAML
apiVersion: agent.tk8s.io/v1alpha1
kind: Signers
signers:
  - {name: alice, roles: [release], keys: ["$(cat "$room/alice.pub")"]}
  - {name: lea, roles: [technical-lead], keys: ["$(cat "$room/lea.pub")"]}
  - {name: sam, roles: [security-officer], keys: ["$(cat "$room/sam.pub")"]}
  - {name: pia, roles: [product-owner], keys: ["$(cat "$room/pia.pub")"]}
YAML
}
push() { repo add -A; repo commit -q "$@"; repo push -q origin main; }
# Pushes a signed tag of what was pushed last.
release() { repo tag -s -m "$1" "$1"; repo push -q origin "$1"; }
# Somebody says yes to a release, with their own key.
approve() { # release role person, and more options of the command
    local release="$1" role="$2" person="$3"
    shift 3
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=user.signingkey GIT_CONFIG_VALUE_0="$room/$person" \
        tk8s approve "$release" --role "$role" --signer "$person" --repository "$room/work" --yes "$@" >"$room/approve.log" 2>&1 || { cat "$room/approve.log"; fail "$person could not say yes"; }
}

# What agents have of their own; an identity is made with the agent's file.
make_secrets() { local name; for name in history.key token webhook; do openssl rand -hex 32 >"$room/$name"; done; }
# The agent's file: what all of them have in common, and what the caller says on standard input.
agent_file() { # path of the platform
    [ -e "$home/$instance.pem" ] || openssl genpkey -algorithm ed25519 -out "$home/$instance.pem" 2>/dev/null
    {
        cat <<YAML
apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
instance: $instance
repository:
  url: ssh://$(id -un)@127.0.0.1:$ssh_port$room/platform.git
  path: $1
  interval: 2s
  timeout: 20s
  auth: {sshKeyFile: $room/deploy, knownHostsFile: $room/known_hosts}
history: {dir: $home/$instance.history, identityKeyFile: $home/$instance.pem, encryptionKeyFile: $room/history.key}
api: {listen: "127.0.0.1:0", healthListen: "127.0.0.1:0", metricsListen: "127.0.0.1:0", tls: none, tokenFile: $room/token, addressFile: $home/$instance.address}
webhook: {secretFile: $room/webhook}
YAML
        cat
    } >"$home/$instance.yaml.new"
    # An agent that runs follows it, and is to see it whole.
    mv "$home/$instance.yaml.new" "$home/$instance.yaml"
}
start_agent() {
    rm -f "$home/$instance.address"
    start "agent-$instance" "$agent" run --config "$home/$instance.yaml" --kubeconfig "${own_cluster:-$home/agent.kubeconfig}"
    wait_for "the agent" "$home/agent-$instance.log" test -s "$home/$instance.address"
}
# Ends a process as an operator would, and waits until it is gone.
stop() { kill "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.05; done; }

deployment() { # name image, and replicas if not 2; its namespace is the layer's
    cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $1}
spec:
  replicas: ${3:-2}
  selector: {matchLabels: {app: $1}}
  template:
    metadata: {labels: {app: $1}}
    spec: {containers: [{name: main, image: "$2"}]}
YAML
}
