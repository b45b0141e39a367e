#!/usr/bin/env python3
"""The recommended form, whole: one daemon with its own store, a real PostgreSQL as source and router;
and the other one, where the store is in that PostgreSQL too.

    postgres_daemon_test.py [NAME...]

Each test is a daemon and a database of its own, with the first user's tables, and then something
goes wrong: nothing rises, people are told, and it carries on by itself. Nothing asserts how long
anything takes. Binaries by CANARYD and CANARYCTL, else from build/.
"""

import concurrent.futures
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "postgres"))
import server as postgres  # noqa: E402
from world import CANARY, IDS, LEGACY, NAME, Database, Failed, World, below, expect, run  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
COPYING = threading.Lock()  # of databases, one at a time
PATIENCE = 90  # seconds until something is given up; nothing is expected to come near it

SETTINGS = """\
listen: off
policies: {folder}
{store}connections:
  shop: {{kind: postgres, dsn: {{credential: shop_dsn}}}}
"""
POLICY = """\
name: unified-webhook
canary: wa-webhook-unified
baseline: wa-webhook-jobs
source: {kind: postgres, connection: shop}
router: {kind: sql, connection: shop, readers: both, exposure_lease: 1h}
steps: [{weight: 10%, bake: 1h}, {weight: 100%, bake: 1h}]
max_step: 4h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{metric: error_rate, below: 1%}]
triggers:
  - {name: burst, metric: error_rate, above: 50%, over: 5s, for: 1 of 1 looks, at_least: 10 failures}
  - {name: dead-letters, metric: dlq, above: 1000, over: 5s, for: 1 of 1 looks}
metrics:
  dlq: {query: "select count(*) from webhook_metrics where status = 'timeout' and created_at >= $1 and created_at < $2"}
blind: {hold_after: 2s}
finish: {soak: 2h}
notify: [{kind: log}]
"""
# The whole ladder while one waits; the first step long enough to look at it.
QUICK = (POLICY.replace("steps: [{weight: 10%, bake: 1h}, {weight: 100%, bake: 1h}]",
                        "steps: [{name: week4, weight: 10%, bake: 20s}, {name: week5, weight: 50%, "
                        "bake: 2s}, {name: week6, weight: 100%, bake: 2s}]")
         .replace("soak: 2h", "soak: 5s"))
IN_POSTGRES = "store: {kind: postgres, connection: shop}\n"


def of(**how):
    """A daemon of another kind than the usual one."""
    def mark(test):
        test.how = how
        return test
    return mark


def due_in(seconds):
    """Its rollout would go to 100 % after so many seconds that were seen."""
    return of(bake=seconds)


class Users(threading.Thread):
    """Requests on both sides, from many users, whenever the database takes them."""

    def __init__(self, database, rows):
        super().__init__(daemon=True)
        self.database, self.rows = database, rows
        self.done, self.failing = threading.Event(), threading.Event()

    def run(self):
        n = 0
        while not self.done.wait(0.2):
            rows = []
            for service in (CANARY, "wa-webhook-jobs"):
                for _ in range(self.rows):
                    n += 1
                    broken = self.failing.is_set() and service == CANARY
                    status, text = ("error", f"'no route {n % 2}'") if broken else ("success", "null")
                    rows.append(f"('{service}', '{IDS[n % len(IDS)]}', 'jobs', 100, '{status}', "
                                f"{text}, 'req-{n}')")
            with contextlib.suppress(postgres.Error):
                self.database.query(
                    "insert into webhook_metrics (webhook_name, user_id, agent_type, duration_ms, "
                    "status, error_message, request_id) values " + ", ".join(rows), user="postgres")


