#!/usr/bin/env bash
# Pushes an image, and signs it and the two papers that belong to it with cosign. Prints its name with its digest.
#
#   install/image/publish.sh IMAGE NAME:TAG [FLAG-OF-COSIGN...]
#
# IMAGE is what build.sh wrote. The flags say with what is signed: `--key FILE`, or nothing for cosign's keyless way. Who may
# push is read from ~/.docker/config.json.
set -euo pipefail
image="$(realpath "${1:?what build.sh wrote}")" name="${2:?the name with a tag}"
shift 2
here="$(cd "$(dirname "$0")" && pwd)"
cosign="$("$here/../../scripts/cosign.sh")/cosign"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
(cd "$here" && GOTOOLCHAIN=local CGO_ENABLED=0 go build -trimpath -o "$work/image" .)
pushed="$("$work/image" push "$image" "$name")"
# Of the digest, never of the tag: a tag may be another image a moment later.
"$cosign" sign --yes "$@" "$pushed" >&2
"$cosign" attest --yes "$@" --type cyclonedx --predicate "$image/bill.cdx.json" "$pushed" >&2
"$cosign" attest --yes "$@" --type slsaprovenance1 --predicate "$image/predicate.json" "$pushed" >&2
echo "$pushed"
