#!/usr/bin/env python3
"""The demo's application: users whose messages go to the old or the new service.

For every message it asks which service the user is on, as any application would: it reads the
route row, which canaryd writes, and compares the user's bucket with the weight. It calls that
service and writes one row of webhook_metrics, which canaryd reads. It knows nothing else of canaryd.

    load.py --metrics FILE --route FILE --name ROLLOUT --old NAME=PORT --new NAME=PORT
            [--rate REQUESTS_PER_SECOND] [--users N] [--noise SHARE]

With PostgreSQL it does what the first user's edge functions do: get_webhook_route() for every
message, log_webhook_metric() after it.

    load.py --database URL --old NAME=PORT --new NAME=PORT …
"""

import argparse
import hashlib
import http.client
import queue
import random
import signal
import sqlite3
import threading
import time
import uuid

import pg

AGENTS = ("farmer", "jobs", "marketplace", "rides")
ROUTE_AGE = 0.05  # seconds that a read of the route row is used for
BATCH = 0.05  # seconds of rows that are committed together

SCHEMA = """
create table if not exists webhook_metrics (
    id integer primary key,
    webhook_name text not null,
    user_id text,
    agent_type text,
    started_at integer not null,
    completed_at integer,
    duration_ms integer,
    status text not null,
    error_message text,
    request_id text,
    created_at integer not null
);
create index if not exists webhook_metrics_by_time on webhook_metrics (webhook_name, created_at);
"""


def now_ms():
    return time.time_ns() // 1_000_000


def bucket_of(name, user):
    """The same number in [0, 10000) for the same user, here, in SQL and in canaryd."""
    digest = hashlib.sha256(f"{name}:{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10_000


class Route:
    """The weight of the new service in basis points, read again when it is 50 ms old."""

    def __init__(self, path, name):
        self.uri = f"file:{path}?mode=ro"
        self.name = name
        self.lock = threading.Lock()
        self.database = None
        self.read_at = 0.0
        self.value = 0

    def weight(self):
        with self.lock:
            if time.monotonic() - self.read_at > ROUTE_AGE:
                self.value = self.read()
                self.read_at = time.monotonic()
            return self.value

    def read(self):
        """No file, no table, no row, or a row that is no longer valid: everybody on the old one."""
        try:
            if self.database is None:
                self.database = sqlite3.connect(
                    self.uri, uri=True, check_same_thread=False, timeout=1
                )
            row = self.database.execute(
                "select weight, valid_until from canaryd_route where name = ?", (self.name,)
            ).fetchone()
        except sqlite3.Error:
            self.database = None
            return 0
        if row is None or (row[1] is not None and row[1] <= now_ms()):
            return 0
        return row[0]


def user_ids(count):
    space = uuid.UUID("6ba7b811-9dad-11d1-80b4-00c04fd430c8")
    return [str(uuid.uuid5(space, str(number))) for number in range(count)]


class Users:
    """Who they are, which agent they talk to, and their bucket, computed once."""

    def __init__(self, name, count):
        self.all = [
            (user, AGENTS[number % len(AGENTS)], bucket_of(name, user))
            for number, user in enumerate(user_ids(count))
        ]

    def any(self):
        return random.choice(self.all)


def send(connection, agent, user):
    """One message: its status, and what was wrong with it."""
    try:
        connection.request("POST", f"/message?agent={agent}&user={user}", body=b"{}")
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            return "success", None
        return "error", body.decode(errors="replace").partition('"error": "')[2].rstrip('"}')
    except TimeoutError:
        connection.close()
        return "timeout", "no answer within 5 s"
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return "error", f"{type(error).__name__}: {error}"


class Files:
    """Metrics and route in SQLite files."""

    def __init__(self, options):
        self.options = options
        self.route = Route(options.route, options.name)

    def asker(self):
        """A function for one worker: is this user on the new service?"""
        return lambda user, bucket: bucket < self.route.weight()

    def old_name(self, agent, name):
        return name

    def recorder(self):
        """A function that commits rows; it holds the file open, so that readers can read its WAL."""
        database = sqlite3.connect(self.options.metrics, isolation_level=None, timeout=10)
        database.execute("pragma journal_mode = wal")
        database.execute("pragma synchronous = normal")
        database.executescript(SCHEMA)

        def record(batch):
            database.execute("begin immediate")
            created = now_ms()
            database.executemany(
                "insert into webhook_metrics (webhook_name, user_id, agent_type, started_at,"
                " completed_at, duration_ms, status, error_message, request_id, created_at)"
                " values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [(webhook, user, agent, started, completed, completed - started, *rest, created)
                 for webhook, user, agent, started, completed, *rest in batch],
            )
            database.execute("commit")

        return record