class Daemon:
    def __init__(self, world, template="ready", store="", policy=POLICY, rows=40, bake=None,
                 standby=False):
        self.server = world.server
        with COPYING:
            self.database = world.copy(template)
        if template != "ready":
            self.database.migrate()
        self.folder = Path(tempfile.mkdtemp(prefix="canaryd-"))
        (self.folder / "canaryd.yaml").write_text(SETTINGS.format(folder=self.folder, store=store))
        # Made before the rollout, for it takes its time.
        self.standby = self.server.standby() if standby else None
        self.bake_seconds = bake
        if bake:
            policy = policy.replace("10%, bake: 1h", f"10%, bake: {bake}s")
        (self.folder / "unified-webhook.yaml").write_text(policy)
        self.connect_by(self.url())
        self.users = Users(self.database, rows)
        self.running = None
        self.due = None  # when it would go up by itself if nothing happened
        self.heard = 0   # how much of the log was looked at

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        if error:
            print("canaryd's log ends:\n" + self.log()[-3000:], flush=True)
        self.users.done.set()
        if self.running:
            self.running.kill()
            self.running.wait()
        if self.users.is_alive():
            self.users.join()
        if self.standby:
            self.standby.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def bake(self):
        """A rollout at its first 10 %, seen and well."""
        self.users.start()
        self.start()
        result = self.ctl("start", str(self.folder / "unified-webhook.yaml"))
        expect(result.returncode == 0, "the rollout starts", result.stdout, result.stderr)
        wait_for("10 % are confirmed", lambda: self.view()["applied"] == 10)
        self.due = time.monotonic() + (self.bake_seconds or 0)
        self.looks()

    def start(self):
        with open(self.folder / "canaryd.log", "ab") as log:
            self.running = subprocess.Popen(
                [CANARYD, "--config", str(self.folder / "canaryd.yaml"), "--state-dir",
                 str(self.folder)], stdout=log, stderr=log,
                env={**os.environ, "CREDENTIALS_DIRECTORY": str(self.folder)})
        wait_for("canaryd is ready", lambda: self.ctl("status").returncode not in (1, 2))

    def url(self):
        return self.server.url(user="canaryd", database=self.database.name, password="never-shown")

    def connect_by(self, url):
        """For the next connection; a credential may change at any time."""
        (self.folder / "shop_dsn").write_text(url)

    def cut(self):
        """Every connection of its login ends, as a pooler's restart would have it."""
        self.database.query("select pg_terminate_backend(pid) from pg_stat_activity "
                            "where usename = 'canaryd' and datname = current_database()",
                            user="postgres")

    def restart(self, with_signal=signal.SIGKILL):
        self.running.send_signal(with_signal)
        self.running.wait(PATIENCE)
        self.start()

    def ctl(self, *words):
        return subprocess.run(
            [CANARYCTL, *words], capture_output=True, text=True, check=False, timeout=PATIENCE,
            env={**os.environ, "CANARYD_SOCKET": str(self.folder / "canaryd.sock")})

    def view(self):
        result = self.ctl("status", NAME, "--json")
        expect(result.returncode in (0, 3, 4), "status answers", result.stdout, result.stderr)
        return json.loads(result.stdout)["rollouts"][0]

    def phases(self):
        """phase, percentage, begun, over, success_criteria_met; of those that have begun"""
        return self.database.query(
            "select phase, percentage, started_at is not null, completed_at is not null, "
            "success_criteria_met from migration_status where started_at is not null order by phase")

    def log(self):
        path = self.folder / "canaryd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def told(self, words):
        """Until people are told that, after what they were told before."""
        wait_for(f"people are told: {words}", lambda: words in self.log()[self.heard:])
        self.heard = self.log().index(words, self.heard) + len(words)

    def stays(self):
        """At 10 %, although it was due to go up meanwhile."""
        expect(self.bake_seconds, "it would go up")
        while time.monotonic() < self.due + 4:
            view = self.view()
            expect(view["applied"] == 10 and view["step"]["index"] == 0, "nothing rises", view)
            with contextlib.suppress(postgres.Error):
                expect(self.database.route()[0] == 1000, "in the row neither")
            time.sleep(0.2)

    def goes_on(self):
        """What the fault has held back comes by itself."""
        self.told("metrics are back; the counts")
        wait_for("what was due comes now", lambda: self.view()["applied"] == 100)

    def looks(self):
        """Until two more looks were taken: it sees."""
        before = self.view()["source"]["last_look"]
        wait_for("looks go on", lambda: not self.view()["source"]["error"]
                 and self.view()["source"]["last_look"] > before)

    def blind(self, why):
        wait_for(f"it is blind: {why}", lambda: why in self.view()["source"]["error"])
        wait_for("and held", lambda: "blind" in json.dumps(self.view()["holds"]))
        expect(self.view()["desired"] == 10, "nothing moves", self.view())
        self.told("held at 10 %")

    def breaks(self):
        """The canary fails, and everybody goes back."""
        self.users.failing.set()
        wait_for("it rolls back", lambda: self.view()["status"] == "rolled_back"
                 and self.view()["applied"] == 0)
        self.told("ROLLED BACK from")
        expect(not self.database.on_canary(), "look-ups answer legacy")
        wait_for("the flags follow", lambda: not self.database.flagged())


