#!/usr/bin/env python3
"""The real daemon tells a Slack that works, and one that does not; traffic never waits for it.

    slack_test.py [NAME...]

Each case has a daemon, metrics and a Slack of its own, and a rollout whose bakes last seconds. No
case measures how long anything takes: the fake Slack notes what the route row said when a message
came, so that order is seen. Binaries by CANARYD and CANARYCTL, else from build/.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

from fake_slack import FakeSlack

ROOT = Path(__file__).resolve().parent.parent
CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
PATIENCE = 60  # seconds until a case is given up; nothing is expected to come near it

SETTINGS = """\
policies: {folder}
listen: 127.0.0.1:{port}
connections:
  metrics: {{kind: sqlite, path: {folder}/metrics.db}}
  route:   {{kind: sqlite, path: {folder}/route.db}}
  ops:     {{kind: slack, webhook: "{webhook}"}}
"""

POLICY = """\
name: demo
canary: new
baseline: old
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
steps: [{weight: 10%, bake: 2s}, {weight: 50%, bake: 10m}, {weight: 100%, bake: 10m}]
max_step: 1h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{metric: error_rate, below: 2%}]
triggers:
  - {name: burst, metric: error_rate, above: 50%, over: 5s, for: 1 of 1 looks, at_least: 10 failures}
finish: {soak: 10m}
notify: [{kind: slack, connection: ops}]
"""

SCHEMA = """
create table webhook_metrics (id integer primary key, webhook_name text not null, user_id text,
    agent_type text, started_at integer not null, completed_at integer, duration_ms integer,
    status text not null, error_message text, request_id text, created_at integer not null);
create index webhook_metrics_by_time on webhook_metrics (webhook_name, created_at);
"""


class Failed(Exception):
    """A sentence that turned out false."""


def expect(true, sentence, *facts):
    if not true:
        raise Failed(" ".join([sentence, *map(str, facts)]))


class Users(threading.Thread):
    """Both services are called all the time; the new one fails once it is told to."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.broken = False
        self.stopped = threading.Event()
        self.database = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=10
        )
        self.database.execute("pragma journal_mode = wal")
        self.database.execute("pragma synchronous = off")
        self.database.executescript(SCHEMA)

    def run(self):
        number = 0
        while not self.stopped.wait(0.05):
            now = time.time_ns() // 1_000_000
            rows = []
            for webhook in ("new", "old") * 30:
                number += 1
                failed = self.broken and webhook == "new"
                # A text that would call a whole channel if it were not escaped.
                error = "driver_lookup <!channel> & timeout" if failed else None
                status = "error" if failed else "success"
                user = f"user-{number % 997}"
                rows.append((webhook, user, now - 5, now, 5, status, error, f"r{number}", now))
            self.database.execute("begin")
            self.database.executemany(
                "insert into webhook_metrics (webhook_name, user_id, started_at, completed_at,"
                " duration_ms, status, error_message, request_id, created_at)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                rows,
            )
            self.database.execute("commit")


