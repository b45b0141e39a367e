#!/usr/bin/env python3
"""kill -9 at any moment: what was acknowledged is there after the next start.

    crash_test.py [--trials 8] [--seed N]

A rollout with bakes of seconds runs on healthy counts while commands are given one after another.
At a random moment the daemon is killed and started again; now and then killed while it starts.
Then: every acknowledged command, done or refused, is in the journal; revisions have no gap; step
and bake are not below what was seen; a pause stays a pause, a rollback a rollback; the route row
was never above an ordered weight and comes down to it; `canaryctl verify` finds nothing. Each
trial is one case. The last one makes the disk of the store refuse to sync, which is as final as a
kill: nothing is acknowledged and the daemon ends with 74. Binaries by CANARYD and CANARYCTL, else
from build/. That last trial needs cc, else it is skipped.
"""

import argparse
import contextlib
import functools
import hashlib
import http.client
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import preload

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "postgres"))
from server import UnixConnection, free_port  # noqa: E402

CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
NAME = "crash"
WEIGHTS = [10, 50, 100]

SETTINGS = """\
policies: {folder}
listen: 127.0.0.1:{port}
connections:
  metrics: {{kind: sqlite, path: {folder}/metrics.db}}
  route:   {{kind: sqlite, path: {folder}/route.db}}
"""

POLICY = """\
name: crash
canary: new
baseline: old
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps: [{weight: 10%, bake: 2s}, {weight: 50%, bake: 2s}, {weight: 100%, bake: 2s}]
max_step: 1h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{metric: error_rate, below: 1%}]
confirm_without_baseline: 5s
finish: {soak: 4s}
notify: [{kind: log}]
"""

SCHEMA = """
create table webhook_metrics (id integer primary key, webhook_name text not null, user_id text,
    agent_type text, started_at integer not null, completed_at integer, duration_ms integer,
    status text not null, error_message text, request_id text, created_at integer not null);
create index webhook_metrics_by_time on webhook_metrics (webhook_name, created_at);
"""


# Only the store's files, and only while the file FAIL_SYNC is there.
FAILING_SYNC = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int fdatasync(int file) {
    static int (*real)(int);
    char link[64], path[4096];
    if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length < 0 ? 0 : length] = 0;
    if (strstr(path, "/canaryd.db") && access(getenv("FAIL_SYNC"), F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    return real(file);
}
"""


class Broken(Exception):
    """A promise that did not hold."""


def now_ms():
    return time.time_ns() // 1_000_000


class Feeder(threading.Thread):
    """Healthy users, 2,000 requests a second, each on the side that the route row says."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder = folder
        self.stopped = threading.Event()
        self.database = sqlite3.connect(folder / "metrics.db", isolation_level=None,
                                        check_same_thread=False, timeout=10)
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("pragma synchronous = off")
        self.database.executescript(SCHEMA)
        self.users = [
            (f"user-{number}", int.from_bytes(
                hashlib.sha256(f"{NAME}:user-{number}".encode()).digest()[:8], "big") % 10_000)
            for number in range(2000)
        ]

    def run(self):
        while not self.stopped.wait(0.05):
            weight = route_weight(self.folder)
            now = now_ms()
            rows = [
                ("new" if bucket < weight else "old", user, now - 5, now, 5, "success", now)
                for user, bucket in random.sample(self.users, 100)
            ]
            self.database.execute("begin")
            self.database.executemany(
                "insert into webhook_metrics (webhook_name, user_id, started_at, completed_at,"
                " duration_ms, status, created_at) values (?, ?, ?, ?, ?, ?, ?)", rows)
            self.database.execute("commit")


def route_row(folder):
    """Basis points of the route row and the decision that it names; 0 while there is none."""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{folder}/route.db?mode=ro", uri=True,
                                                timeout=5)) as database:
            row = database.execute(
                "select weight, reason from canaryd_route where name = ?", (NAME,)).fetchone()
            return row or (0, "")
    except sqlite3.OperationalError:
        return 0, ""


def route_weight(folder):
    return route_row(folder)[0]


