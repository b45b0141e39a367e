"""The processes of the show and its files: everything is in one folder and ends with it."""

import contextlib
import ctypes
import html
import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent

SETTINGS = """\
# The daemon of the quickstart. Everything else has its default.
policies: "{folder}/policies"
listen: 127.0.0.1:{port}
connections:
  metrics: {{kind: sqlite, path: "{folder}/metrics.db"}}   # one row a request, by the application
  route:   {{kind: sqlite, path: "{folder}/route.db"}}     # one row a rollout, read by it
  ops:     {{kind: slack, webhook: "http://127.0.0.1:{slack}/hook"}}   # a stand-in for Slack
"""

POLICY = """\
# {canary} takes over from {baseline}: a rollout of weeks in less than a minute.
name: {name}
canary: {canary}
baseline: {baseline}
{places}steps: [{{weight: 10%, bake: 10s}}, {{weight: 50%, bake: 10s}}, {{weight: 100%, bake: 10s}}]
max_step: 60s
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 2s
criteria:
  - {{name: errors, metric: error_rate, below: 1%}}
  - {{name: latency, metric: latency_p95, below: 2s}}
triggers:
  - {{name: error-burst, metric: error_rate, above: 20%, over: 5s, for: 1 of 1 looks}}
segments:
  agent: {{column: agent_type, expect: [farmer, jobs, marketplace, rides]}}
confirm_without_baseline: 5s
finish: {{soak: 10s}}
notify: [{{kind: slack, connection: ops}}]
"""

PLACES = """\
source: {kind: sqlite, connection: metrics}
router: {kind: sql, connection: route}
"""


class ShowFailed(Exception):
    """The show did not go as promised; the message says where."""


LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG = 1


def end_with_parent():
    """The kernel ends this child when the show dies, even by kill -9."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def http_request(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request(method, path, headers={"Accept": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def until(what, seconds, probe):
    """Asks `probe` until it returns something true; gives up with the name of what was awaited."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException, sqlite3.Error):
            found = probe()
            if found:
                return found
        time.sleep(0.1)
    raise ShowFailed(f"{what}: not within {seconds} s")


