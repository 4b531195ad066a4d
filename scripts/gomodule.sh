# Builds programs from Go modules, once each, into the cache. To be sourced.
#
# Each module is compared with the checksum that the caller states; the go.sum inside it pins everything else.
# shellcheck shell=bash
cache="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}"

# Prints a directory of the cache with these programs. They are built by `build_programs`, which the caller defines and which
# calls `build`. The directory's key is a hash of the caller's file, this one and the Go that builds, and for which machine.
programs() { # directory in the cache, the caller's file, program...
    local kind="$1" script="$2" key target
    shift 2
    command -v go >/dev/null || { echo "Go is needed to build $*: https://go.dev/dl, 1.26 or newer" >&2; return 1; }
    key="$({ cat "$script" "${BASH_SOURCE[0]}"; go env GOVERSION GOARCH; } | sha256sum | cut -c1-16)"
    target="$cache/$kind/$key"
    mkdir -p "$cache/$kind"
    exec 9>"$cache/$kind/.lock"
    flock 9
    if ! complete "$target" "$@"; then
        work="$(mktemp -d "$cache/$kind/.build-XXXXXX")"
        trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
        build_programs
        # Those for another machine are in a directory below it.
        find "$work/go/bin" -type f -exec mv {} "$work" \;
        rm -rf "$work/log" "$work/go"
        complete "$work" "$@" || { echo "the build is not complete: see above" >&2; return 1; }
        rm -rf "$target"
        mv "$work" "$target"
        trap - EXIT
    fi
    echo "$target"
}

# Whether a directory has all these programs.
complete() { # directory, program...
    local directory="$1" program
    shift
    for program in "$@"; do [ -x "$directory/$program" ] || return 1; done
}

build() { # module, package in it, version, checksum, linker flags
    local found
    echo "building $1 $3 from source (once)" >&2
    found="$(go mod download -json "$1@$3" | sed -n 's/^\t"Sum": "\(.*\)",$/\1/p')"
    [ "$found" = "$4" ] || { echo "$1@$3 has the checksum $found, and not $4" >&2; return 1; }
    # A GOPATH of its own and not GOBIN, which refuses programs for another machine.
    (cd "$work" && GOMODCACHE="$(go env GOMODCACHE)" GOPATH="$work/go" GOBIN='' GOTOOLCHAIN=local CGO_ENABLED=0 \
        go install -trimpath -ldflags "-s -w $5" "$1$2@$3") >"$work/log" 2>&1 || { cat "$work/log" >&2; return 1; }
}
