#!/usr/bin/env bash
# The whole way on a real node: kubelet and containerd run the image that a registry serves and the chart installs. It pulls
# over SSH, applies, repairs, is killed, is upgraded and put back, loses its volume, releases itself, and is taken away again;
# what it deployed runs on through all of it. Everything is in a network, mounts and processes of its own, which end with it.
#
# TK8S_IMAGE is what install/image/build.sh wrote, TK8S_NEXT_IMAGE another one. Exits with 3, and says what is missing, where
# the machine can't run a node.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
agent="${TK8S_AGENT_BIN:?the path of the tk8s-agent program}"
assets="${TK8S_ASSETS:?the directory that tests/cluster/build.sh prints}"
helm="${TK8S_RENDERERS:?the directory that scripts/renderers.sh prints}/helm"
image="${TK8S_IMAGE:?what install/image/build.sh wrote}" next_image="${TK8S_NEXT_IMAGE:?another one}"
# shellcheck source=tests/cluster/control-plane.sh
source "$here/cluster/control-plane.sh"
# shellcheck source=tests/cluster/node.sh
source "$here/cluster/node.sh"
if [ -z "${TK8S_ON_A_NODE:-}" ]; then
    missing="$(missing_for_a_node)"
    [ -z "$missing" ] || { echo "no real node here; missing: $missing"; exit 3; }
    home="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-node-XXXXXX")"
    trap 'remove_control_groups; rm -rf "$home"' EXIT
    trap 'kill "$inside" 2>/dev/null' INT TERM
    TK8S_ON_A_NODE="$home" setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc --propagation private "$0" &
    inside=$!
    while kill -0 "$inside" 2>/dev/null; do wait "$inside" && code=0 || code=$?; done
    exit "$code"
