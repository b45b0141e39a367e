#!/usr/bin/env bash
# The unit under a real systemd: a Debian 12 that boots, is killed, hangs, and boots again.
#
#   tests/boot_test.sh      prints one line a check, then 'N passed, M failed'
#
# Needs root, systemd-nspawn and debootstrap, else it is skipped. No D-Bus, no machined and no KVM on
# this machine are needed, and PID 1 need not be systemd. The empty system is cached in
# ${XDG_CACHE_HOME:-~/.cache}/canaryd-tests. Binaries by CANARYD and CANARYCTL, else from build/.
set -u

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
canaryd=${CANARYD:-$root/build/canaryd}
canaryctl=${CANARYCTL:-$root/build/canaryctl}
suite=bookworm
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/canaryd-tests
base=$cache/boot-$suite
export PYTHONDONTWRITEBYTECODE=1

# --- the machine's own process, in a mount namespace of its own: see boot() -----------------------

# keep_running FOLDER NAME: systemd-nspawn until it ends by itself; its mounts end with it.
keep_running() {
    local folder=$1 name=$2 group=/sys/fs/cgroup/$2 status=133
    mount -t cgroup2 none /sys/fs/cgroup || exit 1 # also where the machine has version 1
    mkdir -p "$group" && echo $BASHPID >"$group/cgroup.procs" || exit 1
    mkdir -p /run/systemd && mount -t tmpfs -o mode=755 none /run/systemd || exit 1
    # With --keep-unit, 133 is "the machine wants to boot again". The two options for BPF let the
    # device policy be real.
    while [ "$status" = 133 ]; do
        systemd-nspawn --quiet --directory="$folder/tree" --machine="$name" --boot \
            --register=no --keep-unit --private-network --resolv-conf=off --timezone=off \
            --link-journal=no --console=pipe --capability=CAP_BPF --system-call-filter=bpf \
            systemd.log_target=journal systemd.show_status=no
        status=$?
    done
    echo $BASHPID >/sys/fs/cgroup/cgroup.procs
    find "$group" -depth -type d -exec rmdir {} \; 2>/dev/null
    exit "$status"
}
if [ "${1:-}" = --keep-running ]; then
    keep_running "$2" "$3"
fi

# --- what is needed --------------------------------------------------------------------------------

skip() {
    echo "skipped: boot ($1)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
}
give_up() {
    echo "$1" >&2
    echo "${passed:-0} passed, $((${failed:-0} + 1)) failed"
    exit 1
}
[ "$(id -u)" = 0 ] || skip "needs root"
for tool in systemd-nspawn debootstrap unshare nsenter pgrep setsid; do
    command -v "$tool" >/dev/null || skip "needs $tool"
done
unshare --mount --propagation private sh -c 'mount -t cgroup2 none /sys/fs/cgroup' 2>/dev/null ||
    skip "needs the right to mount cgroup2"
for program in "$canaryd" "$canaryctl"; do
    [ -x "$program" ] || give_up "$program is not built"
done

# --- the empty system, made once -------------------------------------------------------------------