class Scene:
    """One daemon with its folder, users and Slack."""

    def __init__(self, folder):
        self.folder = folder
        self.slack = FakeSlack(folder / "slack.jsonl", at_request=self.weight)
        self.slack.start()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        (self.folder / "demo.yaml").write_text(POLICY)
        (self.folder / "canaryd.yaml").write_text(
            SETTINGS.format(folder=self.folder, port=port, webhook=self.slack.url)
        )
        self.users = Users(self.folder / "metrics.db")
        self.users.start()
        self.daemon = None
        try:
            self.spawn()
        except BaseException:
            self.close()
            raise

    def spawn(self):
        with open(self.folder / "canaryd.log", "ab") as log:
            self.daemon = subprocess.Popen(
                [CANARYD, "--config", self.folder / "canaryd.yaml", "--state-dir", self.folder],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.wait("the daemon answers", lambda: self.ctl("status").returncode != 2)

    def kill(self):
        self.daemon.send_signal(signal.SIGKILL)
        self.daemon.wait()

    def close(self):
        if self.daemon:
            self.kill()
        self.users.stopped.set()
        self.users.join()
        with contextlib.suppress(OSError):
            self.slack.stop()

    def ctl(self, *arguments):
        return subprocess.run(
            [CANARYCTL, "--socket", self.folder / "canaryd.sock", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )

    def start(self):
        done = self.ctl("start", str(self.folder / "demo.yaml"))
        expect(done.returncode == 0, "start is accepted:", done.stdout, done.stderr)

    def view(self):
        connection = http.client.HTTPConnection("localhost", timeout=10)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(10)
        connection.sock.connect(str(self.folder / "canaryd.sock"))
        with contextlib.closing(connection):
            connection.request("GET", "/api/v1/rollouts/demo", headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
        return json.loads(body) if answer.status == 200 else None

    def weight(self):
        """The route row in %, read as an application reads it; 0 while there is none."""
        path = f"file:{self.folder}/route.db?mode=ro"
        try:
            with contextlib.closing(sqlite3.connect(path, uri=True, timeout=5)) as database:
                row = database.execute(
                    "select weight from canaryd_route where name = 'demo'"
                ).fetchone()
                return row[0] / 100 if row else 0
        except sqlite3.OperationalError:
            return 0

    def wait(self, what, condition):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if self.daemon.poll() is not None:
                raise Failed(f"waiting until {what}: the daemon ended with {self.daemon.poll()}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if condition():
                    return
            time.sleep(0.05)
        raise Failed(f"not within {PATIENCE} s: {what}; requests: {self.headlines()}")

    def headlines(self):
        with self.slack.lock:
            return [(r["behaviour"], headline(r)) for r in self.slack.requests]

    def wait_told(self, word):
        self.wait(f"Slack was told: {word}", lambda: any(word in headline(r) for r in self.slack.taken()))

    def wait_weight(self, weight):
        self.wait(f"the route row says {weight} %", lambda: self.weight() == weight)

    def wait_nothing_owed(self):
        self.wait("nothing is owed", lambda: self.view()["notices"]["owed"] == 0)


def headline(request):
    return request["payload"]["blocks"][0]["text"]["text"]


def whole(request):
    texts = []
    for block in request["payload"]["blocks"]:
        parts = [block["text"]] if "text" in block else block["elements"]
        texts += [part["text"] for part in parts]
    return "\n".join(texts)


def revision(request):
    found = re.search(r"demo-\d+ · rev (\d+)", whole(request))
    expect(found, "a message names rollout and revision:", whole(request))
    return int(found.group(1))


def expect_each_once(requests):
    messages = [(revision(r), headline(r)) for r in requests]
    expect(len(set(messages)) == len(messages), "each message came once:", messages)


def a_working_slack_hears_everything_once_and_in_order(scene):
    scene.start()
    scene.wait_weight(50)
    scene.wait_told("50 % on new")
    scene.users.broken = True
    scene.wait_weight(0)
    scene.wait_told("ROLLED BACK from 50 % to 0 %")
    scene.wait_nothing_owed()
    told = scene.slack.taken()
    expect_each_once(told)
    revisions = [revision(r) for r in told]
    expect(revisions == sorted(revisions), "messages come in the order of decisions:", revisions)
    order = [
        next((i for i, r in enumerate(told) if word in headline(r)), None)
        for word in ("10 % on new", "50 % on new", "ROLLED BACK")
    ]
    expect(None not in order and order == sorted(order), "10 %, 50 %, back:", order)
    last = told[order[2]]
    expect(last["seen"] == 0, "the route was back before the message:", last["seen"])
    expect(headline(last).startswith(":red_circle:"), "a rollback is red:", headline(last))
    expect("<" not in json.dumps(last["payload"]), "text calls nobody:", whole(last))
    expect("&lt;!channel&gt;" in whole(last), "the top error is named:", whole(last))


def a_busy_slack_is_waited_for_as_long_as_it_asks(scene):
    scene.slack.behave("busy:3", "ok")
    scene.start()
    scene.wait("two requests", lambda: len(scene.slack.requests) >= 2)
    first, second = scene.slack.requests[:2]
    expect(second["at"] - first["at"] >= 3, "nothing is sent before Retry-After is over")
    expect(whole(first) == whole(second), "the same message is sent again")
    scene.wait_told("50 % on new")
    expect_each_once(scene.slack.taken())


def a_login_page_is_not_ok(scene):
    scene.slack.behave("html", "error", "reset", "ok")
    scene.start()
    scene.wait_told("50 % on new")
    scene.wait_nothing_owed()
    requests = scene.slack.requests
    expect(len({whole(r) for r in requests[:4]}) == 1, "the same message, until it is taken")
    expect_each_once(scene.slack.taken())


def a_removed_webhook_is_given_up_and_said(scene):
    scene.slack.behave("no_service")
    scene.start()
    scene.wait_weight(50)
    scene.wait_nothing_owed()
    page = scene.ctl("status")
    expect("no_service" in page.stdout, "status says why nobody is told:", page.stdout)
    requests = scene.slack.requests
    expect_each_once(requests)


def a_slack_that_refuses_connections_delays_nothing(scene):
    scene.slack.stop()
    scene.start()
    scene.wait_weight(50)
    scene.users.broken = True
    scene.wait_weight(0)
    expect(not scene.slack.requests, "nothing was sent so far")
    expect(scene.view()["notices"]["owed"] >= 3, "but all is owed:", scene.view()["notices"])
    scene.slack.start("ok")
    scene.wait_told("ROLLED BACK")
    scene.wait_nothing_owed()
    told = scene.slack.taken()
    expect_each_once(told)
    expect("ROLLED BACK" in headline(told[0]), "the worst is told first:", headline(told[0]))
    rest = [revision(r) for r in told[1:]]
    expect(rest == sorted(rest), "the rest in order:", rest)


def a_slack_that_never_answers_delays_nothing(scene):
    scene.slack.behave("hang")
    scene.start()
    scene.wait("Slack has a request", lambda: scene.slack.requests)
    scene.wait_weight(50)
    scene.users.broken = True
    scene.wait_weight(0)
    expect(not scene.slack.taken(), "nothing was taken so far")
    scene.slack.behave("ok")
    scene.wait_told("ROLLED BACK")
    scene.wait_nothing_owed()
    expect_each_once(scene.slack.taken())


def what_is_owed_survives_a_kill(scene):
    scene.slack.behave("error")
    scene.start()
    scene.wait_weight(50)
    scene.wait("Slack has a request", lambda: scene.slack.requests)
    scene.wait("two notices are owed", lambda: scene.view()["notices"]["owed"] >= 2)
    owed = scene.view()["notices"]["owed"]
    scene.kill()
    scene.slack.behave("ok")
    scene.spawn()
    scene.wait_told("50 % on new")
    scene.wait_nothing_owed()
    told = scene.slack.taken()
    expect_each_once(told)
    expect(len(told) >= owed, "all that was owed arrives:", len(told), "of", owed)
    expect("10 % on new" in headline(told[0]), "the oldest first:", headline(told[0]))


CASES = [
    a_working_slack_hears_everything_once_and_in_order,
    a_busy_slack_is_waited_for_as_long_as_it_asks,
    a_login_page_is_not_ok,
    a_removed_webhook_is_given_up_and_said,
    a_slack_that_refuses_connections_delays_nothing,
    a_slack_that_never_answers_delays_nothing,
    what_is_owed_survives_a_kill,
]


def main():
    wanted = sys.argv[1:]
    passed = failed = 0
    for case in CASES:
        if wanted and case.__name__ not in wanted:
            continue
        name = case.__name__.replace("_", " ")
        folder = Path(tempfile.mkdtemp(prefix="canaryd-slack."))
        try:
            with contextlib.closing(Scene(folder)) as scene:
                case(scene)
            passed += 1
            print(f"ok      {name}", flush=True)
            shutil.rmtree(folder)
        except Exception as error:  # whatever broke, the other cases are run
            failed += 1
            print(f"FAILED  {name}: {error}\n        files in {folder}", flush=True)
            if not isinstance(error, Failed):
                traceback.print_exc(file=sys.stdout)
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
