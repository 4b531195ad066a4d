#!/usr/bin/env bash
# Checks licences, sources and bans of every dependency with cargo-deny, and advisories if their database is at hand.
set -euo pipefail

tools="${TK8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tk8s-agent}/tools"
export PATH="$tools/bin:$PATH"
if ! cargo deny --version >/dev/null 2>&1; then
    echo "building cargo-deny, once, into $tools" >&2
    CARGO_TARGET_DIR="$tools/target" cargo install --quiet --locked --root "$tools" cargo-deny
    rm -rf "$tools/target"
fi
cargo deny --all-features check bans licenses sources
if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*" >/dev/null; then
    cargo deny --all-features check --disable-fetch advisories
fi
