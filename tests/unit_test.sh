#!/usr/bin/env bash
# The unit files: systemd finds no fault in them, and the service is exposed to little.
#
#   tests/unit_test.sh      prints one line a check, then 'N passed, M failed'
set -u

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/canaryd-unit.XXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# check SENTENCE COMMAND…: what the command says is shown when it fails.
check() {
    local sentence=$1 said
    shift
    if said=$("$@" 2>&1); then
        passed=$((passed + 1))
        echo "ok      $sentence"
    else
        failed=$((failed + 1))
        echo "FAILED  $sentence"
        printf '%s\n' "$said" | sed 's/^/        /'
    fi
}

if ! command -v systemd-analyze >/dev/null; then
    echo "skipped: systemd-analyze is not there (apt-get install systemd)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

# Copies, whose program is one that exists: canaryd need not be installed to read its unit.
for unit in canaryd.service canaryd.socket canaryd-failed.service; do
    sed 's|^ExecStart=/usr/bin/canaryd |ExecStart=/bin/true |' "$root/systemd/$unit" >"$work/$unit"
done

# Only what is said about our units counts: the machine's own are not ours to judge.
verified() {
    local said
    said=$(SYSTEMD_UNIT_PATH="$work:" systemd-analyze verify --man=no "$work/$1" 2>&1) || true
    said=$(printf '%s\n' "$said" | grep -F canaryd)
    [ -z "$said" ] || { printf '%s\n' "$said"; return 1; }
}
exposed_at_most() {
    SYSTEMD_UNIT_PATH="$work:" systemd-analyze security --offline=yes --threshold="$1" \
        --no-pager "$work/canaryd.service"
}
fails() { ! "$@"; }
has() { grep -qxF -- "$2" "$root/systemd/$1"; }
lacks() { ! grep -nE -- "$2" "$root/systemd/$1"; }
is_noticed() {  # a unit with a mistake in it is not clean: the check can fail
    echo "NoSuchDirective=yes" | cat "$work/canaryd.service" - >"$work/canaryd-broken.service"
    fails verified canaryd-broken.service
}

# What deploy/install puts where, into a folder of ours.
installs() {
    local etc=$work/tree/etc
    echo certificate >"$work/server.crt"
    DESTDIR=$work/tree "$root/deploy/install" --postgres "$work/server.crt" &&
        cmp "$root/deploy/postgres.yaml" "$etc/canaryd/canaryd.yaml" &&
        cmp "$root/policies/unified-webhook.yaml" "$etc/canaryd/policies/unified-webhook.yaml" &&
        cmp "$work/server.crt" "$etc/canaryd/database.crt" &&
        [ "$(stat -c %a "$etc/credstore")" = 700 ] && [ -x "$work/tree/usr/bin/canaryd" ]
}
keeps_what_is_there() {
    echo "log_level: debug" >"$work/tree/etc/canaryd/canaryd.yaml"
    DESTDIR=$work/tree "$root/deploy/install" --postgres &&
        grep -qx "log_level: debug" "$work/tree/etc/canaryd/canaryd.yaml"
}
names_its_secrets() {  # each credential of the settings, and no other
    diff <(grep -o 'credential: [a-z_]*' "$root/deploy/postgres.yaml" | cut -d' ' -f2 | sort) \
        <(sed -n 's/^LoadCredential=\([a-z_]*\):.*/\1/p' "$root/deploy/credentials.conf" | sort)
}

check "systemd finds nothing to say about canaryd.service" verified canaryd.service
check "systemd finds nothing to say about canaryd.socket" verified canaryd.socket
check "systemd finds nothing to say about canaryd-failed.service" verified canaryd-failed.service
check "a mistake in the unit would be found" is_noticed
check "the exposure is at most 1.2" exposed_at_most 12
check "a tighter limit would fail" fails exposed_at_most 5

check "canaryd is restarted whatever ends it" has canaryd.service "Restart=always"
check "and for ever" has canaryd.service "StartLimitIntervalSec=0"
check "but not when its settings are wrong" has canaryd.service "RestartPreventExitStatus=78"
check "which is then said" has canaryd.service "OnFailure=canaryd-failed.service"
check "a daemon that hangs is ended" has canaryd.service "WatchdogSec=30s"
check "a stopped daemon leaves the command socket's folder alone" \
    lacks canaryd.service '^RuntimeDirectory='
check "operators keep their names on the socket" lacks canaryd.service '^PrivateUsers='
socket_of() { sed -n 's/^ListenStream=//p' "$root/systemd/canaryd.socket"; }
same_socket() { grep -F "\"$(socket_of)\"" "$root/include/canaryd/settings.hpp"; }
check "the socket unit listens where the daemon and canaryctl look by default" same_socket

users_made() {
    mkdir -p "$work/users/etc" || return 1
    systemd-sysusers --root="$work/users" "$root/systemd/canaryd.sysusers" || return 1
    grep -q '^canaryd:' "$work/users/etc/passwd" &&
        grep -q '^canaryd-operators:.*:canaryd$' "$work/users/etc/group"
}
check "deploy/install puts programs, settings, policy and certificate in their places" installs
check "and a file that is there stays as it is" keeps_what_is_there
check "its drop-in names every secret of the settings" names_its_secrets
if [ "$(id -u)" = 0 ]; then
    check "the user and the operators' group are made, and the user is a member" users_made
else
    echo "skipped: making users needs root"
fi

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
