#!/usr/bin/env python3
"""Several canaryd on one PostgreSQL: one acts, and nothing that is done to it makes two.

    replicas_test.py [--trials 20] [--seed N] [--part replicas|faults] [--fault NAME]

Replicas: two real daemons share a store, and a rollout with bakes of seconds runs on healthy counts
while commands are given. The one that acts is killed (-9), told to stop (SIGTERM), or stopped past
its lease and resumed (SIGSTOP, SIGCONT). Then: the other one took over in time and carries on at
the same step with the same bake; the resumed one changed nothing and ended by itself; `canaryctl
verify` finds nothing. Triggers in the database write down each change of the lease, of the route
and of the journal with the connection that made it: whoever did not hold the lease at that moment
did a double act. In half of the trials the route row is in the store's own transaction, in the
other half it is ordered like any other router.

Faults: a daemon whose store is on PostgreSQL, with everything that can go wrong there. Nothing
rises meanwhile; a breach still lowers the route where that can be reached (it is in a file of its
own here); and it carries on by itself afterwards. As under systemd, a daemon that ends is started
again. At last the database is replaced by an older copy of itself, which knows nothing of a
rollback: nothing rises, and it is said.

Each trial and each fault is one case. Binaries by CANARYD and CANARYCTL, else from build/.
"""

import argparse
import contextlib
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
sys.path.insert(0, str(ROOT / "tests" / "postgres"))
import crash_test  # noqa: E402
import server  # noqa: E402
from crash_test import Broken  # noqa: E402

crash_test.NAME = NAME = "unified-webhook"
CANARYD, CANARYCTL = crash_test.CANARYD, crash_test.CANARYCTL
SQL = ROOT / "deploy" / "sql"
TAKEOVER, HANDOVER = 20, 3  # seconds, by the database's clock

SETTINGS = """\
store: {{kind: postgres, connection: shop}}
policies: {folder}
listen: "off"
socket: {folder}/{name}.sock
connections:
  metrics: {{kind: sqlite, path: {folder}/metrics.db}}
  file:    {{kind: sqlite, path: {folder}/route.db}}
  shop:    {{kind: postgres, dsn: "{url}?application_name={name}&connect_timeout=2"}}
  again:   {{kind: postgres, dsn: "{url}?application_name={name}&connect_timeout=2"}}
"""

POLICY = """\
name: unified-webhook
canary: new
baseline: old
source: {{kind: sqlite, connection: metrics}}
router: {{kind: sql, connection: {router}, readers: function}}
steps: [{{name: week4, weight: 10%, bake: {bake}}}, {{name: week5, weight: 50%, bake: 2s}},
        {{name: week6, weight: 100%, bake: 2s}}]
max_step: 1h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{{metric: error_rate, below: 1%}}]
triggers:
  - {{name: burst, metric: error_rate, above: 20%, over: 2s, for: 1 of 1 looks, at_least: 10 failures from 3 users}}
confirm_without_baseline: 5s
blind: {{hold_after: 1h}}
finish: {{soak: 1h}}
notify: [{{kind: log}}]
"""

AUDIT = """
create schema audit;
create table audit.terms (epoch bigint, who text, at timestamptz, what text);
create table audit.acts (id bigserial, epoch bigint, who text, at timestamptz, what text,
                         old integer, new integer);
create function audit.lease() returns trigger language plpgsql security definer as $$
begin
    if new.epoch <> old.epoch then
        insert into audit.terms values (new.epoch, current_setting('application_name'),
                                        clock_timestamp(), 'taken');
    elsif new.nonce is null then
        insert into audit.terms values (new.epoch, current_setting('application_name'),
                                        clock_timestamp(), 'released');
    end if;
    return null;
end $$;
create function audit.acted() returns trigger language plpgsql security definer as $$
declare
    was integer := 0;
    now_is integer := 0;
begin
    if tg_table_name = 'route' then
        was := case when tg_op = 'UPDATE' then old.weight else 0 end;
        now_is := new.weight;
    end if;
    insert into audit.acts (epoch, who, at, what, old, new)
    select l.epoch, current_setting('application_name'), clock_timestamp(), tg_table_name,
           was, now_is from canaryd.lease l;
    return null;
end $$;
create trigger audit_lease after update on canaryd.lease
    for each row execute function audit.lease();
create trigger audit_route after insert or update on canaryd.route
    for each row execute function audit.acted();
create trigger audit_journal after insert on canaryd.journal
    for each row execute function audit.acted();
"""