def wait_for(what, true):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if true():
            return
        time.sleep(0.2)
    raise Failed(f"waited {PATIENCE} s in vain: {what}")


# --- What is true --------------------------------------------------------------------------------


def the_rollback_is_in_their_tables(daemon):
    wait_for("it is recorded", lambda: daemon.phases() == [["week4", "0", "t", "t", "f"]])
    database = daemon.database
    rows = database.query("select phase, rolled_back_by, reason from migration_rollbacks")
    expect(len(rows) == 1 and rows[0][:2] == ["week4", "canaryd"], "one row says who and when", rows)
    expect(rows[0][2] == daemon.view()["reason"], "and why", rows, daemon.view())
    wait_for("with exact figures", lambda: database.value(
        "select error_rate > 1 and latency_p95 = 100 from migration_rollbacks") == "t")
    expect(database.value("select fine from canaryd.health_check where what = 'no rollback today'")
           == "f", "the health check knows")
    expect(database.value("select count(*) from canaryd.emergency") == "0",
           "canaryd's own row is no operator's rollback")


def a_rollout_moves_users_and_a_breach_moves_them_back(daemon):
    expect(daemon.database.on_canary() == below(1000), "the function sends the right tenth")
    wait_for("the flags follow", lambda: daemon.database.flagged() == below(1000))
    wait_for("status says so",
             lambda: "all follow the route" in daemon.view()["route_progress"])
    wait_for("one connection for looks and one for the route are held, none for flags",
             lambda: daemon.database.value(
                 "select count(*) from pg_stat_activity where usename = 'canaryd' "
                 "and datname = current_database()", user="postgres") == "2")
    page = daemon.ctl("status", NAME).stdout
    expect("flags: all follow the route" in " ".join(page.split()), "on the page too", page)
    lease = daemon.database.value("select valid_until > now() + interval '40 minutes' "
                                  f"from canaryd.route where name = '{NAME}'")
    expect(lease == "t", "the exposure is leased")
    wait_for("the phase has begun", lambda: daemon.phases() == [["week4", "10", "t", "f", "f"]])
    daemon.breaks()
    the_rollback_is_in_their_tables(daemon)
    wait_for("people are told the top error", lambda: "Top error: " in daemon.log())
    expect(daemon.view()["top_errors"][0]["request_ids"], "status names it too", daemon.view())
    expect("no route" in daemon.log() and "req-" in daemon.log(), "with a request", daemon.log())
    expect("never-shown" not in daemon.log(), "the password is in no line")


@due_in(8)
def a_server_that_is_stopped_blinds_and_comes_back(daemon):
    daemon.server.stop()
    daemon.blind("connect: ")
    expect(daemon.view()["router_error"], "the router says it too", daemon.view())
    daemon.told("Past canaryd: select canaryd.rollback('why');")
    page = daemon.ctl("status", NAME).stdout
    expect("\n  select canaryd.rollback('why');\n" in page, "and so does status", page)
    daemon.stays()
    daemon.server.start()
    daemon.goes_on()
    page = daemon.ctl("status", NAME).stdout
    expect("canaryd.rollback" not in page, "until it helps no more", page)
    daemon.breaks()


@due_in(8)
def a_server_that_is_killed_recovers_and_so_does_canaryd(daemon):
    daemon.server.kill()
    daemon.blind("")
    daemon.stays()
    daemon.server.start()
    daemon.goes_on()
    daemon.breaks()


