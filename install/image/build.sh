#!/usr/bin/env bash
# Builds the image: the agent, kustomize, helm and the certificates of authorities, for one platform, without a daemon.
#
#   install/image/build.sh DIRECTORY [PLATFORM]          PLATFORM: linux/amd64 (default: this machine's) or linux/arm64
#
# DIRECTORY then holds `layout/` (OCI), `image.tar` (the same, for `ctr image import`), `bill.cdx.json`, `provenance.json`
# with its `predicate.json`, and `digest`. The same commit gives the same bytes, in whichever directory it is built.
#
# IMAGE_NAME       the name without a tag, with a registry for one that is to be pushed
# IMAGE_SOURCE     where the source can be read, for labels and provenance
# IMAGE_BUILDER    a URI for whoever builds, for the provenance
# AGENT            a program to take instead of building one, and with it what it needs of this machine
set -euo pipefail
out="$(mkdir -p "${1:?the directory to write}" && cd "$1" && pwd)"
here="$(cd "$(dirname "$0")" && pwd)"
checkout="$(cd "$here/../.." && pwd)"
architecture="$(go env GOARCH)"
platform="${2:-linux/$architecture}"
name="${IMAGE_NAME:-localhost/tk8s-agent}"
cache="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}"
cargo_home="${CARGO_HOME:-$HOME/.cargo}"
target_dir="${CARGO_TARGET_DIR:-$cache/target}"
# What the agent may weigh at most: every node that runs it fetches it.
most=40000000
cd "$checkout"

say() { echo "image: $*" >&2; }
fail() { say "$*"; exit 1; }

# A static program that can be anywhere in memory has 66,000 addresses to be corrected; packed they need 1.5 MB less. Linkers
# of today's distributions can't do that for arm64.
link=()
case "$platform" in
    linux/amd64) triple=x86_64-unknown-linux-gnu linker=x86_64-linux-gnu-gcc link=(-C link-arg=-Wl,-z,pack-relative-relocs) ;;
    linux/arm64) triple=aarch64-unknown-linux-gnu linker=aarch64-linux-gnu-gcc ;;
    *) fail "there is no image for $platform: linux/amd64 or linux/arm64" ;;
esac
[ "$platform" = "linux/$architecture" ] && linker=cc

# What a build for this platform needs and a machine may not have.
check_tools() {
    [ -d "$(rustc --print sysroot)/lib/rustlib/$triple" ] || fail "Rust has no standard library for $triple here: rustup target add $triple"
    command -v "$linker" >/dev/null || fail "$linker is missing, which compiles and links C for $platform: on Debian, apt-get install gcc-${linker%-gcc} libc6-dev-${platform#linux/}-cross"
    [ "$("$linker" -print-file-name=libc.a)" != libc.a ] || fail "$linker has no libc.a, which a static program needs: on Debian, apt-get install libc6-dev"
}

# The agent, static, with the release profile. Alone, because the tests' package would switch on points at which it can be killed.
build_agent() {
    local variable flags="-C target-feature=+crt-static" c_flags=
    # Nothing in the program tells in which directories it was built.
    local place
    for place in "$checkout=/tk8s-agent" "$cargo_home=/cargo" "$target_dir=/target"; do
        flags+=" --remap-path-prefix=$place"
        c_flags+=" -ffile-prefix-map=$place"
    done
    variable="${triple//-/_}"
    [ "$linker" = cc ] || export "CC_$variable=$linker" "CARGO_TARGET_${variable^^}_LINKER=$linker"
    env "CFLAGS_$variable=$c_flags" RUSTFLAGS="$flags" CARGO_INCREMENTAL=0 CARGO_TARGET_DIR="$target_dir" \
        cargo rustc --release --locked --target "$triple" --package tk8s-agent --bin tk8s-agent -- "${link[@]}" >&2
    agent="$target_dir/$triple/release/tk8s-agent"
    [ "$(stat -c %s "$agent")" -le "$most" ] || fail "the agent has $(stat -c %s "$agent") bytes, and may have $most"
    if grep -q TK8S_CRASH_AT "$agent"; then fail "the agent can be killed at a point: it was built with the feature crash-points"; fi
}

# Which commit this is, and which version it is of. What is not committed is in no commit, so it is said.
describe() {
    local package
    package="$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)"
    revision="$(git rev-parse HEAD)"
    epoch="${SOURCE_DATE_EPOCH:-$(git show -s --format=%ct HEAD)}"
    version="$package"
    [ "$(git tag --points-at HEAD --list "v$package")" ] || version="$package-dev.${revision:0:12}"
    [ -z "$(git status --porcelain --untracked-files=no)" ] || { say "there are changes that are not committed"; version+=".dirty"; }
}

agent="${AGENT:-}"
if [ -z "$agent" ]; then
    check_tools
    build_agent
fi
if [ "$platform" = "linux/$architecture" ]; then
    renderers="$(scripts/renderers.sh)"
else
    renderers="$(env -u TK8S_RENDERERS GOARCH="${platform#linux/}" scripts/renderers.sh)"
fi
describe
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cargo tree --locked --package tk8s-agent --edges normal,no-proc-macro --target "$triple" --prefix depth --format '|{p}|{l}|' >"$work/crates"
(cd "$here" && GOTOOLCHAIN=local CGO_ENABLED=0 go build -trimpath -o "$work/image" .)
"$work/image" build -platform "$platform" -name "$name" -version "$version" -revision "$revision" -epoch "$epoch" \
    -source "${IMAGE_SOURCE:-}" -builder "${IMAGE_BUILDER:-https://agent.tk8s.io/image/by-hand}" \
    -agent "$agent" -renderers "$renderers" -crates "$work/crates" -lock Cargo.lock \
    -rust "$(rustc --version | cut -d' ' -f2)" -c "$("$linker" --version | head -n 1)" \
    -libc "$("$linker" -print-file-name=libc.so.6 | xargs strings 2>/dev/null | sed -n 's/^GNU C Library (\(.*\)) .*/\1/p')" -out "$out"
