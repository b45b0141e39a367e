#!/usr/bin/env python3
"""The worst that one could do to the daemon while the quickstart's show runs.

    attack_test.py [--keep FOLDER]

The show's daemon, services and load (deploy/show), a thousand messages a second, and one attack
after another: rubbish on its ports, NaN and garbage rows, kill -9, the disk of its store full; with
the disk full the new service breaks, and users have to be back on the old one all the same. After
each attack: the daemon
answers, users are where its journal allows, the rollout goes on; a second rollout then has its
clock moved and its route row deleted. Each attack is one case and says in a line what happened. Programs by CANARYD and CANARYCTL, else from build/. Needs root (a small
file system for the store) and cc (a clock that can be moved), else those attacks are skipped.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import preload

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "deploy" / "show"))
# pylint: disable=wrong-import-position
from world import ShowFailed, World, http_request, own_umask, stop_on_signals, until  # noqa: E402

PROGRAMS = Path(os.environ.get("CANARYD", ROOT / "build" / "canaryd")).parent
NAME = "webhook-v2"

CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
static long moved(void) { /* seconds, by the file's present text */
    long by = 0;
    FILE* file = fopen(getenv("MOVED_CLOCK"), "r");
    if (file) { if (fscanf(file, "%ld", &by) != 1) by = 0; fclose(file); }
    return by;
}
int clock_gettime(clockid_t which, struct timespec* out) {
    static int (*real)(clockid_t, struct timespec*);
    if (!real) real = (int (*)(clockid_t, struct timespec*))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, out);
    if (result == 0 && which == CLOCK_REALTIME) out->tv_sec += moved();
    return result;
}
int gettimeofday(struct timeval* out, void* zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t* out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out) *out = now.tv_sec;
    return now.tv_sec;
}
"""


class Skipped(Exception):
    """Why an attack cannot be made here."""


def need(fact, words):
    if not fact:
        raise ShowFailed(words)


class Battlefield(World):
    """The show's world; the store has a small disk of its own and the clock can be moved."""

    def __init__(self, folder):
        super().__init__(PROGRAMS, folder, keep=False)
        self.state = self.folder / "state"
        self.state.mkdir()
        self.small_disk = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=24m,mode=700", "canaryd-attack", self.state],
            check=False, stderr=subprocess.DEVNULL).returncode == 0
        self.socket = self.state / "canaryd.sock"
        self.clock = self.folder / "clock"
        self.clock.write_text("0")
        self.library = preload.made(self.folder, "clock", CLOCK)

    def close(self):
        self.stop_all()
        if self.small_disk:
            subprocess.run(["umount", "-l", self.state], check=False)

    def policy_of(self, baseline, canary):
        # Steps that last long enough to be attacked.
        return (super().policy_of(baseline, canary).replace("max_step: 60s", "max_step: 1h")
                .replace("weight: 10%, bake: 10s", "weight: 10%, bake: 40s")
                .replace("weight: 50%, bake: 10s", "weight: 50%, bake: 10m"))

    def start_daemon(self):
        (self.folder / "canaryd.yaml").write_text(self.settings())
        self.run_daemon()

    def run_daemon(self):
        command = [self.programs / "canaryd", "--config", self.folder / "canaryd.yaml",
                   "--state-dir", self.state]
        if self.library:
            command = ["env", f"LD_PRELOAD={self.library}", f"MOVED_CLOCK={self.clock}", *command]
        self.start("canaryd", command)
        until("canaryd is ready", 30, lambda: self.answers("/readyz"))

    def answers(self, path="/healthz"):
        self.check_alive()
        return http_request(self.daemon_port, "GET", path)[0] == 200

    def weight(self):
        """What users get: basis points by the route row; 0 without one."""
        rows = self.rows("route.db", "select weight from canaryd_route where name = ?", NAME)
        return rows[0][0] if rows else 0

    def ordered(self):
        return self.view(NAME)["desired"] * 100

    def execute(self, file, statement, *values):
        with contextlib.closing(sqlite3.connect(self.folder / file, timeout=10)) as database:
            with database:
                database.execute(statement, values)

    def watched(self, seconds, allowed):
        """Users were never above `allowed` in these seconds; the daemon lives throughout."""
        end = time.monotonic() + seconds
        highest = 0
        while time.monotonic() < end:
            self.check_alive()
            with contextlib.suppress(sqlite3.Error):
                highest = max(highest, self.weight())
            need(highest <= allowed, f"{highest} of 10000 users on {NAME}, {allowed} were allowed")
            time.sleep(0.1)
        return highest

    def looks_go_on(self):
        before = self.view(NAME)["canary"]["requests"]
        until("looks go on", 30, lambda: self.view(NAME)["canary"]["requests"] > before)