class Feeder(crash_test.Feeder):
    """Users on the side that the route says, wherever that is; `failing` breaks the canary."""

    def __init__(self, folder, weight):
        super().__init__(folder)
        self.weight = weight  # asks for the route
        self.failing = False

    def run(self):
        while not self.stopped.wait(0.05):
            weight = self.weight()
            now = crash_test.now_ms()
            rows = []
            for user, bucket in random.sample(self.users, 100):
                new = bucket < weight
                status = "error" if new and self.failing else "success"
                rows.append(("new" if new else "old", user, now - 5, now, 5, status, now))
            self.database.execute("begin")
            self.database.executemany(
                "insert into webhook_metrics (webhook_name, user_id, started_at, completed_at,"
                " duration_ms, status, created_at) values (?, ?, ?, ?, ?, ?, ?)", rows)
            self.database.execute("commit")


class World:
    """A database with the schema, a folder with the metrics, and the daemons on them."""

    def __init__(self, postgres, folder):
        self.postgres, self.folder = postgres, folder
        postgres.query("create table public.users (id uuid primary key)")
        for path in sorted(SQL.glob("0*.sql")):
            postgres.file(path)
        postgres.file(SQL / "grants.sql")
        postgres.query(AUDIT)
        self.routed_by_file = False
        self.last_weight = 0
        self.session = None
        self.lock = threading.Lock()
        self.feeder = Feeder(folder, self.weight)
        self.feeder.start()

    def weight(self):
        """Basis points that readers get; while the database is away, what they got last."""
        if self.routed_by_file:
            return crash_test.route_weight(self.folder)
        with self.lock, contextlib.suppress(server.Error, OSError, IndexError, ValueError):
            if self.session is None:
                self.session = self.postgres.session()
            rows = self.session.query(
                f"select weight from canaryd.route where name = '{NAME}'")
            self.last_weight = int(rows[0][0]) if rows else 0
        return self.last_weight

    def audit(self):
        """Every act was the act of whoever held the lease."""
        strangers = self.postgres.query(
            "select a.what, a.who, a.epoch, t.who from audit.acts a"
            " left join audit.terms t on t.epoch = a.epoch and t.what = 'taken'"
            " where a.who like 'daemon%' and t.who is distinct from a.who")
        if strangers:
            raise Broken(f"acts without the lease (what, who, epoch, whose): {strangers[:5]}")
        return int(self.postgres.value("select count(*) from audit.acts where who like 'daemon%'"))

    def audit_sees_strangers(self):
        self.postgres.query("set application_name = 'daemon_z';"
                            "update canaryd.route set reason = 'by a stranger'")
        try:
            self.audit()
        except Broken:
            return
        raise Broken("an act without the lease was not seen: these trials prove nothing")

    def close(self):
        self.feeder.stopped.set()
        self.feeder.join()
        if self.session:
            with contextlib.suppress(OSError, ValueError):
                self.session.close()