fi
home="$TK8S_ON_A_NODE" room="$TK8S_ON_A_NODE"
# shellcheck source=tests/git-server.sh
source "$here/git-server.sh"
clean_up() {
    local code=$?
    trap - EXIT INT TERM
    if [ "$code" -ne 0 ]; then
        kube -n tk8s-system get pods,pvc,events -o wide 2>/dev/null || true
        kube -n shop get pods -o wide 2>/dev/null || true
        kube -n tk8s-system logs deployment/tk8s-agent --tail 30 2>/dev/null || true
        tail -n 20 "$home"/kubelet.log
    fi
    end_all
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM
export KUBECONFIG="$home/kubeconfig" HELM_CACHE_HOME="$home/helm" HELM_CONFIG_HOME="$home/helm" HELM_DATA_HOME="$home/helm"

began=$EPOCHREALTIME
passed() { awk -v a="$began" -v b="$EPOCHREALTIME" -v what="$*" 'BEGIN { printf "✔ %s (%.1f s)\n", what, b - a }'; began=$EPOCHREALTIME; }
fail() { echo "✘ $*"; exit 1; }
kube() { "$assets/kubectl" --kubeconfig "$home/kubeconfig" "$@"; }
tk8s() { "$agent" "$@" --kubeconfig-token; }
until_is() {
    local wanted="$1" found='' until=$((SECONDS + 90))
    shift
    while [ "$SECONDS" -lt "$until" ]; do
        found="$("$@" 2>/dev/null || true)"
        [ "$found" = "$wanted" ] && return 0
        sleep 0.1
    done
    fail "expected '$wanted', found '$found': $*"
}
# What `status` says of the component: a key of it.
of() { tk8s status --output json | python3 -c 'import json,sys; print(next(str(c.get(sys.argv[2])) for c in json.load(sys.stdin)["components"] if c["name"] == sys.argv[1]))' "$1" "$2"; }
of_web() { of web "$1"; }
# A line of the pods of the workload that are not about to end.
of_pods() { kube -n shop get pods -l app=web -o json | python3 -c "import json,sys
print(*sorted($1 for p in json.load(sys.stdin)['items'] if 'deletionTimestamp' not in p['metadata'] for c in p['status'].get('containerStatuses', [])))"; }
# The images of those that serve.
served() { of_pods "p['spec']['containers'][0]['image'] + ('' if c['ready'] else ', not yet')"; }
# Which they are, and how often each was started: the same while nothing is deployed.
pods_of_web() { of_pods "p['metadata']['uid'] + ':' + str(c['restartCount'])"; }
pod_of_agent() { kube -n tk8s-system get pods -l app.kubernetes.io/name=tk8s-agent --field-selector status.phase=Running -o "jsonpath={.items[0]$1}"; }
ready_with() { kube -n tk8s-system get pods -l app.kubernetes.io/name=tk8s-agent -o 'jsonpath={range .items[*]}{.spec.containers[0].image}:{.status.containerStatuses[0].ready} {end}'; }
# What was written to the workload, by whichever of the agent's names.
writes() { grep -E '"verb":"(patch|create|update|delete)"' "$home/audit.log" | grep -F '"namespace":"shop"' | grep -E '"username":"system:serviceaccount:(tk8s-system|shop):' | grep -vc 'dryRun=All' || true; }
releases() { tk8s history web --output json; }
has_alarm() { tk8s status --output json | grep -q "\"$1\""; }
push() { repo add -A; repo commit -q -m "$1"; repo tag -m "$1" "$1"; repo push -q --tags origin main; }
sshd_port=2222

make_network
api_host=10.96.0.1 api_port=443 TK8S_REAL_NODE=1
start_control_plane
start_node
for version in 1 2; do busybox_image "localhost/shop:$version"; done
passed "a control plane, and a node of kubelet and containerd"

cat >"$home/registry.yaml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $home/registry}}
http: {addr: "127.0.0.1:5000"}
YAML
start registry docker-registry serve "$home/registry.yaml"
wait_for "the registry" "$home/registry.log" bash -c ': </dev/tcp/127.0.0.1/5000'
(cd "$here/../install/image" && GOTOOLCHAIN=local CGO_ENABLED=0 go build -trimpath -o "$home/image" .)
pushed="$("$home/image" push "$image" 127.0.0.1:5000/tk8s-agent:one)" next_pushed="$("$home/image" push "$next_image" 127.0.0.1:5000/tk8s-agent:two)"
passed "a registry has the images ${pushed##*@} and ${next_pushed##*@}"

serve_git 192.0.2.1 "$sshd_port"
for setting in commit.gpgsign tag.gpgsign; do repo config "$setting" true; done

# A platform of one component, as people have them: an account of its own, a namespace that it brings.
shop() { # version
    cat <<YAML
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: web
          image: localhost/shop:$1
          imagePullPolicy: Never
          args: [httpd, -f, -p, "8080", -h, /www]
          readinessProbe: {httpGet: {port: 8080, path: /}, periodSeconds: 1}
YAML
}
mkdir -p "$home/work/web"
cat >"$home/work/tk8s.yaml" <<'YAML'
apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - number: 0
    name: shop
    namespace: shop
    serviceAccount: deployer
    components: [{name: web, path: web}, {name: old, path: old}]
YAML
mkdir "$home/work/old"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: old}\n' >"$home/work/old/map.yaml"
shop 1 >"$home/work/web/web.yaml"
push v1.0.0

# The volume: a directory of the node, which Kubernetes gives to the agent's group.
make_volume() { # name
    mkdir -p "$home/$1"
    kube apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1}
spec:
  capacity: {storage: 5Gi}
  accessModes: [ReadWriteOncePod]
  persistentVolumeReclaimPolicy: Retain
  local: {path: $home/$1}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [real]}]}]}}