class Server:
    """The first user's schema in PostgreSQL."""

    OLD = {"jobs": "wa-webhook-jobs", "marketplace": "wa-webhook-marketplace"}

    def __init__(self, options):
        self.url = options.database

    def asker(self):
        """While the database does not answer: everybody on the old one."""
        connection = None

        def ask(user, _):
            nonlocal connection
            try:
                connection = connection or pg.Connection(self.url)
                answer = connection.query("select get_webhook_route($1)", user)[0][0]
                return answer == "wa-webhook-unified"
            except pg.Error:
                connection = None
                return False

        return ask

    def old_name(self, agent, _):
        return self.OLD.get(agent, "wa-webhook-ai-agents")

    def recorder(self):
        connection = pg.Connection(self.url)

        def record(batch):
            columns = [pg.array(column) for column in zip(*batch)]
            connection.query(
                "select log_webhook_metric(name, u, agent, timestamptz 'epoch' + started * interval"
                " '1 ms', timestamptz 'epoch' + completed * interval '1 ms', status, error, request)"
                " from unnest($1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::bigint[],"
                " $6::text[], $7::text[], $8::text[])"
                " as one (name, u, agent, started, completed, status, error, request)", *columns)

        return record


class Application:
    def __init__(self, options):
        self.options = options
        self.place = Server(options) if options.database else Files(options)
        self.users = Users(options.name, options.users)
        self.rows = queue.SimpleQueue()
        self.stopped = threading.Event()

    def work(self, number):
        """One worker: its share of the messages, evenly, on connections that stay open."""
        services = [
            (name, http.client.HTTPConnection("127.0.0.1", int(port), timeout=5))
            for name, _, port in (text.partition("=") for text in (self.options.old, self.options.new))
        ]
        pace = self.options.workers / self.options.rate
        on_new = self.place.asker()
        due = time.monotonic() + pace * number / self.options.workers
        while not self.stopped.is_set():
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            elif wait < -1:
                due = time.monotonic()  # a slow machine: fewer messages, no rush afterwards
            due += pace
            user, agent, bucket = self.users.any()
            new = on_new(user, bucket)
            webhook, connection = services[new]
            if not new:
                webhook = self.place.old_name(agent, webhook)
            started = now_ms()
            status, error = send(connection, agent, user)
            if status == "success" and random.random() < self.options.noise:
                status, error = "error", "upstream: reset"
            completed = now_ms()
            self.rows.put((webhook, user, agent, started, completed, status, error,
                           f"{random.getrandbits(32):08x}"))

    def record(self):
        """Commits rows in small batches."""
        record = self.place.recorder()
        while True:
            last = self.stopped.wait(BATCH)
            batch = [self.rows.get() for _ in range(self.rows.qsize())]
            if batch:
                record(batch)
            if last:
                return

    def run(self):
        for number in range(self.options.workers):
            threading.Thread(target=self.work, args=(number,), daemon=True).start()
        self.record()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--database")
    parser.add_argument("--metrics")
    parser.add_argument("--route")
    parser.add_argument("--name", default="unified-webhook")
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", required=True)
    parser.add_argument("--rate", type=float, default=1000)
    parser.add_argument("--users", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--noise", type=float, default=0.0005)
    options = parser.parse_args()
    if not options.database and not (options.metrics and options.route):
        parser.error("--database URL, or --metrics FILE and --route FILE")
    application = Application(options)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: application.stopped.set())
    application.run()


if __name__ == "__main__":
    main()
