#!/usr/bin/env python3
"""Routing in PostgreSQL: the rollback, the flags and the look-up, each beside what it replaces.

    postgres_routing.py [--users N] [--seconds N] [rollback] [flags] [lookup]

Starts a PostgreSQL of its own, with N users, 1000000 unless told. What is compared runs by turns in
the same run: ratios hold on a busy machine, times do not.
"""

import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "postgres"))
import server as postgres  # noqa: E402
from figures import main, say  # noqa: E402
from world import FILES, NAME, SQL  # noqa: E402

PGBENCH = postgres.BIN / "pgbench"

USERS = """
create table users (id uuid primary key, email text, seen timestamptz, profile text);
insert into users (id, email, profile)
select md5(n::text)::uuid, 'user-' || n || '@example.org', repeat(md5(n::text), 6)
  from generate_series(1, {users}) n;
"""
PLANS_OWN = """
create function plans_get_webhook_route(p_user_id uuid) returns text
language plpgsql stable security definer as $$
declare unified boolean;
begin
    select use_unified_webhook into unified from public.users where id = p_user_id;
    if unified then return 'wa-webhook-unified'; end if;
    return 'legacy';
end $$;
create table bare (name text primary key, weight integer, by text, reason text);
insert into bare values ('one', 0, '', '');
vacuum analyze;
"""
ID = "md5((:n)::text)::uuid"
SCRIPTS = {  # name of a pgbench script: its text; :n is a random user
    "flag": f"select use_unified_webhook from users where id = {ID};",
    "plan": f"select plans_get_webhook_route({ID});",
    "function": f"select get_webhook_route({ID});",
    "inlined": f"select route from webhook_route({ID});",
    "write": f"update users set seen = now() where id = {ID};",
    "bare": "update bare set weight = 5000 - weight, by = 'x', reason = 'y' where name = 'one';",
}


class Bench:
    def __init__(self, server, users, seconds):
        self.server, self.users, self.seconds = server, users, seconds
        self.folder = Path(tempfile.mkdtemp(prefix="canaryd-bench-"))
        self.query, self.value = server.query, server.value
        for name, text in SCRIPTS.items():
            (self.folder / f"{name}.sql").write_text(
                f"\\set n random(1, {users})\n{text}\n")
        self.runs = 0

    def prepare(self):
        self.server.supabase()
        self.query(USERS.format(users=self.users), user="owner")
        self.server.legacy()
        for path in [*FILES, SQL / "grants.sql"]:
            self.server.file(path, user="owner")
        self.query(PLANS_OWN)

    def order(self, weight):
        self.query(f"select canaryd.order_route('{NAME}', {weight}, revision + 1, null, 'canaryd', "
                   f"'bench') from canaryd.served('{NAME}')")

    def follow(self):
        self.server.psql("-q", "-c", f"call canaryd.follow('{NAME}', 0)")

    def start(self, script, clients=1, seconds=None, rate=None):
        """pgbench in the background; finish() has its latencies in ms."""
        self.runs += 1
        log = self.folder / f"log-{self.runs}"
        command = [PGBENCH, "-n", "-M", "prepared", "-c", str(clients), "-T",
                   str(seconds or self.seconds), "-l", "--log-prefix", log,
                   "-f", self.folder / f"{script}.sql", self.server.url()]
        if rate:
            command[1:1] = ["-R", str(rate)]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return run, log

    def finish(self, started):
        run, log = started
        out, err = run.communicate()
        if run.returncode != 0:
            raise RuntimeError(err)
        rate = float(re.search(r"^tps = ([0-9.]+)", out, re.M).group(1))
        took = [int(line.split()[2]) / 1000 for path in self.folder.glob(log.name + ".*")
                for line in path.read_text().splitlines()]
        return rate, sorted(took)

    def throughput(self, script, clients=4):
        return self.finish(self.start(script, clients))[0]

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def quantile(values, share):
    return values[min(len(values) - 1, int(share * len(values)))]


def rollback(bench):
    """An order and a bare update by turns, look-ups and writers beside. Then the plan's UPDATE."""
    idle = bench.finish(bench.start("write", rate=200))[1]
    looks = bench.start("function", clients=2, seconds=2 * bench.seconds, rate=1000)
    writes = bench.start("write", seconds=2 * bench.seconds, rate=200)
    times = {"order": [], "bare": []}
    script = ["\\timing on"]
    for n in range(200):
        script += [f"select canaryd.order_route('{NAME}', 5000, {10**9 + 2 * n}, null, 'canaryd', "
                   "'up');", "\\echo order",
                   f"select canaryd.order_route('{NAME}', 0, {10**9 + 2 * n + 1}, null, 'canaryd', "
                   "'down');", "\\echo bare", SCRIPTS["bare"], "\\echo none"]
    out = bench.server.psql("-q", "-t", sql="\n".join(script))
    label = "none"
    for line in out.splitlines():
        if line in ("order", "bare", "none"):
            label = line
        elif line.startswith("Time:") and label in times:
            times[label].append(float(line.split()[1]))
    answered = answers_after(bench)
    _, beside = bench.finish(writes)
    bench.finish(looks)
    order, bare = sorted(times["order"]), sorted(times["bare"])
    bench.order(5000)
    bench.follow()
    bench.query("alter table users disable trigger user")
    began = time.monotonic()
    bench.query("update users set use_unified_webhook = false")
    plan = (time.monotonic() - began) * 1000
    bench.query("alter table users enable trigger user; delete from canaryd.flags")
    bench.follow()
    bench.query("vacuum analyze users")
    say("an order to nobody until it is committed, p50 / p99",
        f"{statistics.median(order):.2f} / {quantile(order, 0.99):.2f} ms")
    say("the same against a bare update of one row, p50",
        f"{statistics.median(order) / statistics.median(bare):.2f} x", "goal: at most 3")
    say("the same, p99", f"{quantile(order, 0.99) / quantile(bare, 0.99):.2f} x",
        "goal: at most 5")
    say("until another connection's next look-up answered legacy, p50",
        f"{answered['order'] / answered['bare']:.2f} x", "goal: at most 3; none was late")
    say(f"the plan's UPDATE of {bench.users} users against it",
        f"{plan / statistics.median(order):.0f} x", "goal: at least 10000 at 10 M users")
    say("writers' p50 beside it, against idle",
        f"{statistics.median(beside) / statistics.median(idle):.2f} x", "goal: at most 1.5")