class Daemon(crash_test.Daemon):
    def __init__(self, world, name):
        self.folder, self.name, self.world = world.folder, name, world
        self.socket = str(world.folder / f"{name}.sock")
        self.process = None
        self.ended = []  # exit statuses of its own accord
        self.settings = world.folder / f"{name}.yaml"
        self.settings.write_text(SETTINGS.format(
            folder=world.folder, name=name,
            url=world.postgres.url(user="canaryd")))

    def spawn(self):
        # Each has a state folder of its own, as on a machine of its own.
        state = self.folder / self.name
        state.mkdir(exist_ok=True)
        with open(self.folder / f"{self.name}.log", "ab") as log:
            self.process = subprocess.Popen(
                [CANARYD, "--config", str(self.settings), "--state-dir", str(state)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def respawn_if_ended(self):
        status = self.process.poll()
        if status is None:
            return False
        self.ended.append(status)
        if status not in (74, 75):
            raise Broken(f"{self.name} ended with {status}")
        self.spawn()
        return True

    def health(self):
        """None while it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            status, body = self.ask("GET", "/status")
            return json.loads(body)["health"] if status == 200 else None
        return None

    def acts(self):
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/readyz")[0] == 200
        return False

    def ask(self, method, target, body=None):
        few = 4  # seconds: it may be stopped
        with contextlib.closing(server.UnixConnection(self.socket, timeout=few)) as connection:
            headers = {"Accept": "application/json"}
            data = None
            if method == "POST":
                headers["Content-Type"] = "application/json"
                data = json.dumps(body or {}).encode()
            connection.request(method, target, body=data, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def view(self, rollout=NAME):
        return super().view(rollout)


def wait_for(condition, seconds, what):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return
        time.sleep(0.05)
    raise Broken(f"not within {seconds} s: {what}")


class Replicas:
    def __init__(self, world, chance):
        self.world, self.chance = world, chance
        self.pair = [Daemon(world, "daemon_a"), Daemon(world, "daemon_b")]
        self.taken = {"kill -9": [], "SIGTERM": [], "SIGSTOP": []}
        self.last = None
        self.commands = 0

    def start(self):
        for daemon in self.pair:
            daemon.spawn()
        wait_for(lambda: any(d.acts() for d in self.pair), 60, "one of two acts")

    def roles(self):
        """(the one that acts, the other one)"""
        for mine, other in (self.pair, self.pair[::-1]):
            if mine.acts():
                return mine, other
        raise Broken("nobody acts")

    def start_if_over(self, acting, router):
        view = acting.view()
        if view and view["status"] not in ("rolled_back", "finished"):
            # The router is pinned: the next rollout has the other one.
            if view["step"]["index"] < 2 or view["bake"]["seen_s"] < 2:
                return view
            acting.ask("POST", f"/api/v1/rollouts/{NAME}/rollback", {"reason": "enough"})
            wait_for(lambda: acting.view()["applied"] == 0, 20, "applied is 0")
        status, body = acting.ask("POST", "/api/v1/rollouts", {
            "policy_text": POLICY.format(router=router, bake="2s"), "policy_file": "policy.yaml"})
        if status != 201:
            raise Broken(f"start: {status} {body}")
        return acting.view()

    def storm(self, acting, seconds):
        """Commands until the moment comes."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            word = self.chance.choice(["pause", "resume", "resume", "extend", "rollback", "acknowledge"])
            if word == "rollback" and self.chance.random() < 0.7:
                continue
            self.commands += 1
            body = {"reason": f"token-{self.commands}"}
            if word == "extend":
                body["by"] = "1s"
            status, answer = acting.ask("POST", f"/api/v1/rollouts/{NAME}/{word}", body)
            if status not in (200, 404, 409):
                raise Broken(f"{word}: {status} {answer}")
            self.last = acting.view() or self.last
            time.sleep(self.chance.uniform(0, 0.1))

    def parting_shot(self, acting):
        """A command that is on its way in the moment of the fault; nobody waits for the answer."""
        word = self.chance.choice(["rollback", "resume", "pause", "extend"])

        def give():
            with contextlib.suppress(OSError, http.client.HTTPException):
                acting.ask("POST", f"/api/v1/rollouts/{NAME}/{word}",
                           {"reason": "parting shot", **({"by": "1s"} if word == "extend" else {})})
        threading.Thread(target=give, daemon=True).start()
        time.sleep(self.chance.uniform(0, 0.02))

    def refuses(self, standing_by, acting):
        status, body = standing_by.ask("POST", f"/api/v1/rollouts/{NAME}/pause", {"reason": "x"})
        detail = json.loads(body).get("detail", "")
        if status != 409 or str(acting.process.pid) not in detail:
            raise Broken(f"a command for the one that stands by: {status} {body}")
        health = standing_by.health()
        if not health or health["role"] != "standby" or health["ready"]:
            raise Broken(f"the one that stands by says {health}")
        if standing_by.ask("GET", "/readyz")[0] != 503 or not standing_by.view():
            raise Broken("the one that stands by is ready, or does not know the rollout")

    def trial(self, how, router):
        acting, other = self.roles()
        wait_for(lambda: (other.health() or {}).get("role") == "standby", 30, "the other stands by")
        self.last = self.start_if_over(acting, router)
        wait_for(lambda: other.view() is not None, 15, "the one that stands by shows the rollout")
        self.storm(acting, self.chance.uniform(0.2, 3))
        self.refuses(other, acting)
        before = self.last
        terms = int(self.world.postgres.value("select max(epoch) from audit.terms"))
        if self.chance.random() < 0.7:
            self.parting_shot(acting)
        began = time.time()
        acting.process.send_signal({"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM,
                                    "SIGSTOP": signal.SIGSTOP}[how])
        try:
            wait_for(other.acts, 60, f"{other.name} takes over")
        finally:
            if how == "SIGSTOP":
                acting.process.send_signal(signal.SIGCONT)
        took = float(self.world.postgres.value(
            f"select extract(epoch from at) from audit.terms where epoch = {terms + 1}"
            " and what = 'taken'")) - began
        self.taken[how].append(took)
        if took > (HANDOVER if how == "SIGTERM" else TAKEOVER):
            raise Broken(f"{how}: taken over after {took:.1f} s")
        # A stopped one has to notice by itself.
        # In the middle of its own COMMIT it cannot know what became of that: 74.
        status = acting.process.wait(30)
        if status not in {"kill -9": [-signal.SIGKILL], "SIGTERM": [0], "SIGSTOP": [75, 74]}[how]:
            raise Broken(f"after {how} {acting.name} ended with {status}")
        self.carries_on(other, before)
        acting.spawn()
        self.world.audit()
        self.verify(other)

    def carries_on(self, daemon, before):
        view = daemon.view(before["id"])
        if view is None or view["revision"] < before["revision"]:
            raise Broken(f"{before['id']} was at revision {before['revision']} and is {view}")
        step, was = view["step"]["index"], before["step"]["index"]
        if step < was or (step == was and view["bake"]["seen_s"] < before["bake"]["seen_s"]):
            raise Broken(f"step {step} after {was}, {view['bake']} after {before['bake']}")
        end = time.monotonic() + 20
        while time.monotonic() < end:
            view = daemon.view()
            if self.world.weight() <= view["desired"] * 100:
                return
            time.sleep(0.1)
        raise Broken(f"the route says {self.world.weight()}, wanted are {view['desired']} %")

    def verify(self, daemon):
        done = subprocess.run([CANARYCTL, "--socket", daemon.socket, "verify"],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=120, check=False)
        if done.returncode != 0:
            raise Broken(f"canaryctl verify: {done.returncode}\n{done.stdout}{done.stderr}")

    def close(self):
        for daemon in self.pair:
            if daemon.process and daemon.process.poll() is None:
                daemon.process.kill()
                daemon.process.wait()


def run_replicas(chance, trials):
    folder = Path(tempfile.mkdtemp(prefix="canaryd-replicas."))
    passed = failed = 0
    with server.Postgres() as postgres:
        world = World(postgres, folder)
        replicas = Replicas(world, chance)
        try:
            replicas.start()
            for number in range(1, trials + 1):
                how = ("kill -9", "SIGTERM", "SIGSTOP")[number % 3]
                router = ("shop", "again")[number // 3 % 2]
                try:
                    replicas.trial(how, router)
                    passed += 1
                except (Broken, OSError, http.client.HTTPException, server.Error,
                        subprocess.TimeoutExpired, AssertionError) as error:
                    failed += 1
                    print(f"trial {number}, {how}, route by {router}: {error}")
                    if failed >= 3:
                        break  # the next ones would only say it again
                    for daemon in replicas.pair:
                        with contextlib.suppress(ProcessLookupError):
                            daemon.process.send_signal(signal.SIGCONT)
                        if daemon.process.poll() is not None:
                            daemon.spawn()
                    wait_for(lambda: any(d.acts() for d in replicas.pair), 60, "one acts again")
            acts = world.audit()
            world.audit_sees_strangers()
            print(f"{acts} acts, each by the holder of the lease; {replicas.commands} commands")
            for how, took in replicas.taken.items():
                if took:
                    print(f"{how}: {len(took)} takeovers, the slowest after {max(took):.1f} s")
        except (Broken, server.Error) as error:
            failed += 1
            print(error)
        finally:
            replicas.close()
            world.close()
    if failed == 0:
        shutil.rmtree(folder)
    else:
        print(f"files in {folder}")
    return passed, failed


# --- Faults ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def stopped(world):
    world.postgres.stop()
    try:
        yield
    finally:
        world.postgres.start()


@contextlib.contextmanager
def killed(world):
    world.postgres.kill()
    try:
        yield
    finally:
        world.postgres.start()


@contextlib.contextmanager
def restarted(world):
    world.postgres.restart()
    yield


@contextlib.contextmanager
def frozen(world):
    world.postgres.freeze()
    try:
        yield
    finally:
        world.postgres.thaw()


@contextlib.contextmanager
def read_only(world):
    """It is a standby for a while, and then promoted."""
    world.postgres.stop()
    (world.postgres.data / "standby.signal").touch()
    world.postgres.start()
    try:
        yield
    finally:
        world.postgres.promote()


@contextlib.contextmanager
def no_connection_left(world):
    world.postgres.query("alter role canaryd connection limit 0")
    world.postgres.query("select pg_terminate_backend(pid) from pg_stat_activity"
                         " where usename = 'canaryd'")
    try:
        yield
    finally:
        world.postgres.query("alter role canaryd connection limit -1")


@contextlib.contextmanager
def locked_tables(world):
    with world.postgres.session() as other:
        other.query("begin; lock table public.users, public.migration_status, canaryd.journal")
        try:
            yield
        finally:
            other.query("rollback")


@contextlib.contextmanager
def right_lost(world):
    world.postgres.query("revoke execute on function canaryd.commit(jsonb) from canaryd")
    try:
        yield
    finally:
        world.postgres.file(SQL / "grants.sql")


@contextlib.contextmanager
def statements_time_out(world):
    """As on a disk that hangs: each commit takes longer than it may."""
    world.postgres.query(
        "create function audit.slow() returns trigger language plpgsql as"
        " 'begin perform pg_sleep(20); return new; end';"
        "create trigger audit_slow before insert on canaryd.journal"
        " for each row execute function audit.slow()")
    try:
        yield
    finally:
        world.postgres.query("drop function audit.slow() cascade")


FAULTS = {"stopped": stopped, "killed": killed, "restarted": restarted, "frozen": frozen,
          "read only": read_only, "no connection left": no_connection_left,
          "tables locked by somebody": locked_tables, "a right lost": right_lost,
          "statements time out": statements_time_out}


WITNESSES = ("the marks", "the route row")


class Faults:
    def __init__(self, world):
        self.world = world
        self.daemon = Daemon(world, "daemon_f")

    def keep_up(self, condition, seconds, what):
        """As systemd would: what ends is started again."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.daemon.respawn_if_ended()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if condition():
                    return
            time.sleep(0.1)
        raise Broken(f"not within {seconds} s: {what}")

    def begin(self):
        """A new rollout that is at 10 % for some seconds."""
        daemon = self.daemon
        self.keep_up(daemon.acts, 60, "it acts")
        view = daemon.view()
        if view and view["status"] not in ("rolled_back", "finished"):
            daemon.ask("POST", f"/api/v1/rollouts/{NAME}/rollback", {"reason": "the next one"})
        self.keep_up(lambda: (daemon.view() or {"applied": 0})["applied"] == 0, 30, "back at 0 %")
        status, body = daemon.ask("POST", "/api/v1/rollouts", {
            "policy_text": POLICY.format(router="file", bake="6s"), "policy_file": "policy.yaml"})
        if status != 201:
            raise Broken(f"start: {status} {body}")
        self.keep_up(lambda: self.world.weight() == 1000, 30, "10 % is served")

    def hold_out(self, fault, breach):
        """Nothing rises while the fault lasts; with a breach, the route comes down."""
        with fault(self.world):
            # What was committed before may still be carried out.
            time.sleep(1.5)
            low = self.world.weight()
            if breach:
                self.world.feeder.failing = True
            # Longer than the lease, and than a commit is waited for.
            end = time.monotonic() + (30 if breach else 16)
            while time.monotonic() < end:
                self.daemon.respawn_if_ended()
                weight = self.world.weight()
                if weight > low and fault is not restarted:
                    raise Broken(f"the route rose from {low} to {weight} in the fault")
                low = min(low, weight)
                if breach and low == 0:
                    break
                time.sleep(0.1)
            if breach and fault is not restarted and low > 0:
                raise Broken(f"a breach in the fault left the route at {low}")

    def trial(self, fault, breach):
        self.world.feeder.failing = False
        self.begin()
        rollout = self.daemon.view()["id"]
        try:
            self.hold_out(fault, breach)
            over = lambda: self.daemon.view(rollout)["status"] == "rolled_back"  # noqa: E731
            onwards = lambda: self.world.weight() >= 5000  # noqa: E731
            self.keep_up(self.daemon.acts, 60, "it acts again")
            self.keep_up(over if breach else onwards, 60,
                         "the rollback is recorded" if breach else "it goes on to 50 %")
        finally:
            self.world.feeder.failing = False
        self.world.audit()


    def goes_back(self, witness):
        """A rollback, and then a copy of the database from before it."""
        self.world.feeder.failing = False
        self.begin()
        rollout = self.daemon.view()["id"]
        postgres, copy = self.world.postgres, self.world.postgres.folder / "older"
        postgres.stop()
        subprocess.run(["cp", "-a", postgres.data, copy], check=True)
        postgres.start()
        self.keep_up(self.daemon.acts, 60, "it acts again")
        self.daemon.ask("POST", f"/api/v1/rollouts/{rollout}/rollback", {"reason": "bad build"})
        self.keep_up(lambda: self.world.weight() == 0, 30, "0 % is served")
        self.daemon.process.kill()
        self.daemon.process.wait()
        postgres.stop()
        shutil.rmtree(postgres.data)
        copy.rename(postgres.data)
        postgres.start()
        marks = self.world.folder / self.daemon.name / "canaryd.db.marks"
        if witness == "the route row":
            marks.unlink()
        self.daemon.spawn()
        self.keep_up(self.daemon.acts, 60, "it acts on the older copy")
        end = time.monotonic() + 8
        while time.monotonic() < end:
            if self.world.weight() > 0:
                raise Broken(f"an older copy raised the route to {self.world.weight()}")
            time.sleep(0.05)
        view = self.daemon.view(rollout)
        held = [hold["kind"] for hold in view["holds"]]
        if view["status"] != "rolled_back" and "store_went_back" not in held:
            raise Broken(f"by {witness}: {view['status']}, held by {held}")
        if witness == "the marks" and view["status"] != "rolled_back":
            raise Broken(f"the marks say rolled back, the rollout is {view['status']}")
        if "older copy" not in view["reason"]:
            raise Broken(f"it says: {view['reason']}")


def run_faults(names):
    folder = Path(tempfile.mkdtemp(prefix="canaryd-faults."))
    passed = failed = 0
    with server.Postgres() as postgres:
        world = World(postgres, folder)
        world.routed_by_file = True
        faults = Faults(world)
        faults.daemon.spawn()
        try:
            for name, fault in ((name, FAULTS[name]) for name in names):
                for breach in (False, True):
                    try:
                        faults.trial(fault, breach)
                        passed += 1
                    except (Broken, OSError, http.client.HTTPException, server.Error,
                            sqlite3.Error) as error:
                        failed += 1
                        print(f"{name}{', with a breach' if breach else ''}: {error}")
            for witness in WITNESSES if len(names) == len(FAULTS) else ():
                try:
                    faults.goes_back(witness)
                    passed += 1
                except (Broken, OSError, http.client.HTTPException, server.Error) as error:
                    failed += 1
                    print(f"an older copy, noticed by {witness}: {error}")
        finally:
            if faults.daemon.process.poll() is None:
                faults.daemon.process.kill()
                faults.daemon.process.wait()
            world.close()
    print(f"it ended by itself and was started again {len(faults.daemon.ended)} times: "
          f"{faults.daemon.ended}")
    if failed == 0:
        shutil.rmtree(folder)
    else:
        print(f"files in {folder}")
    return passed, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--part", choices=["replicas", "faults"])
    parser.add_argument("--fault", choices=FAULTS, help="this one alone")
    options = parser.parse_args()
    if server.missing():
        print(f"skipped: {server.missing()}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    print(f"seed {options.seed}")
    passed = failed = 0
    if options.part != "faults":
        passed, failed = run_replicas(random.Random(options.seed), options.trials)
    if options.part != "replicas":
        more_passed, more_failed = run_faults(
            [options.fault] if options.fault else list(FAULTS))
        passed, failed = passed + more_passed, failed + more_failed
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    os.environ.setdefault("PGCONNECT_TIMEOUT", "5")
    sys.exit(main())