def rubbish_on_its_ports(world):
    """Bytes of no protocol, heads without end, half requests, three hundred connections at once."""
    dice = random.Random(7)
    held = []
    for target in ("tcp", "unix"):
        for number in range(150):
            one = socket.socket(socket.AF_INET if target == "tcp" else socket.AF_UNIX)
            one.settimeout(2)
            with contextlib.suppress(OSError):
                one.connect(("127.0.0.1", world.daemon_port) if target == "tcp" else str(world.socket))
                one.sendall([dice.randbytes(4096), b"GET / HTTP/1.1\r\nA: " + b"a" * 200_000,
                             b"POST /api/v1/rollouts/webhook-v2/rollback HTTP/1.1\r\nContent-Le",
                             b"GET /status HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
                             b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + dice.randbytes(300),
                             ][number % 5])
            held.append(one)
    until("it answers beside them", 30, world.answers)
    for one in held:
        one.close()
    need(world.ordered() == 1000, "rubbish moved users")
    world.looks_go_on()
    return "300 connections of rubbish: it answered beside them, nobody moved"


def garbage_rows(world):
    """Rows that no application should write, a few hundred of them, beside the true ones."""
    now = time.time_ns() // 1_000_000
    rows = []
    for odd in ("NaN", float("inf"), -1e308, -5, "", b"\x00\xff", None, 2**62, "1e999"):
        for service in (NAME, "webhook-v1"):
            rows += [(service, "u", "rides", now, odd, odd, "success", None, now),
                     (service, odd, odd, now, now, 5, "success", "x" * 100_000, now),
                     (service, "u", "\u202e\n;drop table", now, now, 5, "\x1b[2J", None, now),
                     (service, "u", "jobs", now + 10**9, now, 5, "success", None, now + 10**9)]
    refused = 0
    for _ in range(5):
        for row in rows:
            try:
                world.execute("metrics.db", "insert into webhook_metrics (webhook_name, user_id,"
                              " agent_type, started_at, completed_at, duration_ms, status,"
                              " error_message, created_at) values (?,?,?,?,?,?,?,?,?)", *row)
            except (sqlite3.Error, OverflowError):
                refused += 1
    weight = world.watched(8, 1000)
    view = world.view(NAME)
    said = view["reason"]
    need(view["status"] not in ("rolled_back",), f"garbage rolled back: {said}")
    return (f"{5 * len(rows) - refused} garbage rows ({refused} refused by SQLite): {view['status']},"
            f" users at {weight / 100:g} %: {said}")


def kill_nine(world):
    """Ten times, the next start at once."""
    before = world.view(NAME)
    dice = random.Random(11)
    for _ in range(10):
        time.sleep(dice.uniform(0.1, 1.5))
        child = world.children.pop("canaryd")
        child.send_signal(signal.SIGKILL)
        child.wait()
        world.run_daemon()
        need(world.weight() <= 1000, "a start raised users")
    after = world.view(NAME)
    need(after["step"] == before["step"], "the step is another one")
    need(after["bake"]["seen_s"] >= before["bake"]["seen_s"], "bake was lost")
    world.looks_go_on()
    return f"10 x kill -9: same step, bake {before['bake']['seen_s']:.0f}s -> {after['bake']['seen_s']:.0f}s"


def route_row_deleted(world):
    """By hand, three times; without a row everybody is on the old service."""
    began = time.monotonic()
    for _ in range(3):
        world.execute("route.db", "delete from canaryd_route where name = ?", NAME)
        world.watched(3, 1000)
    until("users are where the journal says", 60, lambda: world.weight() in (0, world.ordered())
          and world.view(NAME)["applied"] == world.view(NAME)["desired"])
    view = world.view(NAME)
    return (f"route row deleted 3 x: {time.monotonic() - began:.0f} s later {view['status']}, ordered"
            f" {view['desired']:g} %, users at {world.weight() / 100:g} %: {view['reason']}")


