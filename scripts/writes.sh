#!/usr/bin/env bash
# Only `deploy` writes to managed objects: no other crate may send a patch, a deletion or a creation. `diff` makes the
# request of an apply, which it sends as a dry-run; `agent/src/lease.rs` and `agent/src/anchor/store.rs` write the agent's own
# Lease and its own ConfigMap.
set -euo pipefail
cd "$(dirname "$0")/.."
found="$(grep -rnE 'Request::(delete|put|post|patch)|Patch::|DeleteParams|PatchParams|\.replace\(&self\.name|\.create\(&PostParams' --include='*.rs' */src \
    | grep -vE '^deploy/|^diff/src/cluster\.rs:.*Request::patch|^agent/src/(lease|anchor/store)\.rs|^tests/' || true)"
if [ -n "$found" ]; then
    echo "writes outside of deploy:" >&2
    echo "$found" >&2
    exit 1
fi
# Every write of deploy passes the fence.
if grep -rnE 'exchange(_until)?\(' --include='*.rs' deploy/src; then
    echo "a request of deploy that does not ask whether this process may still write" >&2
    exit 1
fi
# Every apply that diff sends is a dry-run: the request of one that is none is made for `deploy` only.
if grep -rnE 'apply_request\(|ownership_request\(' --include='*.rs' */src | grep -vE '^deploy/|^tests/|^diff/src/cluster\.rs:' ; then
    echo "an apply that is no dry-run outside of deploy" >&2
    exit 1
fi
