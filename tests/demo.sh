#!/usr/bin/env bash
# The agent's main job, on a real control plane, as a story. Each step is checked against the API server.
#
# KEEP=1 leaves everything running at the end, until interrupted. KUBECONFIG=... uses that cluster instead of a local one.
set -euo pipefail
# shellcheck source=tests/demos.sh
source "$(dirname "$0")/demos.sh"
own_cluster="${KUBECONFIG:-}"
undo() {
    [ -z "$own_cluster" ] || kube delete namespace tk8s-demo tk8s-demo-prod demo-agent demo-prod-agent --ignore-not-found --wait=false >/dev/null 2>&1 || true
}
# Requests about the agent itself: its Lease, and what it tells of itself.
own='"requestURI":"/apis/(coordination.k8s.io/v1/namespaces/demo-agent/leases|agent.tk8s.io/|events.k8s.io/)'
sent() { grep '"verb":"patch".*"username":"tk8s-agent"' "$home/audit.log" | grep -cvE "$own" || true; }

step "A cluster, a Git server, a signer"
if [ -z "$own_cluster" ]; then
    start_control_plane
    passed "etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a simulated node run on 127.0.0.1"
else
    kube get --raw /readyz >/dev/null
    passed "the cluster of $own_cluster answers"
fi
start_git_server
make_secrets
passed "sshd serves a bare repository on port $ssh_port"

agent_in() { # instance environment trust
    instance="$1"
    agent_file "$2" <<YAML
cluster: demo
environment: $2
trust: {signersFile: $room/signers.yaml, $3}
lease: {namespace: $1-agent}
YAML
    kube create namespace "$1-agent" >/dev/null 2>&1 || true
    start_agent
}
platform() { # directory namespace
    mkdir -p "$room/work/$1"/{namespaces,config,memory,core}
    printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: %s}\n' "$2" >"$room/work/$1/namespaces/all.yaml"
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {greeting: hello}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: password}\nstringData: {password: hunter2}\n' >"$room/work/$1/config/all.yaml"
    deployment memory registry.k8s.io/pause:3.9 >"$room/work/$1/memory/all.yaml"
    deployment core registry.k8s.io/pause:3.9 >"$room/work/$1/core/all.yaml"
    cat >"$room/work/$1/tk8s.yaml" <<YAML
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
agent_in demo staging "baseline: $(repo rev-list --max-parents=0 main)"
for component in namespaces config memory core; do until_is Healthy state_of "$component"; done
until_is 2 field deployment tk8s-demo core .status.readyReplicas
age() { field "$1" "$2" "$3" .metadata.creationTimestamp; }
[[ ! "$(age deployment tk8s-demo core)" < "$(age deployment tk8s-demo memory)" ]] || fail "core came before memory"
passed "namespaces, config, memory and core are healthy"
show tk8s status
until_is 1/Healthy/Synced/False kube -n demo-agent get components core -o 'jsonpath={.status.release}/{.status.health}/{.status.sync}/{.status.conditions[?(@.type=="Held")].status}'
passed "kubectl get components says so too"
show kube -n demo-agent get components

step "A second push changes one object: one dry-run, one patch"
before="$([ -n "$own_cluster" ] || sent)"
sed -i 's/pause:3.9/pause:3.10/' "$room/work/staging/core/all.yaml"
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
    stop "$pid_agent_demo"
    start_agent
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
sed -i 's/pause:3.10/pause:666/' "$room/work/staging/core/all.yaml"
push --no-gpg-sign -m "nobody signed this"
until_is Unsigned refused
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.10 ] || fail "something unsigned was applied"
passed "status says why: Unsigned"
repo reset -q --hard HEAD~1
repo push -q --force origin main

step "Production follows signed tags, and waits for three people to say yes"
platform production tk8s-demo-prod
push -S -m "production: first release"
release v1.0.0
agent_in demo-prod production "approvals: {technical-lead: 1, security-officer: 1, product-owner: 1}"
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
sed -i 's/pause:3.9/pause:3.10/' "$room/work/production/core/all.yaml"
push -S -m "production: second release"
repo tag -a -m v1.1.0 v1.1.0
repo push -q origin v1.1.0
until_is Unsigned refused
[ "$(field deployment tk8s-demo-prod core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "an unsigned tag was applied"
passed "v1.1.0 is not signed: refused, v1.0.0 stays"

step "A release that never gets healthy undoes itself"
sed -i 's/spec: {containers/spec: {nodeSelector: {no-such: node}, containers/' "$room/work/production/core/all.yaml"
sed -i 's/dependsOn: \[memory\]/dependsOn: [memory], healthTimeout: 8s/' "$room/work/production/tk8s.yaml"
push -S -m "production: third release"
release v1.2.0
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
show tk8s rollback core --reason "the new image is slow"
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "the former release is not back"
until_is Held state_of core
passed "the former release is back"
until_is 1/True kube -n demo-agent get components core -o 'jsonpath={.status.release}/{.status.conditions[?(@.type=="Held")].status}'
show kube -n demo-agent get components
kube -n demo-agent describe component core | sed -n '/^Events:/,$s/^/    /p'
passed "kubectl shows who holds it, and what happened"

step "The next push of something else does not undo it"
start_sshd
sed -i 's/hello/good morning/' "$room/work/staging/config/all.yaml"
push -S -m "config: be polite"
until_is "good morning" field configmap tk8s-demo settings .data.greeting
[ "$(field deployment tk8s-demo core '.spec.template.spec.containers[0].image')" = registry.k8s.io/pause:3.9 ] || fail "the rollback was undone"
[ "$(state_of core)" = Held ] || fail "the hold is gone"
passed "config moved on, core is still held"
show tk8s history core
! grep -rqa hunter2 "$home"/*.history "$home"/agent-*.log || fail "a secret was found in the history or a log"

the_end
if [ -n "${KEEP:-}" ]; then
    printf 'Look around:\n  export KUBECONFIG=%s TK8S_SERVER=%s TK8S_TOKEN_FILE=%s\n  %s status\n  %s get pods -A\nThe repository: %s. Ctrl-C ends it all.\n' \
        "${own_cluster:-$home/kubeconfig}" "$(address)" "$room/token" "$agent" "$assets/kubectl" "$room/work"
    while :; do sleep 1; done
fi