def clock_moved(world):
    """Two hours forward, two back, two days forward, home; a raise has to be earned by time that passed."""
    if not world.library:
        raise Skipped("cc is needed")
    before = world.view(NAME)
    for hours in (2, -2, 0, 48, 0):
        world.clock.write_text(str(hours * 3600))
        world.watched(4, 1000)
    after = world.view(NAME)
    # 20 seconds passed and looks before the first jump were still to come.
    need(after["bake"]["seen_s"] <= before["bake"]["seen_s"] + 25,
         f"bake {before['bake']['seen_s']} -> {after['bake']['seen_s']}: hours were believed")
    return (f"clock +2 h, -2 h, +48 h, home: {after['status']}, bake {before['bake']['seen_s']:.0f}s ->"
            f" {after['bake']['seen_s']:.0f}s: {after['reason']}")


def at_fifty(world):
    """Nothing of that cost it more than time."""
    until("50 %", 240, lambda: world.check_alive() or world.weight() == 5000)
    return "it earned 50 % all the same"


def disk_full(world):
    """The store's disk is full, the new service breaks: users have to be back all the same."""
    if not world.small_disk:
        raise Skipped("a file system of its own needs root")
    ballast = world.state / "ballast"
    with contextlib.suppress(OSError), open(ballast, "wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 4096)
    world.watched(5, 5000)
    refused = world.ctl("pause", NAME, accept=tuple(range(256)))
    broken = time.time()
    http_request(world.ports[NAME], "POST", "/break?agent=rides&every=3")
    until("users are back with the disk full", 60, lambda: world.check_alive() or world.weight() == 0)
    back = time.time() - broken
    page = http_request(world.daemon_port, "GET", "/readyz")
    ballast.unlink()
    until("the rollback is in the journal", 60,
          lambda: world.view(NAME)["status"] == "rolled_back")
    world.watched(3, 0)
    until("people are told", 60, lambda: any("rolled back" in text.lower() and NAME in text
                                             for text in world.slack_texts()))
    return (f"disk full: `pause` said \"{refused.splitlines()[0] if refused else ''}\"; the service"
            f" broke, all users back after {back:.1f} s with the disk still full (readyz {page[0]});"
            " disk freed: journaled, people told")


def verified(world):
    """Every verdict and the chain, from the journal alone."""
    return world.ctl("verify").splitlines()[-1]


def tried_again(world):
    """The service is mended and the same policy started again: the second rollout."""
    http_request(world.ports[NAME], "POST", "/break?agent=rides&every=0")
    if world.view(NAME)["status"] != "rolled_back":  # the attack that does it was not possible here
        world.ctl("rollback", NAME)
        until("everybody is back", 30, lambda: world.weight() == 0)
    world.ctl("start", world.folder / "policies" / f"{NAME}.yaml")
    until("10 %", 30, lambda: world.weight() == 1000)
    return "mended and started again: users at 10 %"


ATTACKS = [rubbish_on_its_ports, garbage_rows, kill_nine, at_fifty, disk_full, verified, tried_again,
           clock_moved, route_row_deleted, verified]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", help="leave the files of the world in this folder")
    options = parser.parse_args()
    own_umask()
    stop_on_signals()
    folder = options.keep or tempfile.mkdtemp(prefix="canaryd-attack-")
    os.makedirs(folder, exist_ok=True)
    world = Battlefield(folder)
    passed = failed = skipped = 0
    try:
        for service in ("webhook-v1", NAME):
            world.start_service(service)
        world.start_slack()
        world.start_load("webhook-v1", NAME)
        world.start_daemon()
        world.ctl("start", world.write_policy("webhook-v1", NAME))
        until("10 %", 30, lambda: world.weight() == 1000)
        for attack in ATTACKS:
            try:
                print(f"{attack.__name__}: {attack(world)}", flush=True)
                passed += 1
            except Skipped as why:
                print(f"skipped: {attack.__name__} ({why})", flush=True)
                skipped += 1
            except (ShowFailed, OSError, sqlite3.Error) as failure:
                print(f"FAILED {attack.__name__}: {failure}", flush=True)
                failed += 1
    finally:
        world.close()
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
