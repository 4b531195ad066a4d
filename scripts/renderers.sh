#!/usr/bin/env bash
# Prints a directory with the upstream programs that render: kustomize and helm, built from their Go modules.
#
# Once, about three minutes on two cores. With GOARCH they are built for another machine.
set -euo pipefail
# shellcheck source=scripts/gomodule.sh
source "$(dirname "$0")/gomodule.sh"
kustomize_version=v5.8.1
kustomize_sum="h1:Pgsg5psubpVEy7Nf6S89PARg5VmmWUC1l9dC6Dl4PG0="
helm_version=v4.3.1
helm_sum="h1:UndCoLe9UPmNoL7IvWzaUXveL7T5t/ijoorEmgJdI9g="

build_programs() {
    build sigs.k8s.io/kustomize/kustomize/v5 "" "$kustomize_version" "$kustomize_sum" \
        "-X sigs.k8s.io/kustomize/api/provenance.version=$kustomize_version"
    build helm.sh/helm/v4 /cmd/helm "$helm_version" "$helm_sum" "-X helm.sh/helm/v4/internal/version.version=$helm_version"
}

if [ -n "${TK8S_RENDERERS:-}" ] && complete "$TK8S_RENDERERS" kustomize helm; then
    echo "$TK8S_RENDERERS"
    exit 0
fi
programs renderers "$0" kustomize helm
