#!/usr/bin/env bash
# Kills the agent, as `kill -9` would, at every point of the list in core/src/crash.rs, and demands after each that the ledger
# replays to the same view, that every object with our label is in the inventory, and that the next start finishes. A hook
# that was begun, or has ended, is never run twice.
set -euo pipefail
# shellcheck source=tests/story.sh
source "$(dirname "$0")/story.sh"

# Every round changes an object, makes one and drops the one before it.
release() {
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: crash}\ndata: {at: "%s"}\n---\n' always "$1" "only-${1,,}" "$1" >"$home/repo/all.yaml"
    git -C "$home/repo" add -A
    git -C "$home/repo" commit -q -m "$1"
}
whole() {
    "$check" "$home/history" crash tk8s.io/test/crash "$home/identity.pem" "$home/history.key" >"$home/inventory"
    for name in $(kube -n crash get configmap -l agent.tk8s.io/instance=crash -o 'jsonpath={.items[*].metadata.name}'); do
        grep -qx "ConfigMap crash/$name" "$home/inventory" || fail "at $point: $name is in the cluster and not in the inventory"
    done
}

point=start
release start
run_agent
until_is "always=start only-start=start " objects
until_is Healthy state
kill "$pid_agent" && ended
for point in P1 P2 P3 P4 P5 P5:2 P6 P7 P8 P9 P10 P11 P13 P13:2 P13:3; do
    release "${point/:/-}"
    TK8S_CRASH_AT="$point" run_agent
    ended || fail "$point was never passed"
    whole
    run_agent
    until_is "always=${point/:/-} only-$(tr 'A-Z:' 'a-z-' <<<"$point")=${point/:/-} " objects
    until_is Healthy state
    kill "$pid_agent" && ended || fail "the agent did not end after $point"
    whole
    echo "  $point: finished after the kill"
done
point="the end of a release"
release before
run_agent
until_is "always=before only-before=before " objects
until_is Healthy state
before="$(objects)"
release after
until_is "always=after only-after=after " objects
until_is Healthy state
kill -9 "$pid_agent" && ended
# What the killed one remembered may be older than the ledger: a rollback must not believe it.
run_agent
until_is True leads
tk8s rollback platform >/dev/null
until_is "$before" objects
kill "$pid_agent" && ended
whole
echo "  at the end of a release: a rollback after the kill sent what differs"

point="a repository that is away"
run_agent
until_is True leads
tk8s resume platform >/dev/null
until_is Healthy state
until_is "always=after only-after=after " objects
kill "$pid_agent" && ended
release away
TK8S_CRASH_AT=P6 run_agent
ended || fail "P6 was never passed"
mv "$home/repo" "$home/away"
run_agent
until_is "always=away only-away=away " objects
mv "$home/away" "$home/repo"
until_is Healthy state
kill "$pid_agent" && ended
echo "  a repository that is away: finished after the kill, without it"
point=P12
before="$(objects)"
release after
run_agent
until_is Healthy state
until_is "always=after only-after=after " objects
kill "$pid_agent" && ended
TK8S_CRASH_AT=P12 run_agent
until_is Healthy state
tk8s rollback platform >/dev/null 2>&1 || true
ended || fail "P12 was never passed"
whole
run_agent
until_is "$before" objects
until_is Held state
echo "  P12: the rollback was finished after the kill"
kill "$pid_agent" && ended

hooked() {
    printf 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: always, namespace: crash}\ndata: {at: "%s"}\n---\n' "$1" >"$home/repo/all.yaml"
    cat >>"$home/repo/all.yaml" <<YAML
apiVersion: batch/v1
kind: Job
metadata: {name: hook, namespace: crash, annotations: {tk8s.io/hook: before-apply}}
spec: {template: {spec: {restartPolicy: Never, containers: [{name: run, image: "run:1"}]}}}
YAML
    git -C "$home/repo" add -A
    git -C "$home/repo" commit -q -m "$1"
}
hook() { kube -n crash get job hook --ignore-not-found -o 'jsonpath={.metadata.uid}'; }
pods() { kube -n crash get pods -l job-name=hook -o 'jsonpath={.items[*].metadata.uid}'; }
for point in P3 P4 P5 P6 P7 P8 P14; do
    before="$(hook)"
    hooked "hook-$point"
    TK8S_CRASH_AT="$point" run_agent
    ended || fail "$point was never passed"
    whole
    begun="$(hook)"
    run_agent
    until_is "always=hook-$point " objects
    until_is Healthy state
    case "$point" in
    P3 | P4) [ "$(hook)" != "$before" ] || fail "at $point: the hook of the release before was taken for this one's" ;;
    *) [ -n "$begun" ] && [ "$(hook)" = "$begun" ] || fail "at $point: the hook was run twice" ;;
    esac
    [ "$(pods | wc -w)" = 1 ] || fail "at $point: the hook has run as $(pods)"
    kill "$pid_agent" && ended || fail "the agent did not end after $point"
    whole
    [ "$point" != P14 ] || echo "  P14: the hook was not run again after the kill"
done
echo "  in the middle of a hook: the Job that was begun was waited for"