def answers_after(bench):
    """Median ms from the order until a look-up that begins when it is committed has its answer, on
    another connection; the same with a bare row. An answer of before is a fault."""
    user = bench.value(f"select id from users where canaryd.bucket('{NAME}', id) < 5000 limit 1")
    pairs = {
        "order": (f"select canaryd.order_route('{NAME}', 0, {{n}}, null, 'canaryd', 'down')",
                  f"select get_webhook_route('{user}')", "legacy"),
        "bare": ("update bare set weight = {n} where name = 'one'",
                 "select weight::text from bare where name = 'one'", "{n}"),
    }
    took = {name: [] for name in pairs}
    with bench.server.session() as writer, bench.server.session() as reader:
        for n in range(2 * 10**9, 2 * 10**9 + 400, 2):
            writer.query(f"select canaryd.order_route('{NAME}', 5000, {n}, null, 'canaryd', 'up')")
            for name, (write, look, wanted) in pairs.items():
                began = time.perf_counter()
                writer.query(write.format(n=n + 1))
                answer = reader.query(look)[0][0]
                took[name].append((time.perf_counter() - began) * 1000)
                if answer != wanted.format(n=n + 1):
                    raise RuntimeError(f"after the commit {look} answers {answer}")
    return {name: statistics.median(times) for name, times in took.items()}


def flags(bench):
    """From nobody to half of the users and back as canaryd.follow() paces it, nine seconds of each
    ten; look-ups beside, from when each was sent: pgbench is late by itself, and has clients enough
    that none waits for another's answer."""
    bench.order(0)
    bench.follow()
    bench.query("vacuum full users; analyze users")
    size = int(bench.value("select pg_relation_size('users')"))
    spans, took, grown = [], [], size
    run, log = bench.start("flag", clients=4, seconds=24 * 3600, rate=500)
    with bench.server.session() as session:
        for weight in (5000, 0):
            bench.order(weight)
            done, first = False, len(spans)
            while not done:
                time.sleep(1)
                began = time.time()
                done = follow_for(session, seconds=9)
                spans.append((began, time.time()))
            took.append(sum(ended - began for began, ended in spans[first:]))
            grown = max(grown, int(bench.value("select pg_relation_size('users')")))
    run.terminate()
    run.wait()
    idle, beside = [], []
    for path in bench.folder.glob(log.name + ".*"):
        for line in path.read_text().splitlines():
            if len(fields := line.split()) < 7:
                continue  # cut by the end
            took_us, late_us = int(fields[2]), int(fields[6])
            at = int(fields[4]) + int(fields[5]) / 1e6
            span = bisect(spans, (at, at))
            (beside if span and at <= spans[span - 1][1] else idle).append((took_us - late_us) / 1000)
    idle.sort()
    beside.sort()
    say("flags follow 0 to 50 % / back", f"{took[0]:.1f} / {took[1]:.1f} s")
    say("look-ups' p99 meanwhile, against idle",
        f"{quantile(beside, 0.99) / quantile(idle, 0.99):.2f} x", "goal: at most 1.5")
    say("the table's size after both, against before", f"{grown / size:.2f} x",
        "goal: at most 1.5")


def follow_for(session, seconds):
    """Whether all flags are where the route is. What is in hand when the time is over is done again."""
    said = session.query(f"set statement_timeout = '{seconds} s'; call canaryd.follow('{NAME}')")
    if said and "statement timeout" not in said[0][0]:
        raise RuntimeError(said)
    return not said


def lookup(bench):
    """Each form by turns, four clients, prepared, half of the users on the canary; the median of
    the rounds."""
    bench.order(5000)
    bench.follow()
    bench.query("vacuum analyze users")
    names = ("flag", "plan", "function", "inlined")
    rounds = {name: [] for name in names}
    for name in names:
        bench.finish(bench.start(name, 4, seconds=1))  # caches
    for _ in range(5):
        for name in names:
            rounds[name].append(bench.throughput(name))
    rate = {name: statistics.median(times) for name, times in rounds.items()}
    large = bench.users >= 10_000_000
    say("get_webhook_route against the plan's own function",
        f"{rate['function'] / rate['plan']:.2f} x", "goal: at least 1.25")
    say("get_webhook_route against a prepared look at the flag",
        f"{rate['function'] / rate['flag']:.2f} x",
        f"goal: at least {1.1 if large else 0.9}")
    say("webhook_route, inlined, against the same", f"{rate['inlined'] / rate['flag']:.2f} x",
        "goal: at least 1.2" if large else "")


def measure(options, benches):
    settings = {"shared_buffers": "128MB", "max_wal_size": "4GB", "checkpoint_timeout": "15min"}
    with postgres.Postgres(settings) as server:
        bench = Bench(server, options.users, options.seconds)
        try:
            bench.prepare()
            for one in benches:
                one(bench)
        finally:
            bench.close()


if __name__ == "__main__":
    sys.exit(main(__doc__, [("users", 1_000_000, "in the table"),
                            ("seconds", 5, "of each measurement")],
                  {"rollback": rollback, "flags": flags, "lookup": lookup}, measure))
