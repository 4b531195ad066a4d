#!/usr/bin/env bash
# Prints a directory with cosign, which signs images and verifies them: built from its Go module, once, about three minutes.
set -euo pipefail
# shellcheck source=scripts/gomodule.sh
source "$(dirname "$0")/gomodule.sh"
cosign_version=v3.1.3
cosign_sum="h1:001JQRI/PJ/5T+g/kJ1KTvKFbb322+fomc+pHDZ/6sg="

build_programs() {
    build github.com/sigstore/cosign/v3 /cmd/cosign "$cosign_version" "$cosign_sum" "-X sigs.k8s.io/release-utils/version.gitVersion=$cosign_version"
}

if [ -n "${TK8S_COSIGN:-}" ] && complete "$TK8S_COSIGN" cosign; then
    echo "$TK8S_COSIGN"
    exit 0
fi
programs cosign "$0" cosign