@due_in(8)
def a_frozen_server_does_not_freeze_canaryd(daemon):
    daemon.server.freeze()
    try:
        daemon.blind("")
        expect(daemon.ctl("status").returncode not in (1, 2), "status answers")
        daemon.stays()
    finally:
        daemon.server.thaw()
    daemon.goes_on()
    daemon.breaks()


@due_in(8)
def locked_tables_are_no_evidence(daemon):
    with daemon.database.session("postgres") as session:
        session.query("begin; lock table webhook_metrics, users")
        daemon.blind("lock timeout")
        daemon.stays()
        session.query("commit")
    daemon.goes_on()
    daemon.breaks()


@due_in(10)
def a_lost_right_and_a_dropped_column_are_named(daemon):
    daemon.database.query("revoke select on webhook_metrics from canaryd")
    daemon.blind("GRANT SELECT ON webhook_metrics")
    daemon.database.query("grant select on webhook_metrics to canaryd")
    daemon.told("metrics are back; the counts")
    daemon.database.query("alter table webhook_metrics rename duration_ms to took")
    daemon.blind("duration_ms")
    daemon.stays()
    daemon.database.query("alter table webhook_metrics rename took to duration_ms")
    daemon.goes_on()
    daemon.database.query("revoke execute on function canaryd.served(text) from canaryd")
    wait_for("the router says so", lambda: "canaryctl doctor" in daemon.view()["router_error"])
    daemon.database.query("grant execute on function canaryd.served(text) to canaryd")
    wait_for("and heals", lambda: not daemon.view()["router_error"])
    daemon.breaks()


def a_breach_while_only_the_metrics_can_be_read_is_carried_out_when_the_route_can(daemon):
    daemon.database.query("revoke execute on all functions in schema canaryd from canaryd")
    wait_for("the router fails", lambda: daemon.view()["router_error"])
    daemon.users.failing.set()
    wait_for("it is decided", lambda: daemon.view()["status"] == "rolled_back")
    expect(daemon.database.route()[0] == 1000, "the route could not be reached")
    expect(daemon.database.value("select count(*) from migration_rollbacks") == "0",
           "nor their tables")
    daemon.told("ROLLED BACK from 10 %")
    daemon.told("Users are NOT all on legacy yet")
    daemon.told("Past canaryd: select canaryd.rollback('why');")
    daemon.database.file(ROOT / "deploy" / "sql" / "grants.sql")
    wait_for("and lowered when it can", lambda: daemon.database.route()[0] == 0)
    the_rollback_is_in_their_tables(daemon)


def a_daemon_that_is_killed_goes_on_where_it_was(daemon):
    before = daemon.view()
    daemon.restart()
    after = daemon.view()
    expect(after["desired"] == 10 and after["step"] == before["step"], "the same step", after)
    daemon.looks()
    daemon.breaks()


BY_FLAG = "update users set use_unified_webhook = false"
BY_ROW = ("insert into migration_rollbacks (phase, reason, rolled_back_by) "
          "values ('week4', 'support is flooded', 'maria')")
EMERGENCIES = {"by the flag": BY_FLAG, "by a row": BY_ROW,
               "by both": f"begin; {BY_FLAG}; {BY_ROW}; commit"}


def emergency(sql, how, role=None):
    """The plan's own way back. `how` the daemon is meanwhile: up, down or restarting."""
    def is_an_operators_rollback(daemon):
        wait_for("the flags follow", lambda: daemon.database.flagged() == below(1000))
        if how != "up":
            daemon.running.kill()
            daemon.running.wait(PATIENCE)
        if how == "restarting":
            starts = threading.Thread(target=daemon.start)
            starts.start()
        if role:
            daemon.database.query(sql, user="postgres", role=role)
        else:
            daemon.database.query(sql)
        expect(not daemon.database.on_canary(), "look-ups answer legacy at once")
        if how == "down":
            daemon.start()
        elif how == "restarting":
            starts.join()
        wait_for("canaryd records it", lambda: daemon.view()["status"] == "rolled_back")
        if BY_ROW in sql:
            history = daemon.ctl("history", NAME).stdout
            expect("support is flooded" in history, "with its reason", history)
        daemon.told("rolled back past the daemon by")
        daemon.restart()
        expect(daemon.database.route()[0] == 0 and not daemon.database.on_canary(), "for good")
        wait_for("and no flag is left", lambda: not daemon.database.flagged())
    return is_an_operators_rollback