class Daemon:
    def __init__(self, folder):
        self.folder = folder
        self.socket = str(folder / "canaryd.sock")
        self.process = None
        (folder / "policy.yaml").write_text(POLICY)
        (folder / "canaryd.yaml").write_text(SETTINGS.format(folder=folder, port=free_port()))

    def spawn(self, **more):
        with open(self.folder / "canaryd.log", "ab") as log:
            self.process = subprocess.Popen(
                [CANARYD, "--config", str(self.folder / "canaryd.yaml"),
                 "--state-dir", str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **more})

    def kill(self):
        if self.process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        status = self.process.wait()
        self.process = None
        if status != -signal.SIGKILL:
            raise Broken(f"the daemon ended by itself with {status}")

    def wait_ready(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise Broken(f"the daemon does not start again: exit status {self.process.poll()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask("GET", "/readyz")[0] == 200:
                    return
            time.sleep(0.02)
        raise Broken("the daemon is not ready after 30 s")

    def ask(self, method, target, body=None):
        with contextlib.closing(UnixConnection(self.socket, timeout=10)) as connection:
            headers = {"Accept": "application/json"}
            data = None
            if method == "POST":
                headers["Content-Type"] = "application/json"
                data = json.dumps(body or {}).encode()
            connection.request(method, target, body=data, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def view(self, rollout=NAME):
        status, body = self.ask("GET", f"/api/v1/rollouts/{rollout}")
        return json.loads(body) if status == 200 else None

    def journal(self, rollout):
        entries, text = [], ""
        while True:
            after = entries[-1]["revision"] if entries else 0
            status, body = self.ask(
                "GET", f"/api/v1/rollouts/{rollout}/journal?after={after}&limit=1000")
            if status != 200:
                raise Broken(f"GET journal of {rollout}: {status} {body}")
            page = json.loads(body)
            if not page:
                return entries, text
            entries += page
            text += body


class Crashes:
    def __init__(self, folder, chance):
        self.folder = folder
        self.chance = chance
        self.daemon = Daemon(folder)
        self.tokens = {}  # reason -> the rollout in whose journal it has to be
        self.last = None  # the newest view that was served
        self.paused = None  # True, False, or None when an unanswered command may have changed it
        self.rolled_back = set()
        self.commands = 0

    def see(self):
        view = self.daemon.view()
        if view:
            self.last = view
        return view

    def start_if_over(self):
        view = self.see()
        if view and view["status"] not in ("rolled_back", "finished"):
            return
        status, body = self.daemon.ask("POST", "/api/v1/rollouts", {
            "policy_text": POLICY, "policy_file": str(self.folder / "policy.yaml")})
        if status != 201:
            raise Broken(f"start: {status} {body}")
        if not self.see() or self.last["id"] != json.loads(body)["id"]:
            raise Broken(f"started {body}, but the newest rollout is {self.last}")
        self.paused = False
        self.check_route()  # the rollout before may have ended at 100 %

    def command(self, allow_rollback):
        """One command with a reason of its own; what is answered is remembered as acknowledged."""
        words = ["pause", "resume", "resume", "extend", "promote", "acknowledge", "finish"]
        word = self.chance.choice(words)
        if allow_rollback and self.chance.random() < 0.05:
            word = "rollback"
        self.commands += 1
        body = {"reason": f"token-{self.commands}-{word}"}
        if word == "extend":
            body["by"] = "1s"
        if word == "promote":
            body["override"] = False
        rollout, before = self.last["id"], self.paused
        if word in ("pause", "resume"):
            self.paused = None
        status, answer = self.daemon.ask("POST", f"/api/v1/rollouts/{rollout}/{word}", body)
        if status == 503:
            return  # the outcome is unknown, and says so
        if status not in (200, 409):
            raise Broken(f"{word}: {status} {answer}")
        self.tokens[body["reason"]] = rollout
        if word in ("pause", "resume"):
            self.paused = word == "pause" if status == 200 else before
        if status == 200 and word == "rollback":
            self.rolled_back.add(rollout)

    def storm(self, seconds, allow_rollback):
        """Commands until the kill: mid-request, mid-commit, mid-look or between."""
        pid = self.daemon.process.pid
        killer = threading.Timer(seconds, os.kill, (pid, signal.SIGKILL))
        killer.start()
        try:
            while killer.is_alive():
                self.command(allow_rollback)
                if self.chance.random() < 0.5:
                    self.see()
        except (OSError, http.client.HTTPException):
            pass  # the kill, seen from a client: this one command has no answer
        finally:
            killer.join()
            self.daemon.kill()

    def check(self, dead_row):
        before = self.last
        view = self.daemon.view(before["id"])
        if view is None:
            raise Broken(f"rollout {before['id']} is gone")
        if view["revision"] < before["revision"]:
            raise Broken(f"revision {view['revision']} after {before['revision']}")
        step, was = view["step"]["index"], before["step"]["index"]
        if step < was:
            raise Broken(f"step {step} after {was}")
        if step == was and view["bake"]["seen_s"] < before["bake"]["seen_s"]:
            raise Broken(f"bake {view['bake']['seen_s']} s after {before['bake']['seen_s']} s")
        over = view["status"] in ("rolled_back", "finished")
        if self.paused is not None and not over and bool(view["paused"]) != self.paused:
            raise Broken(f"paused is {view['paused']}, acknowledged was {self.paused}")
        for rollout in self.rolled_back:
            status = self.daemon.view(rollout)
            if status and status["status"] != "rolled_back":
                raise Broken(f"{rollout} was rolled back and is {status['status']}")
        self.check_order(before["id"], step, *dead_row)
        self.check_route()
        self.check_journals()

    def check_order(self, rollout, step, weight, decision):
        """What the dead daemon left is of this step, or of a raise to the next one that is in the
        journal: not confirmed yet, or taken back since."""
        if weight <= WEIGHTS[step] * 100:
            return
        decided = {f"{rollout} revision {entry['revision']}"
                   for entry in self.daemon.journal(rollout)[0] if not entry["refused"]}
        if weight > max(WEIGHTS[step:step + 2]) * 100 or decision not in decided:
            raise Broken(f"the route row said {weight} by '{decision}' at step {step}")

    def check_route(self):
        """Comes down to what is wanted; a raise may still be on its way."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            weight, view = route_weight(self.folder), self.daemon.view()
            if weight <= view["desired"] * 100:
                return
            time.sleep(0.05)
        raise Broken(f"the route row says {weight}, wanted are {view['desired']} %")

    def check_journals(self):
        for rollout in set(self.tokens.values()) | {self.last["id"]}:
            entries, text = self.daemon.journal(rollout)
            revisions = [entry["revision"] for entry in entries]
            if revisions != list(range(1, len(revisions) + 1)):
                raise Broken(f"the journal of {rollout} has a gap or a double: {revisions}")
            lost = [token for token, where in self.tokens.items()
                    if where == rollout and f'"{token}"' not in text]
            if lost:
                raise Broken(f"acknowledged and not in the journal of {rollout}: {lost}")
        self.tokens = {}
        done = subprocess.run([CANARYCTL, "--socket", self.daemon.socket, "verify"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise Broken(f"canaryctl verify: {done.returncode}\n{done.stdout}{done.stderr}")

    def trial(self):
        self.start_if_over()
        self.storm(self.chance.uniform(0.02, 1.5), self.chance.random() < 0.3)
        dead_row = route_row(self.folder)
        while self.chance.random() < 0.25:  # and killed again while it starts
            self.daemon.spawn()
            time.sleep(self.chance.uniform(0, 0.1))
            self.daemon.kill()
        self.daemon.spawn()
        self.daemon.wait_ready()
        self.check(dead_row)

    def sync_fails(self, library):
        """A sync that failed leaves the outcome unknown: no answer, 74, and a start that reads."""
        fault = self.folder / "fail-sync"
        self.daemon.kill()
        self.daemon.spawn(LD_PRELOAD=str(library), FAIL_SYNC=str(fault))
        self.daemon.wait_ready()
        self.start_if_over()
        self.paused = None
        rollout = self.last["id"]
        fault.touch()
        with contextlib.suppress(OSError, http.client.HTTPException):
            status, answer = self.daemon.ask("POST", f"/api/v1/rollouts/{rollout}/pause",
                                             {"reason": "on a disk that does not sync"})
            if status != 503:
                raise Broken(f"acknowledged without a sync: {status} {answer}")
        code = self.daemon.process.wait(30)
        if code != 74:
            raise Broken(f"a sync that fails ends the daemon with {code}, not 74")
        fault.unlink()
        dead_row = route_row(self.folder)
        self.daemon.spawn()
        self.daemon.wait_ready()
        self.check(dead_row)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="canaryd-crash."))
    print(f"seed {options.seed}; files in {folder}")
    crashes = Crashes(folder, random.Random(options.seed))
    feeder = Feeder(folder)
    feeder.start()
    library = preload.made(folder, "failing-sync", FAILING_SYNC)
    trials = [crashes.trial] * options.trials
    if library:
        trials.append(functools.partial(crashes.sync_fails, library))
    else:
        print("skipped: a disk that does not sync (cc is needed)")
    passed = failed = 0
    try:
        crashes.daemon.spawn()
        crashes.daemon.wait_ready()
        for number, trial in enumerate(trials, 1):
            try:
                trial()
                passed += 1
            except (Broken, OSError, http.client.HTTPException, subprocess.TimeoutExpired) as error:
                failed += 1
                print(f"trial {number}: {error}")
                if failed >= 3:
                    break  # the next ones would only say it again
                with contextlib.suppress(Broken):
                    crashes.daemon.kill()
                crashes.daemon.spawn()
                crashes.daemon.wait_ready()
    except Broken as error:
        failed += 1
        print(error)
    finally:
        with contextlib.suppress(Broken):
            crashes.daemon.kill()
        feeder.stopped.set()
        feeder.join()
    print(f"{crashes.commands} commands given")
    if failed == 0:
        shutil.rmtree(folder)
    print(f"{passed} passed, {failed} failed" + ("" if library else ", 1 skipped"))
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