class World:
    """With SQLite files for the metrics and the route."""

    route_place = "the route row"
    data = "metrics.db, route.db"
    last = "webhook-v3"

    def __init__(self, programs, folder, keep):
        self.keep = keep
        self.programs = Path(programs).resolve()
        self.folder = Path(folder).resolve()
        self.children = {}
        self.ports = {}
        self.daemon_port = free_port()
        self.socket = self.folder / "canaryd.sock"
        if len(str(self.socket)) > 100:
            raise ShowFailed(f"{self.socket}: too long for a socket's name; set TMPDIR=/tmp")
        for name in ("policies", "logs"):
            (self.folder / name).mkdir()

    def start(self, name, command):
        """A child in a session of its own: Ctrl-C reaches the show alone, which ends the rest."""
        with open(self.folder / "logs" / f"{name}.log", "ab") as log:
            child = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, cwd=self.folder,
                preexec_fn=None if self.keep else end_with_parent,
            )
        self.children[name] = child

    def stop(self, name):
        child = self.children.pop(name, None)
        if child is None:
            return
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def stop_all(self):
        for name in sorted(self.children, key=lambda name: name != "load"):
            self.stop(name)

    def check_alive(self):
        for name, child in self.children.items():
            if child.poll() is not None:
                log = self.folder / "logs" / f"{name}.log"
                tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise ShowFailed(f"{name} ended by itself ({child.returncode}); {log}:\n{tail}")

    def start_service(self, name):
        port = self.ports[name] = free_port()
        self.start(name, [sys.executable, HERE / "services.py", "webhook", name, port])
        until(f"{name} answers", 15, lambda: http_request(port, "GET", "/")[0])

    def start_slack(self):
        port = self.ports["slack"] = free_port()
        self.start("slack", [sys.executable, HERE / "services.py", "slack", port,
                             self.folder / "slack.jsonl"])
        until("the stand-in for Slack answers", 15, lambda: http_request(port, "GET", "/")[0])

    def start_load(self, old, new):
        self.stop("load")
        self.start("load", [sys.executable, HERE / "load.py", *self.load_arguments(old, new)])
        began = time.time_ns() // 1_000_000
        until("the first messages", 15, lambda: self.messages_since(began))

    def load_arguments(self, old, new):
        return ["--metrics", self.folder / "metrics.db", "--route", self.folder / "route.db",
                "--name", new, "--old", f"{old}={self.ports[old]}", "--new",
                f"{new}={self.ports[new]}"]

    def settings(self):
        return SETTINGS.format(folder=self.folder, port=self.daemon_port, slack=self.ports["slack"])

    def policy_of(self, baseline, canary):
        return POLICY.format(name=canary, canary=canary, baseline=baseline, places=PLACES)

    def start_daemon(self):
        (self.folder / "canaryd.yaml").write_text(self.settings())
        self.start("canaryd", [self.programs / "canaryd", "--config", self.folder / "canaryd.yaml",
                               "--state-dir", self.folder])

        def ready():
            self.check_alive()
            return http_request(self.daemon_port, "GET", "/readyz")[0] == 200

        until("canaryd is ready", 30, ready)

    def write_policy(self, baseline, canary):
        path = self.folder / "policies" / f"{canary}.yaml"
        path.write_text(self.policy_of(baseline, canary))
        return path

    def ctl(self, *arguments, accept=(0,)):
        """What canaryctl printed; an exit status that was not expected ends the show."""
        done = subprocess.run(
            [str(part) for part in (self.programs / "canaryctl", "--socket", self.socket, *arguments)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False, cwd=self.folder,
        )
        if done.returncode not in accept:
            raise ShowFailed(f"canaryctl {arguments[0]} exited {done.returncode}:\n{done.stdout}")
        return done.stdout.rstrip()

    def view(self, name):
        status, body = http_request(self.daemon_port, "GET", f"/api/v1/rollouts/{name}")
        if status != 200:
            raise ShowFailed(f"GET /api/v1/rollouts/{name}: {status} {body}")
        return json.loads(body)

    def rows(self, file, query, *values):
        with contextlib.closing(sqlite3.connect(f"file:{self.folder / file}?mode=ro", uri=True,
                                                timeout=5)) as database:
            return database.execute(query, values).fetchall()

    def metrics(self, query, *values):
        return self.rows("metrics.db", query, *values)

    # What the show asks of its metrics and route; times in milliseconds since 1970.

    def messages_since(self, began):
        return self.metrics("select 1 from webhook_metrics where created_at > ? limit 1", began)

    def last_messages(self, service):
        """When the newest message to the service began, and the newest of all."""
        return self.metrics("select max(case when webhook_name = ? then started_at end),"
                            " max(started_at) from webhook_metrics", service)[0]

    def route_row(self, name):
        """The weight, and since when."""
        return self.rows("route.db", "select weight, changed_at from canaryd_route where name = ?",
                         name)[0]

    def failures(self, service, words):
        """When the first message failed so, and how many did."""
        return self.metrics("select min(started_at), count(*) from webhook_metrics"
                            " where webhook_name = ? and error_message = ?", service, words)[0]

    def slack_texts(self):
        """What people would have read: the sections of each message, or its plain text."""
        try:
            lines = (self.folder / "slack.jsonl").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []
        texts = []
        for line in lines:
            message = json.loads(line)["message"]
            parts = []
            for block in message.get("blocks", []):
                elements = [block.get("text"), *block.get("elements", [])]
                parts += [part["text"] for part in elements
                          if isinstance(part, dict) and isinstance(part.get("text"), str)]
            texts.append(html.unescape("\n".join(parts) or message.get("text", "")))
        return texts

    def pids(self):
        return [child.pid for child in self.children.values()]

    def write_stop_script(self):
        pids = " ".join(map(str, self.pids()))
        path = self.folder / "stop"
        path.write_text(f"#!/bin/sh\n# Ends the quickstart's processes.\nkill {pids}\n")
        path.chmod(0o755)
        return path


def stop_on_signals():
    """SIGTERM and a closed terminal end the show as Ctrl-C does: what it started ends with it."""
    def stop(*_):
        raise KeyboardInterrupt
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)


def own_umask():
    os.umask(0o077)
