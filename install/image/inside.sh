#!/usr/bin/env bash
# Runs the image's program as a container would: the image's files and no others, read-only, as the image's user, without any
# right and without a way to get one. What a container runtime mounts besides is mounted: /proc, devices, scratch on /tmp, and
# the volumes that are named.
#
#   install/image/inside.sh IMAGE ROOM [HOST:INSIDE...] -- [ARGUMENT...]
#
# IMAGE is what build.sh wrote, ROOM an empty directory for its files. Without arguments, the image's own command. Needs root.
# What it does not have of a runtime: the seccomp profile and the cgroup.
set -euo pipefail
image="$1" room="$2"
shift 2
if [ -z "${TK8S_INSIDE:-}" ]; then
    TK8S_INSIDE=1 exec unshare --mount --pid --fork --kill-child --propagation private "$0" "$image" "$room" "$@"
fi
volumes=()
while [ "$#" -gt 0 ] && [ "$1" != -- ]; do volumes+=("$1") && shift; done
shift

# The layers' files, and of the configuration a word a line: the user, how many variables, they, the command.
mapfile -t told < <(python3 - "$image/layout" "$@" <<'PY'
import json, os, sys
layout, arguments = sys.argv[1], sys.argv[2:]
blob = lambda digest: os.path.join(layout, "blobs", *digest.split(":"))
read = lambda path: json.load(open(path))
manifest = read(blob(read(os.path.join(layout, "index.json"))["manifests"][0]["digest"]))
config = read(blob(manifest["config"]["digest"]))["config"]
lists = [[blob(layer["digest"]) for layer in manifest["layers"]], config["Env"], config["Entrypoint"] + (arguments or config["Cmd"])]
print(config["User"], *[word for words in lists for word in [len(words), *words]], sep="\n")
PY
)
user="${told[0]}"
layers=("${told[@]:2:${told[1]}}")
rest=("${told[@]:2+${told[1]}}")
variables=("${rest[@]:1:${rest[0]}}")
command=("${rest[@]:2+${rest[0]}}")

root="$room/root"
mkdir -p "$root"
for layer in "${layers[@]}"; do tar --extract --gzip --same-owner --same-permissions --file "$layer" --directory "$root"; done
mount --bind "$root" "$root"
mkdir -p "$root/proc" "$root/dev"
mount -t proc proc "$root/proc"
# Some of those that every runtime brings.
for device in null zero full random urandom; do volumes+=("/dev/$device:/dev/$device"); done
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
for volume in "${volumes[@]}"; do
    host="${volume%%:*}" inside="$root${volume#*:}"
    if [ -d "$host" ]; then mkdir -p "$inside"; else mkdir -p "$(dirname "$inside")" && : >>"$inside"; fi
    mount --bind "$host" "$inside"
done
mount -o remount,ro,bind "$root"
exec setpriv --no-new-privs env -i "${variables[@]}" "$(command -v chroot)" --userspec="$user" --groups="${user#*:}" "$root" "${command[@]}"
