#!/usr/bin/env bash
# Prints a directory with the upstream programs that render: kustomize and helm, built from their Go modules.
#
# Once, about three minutes on two cores. The cache's key is a hash of this file and of the Go that builds. Each module is
# compared with the checksum that stands here; the go.sum inside it pins everything else.
set -euo pipefail
cache="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}"
kustomize_version=v5.8.1
kustomize_sum="h1:Pgsg5psubpVEy7Nf6S89PARg5VmmWUC1l9dC6Dl4PG0="
helm_version=v4.3.1
helm_sum="h1:UndCoLe9UPmNoL7IvWzaUXveL7T5t/ijoorEmgJdI9g="

complete() { [ -x "$1/kustomize" ] && [ -x "$1/helm" ]; }

if [ -n "${TK8S_RENDERERS:-}" ] && complete "$TK8S_RENDERERS"; then
    echo "$TK8S_RENDERERS"
    exit 0
fi
command -v go >/dev/null || { echo "Go is needed to build kustomize and helm: https://go.dev/dl, 1.26 or newer" >&2; exit 1; }
key="$({ cat "${BASH_SOURCE[0]}"; go env GOVERSION GOARCH; } | sha256sum | cut -c1-16)"
target="$cache/renderers/$key"
mkdir -p "$cache/renderers"
exec 9>"$cache/renderers/.lock"
flock 9
if ! complete "$target"; then
    work="$(mktemp -d "$cache/renderers/.build-XXXXXX")"
    trap 'rm -rf "$work"' EXIT
    export GOTOOLCHAIN=local CGO_ENABLED=0 GOBIN="$work"
    build() { # module, package in it, version, checksum, linker flags
        echo "building $1 $3 from source (once)" >&2
        found="$(go mod download -json "$1@$3" | sed -n 's/^\t"Sum": "\(.*\)",$/\1/p')"
        [ "$found" = "$4" ] || { echo "$1@$3 has the checksum $found, and not $4" >&2; exit 1; }
        (cd "$work" && go install -trimpath -ldflags "-s -w $5" "$1$2@$3") >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
    }
    build sigs.k8s.io/kustomize/kustomize/v5 "" "$kustomize_version" "$kustomize_sum" \
        "-X sigs.k8s.io/kustomize/api/provenance.version=$kustomize_version"
    build helm.sh/helm/v4 /cmd/helm "$helm_version" "$helm_sum" "-X helm.sh/helm/v4/internal/version.version=$helm_version"
    rm -f "$work/log"
    complete "$work" || { echo "the build is not complete: see above" >&2; exit 1; }
    rm -rf "$target"
    mv "$work" "$target"
    trap - EXIT
fi
echo "$target"
