#!/usr/bin/env bash
# Installs what the tests need from the distribution, or says which command does.
set -euo pipefail

missing=()
command -v git >/dev/null || missing+=(git)
command -v ssh-keygen >/dev/null || missing+=(openssh-client)
[ -x /usr/sbin/sshd ] || [ -x /usr/local/sbin/sshd ] || missing+=(openssh-server)
command -v cc >/dev/null || missing+=(gcc)
command -v openssl >/dev/null || missing+=(openssl)
# They judge OpenPGP and X.509 signatures beside us.
command -v gpg >/dev/null || missing+=(gnupg)
command -v gpgsm >/dev/null || missing+=(gpgsm)
command -v sqv >/dev/null || missing+=(sqv)
# Some distributions have a Python without most of its library.
python3 -c 'import http.server, json, ssl' 2>/dev/null || missing+=(python3)
# The image is pushed to a registry, and run in a network of its own.
command -v docker-registry >/dev/null || missing+=(docker-registry)
command -v ip >/dev/null || missing+=(iproute2)
# Not the shell's own.
type -P kill >/dev/null || missing+=(procps)
command -v flock >/dev/null || missing+=(util-linux)
# A real node. Who is not root can't run one, and tests without.
if [ "$(id -u)" -eq 0 ]; then
    command -v containerd >/dev/null || missing+=(containerd)
    command -v runc >/dev/null || missing+=(runc)
    [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
    [ -x /bin/busybox ] || missing+=(busybox-static)
fi

[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
    echo "missing: ${missing[*]}; install with: sudo apt-get install ${missing[*]}" >&2
    exit 1
fi
