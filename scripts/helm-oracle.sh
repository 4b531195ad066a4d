#!/usr/bin/env bash
# Compares what tk8s-agent makes of charts with what Helm's SDK makes of them (helm-python-sdk from PyPI). Needs Python 3.10
# and the network once. Not in CI: the package is 85 MB of a binary that nobody here built, run with our rights.
set -euo pipefail
cd "$(dirname "$0")/.."
agent="${1:?usage: scripts/helm-oracle.sh PATH-OF-TK8S-AGENT}"
version=0.2.2
digest=28cc13abaf134c3a7e37f070c939be8d9cdc9825c3c8b8b2d35161073bcd4578
cache="${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent/helm-python-sdk-$version"
if [ ! -x "$cache/bin/python" ]; then
    python3 -m venv "$cache.new"
    echo "helm-python-sdk==$version --hash=sha256:$digest" >"$cache.new/requirements.txt"
    "$cache.new/bin/pip" install --quiet --no-deps --require-hashes --only-binary :all: -r "$cache.new/requirements.txt"
    mv "$cache.new" "$cache"
fi
# Helm must not find a cluster or settings of the person who runs this.
home="$(mktemp -d)"
trap 'rm -rf "$home"' EXIT
PATH="$("scripts/renderers.sh"):$PATH" HOME="$home" KUBECONFIG="$home/none" "$cache/bin/python" tests/oracles/helm_sdk.py "$agent"
