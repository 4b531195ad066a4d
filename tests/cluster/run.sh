#!/usr/bin/env bash
# Starts a control plane with a simulated node and keeps it until interrupted. The argument is where the kubeconfig goes; a
# second one is where a link to the audit log goes.
set -euo pipefail
here="$(cd "$(dirname "$0")" && pwd)"
assets="${TK8S_ASSETS:?the directory that build.sh prints}"
home="$(mktemp -d "${TMPDIR:-/tmp}/tk8s-cluster-XXXXXX")"
target="$1"
audit="${2:-}"
# shellcheck source=tests/cluster/control-plane.sh
source "$here/control-plane.sh"
trap 'end_all; rm -rf "$home" "$target" ${audit:+"$audit"}' EXIT
trap 'exit 0' INT TERM
start_control_plane
cp "$home/kubeconfig" "$target"
[ -z "$audit" ] || ln -sf "$home/audit.log" "$audit"
echo "the cluster runs: export KUBECONFIG=$(realpath "$target"); Ctrl-C ends it"
while :; do sleep 1; done
