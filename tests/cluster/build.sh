#!/usr/bin/env bash
# Prints a directory with etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kubectl, kwok and
# kwok-stages.yaml.
#
# Each program is looked for in KUBEBUILDER_ASSETS, then on PATH, then in the cache; what is missing is built from Go modules:
# about five minutes on two cores, once. The cache's key is a hash of what it is built from. Programs that are too old for the
# tests (etcd 3.4 can't say how far a watch is, for example) are passed over, and it is said which.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
cache="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}"
kubernetes=1.36.3
kwok=0.8.0
roles=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl)

# Whether the first version is at least the second.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# Whether a program that was found is new enough.
fits() {
    local program="$1" found needed
    case "$(basename "$program")" in
        etcd) needed=3.5.0 found="$("$program" --version 2>/dev/null | sed -n 's/^etcd Version: //p')" ;;
        kwok) needed=0.6.0 found="$("$program" --version 2>/dev/null | grep -oE '[0-9]+\.[0-9]+\.[0-9]+' | head -n 1)" ;;
        kubectl) needed=1.33.0 found="$("$program" version --client 2>/dev/null | sed -n 's/^Client Version: v//p')" ;;
        *) needed=1.33.0 found="$("$program" --version 2>/dev/null | sed -n 's/^Kubernetes v//p')" ;;
    esac
    at_least "${found:-0}" "$needed" && return 0
    echo "passing over $program: it is version ${found:-unknown}, $needed is needed" >&2
    return 1
}

# A program that is there already, if there is one that fits.
given() {
    local candidate
    for candidate in "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}" "$(command -v "$1" || true)"; do
        if [ -n "$candidate" ] && [ -x "$candidate" ] && fits "$candidate"; then
            realpath -s "$candidate"
            return 0
        fi
    done
    return 1
}

complete() {
    local program
    for program in "${roles[@]}" kwok; do [ -x "$1/$program" ] || return 1; done
    [ -s "$1/kwok-stages.yaml" ]
}

mkdir -p "$cache/cluster"
declare -A found=()
for program in "${roles[@]}" kwok; do
    if place="$(given "$program")"; then found[$program]="$place"; fi
done
command -v go >/dev/null || { echo "Go is needed to build the control plane: https://go.dev/dl, 1.26 or newer" >&2; exit 1; }
key="$({
    cat "$here"/go.mod "$here"/go.sum "$here"/main.go "$here"/build.sh
    go env GOVERSION GOARCH
    for program in "${!found[@]}"; do echo "${found[$program]} $(stat -Lc '%s %Y' "${found[$program]}")"; done | sort
} | sha256sum | cut -c1-16)"
target="$cache/cluster/$key"
exec 9>"$cache/cluster/.lock"
flock 9
if ! complete "$target"; then
    work="$(mktemp -d "$cache/cluster/.build-XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    missing=()
    for role in "${roles[@]}"; do
        if [ -n "${found[$role]:-}" ]; then ln -s "${found[$role]}" "$work/$role"; else missing+=("$role"); fi
    done
    if [ ${#missing[@]} -gt 0 ]; then
        version="-X k8s.io/component-base/version.gitVersion=v$kubernetes -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36"
        echo "building Kubernetes $kubernetes and etcd from source (about 5 minutes on 2 cores, once)" >&2
        (cd "$here" && GOTOOLCHAIN=local CGO_ENABLED=0 go build -trimpath -ldflags "-s -w $version" -o "$work/tk8s-cluster" .) >&2
        for role in "${missing[@]}"; do ln -s tk8s-cluster "$work/$role"; done
    fi
    if [ -n "${found[kwok]:-}" ]; then
        ln -s "${found[kwok]}" "$work/kwok"
        (cd "$work" && GOTOOLCHAIN=local go mod download "sigs.k8s.io/kwok@v$kwok") >&2
    else
        echo "building kwok $kwok (about a minute, once)" >&2
        GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN="$work" go install -trimpath -ldflags "-s -w" "sigs.k8s.io/kwok/cmd/kwok@v$kwok" 2>&1 | grep -v downloading >&2 || true
    fi
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
