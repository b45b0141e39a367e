#!/usr/bin/env bash
# Both commands of the README in an empty Debian 12, with nothing but a fresh clone of this
# checkout's last commit; again, which has to build nothing; then both without network, as an ordinary
# user, from another folder. There the show is left running, asked for its status and ended by what
# it has printed.
#
# Needs root and debootstrap, else it is skipped. The empty system and the downloaded packages are
# cached in ${XDG_CACHE_HOME:-~/.cache}/canaryd-tests; everything else is gone afterwards.
set -uo pipefail

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/canaryd-tests
suite=bookworm
passed=0 failed=0

skip() {
    echo "skipped: fresh ($1)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}
fail_all() {
    echo "$1" >&2
    echo "0 passed, 1 failed"
    exit 1
}

[ "$(id -u)" = 0 ] || skip "needs root"
for tool in debootstrap unshare git zstd; do
    command -v "$tool" >/dev/null || skip "needs $tool"
done
unshare --mount --pid --fork true 2>/dev/null || skip "needs the right to make namespaces"
git -C "$root" rev-parse --verify -q HEAD >/dev/null || skip "needs a git checkout with a commit"

# This machine's own view of the Debian archive: "URI SUITE", one a line.
archives() {
    # shellcheck disable=SC2016
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$suite" '$3 == "main" && index($2, suite) == 1 { print $1, $2 }' | sort -u
}
[ -n "$(archives)" ] || apt-get -q=2 update || true
mirror=$(archives | awk -v suite="$suite" '$2 == suite { print $1; exit }')
[ -n "$mirror" ] || fail_all "apt knows no $suite: apt-get update failed?"
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [ -n "${proxy:-}" ]; then export http_proxy=$proxy; fi

mkdir -p "$cache/debs/partial"
base=$cache/$suite-minbase.tar.zst
system=$(mktemp -d "${TMPDIR:-/tmp}/canaryd-fresh.XXXX")
# Mounts live in a namespace of their own and end with it, so that this removes files only.
chmod 755 "$system"
trap 'rm -rf --one-file-system "$system"' EXIT

if [ ! -e "$base" ]; then
    echo "debootstrap $suite, once"
    debootstrap --variant=minbase "$suite" "$system" "$mirror" >"$system.log" 2>&1 ||
        { tail -n 20 "$system.log" >&2; rm -f "$system.log"; fail_all "debootstrap failed"; }
    rm -f "$system.log" "$system"/var/cache/apt/archives/*.deb
    tar -C "$system" --numeric-owner -cf - . | zstd -q -T0 -3 -f -o "$base.new" &&
        mv "$base.new" "$base"
else
    tar -C "$system" --numeric-owner -xf "$base" || fail_all "$base is damaged: remove it"
fi

archives | while read -r uri release; do
    echo "deb $uri $release main"
done >"$system/etc/apt/sources.list"
apt-config dump | grep -iE '^Acquire::(http|https)::(.*::)?Proxy' >"$system/etc/apt/apt.conf.d/00proxy"
cp -L /etc/resolv.conf /etc/hosts "$system/etc/" 2>/dev/null
if grep -q https: "$system/etc/apt/sources.list" && [ -d /etc/ssl/certs ]; then
    mkdir -p "$system/etc/ssl" && cp -rL /etc/ssl/certs "$system/etc/ssl/"
fi
git clone -q --no-hardlinks "$root" "$system/srv/canaryd" || fail_all "git clone failed"

# Runs the command as process 1 of a namespace of its own, in which nothing may be left.
cat >"$system/srv/inside" <<'SCRIPT'
#!/bin/bash
bash -c "$1"
status=$?
for entry in /proc/[0-9]*; do
    [ "$entry" = "/proc/$$" ] && continue
    echo "still running: $(tr '\0' ' ' <"$entry/cmdline")"
    status=1
done
exit $status
SCRIPT

# Runs the command as an ordinary user where there is no network but the loopback's.
cat >"$system/srv/offline" <<'SCRIPT'
#!/bin/bash
python3 -c 'if True:
    import fcntl, socket, struct
    set_flags, is_up = 0x8914, 1
    fcntl.ioctl(socket.socket(), set_flags, struct.pack("16sh22x", b"lo", is_up))' || exit
exec setpriv --reuid 12345 --regid 12345 --clear-groups "$@"
SCRIPT

# The show with --keep, on the build that is there; then what it printed is done as printed.
cat >"$system/srv/kept" <<'SCRIPT'
#!/bin/bash
set -euo pipefail
said=$(mktemp)
/srv/canaryd/deploy/quickstart --keep --no-install | tee "$said"
address=$(sed -nE 's/^ *curl (http:[^ ]+)$/\1/p' "$said")
stop=$(sed -nE 's/^ *To end it: +([^ ]+)$/\1/p' "$said")
rm "$said"
python3 -c 'import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=10).read().decode())' "$address" | grep webhook-v3
"$stop"
for pid in $(sed -n 's/^kill //p' "$stop"); do
    for ((tenths = 0; tenths < 200; ++tenths)); do
        [ -e "/proc/$pid" ] || continue 2
        sleep 0.1
    done
done
SCRIPT
chmod 755 "$system/srv/offline" "$system/srv/kept"

# inside NAME COMMAND: one case.
inside() {
    local name=$1 command=$2 status began=$SECONDS
    echo "==== $name: $command"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child --propagation private bash -c '
        set -e
        mount --rbind /dev "$1/dev"
        mount -t proc proc "$1/proc"
        mount --bind "$2" "$1/var/cache/apt/archives"
        exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin TERM=dumb CI=true \
            ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
            bash /srv/inside "$3"
    ' _ "$system" "$cache/debs" "$command" </dev/null
    status=$?
    if [ "$status" = 0 ]; then
        passed=$((passed + 1))
    else
        echo "==== $name failed: exit status $status"
        failed=$((failed + 1))
    fi
    echo "==== $name took $((SECONDS - began)) s"
}

inside quickstart "cd / && /srv/canaryd/deploy/quickstart"
inside tests "cd /srv/canaryd && ./tests/run"
inside second-run "cd /srv/canaryd && ./tests/run vectors && grep -q 'no work to do' build/build.log"
chown -R 12345:12345 "$system/srv/canaryd"
inside offline-user "cd /tmp && unshare --net /srv/offline \
    /srv/canaryd/tests/run vectors rollout schema"
inside offline-show "cd /tmp && unshare --net /srv/offline /srv/kept"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
