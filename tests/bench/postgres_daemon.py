#!/usr/bin/env python3
"""The real daemon on a PostgreSQL of its own: what a look costs the server, and many rollouts.

    postgres_daemon.py [--rows N] [--rollouts N] [--every S] [--seconds S] [look] [rollouts]

look: the same policy on a metrics table of N rows, 1000000 unless told, and on one with a tenth of
the history, with as many rows in the last hours; and SQL written by hand for the same questions.
Milliseconds of planning and executing in the server, by pg_stat_statements: the client is not in
them, nor is the disk's mood.

rollouts: N rollouts of 8 agents on one database that is source, router and store, 1000 unless told,
a look every S seconds, 300 unless told, as in real life.
"""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "postgres"))
import server as postgres  # noqa: E402
from figures import main, say  # noqa: E402

CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
UNIFIED = (ROOT / "policies" / "unified-webhook.yaml").read_text()
BASELINE = ("wa-webhook-ai-agents", "wa-webhook-jobs", "wa-webhook-marketplace",
            "wa-webhook-property")
AGENTS = ("farmer", "insurance", "jobs", "marketplace", "property", "rides", "support", "waiter")


class Daemon:
    """canaryd with these connections, each name a database of the server."""

    def __init__(self, server, names, store=None):
        self.home = tempfile.TemporaryDirectory(prefix="canaryd-bench-")
        self.folder = Path(self.home.name)
        settings = ["listen: off", f"policies: {self.folder}", "log: {level: warning}"]
        if store:
            settings.append(f"store: {{kind: postgres, connection: {store}}}")
        settings.append("connections:")
        for name in names:
            settings.append(f"  {name}: {{kind: postgres, dsn: {{credential: {name}}}}}")
            (self.folder / name).write_text(server.url(user="canaryd", database=name))
        (self.folder / "canaryd.yaml").write_text("\n".join(settings) + "\n")
        with open(self.folder / "log", "wb") as log:
            self.process = subprocess.Popen(
                [CANARYD, "--config", self.folder / "canaryd.yaml", "--state-dir", self.folder],
                stdout=log, stderr=log,
                env={**os.environ, "CREDENTIALS_DIRECTORY": str(self.folder)})
        self.until("ready", lambda: self.ask("GET", "/readyz")[0] == 200)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.home.cleanup()

    def until(self, what, true):
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                if true():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"not {what}: " + (self.folder / "log").read_text()[-2000:])

    def ask(self, method, target, body=None):
        connection = postgres.UnixConnection(str(self.folder / "canaryd.sock"))
        try:
            connection.request(method, target, body=json.dumps(body) if body else None,
                               headers={"Accept": "application/json",
                                        "Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def begin(self, text):
        status, answer = self.ask("POST", "/api/v1/rollouts",
                                  {"policy_text": text, "policy_file": "bench.yaml"})
        if status != 201:
            raise RuntimeError(f"start: {status} {answer}")

    def views(self):
        return json.loads(self.ask("GET", "/status")[1])["rollouts"]

    def memory(self, what):
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"^{what}:\s+(\d+) kB", status, re.M).group(1)) / 1024


def policy(name, connection, every, canary="wa-webhook-unified", baseline=BASELINE):
    text = UNIFIED.replace("connection: database", f"connection: {connection}")
    text = text.replace("name: unified-webhook", f"name: {name}")
    text = text.replace("canary: wa-webhook-unified", f"canary: {canary}")
    for old, new in zip(BASELINE, baseline):
        text = text.replace(f"  - {old}\n", f"  - {new}\n")
    text = re.sub(r"^  - \{kind: slack.*$", "  - {kind: log}", text, flags=re.M)
    # A peek beside each look would be no news to this bench; in real life there are 19.
    return text.replace("evaluate_every: 5m", f"evaluate_every: {every}s")