YAML
}
values() { # digest
    cat <<YAML
image: {repository: 127.0.0.1:5000/tk8s-agent, digest: "$1"}
config:
  cluster: node
  environment: production
  repository:
    url: ssh://$(id -un)@192.0.2.1:$sshd_port$home/platform.git
    interval: 2s
    auth: {sshKeyFile: /run/tk8s/git/id, knownHostsFile: /run/tk8s/git/known_hosts}
  api: {audiences: [tk8s-agent, "https://kubernetes.default.svc"]}
  installation: {serviceAccount: tk8s-system/tk8s-agent, deployment: tk8s-agent}
signers: |
  apiVersion: agent.tk8s.io/v1alpha1
  kind: Signers
  signers: [{name: alice, roles: [release], keys: ["$(cat "$home/alice.pub")"]}]
YAML
}
values "${pushed##*@}" >"$home/values.yaml"
values "${next_pushed##*@}" >"$home/next.yaml"
kube create namespace tk8s-system >/dev/null
kube label namespace tk8s-system pod-security.kubernetes.io/enforce=restricted >/dev/null
openssl genpkey -algorithm ed25519 -out "$home/identity.pem" 2>/dev/null
openssl rand -hex 32 >"$home/encryption.key"
kube -n tk8s-system create secret generic tk8s-agent-keys --from-file="$home/identity.pem" --from-file="$home/encryption.key" >/dev/null
kube -n tk8s-system create secret generic tk8s-agent-git --from-file=id="$home/deploy" --from-file="$home/known_hosts" >/dev/null
"$agent" rbac "$home/work" --values >"$home/rights.yaml"
kube create namespace shop >/dev/null
make_volume first
"$helm" install tk8s "$here/../install/chart" --namespace tk8s-system --values "$home/values.yaml" --values "$home/rights.yaml" >/dev/null
until_is "127.0.0.1:5000/tk8s-agent@${pushed##*@}:true " ready_with
passed "the chart installed the image from the registry; it is ready under the strictest Pod security and rights made from the platform"

until_is "localhost/shop:1 localhost/shop:1" served
until_is Healthy of_web state
passed "it pulled the signed tag v1.0.0 over SSH; two pods of the release serve"
kube -n tk8s-system exec deployment/tk8s-agent -- tk8s-agent doctor >"$home/doctor.log" || fail "the doctor finds: $(cat "$home/doctor.log")"
passed "the doctor in its pod finds nothing that failed: $(tail -n 1 "$home/doctor.log")"

kube -n shop set image deployment/web web=localhost/shop:2 >/dev/null
until_is "localhost/shop:1" kube -n shop get deployment web -o 'jsonpath={.spec.template.spec.containers[0].image}'
until_is "localhost/shop:1 localhost/shop:1" served
until_is Healthy of_web state
passed "an image that somebody changed by hand was put back"

settled="$(pods_of_web)" written="$(writes)"
pod="$(pod_of_agent .metadata.uid)"
kill -9 "$(pgrep -f '^/[a-z/]*tk8s-agent run')"
until_is 1 pod_of_agent '.status.containerStatuses[0].restartCount'
until_is true pod_of_agent '.status.containerStatuses[0].ready'
until_is Healthy of_web state
[ "$(pod_of_agent .metadata.uid)" = "$pod" ] || fail "it is another pod"
[ "$(pods_of_web)" = "$settled" ] || fail "the pods of the workload are others: $settled, $(pods_of_web)"
[ "$(writes)" = "$written" ] || fail "it wrote to the workload, which nobody had changed"
passed "killed with -9, the kubelet started it again; it wrote nothing, because nothing had changed"

shop 2 >"$home/work/web/web.yaml"
push v1.1.0
until_is "localhost/shop:2 localhost/shop:2" served
until_is Healthy of_web state
kill "$pid_sshd"
tk8s rollback web --reason "the new shop is slow" >/dev/null
until_is "localhost/shop:1 localhost/shop:1" served
until_is Held of_web state
passed "v1.1.0 came, and was rolled back without Git"
start_sshd

settled="$(pods_of_web)" written="$(writes)" known="$(releases)"
changed_nothing() {
    until_is Held of_web state
    [ "$(pods_of_web)" = "$settled" ] || fail "the pods of the workload are others: $settled, $(pods_of_web)"
    [ "$(writes)" = "$written" ] || fail "it wrote to the workload, which nobody had changed"
    [ "$(releases)" = "$known" ] || fail "the history says something else: $known, $(releases)"
    tk8s status | grep -q "the new shop is slow" || fail "the hold is gone: $(tk8s status)"
}
"$helm" upgrade tk8s "$here/../install/chart" --namespace tk8s-system --values "$home/next.yaml" --values "$home/rights.yaml" >/dev/null
until_is "127.0.0.1:5000/tk8s-agent@${next_pushed##*@}:true " ready_with
changed_nothing
passed "the next image took over: history and hold are there, and nothing was written"
"$helm" rollback tk8s 1 --namespace tk8s-system >/dev/null
until_is "127.0.0.1:5000/tk8s-agent@${pushed##*@}:true " ready_with
changed_nothing
passed "and so is it with the image of before"

