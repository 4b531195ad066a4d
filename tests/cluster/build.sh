#!/usr/bin/env bash
# Prints a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubectl, kwok and kwok-stages.yaml.
#
# Looks in KUBEBUILDER_ASSETS, then in the cache, and otherwise builds everything from Go modules: about five minutes on two
# cores, once. The cache's key is a hash of what it is built from.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}"
kubernetes=1.36.3
kwok=0.8.0
roles=(etcd kube-apiserver kube-controller-manager kube-scheduler kubectl)

complete() {
    for program in "${roles[@]}" kwok; do [ -x "$1/$program" ] || return 1; done
    [ -s "$1/kwok-stages.yaml" ]
}

if [ -n "${KUBEBUILDER_ASSETS:-}" ] && complete "$KUBEBUILDER_ASSETS"; then
    echo "$KUBEBUILDER_ASSETS"
    exit 0
fi
command -v go >/dev/null || { echo "Go is needed to build the control plane: https://go.dev/dl, 1.26 or newer" >&2; exit 1; }
key="$({ cat "$here"/go.mod "$here"/go.sum "$here"/main.go "$here"/build.sh; go env GOVERSION GOARCH; } | sha256sum | cut -c1-16)"
target="$cache/cluster/$key"
mkdir -p "$cache/cluster"
exec 9>"$cache/cluster/.lock"
flock 9
if ! complete "$target"; then
    work="$(mktemp -d "$cache/cluster/.build-XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    version="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
    echo "building Kubernetes $kubernetes and etcd from source (about 5 minutes on 2 cores, once)" >&2
    (cd "$here" && GOTOOLCHAIN=local CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $version" -o "$work/tk8s-cluster" .) >&2
    echo "building kwok $kwok (about a minute, once)" >&2
    GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN="$work" go install -trimpath -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@v$kwok" 2>&1 | grep -v downloading >&2 || true
    for role in "${roles[@]}"; do ln -s tk8s-cluster "$work/$role"; done
    stages="$(go env GOMODCACHE)/sigs.k8s.io/kwok@v$kwok/kustomize/stage"
    for stage in node/fast node/heartbeat-with-lease pod/fast; do
        "$work/kubectl" kustomize --load-restrictor LoadRestrictionsNone "$stages/$stage"
        echo "---"
    done >"$work/kwok-stages.yaml"
    complete "$work" || { echo "the build is not complete: see above" >&2; exit 1; }
    rm -rf "$target"
    mv "$work" "$target"
    trap - EXIT
fi
echo "$target"