def a_rollback_past_the_daemon_is_an_operators(daemon):
    daemon.running.kill()
    daemon.running.wait(PATIENCE)
    back = daemon.ctl("rollback", "--direct", "--reason", "it is 3 am", "--database",
                      daemon.server.url(user="owner", database=daemon.database.name))
    expect(back.returncode == 0, "with canaryd down", back.stdout, back.stderr)
    expect(not daemon.database.on_canary(), "look-ups answer legacy")
    expect(not daemon.database.flagged(), "and nobody waits for canaryd to set the flags back")
    daemon.start()
    wait_for("the start records it", lambda: daemon.view()["status"] == "rolled_back")
    history = daemon.ctl("history", NAME).stdout
    expect("it is 3 am" in " ".join(history.split()), "with its reason", history)
    expect(daemon.database.route()[0] == 0, "and does not rise", daemon.database.route())


@due_in(8)
def connections_that_are_used_up_are_no_evidence(daemon):
    daemon.database.query("alter role canaryd connection limit 0", user="postgres")
    try:
        daemon.cut()
        daemon.blind("too many connections")
        daemon.stays()
    finally:
        daemon.database.query("alter role canaryd connection limit -1", user="postgres")
    daemon.goes_on()
    daemon.breaks()


@due_in(10)
def encryption_that_is_demanded_is_used_and_its_lack_is_named(daemon):
    with daemon.server.only_encrypted("canaryd"):
        daemon.cut()
        daemon.looks()
        plain = daemon.database.value("select count(*) from pg_stat_ssl join pg_stat_activity "
                                      "using (pid) where usename = 'canaryd' and not ssl",
                                      user="postgres")
        expect(plain == "0", "every connection is encrypted", plain)
        daemon.connect_by(daemon.url() + "?sslmode=disable")
        daemon.cut()
        daemon.blind("no encryption")
        daemon.stays()
        daemon.connect_by(daemon.url())
        daemon.goes_on()
        daemon.breaks()


def a_failover_to_a_standby_that_lags_puts_nobody_back(daemon):
    """The standby still believes in 10 % when it takes over: canaryd has decided otherwise."""
    both = daemon.url()
    with contextlib.closing(daemon.server.standby()) as standby:
        both = both.replace(f":{daemon.server.port}/", f":{daemon.server.port},127.0.0.1:"
                            f"{standby.port}/") + "?target_session_attrs=read-write"
        daemon.connect_by(both)
        daemon.cut()
        daemon.looks()
        copy = Database(standby, daemon.database.name)
        wait_for("the standby has the 10 %", lambda: copy.route()[0] == 1000)
        standby.query("alter system set primary_conninfo = ''")
        standby.query("select pg_reload_conf()")
        wait_for("it follows no more", lambda: standby.value(
            "select count(*) from pg_stat_wal_receiver") == "0")
        daemon.breaks()
        daemon.server.kill()
        try:
            standby.promote()
            wait_for("the late copy is lowered too", lambda: copy.route()[0] == 0)
            expect(daemon.view()["status"] == "rolled_back", "and the decision stands", daemon.view())
            expect(not copy.on_canary(), "look-ups answer legacy there")
        finally:
            daemon.server.start()


def a_transaction_pooler_with_one_connection_changes_nothing(daemon):
    if not daemon.server.bouncer:
        daemon.server.start_pgbouncer(pool_size=1)
    daemon.connect_by(daemon.server.url(user="canaryd", database=daemon.database.name, bouncer=True))
    daemon.cut()
    daemon.looks()
    wait_for("the flags follow", lambda: daemon.database.flagged() == below(1000))
    direct = daemon.database.value("select count(*) from pg_stat_activity where usename = 'canaryd'",
                                   user="postgres")
    expect(direct in ("0", "1"), "it is alone behind the pooler", direct)
    daemon.restart()
    daemon.looks()
    daemon.breaks()