kube -n tk8s-system scale deployment/tk8s-agent --replicas 0 >/dev/null
until_is "" ready_with
kube -n tk8s-system delete pvc tk8s-agent-history >/dev/null
kube delete pv first >/dev/null
rm -rf "${home:?}/first"
make_volume second
"$helm" upgrade tk8s "$here/../install/chart" --namespace tk8s-system --values "$home/values.yaml" --values "$home/rights.yaml" >/dev/null
kube -n tk8s-system scale deployment/tk8s-agent --replicas 1 >/dev/null
until_is "127.0.0.1:5000/tk8s-agent@${pushed##*@}:true " ready_with
wait_for "the alarm about the volume" "$home/kubelet.log" has_alarm HistoryGap
[ "$(pods_of_web)" = "$settled" ] || fail "the pods of the workload are others: $settled, $(pods_of_web)"
[ "$(served)" = "localhost/shop:1 localhost/shop:1" ] || fail "what was rolled back came back: $(served)"
passed "with its volume lost it says so, leaves what runs, and what was rolled back stays away"
shop 2 | sed 's/replicas: 2/replicas: 1/' >"$home/work/web/web.yaml"
push v1.2.0
until_is "localhost/shop:2" served
until_is Healthy of_web state
passed "the next release, v1.2.0, is deployed as ever"

# Its own Deployment, as the chart has it, with another image: from Git.
cat >>"$home/work/tk8s.yaml" <<'YAML'
  - number: 9
    name: agent
    namespace: tk8s-system
    serviceAccount: upgrader
    components: [{name: agent, path: agent, conflicts: force}]
YAML
mkdir "$home/work/agent"
itself() { # values
    "$helm" template tk8s "$here/../install/chart" --namespace tk8s-system --values "$1" --show-only templates/deployment.yaml >"$home/work/agent/deployment.yaml"
}
itself "$home/next.yaml"
kube -n tk8s-system get configmap tk8s-agent-config -o 'jsonpath={.data.agent\.yaml}' >"$home/agent.yaml"
"$agent" rbac "$home/work" --config "$home/agent.yaml" --values >"$home/rights.yaml"
"$helm" upgrade tk8s "$here/../install/chart" --namespace tk8s-system --values "$home/values.yaml" --values "$home/rights.yaml" >/dev/null
settled="$(pods_of_web)"
# A component that is taken away by the same release waits for all others, and this one for nobody who waits for it.
sed -i 's/, {name: old, path: old}//' "$home/work/tk8s.yaml"
push v1.3.0
until_is "127.0.0.1:5000/tk8s-agent@${next_pushed##*@}:true " ready_with
until_is Healthy of agent state
[ "$(pods_of_web)" = "$settled" ] || fail "the pods of the workload are others: $settled, $(pods_of_web)"
passed "the agent's own Deployment came from Git: the next version was tried, took over, and says that it is healthy"
pod="$(pod_of_agent .metadata.uid)"
sed -i 's|image: .*|image: localhost/shop:1|' "$home/work/agent/deployment.yaml"
push v1.4.0
until_is HookFailed of agent reason
[ "$(pod_of_agent .metadata.uid)" = "$pod" ] || fail "the agent is another one"
[ "$(kube -n tk8s-system get deployment tk8s-agent -o 'jsonpath={.spec.template.spec.containers[0].image}')" = "127.0.0.1:5000/tk8s-agent@${next_pushed##*@}" ] || fail "its Deployment was written"
passed "a version that can't start was tried, and not released: $(of agent message | head -c 150)"

settled="$(pods_of_web)"
"$helm" uninstall tk8s --namespace tk8s-system >/dev/null
until_is "" ready_with
[ "$(pods_of_web)" = "$settled" ] || fail "the pods of the workload are others: $settled, $(pods_of_web)"
kube -n tk8s-system get pvc tk8s-agent-history >/dev/null || fail "the volume is gone"
passed "taken away, it left the workload and its volume"
