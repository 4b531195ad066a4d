#!/usr/bin/env bash
# What goes wrong around the agent: a bad platform file, a refused object, a silent API server, a repository that vanishes. The
# cluster keeps what it had, status says what is wrong, other components go on, and what passes is made good by itself.
set -euo pipefail
# shellcheck source=tests/story.sh
source "$(dirname "$0")/story.sh"

commit() { git -C "$home/repo" add -A; git -C "$home/repo" commit -q -m "$1"; }
map() { mkdir -p "$home/repo/$1"; printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: crash}\ndata: {at: "%s"}\n' "$1" "$2" >"$home/repo/$1/all.yaml"; }
at() { kube -n crash get configmap "$1" -o 'jsonpath={.data.at}'; }
said() { tk8s status --output json | python3 -c 'import json,sys
s=json.load(sys.stdin); name=sys.argv[1]
print((s["problem"] or {}).get("reason", "none") if name == "git" else next((c["state"]+" "+c["message"] for c in s["components"] if c["name"]==name), "none"))' "$1"; }
until_says() {
    local name="$1" words="$2" found=
    for _ in $(seq 400); do
        found="$(said "$name" 2>/dev/null || true)"
        [[ "$found" == *"$words"* ]] && return 0
        sleep 0.05
    done
    fail "at $point: $name was expected to say '$words' and said '$found'"
}

point="the start"
map one first
map two first
cat >"$home/repo/tk8s.yaml" <<'YAML'
apiVersion: tk8s.io/v1alpha1
kind: Platform
layers:
  - number: 0
    name: substrate
    components: [{name: one, path: one}, {name: two, path: two}]
YAML
commit start
run_agent
until_is first at one
until_is first at two

for fault in 's/path: two/pathh: two/' 's/name: two,/name: two, dependsOn: [two],/'; do
    point="a bad platform file"
    cp "$home/repo/tk8s.yaml" "$home/good.yaml"
    sed -i "$fault" "$home/repo/tk8s.yaml"
    map one unwanted
    commit bad
    until_says git PlatformRefused
    [ "$(at one)" = first ] || fail "a refused revision was applied"
    cp "$home/good.yaml" "$home/repo/tk8s.yaml"
    map one first
    commit good
    until_says git none
done
echo "  a bad platform file: nothing applied"

point="a missing directory"
mv "$home/repo/two" "$home/repo/elsewhere"
map one second
commit "two is gone"
until_is second at one
until_says two "does not exist"
[ "$(at two)" = first ] || fail "a component without its directory lost its objects"
mv "$home/repo/elsewhere" "$home/repo/two"
echo "  a missing directory: the other component went on"

point="a refused object (422)"
map one third
printf 'apiVersion: v1\nkind: Service\nmetadata: {name: two, namespace: crash}\nspec: {ports: [{port: 99999}]}\n---\n' >"$home/repo/two/service.yaml"
map two unwanted
commit "an invalid service"
until_is third at one
until_says two Invalid
[ "$(at two)" = first ] || fail "a part of a refused component was applied"
rm "$home/repo/two/service.yaml"
map two second
commit "without it"
until_is second at two
echo "  a refused object: nothing of its component was applied"

point="a contested field (409)"
kube -n crash create configmap three --from-literal=at=theirs --field-manager=somebody >/dev/null
map three ours
sed -i 's/{name: two, path: two}/{name: two, path: two}, {name: three, path: three}/' "$home/repo/tk8s.yaml"
commit "three is somebody's"
until_says three "somebody"
[ "$(at three)" = theirs ] || fail "somebody's field was taken"
echo "  a contested field: denied, with its manager's name"

point="a namespace that is not there (404)"
mkdir -p "$home/repo/four"
printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: four, namespace: later}\ndata: {at: "here"}\n' >"$home/repo/four/all.yaml"
sed -i 's/{name: two, path: two}/{name: two, path: two}, {name: four, path: four}/' "$home/repo/tk8s.yaml"
commit "four"
until_says four NotFound
kube create namespace later >/dev/null
until_is here kube -n later get configmap four -o 'jsonpath={.data.at}'
echo "  a missing namespace: made good by itself once it was there"

point="an API server that does not answer"
kill -STOP "$pid_kube_apiserver"
map one fourth
commit "while it is silent"
sleep 3
kill -CONT "$pid_kube_apiserver"
until_is fourth at one
echo "  a silent API server: made good by itself"

point="a repository that is gone"
mv "$home/repo" "$home/away"
until_says git MirrorBroken
[ "$(at one)" = fourth ] || fail "something was lost with the repository"
mv "$home/away" "$home/repo"
map one fifth
commit back
until_is fifth at one
echo "  a repository that is gone: nothing lost"
