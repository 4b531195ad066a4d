#!/usr/bin/env bash
# Builds an image once more, from a fresh clone in another directory and with nothing that was compiled before, and compares:
# whether an image is of a commit, and of nothing else.
#
#   install/image/again.sh IMAGE [COMMIT]          IMAGE is what build.sh wrote, COMMIT by default HEAD
#
# What was given to build.sh (IMAGE_NAME, IMAGE_SOURCE, IMAGE_BUILDER) has to be given again.
set -euo pipefail
image="$(realpath "${1:?what build.sh wrote}")" commit="${2:-HEAD}"
checkout="$(cd "$(dirname "$0")/../.." && pwd)"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
git clone -q --no-checkout "$checkout" "$work/elsewhere"
git -C "$work/elsewhere" checkout -q --detach "$(git -C "$checkout" rev-parse "$commit")"
CARGO_TARGET_DIR="$work/target" "$work/elsewhere/install/image/build.sh" "$work/image"
if diff -rq "$image" "$work/image"; then echo "the same: $(cat "$image/digest")"; else echo "they differ" >&2; exit 1; fi