make_base() {
    [ -e "$base/etc/os-release" ] && return
    local mirror proxy=
    # shellcheck disable=SC2016
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' | awk -v s="$suite" '$2 == s && $3 == "main" { print $1; exit }')
    [ -n "$mirror" ] || give_up "apt knows no $suite: run apt-get update"
    eval "$(apt-config shell proxy Acquire::http::Proxy)"
    if [ -n "$proxy" ]; then export http_proxy=$proxy; fi
    echo "debootstrap $suite, once; its output: $cache/boot-$suite.log"
    mkdir -p "$cache" && rm -rf --one-file-system "$base.new"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,python3 \
        "$suite" "$base.new" "$mirror" >"$cache/boot-$suite.log" 2>&1 ||
        give_up "debootstrap failed: $(tail -n 3 "$cache/boot-$suite.log")"
    rm -rf "$base.new"/var/cache/apt/archives/*.deb "$base.new"/var/lib/apt/lists/*
    mv "$base.new" "$base"
}

work=$(mktemp -d "${TMPDIR:-/tmp}/canaryd-boot.XXXX")
tree=$work/tree
machine=canaryd-boot-$$
keeper=
passed=0
failed=0

# --- the machine -----------------------------------------------------------------------------------

# PID 1 of the machine, as seen from here.
leader() {
    local nspawn
    nspawn=$(pgrep -P "$keeper" -x systemd-nspawn) && pgrep -P "$nspawn" -o -x systemd
}
# inside COMMAND…: runs it in the machine, as root.
inside() {
    local pid
    pid=$(leader) && [ -n "$pid" ] || return 1
    nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
        env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 "$@"
}
is_up() {
    local state
    state=$(inside systemctl is-system-running 2>/dev/null)
    [ "$state" = running ] || [ "$state" = degraded ]
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# within SECONDS COMMAND…: true once the command is.
within() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}
boot() {
    setsid unshare --mount --propagation private "$BASH" "${BASH_SOURCE[0]}" --keep-running \
        "$work" "$machine" </dev/null >>"$work/console.log" 2>&1 &
    keeper=$!
    within 60 is_up || give_up "the machine does not boot; see $work/console.log"
}
power_cut() {
    kill -9 "$(leader)"
    within 30 gone "$keeper"
    wait "$keeper" 2>/dev/null
}
clean_up() {
    local pid
    if [ -n "$keeper" ] && ! gone "$keeper"; then
        pid=$(leader) && kill -9 "$pid"
        within 30 gone "$keeper" || kill -9 "$keeper"
    fi
    if [ "$failed" = 0 ] && [ "$passed" -gt 0 ]; then
        rm -rf --one-file-system "$work"
        return
    fi
    journalctl --directory="$tree/var/log/journal" --no-pager -o short-precise \
        >"$work/journal.txt" 2>/dev/null
    rm -rf --one-file-system "$tree"
    echo "console and journal of the machine: $work"
}
trap clean_up EXIT

# --- checks ----------------------------------------------------------------------------------------

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
        printf '%s\n' "$said" | tail -n 15 | sed 's/^/        /'
    fi
}
fails() { ! "$@"; }
as() { inside setpriv --reuid="$1" --regid="$1" --init-groups -- "${@:2}"; }
ctl() { as alice canaryctl "$@"; }

# A value of the rollout's JSON, by its path: value step index
value() {
    inside python3 -c '
import json, sys, urllib.request
view = json.load(urllib.request.urlopen("http://127.0.0.1:9810/api/v1/rollouts/demo", timeout=5))
for key in sys.argv[1:]:
    view = view[key] if view is not None else None
print(json.dumps(view))' "$@"
}
# The route row as applications read it, in basis points.
route() {
    inside python3 -c '
import sqlite3
route = sqlite3.connect("file:/srv/webhooks/route/route.db?mode=ro", uri=True, timeout=5)
print(route.execute("select weight from canaryd_route where name = \"demo\"").fetchone()[0])'
}
is() { [ "$("${@:2}" 2>/dev/null)" = "$1" ] || { echo "not $1 but: $("${@:2}" 2>&1)"; return 1; }; }
unit() { inside systemctl show --property="$1" --value "${2:-canaryd.service}"; }
is_active() { is active inside systemctl is-active canaryd.service; }
# Another process than PID, READY and with its rollout.
restarted() { [ "$(unit MainPID)" != "$1" ] && is_active && value revision >/dev/null 2>&1; }
in_journal() { inside journalctl --no-pager -o cat "$@" | grep -q .; }
is_said() { inside journalctl --no-pager -u canaryd -b -o cat | grep -qF -- "$1"; }
# carried_on STEP BAKE REVISION: where it was, and not behind.
carried_on() {
    local step bake revision
    step=$(value step index) bake=$(value bake seen_s) revision=$(value revision)
    echo "step $step (was $1), bake $bake s (was $2 s), revision $revision (was $3)"
    [ "$step" = "$1" ] && [ "$revision" -ge "$3" ] &&
        awk -v now="$bake" -v was="$2" 'BEGIN { exit !(now >= was) }'
}
is_paused_by_alice() { is '"alice"' value paused by; }
is_not_above_half() {
    local weight
    weight=$(route) && echo "route: $weight" && [ "$weight" -le 5000 ]
}

# --- what is installed -----------------------------------------------------------------------------

# Every library of a program that the empty system lacks.
copy_libraries() {
    local file
    ldd "$1" | awk '$3 ~ /^\// { print $3 }' | while read -r file; do
        [ -e "$tree$file" ] && continue
        mkdir -p "$tree$(dirname "$file")" && cp -L "$file" "$tree$file"
    done
}

install_canaryd() {
    install -m 0755 "$canaryd" "$tree/usr/bin/canaryd"
    install -m 0755 "$canaryctl" "$tree/usr/bin/canaryctl"
    copy_libraries "$canaryd"
    copy_libraries "$canaryctl"
    local unit=$tree/usr/lib/systemd/system
    install -m 0644 "$root"/systemd/canaryd{.service,.socket,-failed.service} "$unit/"
    install -D -m 0644 "$root/systemd/canaryd.sysusers" "$tree/usr/lib/sysusers.d/canaryd.conf"
    install -D -m 0644 "$root/systemd/canaryd.tmpfiles" "$tree/usr/lib/tmpfiles.d/canaryd.conf"
    chroot "$tree" systemd-sysusers canaryd.conf
    chroot "$tree" useradd --system --user-group webhooks
    chroot "$tree" useradd --groups canaryd-operators --user-group alice
    chroot "$tree" useradd --user-group bob
    chroot "$tree" systemctl enable canaryd.service webhooks.service slack.service
}

write_settings() {
    install -d "$tree/etc/canaryd/policies" "$tree/etc/systemd/system/canaryd.service.d"
    install -d -m 0700 "$tree/etc/credstore"
    (umask 077 && echo "http://127.0.0.1:8099/hook-$machine" >"$tree/etc/credstore/slack_webhook")
    # What a site adds. The watchdog is shorter so that the test is.
    cat >"$tree/etc/systemd/system/canaryd.service.d/site.conf" <<'END'
[Service]
LoadCredential=slack_webhook:/etc/credstore/slack_webhook
ReadWritePaths=/srv/webhooks/route
UMask=0022
WatchdogSec=6s
END
    cat >"$tree/etc/canaryd/canaryd.yaml" <<'END'
connections:
  metrics: {kind: sqlite, path: /srv/webhooks/metrics.db}
  route:   {kind: sqlite, path: /srv/webhooks/route/route.db}
  ops:     {kind: slack, webhook: {credential: slack_webhook}}
END
    cat >"$tree/etc/canaryd/policies/demo.yaml" <<'END'
name: demo
canary: new
baseline: old
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps: [{weight: 10%, bake: 3s}, {weight: 50%, bake: 10m}, {weight: 100%, bake: 10m}]
max_step: 1h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{metric: error_rate, below: 2%}]
finish: {soak: 10m}
notify: [{kind: log}, {kind: slack, connection: ops}]
END
}

# The services around it: users of both webhooks, and a Slack.
write_neighbours() {
    local unit=$tree/etc/systemd/system
    install -d "$tree/srv/webhooks" "$tree/opt"
    install -m 0755 "$root/tests/fake_slack.py" "$tree/opt/fake_slack.py"
    cat >"$tree/opt/webhooks.py" <<'END'
import itertools, sqlite3, time

database = sqlite3.connect("/srv/webhooks/metrics.db", isolation_level=None, timeout=10)
database.execute("pragma journal_mode = wal")
database.execute("""create table if not exists webhook_metrics (id integer primary key,
    webhook_name text not null, user_id text, agent_type text, started_at integer not null,
    completed_at integer, duration_ms integer, status text not null, error_message text,
    request_id text, created_at integer not null)""")
database.execute("create index if not exists by_time on webhook_metrics (webhook_name, created_at)")
for turn in itertools.count():
    now = time.time_ns() // 1_000_000
    rows = [(name, f"user-{(turn * 20 + i) % 997}", now - 5, now, 5, "success", now)
            for i in range(20) for name in ("new", "old")]
    database.execute("begin")
    database.executemany("insert into webhook_metrics (webhook_name, user_id, started_at,"
                         " completed_at, duration_ms, status, created_at)"
                         " values (?, ?, ?, ?, ?, ?, ?)", rows)
    database.execute("commit")
    time.sleep(0.05)
END
    cat >"$unit/webhooks.service" <<'END'
[Service]
User=webhooks
ExecStart=/usr/bin/python3 /opt/webhooks.py
Restart=always
RestartSec=1s
[Install]
WantedBy=multi-user.target
END
    cat >"$unit/slack.service" <<'END'
[Service]
DynamicUser=yes
StateDirectory=slack
ExecStart=/usr/bin/python3 /opt/fake_slack.py --port 8099 --log /var/lib/slack/payloads
[Install]
WantedBy=multi-user.target
END
}

install_all() {
    cp -a --reflink=auto "$base" "$tree" || give_up "no room for $tree"
    rm -f "$tree"/etc/{hostname,resolv.conf} "$tree/var/lib/dbus/machine-id"
    : >"$tree/etc/machine-id"       # an id of its own at the first boot
    mkdir -p "$tree/var/log/journal" # a journal that outlives the boot
    local name
    for name in console-getty.service getty@.service apt-daily.timer apt-daily-upgrade.timer \
        dpkg-db-backup.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "$tree/etc/systemd/system/$name"
    done
    write_settings
    write_neighbours
    install_canaryd >"$work/install.log" 2>&1 || give_up "cannot install: $(cat "$work/install.log")"
    chroot "$tree" chown webhooks: /srv/webhooks
    chroot "$tree" install -d -o canaryd -g webhooks -m 2755 /srv/webhooks/route
}

# --- the story -------------------------------------------------------------------------------------

echo "the machine's files: $work"
make_base
install_all
boot

check "canaryd says READY at boot" within 20 is_active
check "systemd holds the command socket" is active inside systemctl is-active canaryd.socket
check "the socket belongs to the operators" \
    is "660 canaryd canaryd-operators" inside stat -c '%a %U %G' /run/canaryd/canaryd.sock
check "who is no operator gives no command" fails as bob canaryctl start demo
check "an operator starts a rollout" within 20 ctl start demo
check "metrics that canaryd may only read take it to its next step" \
    within 60 is 1 value step index
check "users are on it" within 20 is 5000 route
slack_heard() { inside grep -qF -- "$1" /var/lib/slack/payloads; }
check "the secret was read as a credential: Slack was told" within 30 slack_heard "50 % on new"
secret=hook-$machine
secret_is_nowhere() {
    ! inside journalctl --no-pager -o export | grep -aF -- "$secret" &&
        ! inside grep -raF -- "$secret" /var/lib/canaryd &&
        ! ctl status --json | grep -F -- "$secret"
}
check "and stands in no log, store or status" secret_is_nowhere
check "the journal has each rollout's lines by its name" \
    within 10 in_journal CANARYD_ROLLOUT=demo-1 CANARYD_NOTICE=promoted
check "with syslog's priorities" in_journal -u canaryd CANARYD_ROLLOUT=demo-1 PRIORITY=5

pid=$(unit MainPID) step=$(value step index) bake=$(value bake seen_s) revision=$(value revision)
inside systemctl kill --signal=KILL canaryd.service
check "a command typed while it is down waits and is answered" ctl pause --reason "boot test"
check "kill -9: it is restarted" within 30 restarted "$pid"
check "at the same step with no less bake" carried_on "$step" "$bake" "$revision"
check "the command was carried out, by the name of who gave it" is_paused_by_alice

pid=$(unit MainPID)
inside systemctl kill --signal=KILL canaryd.service
check "kill -9 again: it is restarted" within 30 restarted "$pid"
check "a pause survives it" is_paused_by_alice

pid=$(unit MainPID) bake=$(value bake seen_s) revision=$(value revision)
inside systemctl kill --signal=STOP --kill-whom=main canaryd.service
check "a loop that hangs is ended by the watchdog and starts again" within 60 restarted "$pid"
check "the watchdog says so" within 10 in_journal UNIT=canaryd.service --grep "atchdog timeout"
check "it carries on where it was" carried_on "$step" "$bake" "$revision"
check "and is still paused" is_paused_by_alice

pid=$(unit MainPID)
check "a reload keeps the same process" inside systemctl reload canaryd.service
same_process() { is "$pid" unit MainPID && is_active; }
check "which runs on" same_process
echo "connections: {metrics: {kind: nonsense}}" >"$tree/etc/canaryd/broken.yaml"
inside sh -c 'cd /etc/canaryd && cp -p canaryd.yaml good.yaml && cp broken.yaml canaryd.yaml'
inside systemctl reload canaryd.service
check "a reload of settings with a mistake keeps the old ones and says so" \
    within 10 is_said "configuration kept as it was"
check "and the same process" same_process
inside sh -c 'cd /etc/canaryd && cp -p good.yaml canaryd.yaml'

second_daemon() {
    local status
    as canaryd canaryd --config /etc/canaryd/canaryd.yaml
    status=$?
    echo "exit status $status"
    [ "$status" = 75 ]
}
check "a second daemon on the same store says who has it and exits 75" second_daemon

bake=$(value bake seen_s) revision=$(value revision)
before=$(leader)
inside systemctl reboot
check "the machine reboots" within 60 gone "$before"
within 60 is_up || give_up "the machine does not come back; see $work/console.log"
check "canaryd is there after the reboot" within 30 is_active
check "at the same step with no less bake" carried_on "$step" "$bake" "$revision"
check "still paused" is_paused_by_alice
check "and the weight did not rise" is_not_above_half

power_cut
boot
check "canaryd is there after a power cut" within 30 is_active
check "at the same step with no less bake" carried_on "$step" "$bake" "$revision"
check "still paused" is_paused_by_alice
check "and the weight did not rise" is_not_above_half

check "an operator resumes it" ctl resume --reason "boot test"
more_bake() { awk -v now="$(value bake seen_s)" -v was="$bake" 'BEGIN { exit !(now > was) }'; }
check "and it bakes again" within 30 more_bake

inside systemctl kill --signal=KILL canaryd.service
check "a rollback typed while it is down is carried out" ctl rollback
check "users are back" within 20 is 0 route
check "Slack was told" within 30 slack_heard "ROLLED BACK"

inside systemctl stop canaryd.socket canaryd.service
ended_well() { is success unit Result && is 0 unit ExecMainStatus; }
check "SIGTERM ends it with 0" ended_well
inside cp /etc/canaryd/broken.yaml /etc/canaryd/canaryd.yaml
check "wrong settings end the start" fails inside systemctl start canaryd.service
check "with 78" is 78 unit ExecMainStatus
check "and no restart" is failed inside systemctl is-active canaryd.service
check "and a critical line in the journal" \
    within 10 in_journal -t canaryd PRIORITY=2 --grep "is not restarted"

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
