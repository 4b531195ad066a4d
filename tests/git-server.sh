# A repository that sshd serves, and Alice's clone of it, who signs. To be sourced after control-plane.sh; needs `room`, an empty
# directory of the caller's.
# shellcheck shell=bash

export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null GIT_AUTHOR_NAME=Alice GIT_AUTHOR_EMAIL=alice@example.com GIT_COMMITTER_NAME=Alice GIT_COMMITTER_EMAIL=alice@example.com
repo() { git -C "$room/work" "$@"; }
make_key() { ssh-keygen -q -t ed25519 -N '' -C "$1@example.com" -f "$room/$1"; }
start_sshd() { start sshd "$(command -v sshd || echo /usr/sbin/sshd)" -D -e -f "$room/sshd_config"; }
serve_git() { # address port
    local key setting
    for key in alice host deploy; do make_key "$key"; done
    cat >"$room/sshd_config" <<CONF
Port $2
ListenAddress $1
HostKey $room/host
AuthorizedKeysFile $room/deploy.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
AcceptEnv GIT_PROTOCOL
CONF
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    start_sshd
    echo "[$1]:$2 $(cat "$room/host.pub")" >"$room/known_hosts"
    git init -q --bare -b main "$room/platform.git"
    git init -q -b main "$room/work"
    repo remote add origin "$room/platform.git"
    for setting in gpg.format=ssh "user.signingkey=$room/alice" "gpg.ssh.allowedSignersFile=/dev/null"; do repo config "${setting%%=*}" "${setting#*=}"; done
}
