#!/usr/bin/env bash
# The agent's main job, on a real control plane, as a story. Each step is checked against the API server.
#
# KEEP=1 leaves everything running at the end, until interrupted. KUBECONFIG=... uses that cluster instead of a local one.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
agent="${TK8S_AGENT_BIN:?the path of the tk8s-agent program}"
assets="${TK8S_ASSETS:?the directory that tests/cluster/build.sh prints}"
home="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-demo-XXXXXX")"
own_cluster="${KUBECONFIG:-}"
# shellcheck source=tests/cluster/control-plane.sh
source "$here/cluster/control-plane.sh"

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    [ "$code" -eq 0 ] || [ "$code" -ge 128 ] || { echo; echo "the end of the agent's log:"; tail -n 25 "$home"/agent-*.log 2>/dev/null || true; }
    if [ -n "$own_cluster" ]; then
        kube delete namespace tk8s-demo tk8s-demo-prod demo-agent demo-prod-agent --ignore-not-found --wait=false >/dev/null 2>&1 || true
    fi
    end_all
    rm -rf "$home"
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
kube() { "$assets/kubectl" --kubeconfig "${own_cluster:-$home/kubeconfig}" "$@"; }
tk8s() { "$agent" --log-format json "$@" --server "http://$(sed 's/.*"api":"\([^"]*\)".*/\1/' "$home/$instance.address")" --token-file "$home/token"; }
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
repo() { git -C "$home/work" "$@"; }
# Somebody says yes to a release, with their own key.
approve() { # release role person
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=user.signingkey GIT_CONFIG_VALUE_0="$home/$3" \
        tk8s approve "$1" --role "$2" --signer "$3" --repository "$home/work" --yes >"$home/approve.log" 2>&1 || { cat "$home/approve.log"; fail "$3 could not say yes"; }
}
missing() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(" ".join(sorted(m["role"] for r in s["unapproved"] if r["tag"] == sys.argv[1] for m in r["missing"])))' "$1"; }
push() { repo add -A; repo commit -q "$@"; repo push -q origin main; }
# Requests about the agent itself: its Lease, and what it tells of itself.
own='"requestURI":"/apis/(coordination.k8s.io/v1/namespaces/demo-agent/leases|agent.tk8s.io/|events.k8s.io/)'
sent() { grep '"verb":"patch".*"username":"tk8s-agent"' "$home/audit.log" | grep -cvE "$own" || true; }

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=Alice GIT_AUTHOR_EMAIL=alice@example.com GIT_COMMITTER_NAME=Alice GIT_COMMITTER_EMAIL=alice@example.com

step "A cluster, a Git server, a signer"
if [ -z "$own_cluster" ]; then
    start_control_plane
    agent_kubeconfig="$home/agent.kubeconfig"
    passed "etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a simulated node run on 127.0.0.1"
else
    agent_kubeconfig="$own_cluster"
    kube get --raw /readyz >/dev/null
    passed "the cluster of $own_cluster answers"
fi
for key in alice lea sam pia host deploy; do ssh-keygen -q -t ed25519 -N '' -C "$key@example.com" -f "$home/$key"; done
ssh_port="$(free_port)"
cat >"$home/sshd_config" <<CONF
Port $ssh_port
ListenAddress 127.0.0.1
HostKey $home/host
AuthorizedKeysFile $home/deploy.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
AcceptEnv GIT_PROTOCOL
CONF
[ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
start_sshd() { start sshd "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$home/sshd_config"; }
start_sshd
echo "[127.0.0.1]:$ssh_port $(cat "$home/host.pub")" >"$home/known_hosts"
git init -q --bare -b main "$home/platform.git"
git init -q -b main "$home/work"
repo remote add origin "$home/platform.git"
for setting in gpg.format=ssh "user.signingkey=$home/alice" "gpg.ssh.allowedSignersFile=/dev/null"; do repo config "${setting%%=*}" "${setting#*=}"; done
passed "sshd serves a bare repository on port $ssh_port"

cat >"$home/signers.yaml" <<YAML
apiVersion: agent.tk8s.io/v1alpha1
kind: Signers
signers:
  - {name: alice, roles: [release], keys: ["$(cat "$home/alice.pub")"]}
  - {name: lea, roles: [technical-lead], keys: ["$(cat "$home/lea.pub")"]}
  - {name: sam, roles: [security-officer], keys: ["$(cat "$home/sam.pub")"]}
  - {name: pia, roles: [product-owner], keys: ["$(cat "$home/pia.pub")"]}
YAML
openssl genpkey -algorithm ed25519 -out "$home/identity.pem" 2>/dev/null
openssl rand -hex 32 >"$home/history.key"
openssl rand -hex 32 >"$home/token"
openssl rand -hex 32 >"$home/webhook"

agent_file() { # instance environment path
    local more=
    [ "$2" != staging ] || more=", baseline: $(repo rev-list --max-parents=0 main)"
    [ "$2" != production ] || more=", approvals: {technical-lead: 1, security-officer: 1, product-owner: 1}"
    cat <<YAML
apiVersion: agent.tk8s.io/v1alpha1
kind: AgentConfig
instance: $1
cluster: demo
environment: $2
repository:
  url: ssh://$(id -un)@127.0.0.1:$ssh_port$home/platform.git
  path: $3
  interval: 2s
  timeout: 20s
  auth: {sshKeyFile: $home/deploy, knownHostsFile: $home/known_hosts}
trust: {signersFile: $home/signers.yaml$more}
history: {dir: $home/$1.history, identityKeyFile: $home/identity.pem, encryptionKeyFile: $home/history.key}
api: {listen: "127.0.0.1:0", healthListen: "127.0.0.1:0", metricsListen: "127.0.0.1:0", tls: none, tokenFile: $home/token, addressFile: $home/$1.address}
webhook: {secretFile: $home/webhook}
lease: {namespace: $1-agent}
YAML
}
start_agent() {
    instance="$1"
    agent_file "$@" >"$home/$1.yaml"
    kube create namespace "$1-agent" >/dev/null 2>&1 || true
    start "agent-$1" "$agent" run --config "$home/$1.yaml" --kubeconfig "$agent_kubeconfig"
    wait_for "the agent" "$home/agent-$1.log" test -s "$home/$1.address"
}

deployment() { # namespace name image
    cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: $2, namespace: $1}
spec:
  replicas: 2
  selector: {matchLabels: {app: $2}}
  template:
    metadata: {labels: {app: $2}}
    spec: {containers: [{name: main, image: "$3"}]}
YAML
}
platform() { # directory namespace
    mkdir -p "$home/work/$1"/{namespaces,config,memory,core}
    printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n' "$2" >"$home/work/$1/namespaces/all.yaml"
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {greeting: hello}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: password}\nstringData: {password: hunter2}\n' >"$home/work/$1/config/all.yaml"
    deployment "$2" memory registry.k8s.io/pause:3.9 >"$home/work/$1/memory/all.yaml"
    deployment "$2" core registry.k8s.io/pause:3.9 >"$home/work/$1/core/all.yaml"
    cat >"$home/work/$1/tk8s.yaml" <<YAML
apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - {number: 0, name: substrate, components: [{name: namespaces, path: namespaces}]}
  - {number: 1, name: kubernetes-core, namespace: $2, components: [{name: config, path: config}]}
  - number: 2
    name: services
    namespace: $2
    components:
      - {name: memory, path: memory}
      - {name: core, path: core, dependsOn: [memory]}
YAML
}

step "A signed push is deployed, layer by layer"
platform staging tk8s-demo
push -S -m "first release"
start_agent demo staging staging
for component in namespaces config memory core; do until_is Healthy state_of "$component"; done
until_is 2 field deployment tk8s-demo core .status.readyReplicas
age() { field "$1" "$2" "$3" .metadata.creationTimestamp; }
[[ ! "$(age deployment tk8s-demo core)" < "$(age deployment tk8s-demo memory)" ]] || fail "core came before memory"
passed "namespaces, config, memory and core are healthy"
tk8s status | sed 's/^/    /'
until_is 1/Healthy/Synced/False kube -n demo-agent get components core -o 'jsonpath={.status.release}/{.status.health}/{.status.sync}/{.status.conditions[?(@.type=="Held")].status}'
passed "kubectl get components says so too"
kube -n demo-agent get components | sed 's/^/    /'

step "A second push changes one object: one dry-run, one patch"
before="$([ -n "$own_cluster" ] || sent)"
sed -i 's/pause:3.9/pause:3.10/' "$home/work/staging/core/all.yaml"
push -S -m "core: a newer image"
until_is registry.k8s.io/pause:3.10 field deployment tk8s-demo core '.spec.template.spec.containers[0].image'
until_is Healthy state_of core
if [ -z "$own_cluster" ]; then
    sleep 1
    [ "$(($(sent) - before))" -eq 2 ] || fail "$(($(sent) - before)) patches were sent, a dry-run and a patch were expected"
fi
passed "only core was sent"

if [ -z "$own_cluster" ]; then
    step "With nothing changed, nothing is asked: three looks at Git, and a restart"
    until_is 2/Healthy kube -n demo-agent get components core -o 'jsonpath={.status.release}/{.status.health}'
    sleep 3
    lines="$(wc -l <"$home/audit.log")"
    sleep 6.5
    kill "$pid_agent_demo"
    while kill -0 "$pid_agent_demo" 2>/dev/null; do sleep 0.05; done
    rm "$home/demo.address"
    start_agent demo staging staging
    until_is Healthy state_of core
    sleep 3
    asked="$(tail -n "+$((lines + 1))" "$home/audit.log" | grep '"username":"tk8s-agent"' | grep -vE '"requestURI":"/apis/coordination.k8s.io/v1/namespaces/demo-agent/leases|"requestURI":"/api/v1/namespaces/demo-agent/configmaps/tk8s-agent-[a-z-]*","verb":"get"' | grep -vE '"verb":"(watch|list)"' || true)"
    [ -z "$asked" ] || fail "requests that were not needed: $asked"
    passed "the audit log holds the lease, one look at the anchor, watches and lists, and nothing else"
fi

step "What somebody changes by hand is put back"
kube -n tk8s-demo patch configmap settings --type merge -p '{"data":{"greeting":"bye"}}' >/dev/null
until_is hello field configmap tk8s-demo settings .data.greeting
passed "the agent saw it by watch and repaired it"

step "An unsigned push is refused, and what runs stays"
sed -i 's/pause:3.10/pause:666/' "$home/work/staging/core/all.yaml"
push --no-gpg-sign -m "nobody signed this"
until_is Unsigned refused
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.10 ] || fail "something unsigned was applied"
passed "status says why: Unsigned"
repo reset -q --hard HEAD~1
repo push -q --force origin main

step "Production follows signed tags, and waits for three people to say yes"
platform production tk8s-demo-prod
push -S -m "production: first release"
repo tag -s -m v1.0.0 v1.0.0
repo push -q origin v1.0.0
start_agent demo-prod production production
until_is "product-owner security-officer technical-lead" missing v1.0.0
approve v1.0.0 technical-lead lea
approve v1.0.0 security-officer sam
until_is product-owner missing v1.0.0
! kube get namespace tk8s-demo-prod >/dev/null 2>&1 || fail "something was applied that not everybody said yes to"
passed "two have said yes to v1.0.0, one is missing: nothing of it is applied"
tk8s status | grep -A 2 '^v1.0.0' | sed 's/^/    /'
approve v1.0.0 product-owner pia
until_is Healthy state_of core
until_is 2 field deployment tk8s-demo-prod core .status.readyReplicas
passed "all three have: v1.0.0 is deployed"
sed -i 's/pause:3.9/pause:3.10/' "$home/work/production/core/all.yaml"
push -S -m "production: second release"
repo tag -a -m v1.1.0 v1.1.0
repo push -q origin v1.1.0
until_is Unsigned refused
[ "$(field deployment tk8s-demo-prod core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "an unsigned tag was applied"
passed "v1.1.0 is not signed: refused, v1.0.0 stays"

step "A release that never gets healthy undoes itself"
sed -i 's/spec: {containers/spec: {nodeSelector: {no-such: node}, containers/' "$home/work/production/core/all.yaml"
sed -i 's/dependsOn: \[memory\]/dependsOn: [memory], healthTimeout: 8s/' "$home/work/production/tk8s.yaml"
push -S -m "production: third release"
repo tag -s -m v1.2.0 v1.2.0
repo push -q origin v1.2.0
approve v1.2.0 technical-lead lea
approve v1.2.0 security-officer sam
approve v1.2.0 product-owner pia
until_is Held state_of core
[ "$(field deployment tk8s-demo-prod core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "the last healthy release is not back"
until_is 2 field deployment tk8s-demo-prod core .status.readyReplicas
passed "v1.2.0 could not be scheduled: core is back at its last healthy release, and held there"
tk8s status | grep -E '^(revision|platform|ALARM)' | sed 's/^/    /'

step "The Git server is gone, its mirror too: a rollback needs neither"
instance=demo
kill "$pid_sshd"
rm -rf "$home/demo.history/mirror.git"
tk8s rollback core --reason "the new image is slow" | sed 's/^/    /'
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "the former release is not back"
until_is Held state_of core
passed "the former release is back"
until_is 1/True kube -n demo-agent get components core -o 'jsonpath={.status.release}/{.status.conditions[?(@.type=="Held")].status}'
kube -n demo-agent get components | sed 's/^/    /'
kube -n demo-agent describe component core | sed -n '/^Events:/,$s/^/    /p'
passed "kubectl shows who holds it, and what happened"

step "The next push of something else does not undo it"
start_sshd
sed -i 's/hello/good morning/' "$home/work/staging/config/all.yaml"
push -S -m "config: be polite"
until_is "good morning" field configmap tk8s-demo settings .data.greeting
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "the rollback was undone"
[ "$(state_of core)" = Held ] || fail "the hold is gone"
passed "config moved on, core is still held"
tk8s history core | sed 's/^/    /'
! grep -rqa hunter2 "$home"/*.history "$home"/agent-*.log || fail "a secret was found in the history or a log"

printf '\n\033[1mEverything did what it should, in %s.\033[0m\n' "$(since "$began")"
if [ -n "${KEEP:-}" ]; then
    address="$(sed 's/.*"api":"\([^"]*\)".*/\1/' "$home/demo.address")"
    printf 'Look around:\n  export KUBECONFIG=%s TK8S_SERVER=http://%s TK8S_TOKEN_FILE=%s\n  %s status\n  %s get pods -A\nThe repository: %s. Ctrl-C ends it all.\n' \
        "${own_cluster:-$home/kubeconfig}" "$address" "$home/token" "$agent" "$assets/kubectl" "$home/work"
    while :; do sleep 1; done
fi