# Without a lease, whose renewal would be an order too.
@of(template="drawn", rows=100,
    policy=QUICK.replace("readers: both, exposure_lease: 1h", "readers: column"))
def users_who_were_drawn_are_taken_over_and_nobody_is_sent_back(daemon):
    database = daemon.database
    drawn = {row[0] for row in database.query("select user_id from canaryd.drawn")}
    sides = [database.on_canary()]
    expect(sides[0] == drawn and len(drawn) == len(IDS) / 10, "the drawn tenth is the canary")
    wait_for("the row is canaryd's, and nothing moved", lambda: database.query(
        "select managed, by, readers, weight from canaryd.route")
        == [["t", "canaryd", "column", "1000"]])
    said = database.fails("select * from assign_users_to_unified_webhook(60)")
    expect("canaryctl promote" in said, "a raise past it is refused with the command to use", said)

    def everybody_is_there():
        sides.append(database.on_canary())
        return len(sides[-1]) == len(IDS)
    wait_for("everybody is on the canary", everybody_is_there)
    for before, after in zip(sides, sides[1:]):
        expect(before <= after, "nobody is ever sent back", len(before), len(after))
    wait_for("the soak has its own phase", lambda: daemon.phases() == [
        ["week4", "10", "t", "t", "t"], ["week5", "50", "t", "t", "t"],
        ["week6", "100", "t", "t", "t"], ["week7+", "100", "t", "f", "f"]])
    wait_for("the soak ends", lambda: daemon.view()["status"] == "finishing")
    done = daemon.ctl("finish", NAME, "--reason", "everybody is well")
    expect(done.returncode == 0, "it is finished", done.stdout, done.stderr)
    wait_for("and so is its phase", lambda: daemon.phases()[-1] == ["week7+", "100", "t", "t", "t"])


def an_operators_lower_number_stays_theirs(daemon):
    daemon.database.query("select * from assign_users_to_unified_webhook(5)")
    wait_for("it is held", lambda: "drift" in json.dumps(daemon.view()["holds"]))
    daemon.looks()
    expect(daemon.database.route()[::2] == (500, "owner"), "nobody writes over it",
           daemon.database.route())
    expect(daemon.view()["desired"] == 5, "canaryd wants it too", daemon.view())
    daemon.breaks()


@of(store=IN_POSTGRES, rows=100,
    policy=QUICK.replace("bake: 20s", "bake: 2s").replace("50%, bake: 2s", "50%, bake: 10m"))
def source_router_and_store_may_be_one_database(daemon):
    database = daemon.database
    wait_for("the second step", lambda: daemon.view()["applied"] == 50)
    expect(database.route()[0] == 5000 and database.route()[2] == "canaryd", "the row says so",
           database.route())
    daemon.users.failing.set()
    wait_for("a breach", lambda: daemon.view()["status"] == "rolled_back")
    wait_for("nobody is on the canary", lambda: not database.on_canary())
    rows = database.query("select r.status, r.revision = count(j.seq), r.revision = max(j.revision) "
                          "from canaryd.rollout r join canaryd.journal j on j.rollout = r.id "
                          "group by r.id")
    expect(rows == [["rolled_back", "t", "t"]], "the record and its journal have it", rows)
    rollback = database.query("select phase, reason, rolled_back_by from migration_rollbacks")
    expect(len(rollback) == 1 and rollback[0][0] == "week5" and rollback[0][2] == "canaryd",
           "one row, once", rollback)
    expect(rollback[0][1] in [entry[0] for entry in database.query(
        "select reason from canaryd.journal")], "with the journal's reason", rollback)
    expect(daemon.phases() == [["week4", "10", "t", "t", "t"], ["week5", "0", "t", "t", "f"]],
           "the phases", daemon.phases())
    said = daemon.ctl("verify")
    expect(said.returncode == 0, "the journal is whole", said.stdout, said.stderr)
    wait_for("the flags follow", lambda: not database.flagged())
    daemon.restart()
    expect(daemon.view()["status"] == "rolled_back" and database.route()[0] == 0, "for good")


