#!/usr/bin/env bash
# Three clusters and one repository, as a story: a release runs in staging first, staging's word for it is carried to production,
# and people let it into one cluster of production after the other. Each step is checked against the API servers.
#
# KEEP=1 leaves everything running at the end, until interrupted. The control planes take about 2 GB of memory.
set -euo pipefail
# shellcheck source=tests/demos.sh
source "$(dirname "$0")/demos.sh"
instance=tk8s
clusters=(staging prod-eu prod-us)
declare -A programs=() agents=()

# Does something in one of the clusters.
at() { local home="$room/$1"; shift; "$@"; }
begin_cluster() { # name
    local home="$room/$1" api_port before=${#children[@]}
    api_port="$(free_port)"
    mkdir "$home"
    start_control_plane
    kube create namespace tk8s-system >/dev/null
    programs[$1]="${children[*]:before}"
}
lose_cluster() { # name
    local program
    for program in ${programs[$1]}; do kill -9 "$program"; done
    for program in ${programs[$1]}; do while kill -0 "$program" 2>/dev/null; do sleep 0.05; done; done
    rm -rf "${room:?}/$1"
}
run_agent() { at "$1" start_agent; agents[$1]=$pid_agent_tk8s; }
# The agents' files: all follow the same directory, and say what differs in their cluster.
staging_file() {
    at staging agent_file platform <<YAML
cluster: staging
environment: staging
trust: {signersFile: $room/signers.yaml, baseline: $(repo rev-list --max-parents=0 main)}
variables: {CLUSTER: staging, REPLICAS: 1}
lease: {namespace: tk8s-system}
YAML
}
production_file() { # cluster, and what it asks for besides signatures
    at "$1" agent_file platform <<YAML
cluster: $1
environment: production
trust: {signersFile: $room/signers.yaml, $2}
variables: {CLUSTER: $1, REPLICAS: 2}
lease: {namespace: tk8s-system}
YAML
}

# The repository: one platform for all clusters.
platform() { # image of web, greeting, and what its pods have besides
    mkdir -p "$room/work/platform"/{namespaces,config,web}
    printf 'apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n' >"$room/work/platform/namespaces/all.yaml"
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {greeting: "%s", cluster: "${CLUSTER}"}\n' "$2" >"$room/work/platform/config/all.yaml"
    deployment web "registry.k8s.io/$1" '${REPLICAS}' | sed "s/spec: {containers/spec: {${3:-}containers/" >"$room/work/platform/web/all.yaml"
    cat >"$room/work/platform/tk8s.yaml" <<YAML
apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - {number: 0, name: substrate, components: [{name: namespaces, path: namespaces}]}
  - number: 2
    name: services
    namespace: shop
    components:
      - {name: config, path: config, substitute: true}
      - {name: web, path: web, substitute: true, healthTimeout: ${4:-1m}}
YAML
}
# The pipeline's job, every hour elsewhere: what ran well in a cluster is carried into the repository.
carry() { # cluster
    at "$1" tk8s evidence --into "$room/evidence" | while read -r ref file; do repo push -q origin "+$(repo hash-object -w "$file"):$ref"; done
}
carried() { carry "$1"; shift; "$@"; }
both_approve() { # release clusters, and more options of the command
    local release="$1" names="$2"
    shift 2
    approve "$release" technical-lead lea --clusters "$names" "$@"
    approve "$release" security-officer sam --clusters "$names" "$@"
}

image() { kube -n shop get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image}'; }
# What runs in a cluster: the image of web, its ready pods, and what config was told there.
runs() { echo "$(image) $(field deployment shop web .status.readyReplicas) $(field configmap shop settings .data.greeting) $(field configmap shop settings .data.cluster)"; }
is_empty() {
    local found
    found="$(kube get namespace shop --ignore-not-found -o name)"
    [ -z "$found" ] || fail "something was applied in ${home##*/}: $(kube -n shop get all)"
}
# Writes to what is deployed, by the agent.
writes() { grep -E '"verb":"(patch|create|update|delete)"' "$home/audit.log" | grep -F '"username":"tk8s-agent"' | grep -cF '"namespace":"shop"' || true; }
unwritten_since() { [ "$1" -gt 0 ] && [ "$(writes)" = "$1" ] || fail "${home##*/} was written to: $1 times before, $(writes) now"; }
# State and reason of a component.
about() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(next((c["state"]+" "+str(c["reason"]) for c in s["components"] if c["name"]==sys.argv[1]), "none"))' "$1"; }
message() { tk8s status --output json | python3 -c 'import json,sys; s=json.load(sys.stdin); print(next(c["message"] for c in s["components"] if c["name"]==sys.argv[1]))' "$1"; }
# How much of what staging said counts.
heard() { tk8s status --output json | python3 -c 'import json,sys; print(json.load(sys.stdin)["evidence"]["heard"])'; }
revision() { tk8s status --output json | python3 -c 'import json,sys; r=json.load(sys.stdin)["revision"]; print(r["tag"]["name"] if r and r.get("tag") else "none")'; }
table() { tk8s status | sed -n '/^LAYER/,$p'; }

step "Three clusters, one Git server, one repository"
for cluster in "${clusters[@]}"; do
    begin_cluster "$cluster"
    passed "$cluster: a control plane and a simulated node of its own"
done
start_git_server
make_secrets
platform pause:3.9 hello
push -S -m "first release"
staging_file
run_agent staging
people_and_staging="approvals: {technical-lead: 1, security-officer: 1}, evidence: {keys: [$(at staging tk8s evidence --key)], healthyFor: 3s}"
for cluster in prod-eu prod-us; do production_file "$cluster" "$people_and_staging"; run_agent "$cluster"; done
passed "an agent in each follows the same directory of the same repository; production believes the key of staging's agent"

step "v1.0.0 runs in staging; production waits for people"
release v1.0.0
until_is "registry.k8s.io/pause:3.9 1 hello staging" at staging runs
until_is Healthy at staging state_of web
for cluster in prod-eu prod-us; do
    until_is "security-officer technical-lead" at "$cluster" missing v1.0.0
    at "$cluster" is_empty
done
passed "staging runs what was pushed; nothing of it is in prod-eu or prod-us"
at prod-eu tk8s status | grep '^v1.0.0' | sed 's/^/    /'

step "Two people say yes for prod-eu, and it waits for staging's word"
at prod-eu both_approve v1.0.0 prod-eu
until_is "Pending EvidenceMissing" at prod-eu about namespaces
at prod-eu is_empty
passed "approved, and nothing of it is applied: nobody has said that it ran well"
at prod-eu message namespaces | fold -s -w 110 | sed 's/^/    /'

step "Staging's signed word is carried there by Git"
until_is "registry.k8s.io/pause:3.9 2 hello prod-eu" carried staging at prod-eu runs
until_is Healthy at prod-eu state_of web
passed "prod-eu runs v1.0.0"
until_is 3 at prod-us heard
[ "$(at prod-us missing v1.0.0)" = "security-officer technical-lead" ] || fail "prod-us lacks a yes of: $(at prod-us missing v1.0.0)"
at prod-us is_empty
passed "prod-us has heard the same word, and nobody has said yes for it: nothing is applied"
at prod-us tk8s status | grep -E '^(v1.0.0|refused)' | sed 's/^/    /'

step "Then they say yes for prod-us too"
before="$(at prod-eu writes)"
at prod-us both_approve v1.0.0 prod-eu,prod-us --again
until_is "registry.k8s.io/pause:3.9 2 hello prod-us" at prod-us runs
until_is Healthy at prod-us state_of web
at prod-eu unwritten_since "$before"
passed "prod-us runs v1.0.0; in prod-eu nothing was written"

step "What doesn't get healthy in staging reaches no production (it is given eight seconds)"
platform pause:3.10 "good morning" "nodeSelector: {no-such: node}, " 8s
push -S -m "web for a node that is not there, and a better greeting"
release v1.1.0
at prod-eu both_approve v1.1.0 'prod-*'
until_is "Failed NotHealthyInTime" at staging about web
until_is "good morning" carried staging at prod-eu field configmap shop settings .data.greeting
until_is "good morning" carried staging at prod-us field configmap shop settings .data.greeting
for cluster in prod-eu prod-us; do
    until_is v1.1.0 at "$cluster" revision
    until_is "Pending EvidenceMissing" at "$cluster" about web
    until_is "registry.k8s.io/pause:3.9 2 good morning $cluster" at "$cluster" runs
done
passed "everybody said yes for prod-*; config ran well in staging and came, web did not and stays at v1.0.0"
show at prod-eu table

step "One agent is stopped: it holds nobody back, and catches up"
stop "${agents[prod-us]}"
platform pause:3.10 "good morning"
push -S -m "web for any node"
release v1.2.0
at prod-eu both_approve v1.2.0 'prod-*'
until_is "registry.k8s.io/pause:3.10 1 good morning staging" at staging runs
until_is "registry.k8s.io/pause:3.10 2 good morning prod-eu" carried staging at prod-eu runs
until_is Healthy at prod-eu state_of web
[ "$(at prod-us runs)" = "registry.k8s.io/pause:3.9 2 good morning prod-us" ] || fail "prod-us has changed without its agent: $(at prod-us runs)"
passed "v1.2.0 runs in staging and prod-eu; in prod-us v1.0.0 of web runs on, without an agent"
run_agent prod-us
until_is "registry.k8s.io/pause:3.10 2 good morning prod-us" at prod-us runs
until_is Healthy at prod-us state_of web
passed "its agent is back, and has caught up by itself"

step "A rollback in prod-eu leaves prod-us alone"
before="$(at prod-us writes)"
show at prod-eu tk8s rollback web --reason "slow in Europe only"
until_is "registry.k8s.io/pause:3.9 2 good morning prod-eu" at prod-eu runs
until_is Held at prod-eu state_of web
[ "$(at prod-us runs)" = "registry.k8s.io/pause:3.10 2 good morning prod-us" ] || fail "prod-us has changed: $(at prod-us runs)"
[ "$(at prod-us state_of web)" = Healthy ] || fail "prod-us says that web is $(at prod-us state_of web)"
at prod-us unwritten_since "$before"
passed "prod-eu is held at v1.0.0 of web, prod-us runs v1.2.0 and was not written to"

step "prod-us is lost, and staging is away: a new cluster of that name gets what it has to run"
stop "${agents[staging]}"
stop "${agents[prod-us]}"
lose_cluster prod-us
begin_cluster prod-us
production_file prod-us "$people_and_staging"
run_agent prod-us
until_is "registry.k8s.io/pause:3.10 2 good morning prod-us" at prod-us runs
until_is Healthy at prod-us state_of web
passed "what staging saw and what people said is in Git: v1.2.0 runs, and nobody was asked again"
run_agent staging

step "Without people: prod-us takes in what ran well in prod-eu"
production_file prod-us "evidence: {environment: production, keys: [$(at prod-eu tk8s evidence --key)], healthyFor: 3s}"
platform pause:3.10.1 "good evening"
push -S -m "web: a newer image, and a later greeting"
release v1.3.0
at prod-eu both_approve v1.3.0 prod-eu
until_is "registry.k8s.io/pause:3.10.1 1 good evening staging" at staging runs
until_is "registry.k8s.io/pause:3.10.1 2 good evening prod-eu" carried staging at prod-eu runs
until_is Healthy at prod-eu state_of web
passed "prod-eu runs v1.3.0, which is neither what was rolled back there nor what it was held at"
until_is v1.3.0 at prod-us revision
for component in config web; do until_is "Pending EvidenceMissing" at prod-us about "$component"; done
[ "$(at prod-us runs)" = "registry.k8s.io/pause:3.10 2 good morning prod-us" ] || fail "prod-us did not wait for prod-eu: $(at prod-us runs)"
passed "prod-us asks nobody else, and staging's word is not enough for it"
until_is "registry.k8s.io/pause:3.10.1 2 good evening prod-us" carried prod-eu at prod-us runs
until_is Healthy at prod-us state_of web
passed "prod-eu's word was carried: prod-us runs v1.3.0"
for cluster in "${clusters[@]}"; do
    until_is 3 at "$cluster" eval 'kube -n tk8s-system get components -o name | wc -l'
    printf '    %s:\n' "$cluster"
    at "$cluster" kube -n tk8s-system get components | sed 's/^/      /'
done

the_end
if [ -n "${KEEP:-}" ]; then
    echo "Look around:"
    for cluster in "${clusters[@]}"; do
        printf '  KUBECONFIG=%s TK8S_SERVER=%s TK8S_TOKEN_FILE=%s %s status\n' "$room/$cluster/kubeconfig" "$(at "$cluster" address)" "$room/token" "$agent"
    done
    printf 'The repository: %s. Ctrl-C ends it all.\n' "$room/work"
    while :; do sleep 1; done
fi
