#!/usr/bin/env bash
# Only `deploy` writes to managed objects: no other crate may send a patch, a deletion or a creation. `diff` makes the
# request of an apply, which it sends as a dry-run. In `agent` four places write what is the agent's own and of no release:
# `lease.rs` its Lease, `anchor/store.rs` its ConfigMap, `endpoint/published.rs` its certificate, and `report/` what it tells
# of itself. `identity.rs` and `api/access/reviews.rs` post questions, and `cli/reach/token.rs` asks for a token, as whoever
# runs the command: of these nothing is kept. `doctor/rights.rs` asks what is allowed, and `doctor/running.rs` calls the agent's own
# webhook.
set -euo pipefail
cd "$(dirname "$0")/.."
found="$(grep -rnE 'Request::(delete|put|post|patch)|Patch::|DeleteParams|PatchParams|PostParams|\.replace\(&self\.name' --include='*.rs' */src \
    | grep -vE '^deploy/|^diff/src/cluster\.rs:.*Request::patch|^agent/src/(lease|identity|anchor/store|endpoint/published|api/access/reviews|cli/reach/token|doctor/rights|doctor/running|report/(write|definition))\.rs|^tests/' || true)"
if [ -n "$found" ]; then
    echo "writes outside of deploy:" >&2
    echo "$found" >&2
    exit 1
fi
# Every write of deploy passes the fence; what looks for causes only reads.
if grep -rnE 'exchange(_until)?\(' --include='*.rs' deploy/src | grep -v '^deploy/src/cause\.rs:' \
    || grep -nE 'Request::(delete|put|post|patch)|Method::' deploy/src/cause.rs; then
    echo "a request of deploy that does not ask whether this process may still write" >&2
    exit 1
fi
# Every apply that diff sends is a dry-run: the request of one that is none is made for `deploy` only.
if grep -rnE 'apply_request\(|ownership_request\(' --include='*.rs' */src | grep -vE '^deploy/|^tests/|^diff/src/cluster\.rs:' ; then
    echo "an apply that is no dry-run outside of deploy" >&2
    exit 1
fi
# What asks about callers asks nothing else, nor does what asks for a token.
apis="$(grep -noE '(kube::)?Api::?<[^>]*>' agent/src/api/access/reviews.rs agent/src/cli/reach/token.rs | grep -vE '<(TokenReview|SubjectAccessReview|Account)>' || true)"
if [ -n "$apis" ]; then
    echo "more than a question about a caller:" >&2
    echo "$apis" >&2
    exit 1
fi
apis="$(grep -nE 'create\(&' agent/src/doctor/*.rs | grep -vE '(SelfSubjectAccessReview|SubjectAccessReview)\|' || true)"
if [ -n "$apis" ]; then
    echo "the doctor writes something:" >&2
    echo "$apis" >&2
    exit 1
fi
# And what tells of the agent writes nothing else: definitions of its own resource, that resource, and Events.
apis="$(grep -rnoE 'kube::Api<[^>]*>|kube::Api::[a-z_]+' agent/src/report | grep -vE 'CustomResourceDefinition|DynamicObject|events_v1::Event|Api::all$|Api::namespaced(_with)?$' || true)"
if [ -n "$apis" ]; then
    echo "the report writes more than it may:" >&2
    echo "$apis" >&2
    exit 1
fi