@of(bake=20, standby=True)
def a_standby_that_only_reads_raises_nobody_and_a_breach_waits_for_a_primary(daemon):
    daemon.connect_by(daemon.standby.url(user="canaryd", database=daemon.database.name))
    daemon.cut()
    expect(daemon.view()["desired"] == 10, "before it is due", daemon.view())
    daemon.told("it is a standby")
    daemon.told("the raise has lapsed")
    expect(daemon.view()["applied"] == 10 and daemon.database.route()[0] == 1000,
           "nothing rises", daemon.view())
    daemon.users.failing.set()
    wait_for("it is decided", lambda: daemon.view()["status"] == "rolled_back")
    daemon.told("Users are NOT all on legacy yet")
    daemon.told("Past canaryd: select canaryd.rollback('why');")
    expect(daemon.database.route()[0] == 1000, "the route could not be written")
    daemon.connect_by(daemon.url())
    daemon.standby.close()
    daemon.standby = None
    wait_for("it is carried out by the primary", lambda: daemon.database.route()[0] == 0)


SLOWED_DOWN = """
alter function canaryd.served(text) rename to served_well;
create function canaryd.served(p_name text)
returns table (weight integer, revision bigint, by text, reason text, lapsed boolean)
language sql security definer as
$$ select one.* from (select pg_sleep(60)) slow, canaryd.served_well(p_name) one $$;
grant execute on function canaryd.served(text) to canaryd;
alter table webhook_metrics rename to well;
create view webhook_metrics as select well.* from (select pg_sleep(60)) slow, well;
grant select on webhook_metrics to canaryd;
"""
AS_BEFORE = """
drop view webhook_metrics;
alter table well rename to webhook_metrics;
drop function canaryd.served(text);
alter function canaryd.served_well(text) rename to served;
"""


@due_in(8)
def statements_slower_than_their_limit_are_no_evidence(daemon):
    daemon.database.query(SLOWED_DOWN)
    wait_for("the router gives up", lambda: "no answer within" in daemon.view()["router_error"]
             or "statement timeout" in daemon.view()["router_error"])
    daemon.blind("statement timeout")
    daemon.stays()
    daemon.database.query(AS_BEFORE)
    daemon.goes_on()
    daemon.breaks()


def a_breach_while_only_the_users_are_locked_moves_them_at_once(daemon):
    wait_for("the flags follow", lambda: daemon.database.flagged() == below(1000))
    # Else no request could be written down meanwhile.
    daemon.database.query("alter table webhook_metrics drop constraint webhook_metrics_user_id_fkey")
    with daemon.database.session("postgres") as session:
        session.query("begin; lock table users")
        daemon.users.failing.set()
        wait_for("it rolls back", lambda: daemon.view()["status"] == "rolled_back"
                 and daemon.view()["applied"] == 0)
        answers = daemon.database.query("select distinct get_webhook_route(id::uuid) from unnest("
                                        f"array{sorted(below(1000))}) id")
        expect(answers == [["legacy"]], "look-ups need no user's row", answers)
        daemon.told("ROLLED BACK from 10 %")
        wait_for("the flags say why they wait",
                 lambda: "lock timeout" in daemon.view()["route_progress"])
        session.query("commit")
    wait_for("and follow", lambda: not daemon.database.flagged())


def a_start_is_refused_until_its_metrics_can_be_read(daemon):
    """Another rollout beside the one that runs, on the same tables."""
    path = daemon.folder / "second.yaml"
    good = (POLICY.replace("name: unified-webhook", "name: second")
            .replace("readers: both", "readers: function"))

    def start(text):
        path.write_text(text)
        return daemon.ctl("start", str(path))

    def is_refused(text, *words):
        result = start(text)
        expect(result.returncode == 1, "the start is refused", result.stdout, result.stderr)
        said = " ".join((result.stdout + result.stderr).split())
        expect(all(word in said for word in ("nobody was moved", *words)), "and says why", said)
        route = daemon.database.value("select count(*) from canaryd.route where name = 'second'")
        expect(route == "0", "nothing was ordered", route)

    is_refused(good.replace("connection: shop}\nrouter", 'connection: shop, query: "select id, '
                            'webhook_name from webhook_metrics"}\nrouter'),
               "source.query has no column user_id", "name it with `as user_id`")
    is_refused(good.replace("select count(*) from webhook_metrics", "select count(*) from letters"),
               "metrics, dlq", 'relation "letters" does not exist')
    daemon.server.stop()
    try:
        result = start(good)
        expect(result.returncode == 1, "with the database away too", result.stdout, result.stderr)
    finally:
        daemon.server.start()
    wait_for("the same start once it is back", lambda: start(good).returncode == 0)
    wait_for("its 10 %", lambda: daemon.database.value(
        "select weight from canaryd.route where name = 'second'") == "1000")
    expect(daemon.ctl("rollback", "second").returncode == 0, "it ends")
    daemon.breaks()


