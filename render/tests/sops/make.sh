#!/usr/bin/env bash
# Encrypts the files of `clear/` again, with the upstream program. Needs `sops` and `gpg` in PATH.
set -euo pipefail
cd "$(dirname "$0")"
recipient=$(grep -o 'age1[a-z0-9]*' age-key.txt)
other=$(grep -o 'age1[a-z0-9]*' other-age-key.txt)
rm -rf encrypted decrypted && mkdir encrypted decrypted
export SOPS_DISABLE_VERSION_CHECK=1 SOPS_CONFIG=/dev/null
# encrypt FROM TO OPTION...
encrypt() {
    local from=$1 to=$2
    shift 2
    sops --config /dev/null --encrypt "$@" "clear/$from" >"encrypted/$to"
}
for file in types.yaml several.yaml object.json variables.env token.txt bytes.bin lines.txt values.yaml list.yaml; do
    encrypt "$file" "$file" --age "$recipient"
done
encrypt types.yaml types-mac-only.yaml --age "$recipient" --mac-only-encrypted --encrypted-regex '^(data|spec)$'
encrypt secret.yaml secret.yaml --age "$recipient" --encrypted-regex '^(data|stringData)$'
encrypt several.yaml several-data.yaml --age "$recipient" --encrypted-regex '^data$'
encrypt secret.yaml unencrypted-regex.yaml --age "$recipient" --unencrypted-regex '^(apiVersion|kind|metadata|type)$'
encrypt suffixes.yaml encrypted-suffix.yaml --age "$recipient" --encrypted-suffix _secret
encrypt suffixes.yaml unencrypted-suffix.yaml --age "$recipient" --unencrypted-suffix b
encrypt comments.yaml encrypted-comment.yaml --age "$recipient" --encrypted-comment-regex sealed
encrypt comments.yaml unencrypted-comment.yaml --age "$recipient" --unencrypted-comment-regex open
encrypt secret.yaml two-recipients.yaml --age "$other,$recipient" --encrypted-regex '^stringData$'
encrypt secret.yaml other-recipient.yaml --age "$other" --encrypted-regex '^stringData$'
# Keys that only PGP has, and keys in two groups.
home=$(mktemp -d)
trap 'GNUPGHOME=$home gpgconf --kill all; rm -rf "$home"' EXIT
export GNUPGHOME=$home
gpg --batch --quiet --passphrase '' --quick-generate-key 'test <test@example.com>' rsa2048 encrypt never 2>/dev/null
fingerprint=$(gpg --quiet --list-keys --with-colons | awk -F: '$1 == "fpr" {print $10; exit}')
encrypt secret.yaml pgp.yaml --pgp "$fingerprint" --encrypted-regex '^stringData$'
cat >"$home/.sops.yaml" <<RULES
creation_rules:
  - encrypted_regex: ^stringData$
    shamir_threshold: 2
    key_groups: [{age: [$recipient]}, {age: [$other]}]
RULES
sops --config "$home/.sops.yaml" --encrypt clear/secret.yaml >encrypted/groups.yaml
# What the upstream program itself makes of them.
for file in encrypted/*; do
    case $file in */pgp.yaml | */groups.yaml | */other-recipient.yaml) continue ;; esac
    SOPS_AGE_KEY_FILE=age-key.txt sops --decrypt "$file" >"decrypted/${file#encrypted/}"
done