def prepare(server, name):
    """The first user's database, migrated as an operator would."""
    server.supabase()  # the roles are the server's
    server.database(name, "owner")
    server.supabase(database=name)
    server.query("create table users (id uuid primary key); insert into users "
                 "select md5(n::text)::uuid from generate_series(0, 19999) n",
                 database=name, user="owner")
    server.legacy(database=name)
    server.query("alter table webhook_metrics drop constraint webhook_metrics_user_id_fkey; "
                 "create table webhook_dlq (id bigserial primary key, "
                 "created_at timestamptz default now()); "
                 "create index on webhook_dlq (created_at)", database=name, user="owner")
    done = subprocess.run([CANARYCTL, "migrate", "--database",
                           server.url(user="owner", database=name)],
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    server.query("grant select on webhook_dlq to canaryd", database=name, user="owner")


def rows(first, count, at, webhook):
    """Rows `first` … of the table; a hash of the number stands for chance."""
    agents = "(array['" + "','".join(AGENTS) + "'])[h / 100 % 8 + 1]"
    return (f"insert into webhook_metrics (webhook_name, user_id, agent_type, started_at, "
            f"completed_at, duration_ms, status, created_at) "
            f"select {webhook}, md5((h / 7 % 20000)::text)::uuid, {agents}, at, at, "
            f"case when h / 3 % 50 = 0 then 3000 else 200 end, "
            f"case when h / 5 % 250 = 0 then 'error' else 'success' end, at "
            f"from (select n, n * 2654435761 % 4294967296 / 16 as h, {at} as at "
            f"from generate_series({first}, {first + count - 1}) n) r")


class Traffic(threading.Thread):
    """`write(second)` once a second, in one transaction each."""

    def __init__(self, write):
        super().__init__(daemon=True)
        self.write, self.done = write, threading.Event()
        self.start()

    def run(self):
        second = 0
        while not self.done.wait(1):
            self.write(second)
            second += 1

    def stop(self):
        self.done.set()
        self.join()


# --- look ----------------------------------------------------------------------------------------

UNIFIED_OR_NOT = "case when h % 10 = 0 then 'wa-webhook-unified' else (array['" + \
    "','".join(BASELINE) + "'])[h / 10 % 4 + 1] end"
NAMES = ", ".join(f"'{name}'" for name in ("wa-webhook-unified", *BASELINE))


def by_hand(every):
    """What somebody would type to learn what a look learns: its interval, and each window."""
    def ask(columns, over, group):
        return (f"select {columns} from webhook_metrics where webhook_name in ({NAMES}) and "
                f"created_at >= now() - interval '{over + 30} s' "
                f"and created_at < now() - interval '30 s' group by {group}")
    side = "webhook_name = 'wa-webhook-unified'"
    slow = "status = 'timeout' or duration_ms > "
    def counts(event):
        return (f"{side}, agent_type, count(*), count(*) filter (where {event}), "
                f"count(distinct user_id) filter (where {event})")
    return [
        ask(f"webhook_name, agent_type, count(*), count(*) filter (where status <> 'success'), "
            f"count(*) filter (where {slow}2000), "
            f"count(distinct user_id) filter (where status <> 'success')", every, "1, 2"),
        ask("webhook_name, count(*)", 6 * 3600, "1"),
        ask(counts("status <> 'success'"), 300, "1, 2"),
        ask(counts(f"{slow}5000"), 900, "1, 2"),
        ask(counts("status <> 'success'"), 1800, "1, 2"),
        ask(f"{side}, count(*)", 900, "1"),
        ask(f"{side}, agent_type, count(*)", 3600, "1, 2"),
        "select count(*) from webhook_dlq where created_at >= now() - interval '15 min'",
    ]


def look(options):
    a_second = max(1, options.rows // 1_000_000)
    settings = {"shared_buffers": "512MB", "shared_preload_libraries": "pg_stat_statements",
                "pg_stat_statements.track_planning": "on", "max_wal_size": "4GB"}
    every, sizes = 15, {"small": options.rows // 10, "large": options.rows}
    with postgres.Postgres(settings) as server:
        server.query("create extension pg_stat_statements")
        for name, count in sizes.items():
            prepare(server, name)
            at = f"now() - make_interval(secs => ({count} - n) / {a_second}::float8)"
            server.query(rows(0, count, at, UNIFIED_OR_NOT), database=name)
            server.query("vacuum analyze webhook_metrics", database=name)

        def write(second):
            for name, count in sizes.items():
                server.query(rows(count + second * a_second, a_second, "clock_timestamp()",
                                  UNIFIED_OR_NOT), database=name)

        with Daemon(server, sizes) as daemon:
            traffic = Traffic(write)
            for name in sizes:
                daemon.begin(policy(name, name, every))
            time.sleep(4 * every)  # the first look finds where the rollout's rows begin
            typed = server.session(database="large")  # with the catalogue in its memory
            for sql in by_hand(every):
                typed.query(sql)
            server.query("select pg_stat_statements_reset()")
            before = {view["name"]: view["revision"] for view in daemon.views()}
            until = time.monotonic() + options.seconds
            hands = 0
            while time.monotonic() < until:
                time.sleep(every)
                for sql in by_hand(every):
                    typed.query(sql)
                hands += 1
            views = {view["name"]: view for view in daemon.views()}
            traffic.stop()
            typed.close()
            took = {}
            for database, user, ms in server.query(
                    "select datname, rolname, sum(total_exec_time + total_plan_time) "
                    "from pg_stat_statements s join pg_database d on d.oid = dbid "
                    "join pg_roles r on r.oid = userid where query ~ 'webhook_(metrics|dlq)' "
                    "and query !~* 'insert into' group by 1, 2"):
                took[database, user] = float(ms)
        for name in sizes:
            if views[name]["source"]["error"]:
                raise RuntimeError(views[name]["source"]["error"])
        looks = {name: views[name]["revision"] - before[name] for name in sizes}
        each = {name: took[name, "canaryd"] / looks[name] for name in sizes}
        hand = took["large", "postgres"] / hands
        say(f"a look and its peek at {options.rows} rows / a tenth of them",
            f"{each['large']:.1f} / {each['small']:.1f} ms")
        say("the one against the other", f"{each['large'] / each['small']:.2f} x",
            "goal: at most 1.2")
        say("against SQL written by hand for the same questions", f"{each['large'] / hand:.2f} x",
            "goal: at most 1.5")
        say("looks measured", f"{looks['large']}")


# --- rollouts ------------------------------------------------------------------------------------


def cpu(pids):
    """Seconds of user and system time."""
    total = 0
    for pid in pids:
        try:
            words = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += int(words[11]) + int(words[12])
    return total / os.sysconf("SC_CLK_TCK")


def rollouts(options):
    settings = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    with postgres.Postgres(settings) as server:
        prepare(server, "shop")
        each = max(1, options.rollouts // 10)  # rows a second on each side

        def write(second):
            first = second * 2 * each
            side = (f"case when n % 2 = 0 then 'new-' else 'old-' end || n / 2 % "
                    f"{options.rollouts}")
            server.query(rows(first, 2 * each, "clock_timestamp()", side), database="shop")

        with Daemon(server, ["shop"], store="shop") as daemon:
            traffic = Traffic(write)
            began = time.monotonic()
            for n in range(options.rollouts):
                daemon.begin(policy(f"rollout-{n}", "shop", options.every, f"new-{n}",
                                    (f"old-{n}", f"a-{n}", f"b-{n}", f"c-{n}")))
                due = began + options.every * (n + 1) / options.rollouts
                time.sleep(max(0, due - time.monotonic()))
            started = time.monotonic() - began
            time.sleep(max(60, options.every / 4))
            backends = [int(row[0]) for row in server.query(
                "select pid from pg_stat_activity where usename = 'canaryd'")]
            since, clock = server.value("select now()"), time.monotonic()
            server_cpu, own_cpu = cpu(backends), cpu([daemon.process.pid])
            time.sleep(options.seconds)
            wall = time.monotonic() - clock
            server_cpu, own_cpu = cpu(backends) - server_cpu, cpu([daemon.process.pid]) - own_cpu
            traffic.stop()
            late = sorted(float(row[0]) for row in server.query(
                "select extract(epoch from at) - (event::json -> 'look' ->> 'to')::float8 / 1000 "
                f"- 30 from canaryd.journal where at >= '{since}' and "
                "event::json -> 'look' ->> 'to' is not null", database="shop"))
            memory = [daemon.memory(what) for what in ("VmRSS", "VmHWM")]
            views = daemon.views()
            errors = {view["source"]["error"] or view["router_error"] for view in views} - {""}
            say("started one after the other", f"{started:.0f} s")
            say("a look is recorded after it was due, p50 / p99",
                f"{statistics.median(late):.2f} / {late[int(0.99 * (len(late) - 1))]:.2f} s",
                "goal: at most 1")
            say("the daemon's memory (VmRSS) / at most (VmHWM)",
                f"{memory[0]:.0f} / {memory[1]:.0f} MB", "goal: at most 64")
            say("and after the page of all of them was asked for", f"{daemon.memory('VmRSS'):.0f} MB")
            say("of one core: the server for canaryd / canaryd",
                f"{100 * server_cpu / wall:.1f} / {100 * own_cpu / wall:.1f} %",
                "goal: at most 20 for the server")
            say("looks / held / with an error",
                f"{len(late)} / {sum(bool(view['holds']) for view in views)} / {len(errors)}")
            for error in list(errors)[:3]:
                print("   ", error)


def measure(options, benches):
    for bench in benches:
        bench(options)


if __name__ == "__main__":
    sys.exit(main(__doc__, [("rows", 1_000_000, "of the long table"), ("rollouts", 1000, "how many"),
                            ("every", 300, "seconds from look to look"),
                            ("seconds", 150, "of each measurement")],
                  {"look": look, "rollouts": rollouts}, measure))