TESTS = [
    users_who_were_drawn_are_taken_over_and_nobody_is_sent_back,
    an_operators_lower_number_stays_theirs,
    source_router_and_store_may_be_one_database,
    a_rollout_moves_users_and_a_breach_moves_them_back,
    a_server_that_is_stopped_blinds_and_comes_back,
    a_server_that_is_killed_recovers_and_so_does_canaryd,
    a_frozen_server_does_not_freeze_canaryd,
    locked_tables_are_no_evidence,
    a_lost_right_and_a_dropped_column_are_named,
    a_breach_while_only_the_metrics_can_be_read_is_carried_out_when_the_route_can,
    a_daemon_that_is_killed_goes_on_where_it_was,
    a_rollback_past_the_daemon_is_an_operators,
    connections_that_are_used_up_are_no_evidence,
    encryption_that_is_demanded_is_used_and_its_lack_is_named,
    a_transaction_pooler_with_one_connection_changes_nothing,
    a_failover_to_a_standby_that_lags_puts_nobody_back,
    a_standby_that_only_reads_raises_nobody_and_a_breach_waits_for_a_primary,
    statements_slower_than_their_limit_are_no_evidence,
    a_breach_while_only_the_users_are_locked_moves_them_at_once,
    a_start_is_refused_until_its_metrics_can_be_read,
]
# These do something to their own database only; the others to the server, or to the role.
SIDE_BY_SIDE = {
    a_rollout_moves_users_and_a_breach_moves_them_back,
    locked_tables_are_no_evidence,
    a_lost_right_and_a_dropped_column_are_named,
    a_breach_while_only_the_metrics_can_be_read_is_carried_out_when_the_route_can,
    a_daemon_that_is_killed_goes_on_where_it_was,
    a_rollback_past_the_daemon_is_an_operators,
    statements_slower_than_their_limit_are_no_evidence,
    a_breach_while_only_the_users_are_locked_moves_them_at_once,
}
for words, statement in EMERGENCIES.items():
    for daemon_is in "up", "down", "restarting":
        one = emergency(statement, daemon_is)
        one.__name__ = f"the plan's emergency SQL {words}, the daemon {daemon_is}"
        TESTS.append(one)
        SIDE_BY_SIDE.add(one)
    # Supabase's own key: it owns nothing and passes row level security.
    one = emergency(statement, "up", role="service_role")
    one.__name__ = f"the plan's emergency SQL {words}, as service_role"
    TESTS.append(one)
    SIDE_BY_SIDE.add(one)


def main():
    if postgres.missing():
        print(f"skipped: {postgres.missing()}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    with postgres.Postgres({"synchronous_commit": "off"}) as server:
        world = World(server)

        def trial(test):
            with Daemon(world, **getattr(test, "how", {})) as daemon:
                daemon.bake()
                test(daemon)

        names = sys.argv[1:]
        first = [test for test in TESTS if test in SIDE_BY_SIDE]
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            begun = {test: pool.submit(trial, test) for test in first
                     if not names or any(word in test.__name__ for word in names)}

            def outcome(test):
                if test in begun:
                    begun[test].result()
                else:
                    trial(test)

            # All that were begun are over before the first of the others begins.
            return run(first + [test for test in TESTS if test not in SIDE_BY_SIDE], names, outcome)


if __name__ == "__main__":
    sys.exit(main())
