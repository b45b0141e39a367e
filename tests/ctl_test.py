#!/usr/bin/env python3
"""canaryctl from outside: every command, its words, its exit status, against the real daemon.

    ctl_test.py [-v]

One daemon, one metrics file that a thread fills, one route file; policies whose bakes last seconds.
Nothing asserts how long anything takes. Binaries by CANARYD and CANARYCTL, else from build/.
"""

import contextlib
import json
import os
import pty
import pwd
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

ROOT = Path(__file__).resolve().parent.parent
CANARYD = os.environ.get("CANARYD", str(ROOT / "build" / "canaryd"))
CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
PATIENCE = 60  # seconds until something is given up; nothing is expected to come near it
ME = pwd.getpwuid(os.getuid()).pw_name
COMMANDS = ["check", "plan", "aa", "init", "start", "status", "explain", "history", "pause", "resume",
            "promote", "rollback", "extend", "finish", "ack", "route", "verify", "notify-test",
            "backtest", "migrate", "doctor", "report", "pin", "unpin"]

SETTINGS = """\
policies: {folder}
listen: 127.0.0.1:{port}
connections:
  metrics: {{kind: sqlite, path: {folder}/metrics.db}}
  route:   {{kind: sqlite, path: {folder}/route.db}}
"""

# `shop` cannot be proven in the time of this test; `quick` is after a few requests.
POLICY = """\
name: {name}
canary: new
baseline: old
source: {{kind: sqlite, connection: metrics}}
router: {{kind: sql, connection: route}}
steps: [{{weight: 10%, bake: {bake}}}, {{weight: 50%, bake: {bake}}}, {{weight: 100%, bake: {bake}}}]
max_step: 2h
evaluate_every: 1s
peek_every: 1s
settle: 0s
warm_up: 0s
criteria: [{{name: errors, metric: error_rate, below: {below}}}]
triggers:
  - {{name: burst, metric: error_rate, above: 50%, over: 5s, for: 1 of 1 looks, at_least: 10 failures}}
finish: {{soak: {soak}}}
notify: [{{kind: log}}]
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
        raise Failed("\n    ".join([sentence, *map(str, facts)]))


class Users(threading.Thread):
    """Healthy requests on both sides, from many users, until stopped."""

    def __init__(self, path):
        super().__init__(daemon=True)
        self.path, self.done = path, threading.Event()

    def run(self):
        with contextlib.closing(sqlite3.connect(self.path, timeout=30)) as database:
            n = 0
            while not self.done.wait(0.1):
                now = int(time.time() * 1000)
                rows = []
                for service in ("new", "old"):
                    for _ in range(5):
                        n += 1
                        rows.append((service, f"user-{n}", now, now, 100, "success", now))
                with database:
                    database.executemany(
                        "insert into webhook_metrics (webhook_name, user_id, started_at, "
                        "completed_at, duration_ms, status, created_at) values (?,?,?,?,?,?,?)",
                        rows)


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.flat = " ".join(out.split())

    def __str__(self):
        return f"exit {self.code}\n{self.out}{self.err}"


class World:
    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="canaryctl-"))
        self.state = self.folder / "state"
        self.state.mkdir()
        self.config = self.folder / "canaryd.yaml"
        with contextlib.closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.config.write_text(SETTINGS.format(folder=self.folder, port=port))
        self.policy("shop", "10m", "0.01%", "10m")
        self.policy("quick", "2s", "20%", "4s")
        metrics = self.folder / "metrics.db"
        self.keeper = sqlite3.connect(metrics)
        self.keeper.execute("pragma journal_mode=wal")
        self.keeper.executescript(SCHEMA)
        self.users = Users(metrics)
        self.users.start()
        self.daemon = None
        self.log = open(self.folder / "canaryd.log", "wb")

    def policy(self, name, bake, below, soak):
        text = POLICY.format(name=name, bake=bake, below=below, soak=soak)
        (self.folder / f"{name}.yaml").write_text(text)

    def environment(self, **more):
        kept = {key: value for key, value in os.environ.items()
                if key not in ("CANARYD_SOCKET", "NO_COLOR", "COLUMNS")}
        return {**kept, "TERM": "xterm", "CANARYD_SOCKET": str(self.state / "canaryd.sock"), **more}

    def ctl(self, *words, stdin="", **env):
        run = subprocess.run([CANARYCTL, *map(str, words)], input=stdin, text=True,
                             capture_output=True, timeout=PATIENCE, cwd=self.folder,
                             env=self.environment(**env))
        return Result(run.returncode, run.stdout, run.stderr)

    def on_terminal(self, *words, **env):
        """What canaryctl writes when its standard output is a terminal."""
        main, side = pty.openpty()
        run = subprocess.Popen([CANARYCTL, *words], stdout=side, stdin=subprocess.DEVNULL,
                               stderr=side, env=self.environment(**env))
        os.close(side)
        out = b""
        with contextlib.suppress(OSError):
            while piece := os.read(main, 4096):
                out += piece
        os.close(main)
        run.wait(PATIENCE)
        return out.decode()

    def command(self):
        return [CANARYD, "--config", str(self.config), "--state-dir", str(self.state)]

    def start_daemon(self):
        self.daemon = subprocess.Popen(self.command(), stdout=self.log, stderr=self.log)
        wait_for("canaryd is ready", lambda: self.ctl("status").code not in (1, 2))

    def stop_daemon(self):
        self.daemon.send_signal(signal.SIGTERM)
        code = self.daemon.wait(PATIENCE)
        self.daemon = None
        return code

    def view(self, rollout):
        result = self.ctl("status", rollout, "--json")
        return json.loads(result.out)["rollouts"][0]

    def wait_for_weight(self, rollout, weight):
        wait_for(f"{rollout} serves {weight} %", lambda: self.view(rollout)["applied"] == weight
                 and (self.view(rollout)["served"] or {}).get("weight") == weight)

    def route(self, name):
        with contextlib.closing(sqlite3.connect(self.folder / "route.db", timeout=30)) as database:
            return database.execute(
                "select weight, revision, by, reason from canaryd_route where name = ?",
                (name,)).fetchone()

    def close(self):
        self.users.done.set()
        self.users.join()
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon.wait()
        self.keeper.close()
        self.log.close()


def wait_for(what, true):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if true():
            return
        time.sleep(0.1)
    raise Failed(f"waited {PATIENCE} s in vain: {what}")


# --- Without a daemon ----------------------------------------------------------------------------


def every_command_teaches(world):
    whole = world.ctl("--help")
    expect(whole.code == 0, "--help is no mistake", whole)
    for words in ("Examples:", "Exit codes:", "CANARYD_SOCKET", "NO_COLOR"):
        expect(words in whole.out, f"--help says {words}", whole)
    for command in COMMANDS:
        expect(command in whole.out, f"--help names {command}", whole)
        result = world.ctl(command, "--help")
        expect(result.code == 0, f"{command} --help is no mistake", result)
        expect("Example" in result.out, f"{command} --help has an example", result)
    expect(world.ctl("--version").code == 0, "--version is no mistake")


def typing_mistakes_are_64(world):
    for words in ([], ["rollbck"], ["status", "--nonsense"], ["check"], ["extend"], ["route"],
                  ["status", "--width", "7"], ["status", "--width", "x"], ["start", "a", "b"],
                  ["explain", "trigger"], ["explain", "a", "b"], ["rollback", "--route", "f", "n"],
                  ["rollback", "--direct"], ["extend", "7", "--reason", "x"],
                  ["extend", "soon", "--reason", "x"]):
        result = world.ctl(*words)
        expect(result.code == 64, f"{words} is typed wrongly", result)
        expect(result.err.startswith("canaryctl: ") and not result.out, "said on stderr", result)
    unit = world.ctl("extend", "7", "--reason", "x")
    expect("7d" in unit.err, "the mend is named", unit)


def a_reason_is_asked_for_where_it_counts(world):
    for words in (["resume"], ["promote"], ["extend", "1d"], ["finish"]):
        result = world.ctl(*words)
        expect(result.code == 64 and "--reason" in result.err, f"{words} needs a reason", result)


def check_says_what_a_policy_does(world):
    good = world.ctl("check", "shop.yaml")
    expect(good.code == 0, "a good policy is good", good)
    for words in ("10m + 10m + 10m = 30m at the earliest", "proven below 0.01 %", "trigger burst",
                  "What is promised"):
        expect(words in good.flat, f"check says {words}", good)
    expect(all(len(line) <= 80 for line in good.out.splitlines()), "80 columns", good)
    page, _, hint = good.out.partition("\nWhat your traffic can show")
    expect(hint == ": canaryctl check shop.yaml --traffic 60/min\n" and not good.err,
           "without settings: how to learn what a traffic can show", good)
    named = world.ctl("check", "shop", "--config", world.config)
    expect(named.code == 0 and named.out.startswith(page + "\nWhat your traffic can show"),
           "a name is looked up in policies", named)
    explained = world.ctl("check", "shop.yaml", "--explain")
    expect("confirm_without_baseline" in explained.out, "--explain lists every field", explained)
    parsed = json.loads(world.ctl("check", "shop.yaml", "--json").out)
    expect(parsed["good"] and parsed["name"] == "shop" and not parsed["problems"], "--json", parsed)
    expect(parsed["plan"] is None, "--json says that no traffic is known", parsed)
    for policy in sorted((ROOT / "policies").glob("*.yaml")):
        result = world.ctl("check", policy)
        expect(result.code == 0, f"{policy.name} passes check", result)


def check_says_the_first_users_plan_on_a_page(world):
    page = world.ctl("check", ROOT / "policies" / "unified-webhook.yaml")
    expect(page.code == 0, "it is good", page)
    expect(len(page.out.splitlines()) <= 70, "a page", len(page.out.splitlines()))
    for words in ("7d + 7d + 30d = 44d at the earliest", "week4 10 %", "week5 50 %", "week6 100 %",
                  "slack ops, channel #operations", "trigger error-burst", "trigger very-slow",
                  "trigger agent-down", "trigger silent", "trigger agent-silent",
                  "trigger dead-letters", "errors, success: failed requests"):
        expect(words in page.flat, f"the page says {words}", page)


def check_explain_has_every_field_of_the_reference(world):
    """The fields of the first table of policies/README.md, each a line with its value."""
    text = (ROOT / "policies" / "README.md").read_text()
    table = text[text.index("## Every field"):text.index("### Criteria")]
    fields = re.findall(r"^\| (?:\*\*)?`([^`]+)`", table, re.MULTILINE)
    expect(len(fields) > 40 and "finish.soak" in fields, "the table is read", fields)
    page = world.ctl("check", "--explain", ROOT / "policies" / "unified-webhook.yaml")
    for field in fields:
        line = rf"^  {re.escape(field.replace('[]', '[0]'))} +\S"
        expect(re.search(line, page.out, re.MULTILINE), f"--explain has {field}", page)
    wide = [line for line in page.out.splitlines()
            if len(line) > 80 and "  hash " not in line and "--traffic" not in line]
    expect(not wide, "80 columns, but for the hash and the file's own path", wide)


def check_says_every_mistake_at_once(world):
    bad = world.folder / "bad.yaml"
    text = (world.folder / "shop.yaml").read_text()
    bad.write_text(text.replace("canary: new", "canry: new").replace("max_step: 2h", "max_step: 7"))
    result = world.ctl("check", "bad.yaml")
    expect(result.code == 1 and not result.out, "mistakes are exit 1", result)
    for words in ("bad.yaml:2:1: canry", "max_step", "7d"):
        expect(words in result.err, f"names {words}", result)
    parsed = world.ctl("check", "bad.yaml", "--json")
    problems = json.loads(parsed.out)["problems"]
    expect(parsed.code == 1 and len(problems) >= 2 and problems[0]["line"], "--json", parsed)
    missing = world.ctl("check", "nowhere.yaml")
    expect(missing.code == 1 and "nowhere.yaml" in missing.err, "a missing file", missing)
    expect(world.ctl("check", world.folder).code == 1, "a folder is no policy")
    hostile = world.folder / "hostile.yaml"
    hostile.write_bytes(b"name: \x1b[2J\xff\x00\n" * 3)
    result = world.ctl("check", hostile)
    expect(result.code == 1 and "\x1b" not in result.err, "escapes what it repeats", result)


INIT = ["init", "--name", "first", "--canary", "shop-2", "--baseline", "shop-1,shop-0",
        "--source-connection", "metrics", "--router-connection", "route", "--segments",
        "web,it's,no", "--segment-name", "client", "--segment-column", "agent_type"]


def init_writes_a_policy_that_passes_check(world):
    result = world.ctl(*INIT)
    expect(result.code == 0, "init writes", result)
    expect(world.ctl("check", "first.yaml").code == 0, "what init wrote passes check")
    explained = world.ctl("check", "first.yaml", "--explain")
    expect("client in agent_type: web, it's and no" in explained.flat, "what was asked", explained)
    before = (world.folder / "first.yaml").read_bytes()
    again = world.ctl(*INIT)
    expect(again.code == 1 and "first.yaml" in again.err, "never overwrites", again)
    expect((world.folder / "first.yaml").read_bytes() == before, "the file is as it was")
    none = world.ctl("init", "--name", "second")
    expect(none.code == 64 and "--source-connection" in none.err, "names what is missing", none)
    expect(not (world.folder / "second.yaml").exists(), "and writes nothing")
    same = world.ctl("init", "--name", "third", "--canary", "a", "--baseline", "a",
                     "--source-connection", "m", "--router-connection", "r")
    expect(same.code == 1 and not (world.folder / "third.yaml").exists(), "no bad policy", same)


def init_asks_on_a_terminal(world):
    main, side = pty.openpty()
    run = subprocess.Popen([CANARYCTL, "init", "--output", "asked.yaml"], stdin=side, text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=world.folder,
                           env=world.environment())
    os.close(side)
    os.write(main, b"asked\n\nold-1, old-2\n\n\n\n\n")
    out, _ = run.communicate(timeout=PATIENCE)
    os.close(main)
    expect(run.returncode == 0 and "Name of the rollout" in out, "it asks", out)
    text = (world.folder / "asked.yaml").read_text()
    expect("canary: asked" in text and "[old-1, old-2]" in text, "defaults and answers", text)


def without_a_daemon_it_is_2_and_says_what_helps(world):
    for words in (["status"], ["explain"], ["history"], ["verify"], ["pause"], ["route", "u"],
                  ["resume", "--reason", "x"], ["start", "shop.yaml"]):
        result = world.ctl(*words)
        expect(result.code == 2, f"{words}: unreachable", result)
    result = world.ctl("rollback", "shop")
    expect(result.code == 2, "rollback: unreachable", result)
    expect("rollback --direct shop" in result.err, "names --direct", result)
    expect("sqlite3 ROUTE_FILE" in result.err and "select canaryd.rollback(" in result.err,
           "without the settings both kinds of route are told", result)
    any_one = world.ctl("rollback")
    expect("--direct NAME" in any_one.err and "name = 'NAME'" in any_one.err, "to fill in", any_one)


PLANNED = """\
name: planned
canary: new
baseline: old
source: {{kind: sqlite, connection: past}}
router: {{kind: sql, connection: route}}
steps: [{{weight: 10%, bake: 7d}}, {{weight: 50%, bake: 7d}}, {{weight: 100%, bake: 7d}}]
criteria: [{{name: errors, metric: error_rate, below: {below}}}]
triggers:
  - {{name: burst, metric: error_rate, above: 5%, over: 15m, for: 2 of 3 looks, at_least: {floor} failures from 1 users}}
"""


def past(world, name, days, failing, outage=range(0)):
    """Legacy's requests, one every 30 s; every n-th fails, and all of the outage."""
    path = world.folder / name
    begin = 1_767_225_600_000
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.executescript(SCHEMA)
        rows = []
        for i in range(int(days * 2880)):
            at = begin + i * 30_000
            failed = (i * 7919) % failing == 0 or i in outage
            user = f"user-{i * 31 % 997}"
            rows.append(("old", user, at, at + 100, 100, "error" if failed else "success", at))
        database.executemany(
            "insert into webhook_metrics (webhook_name, user_id, started_at, completed_at, "
            "duration_ms, status, created_at) values (?,?,?,?,?,?,?)", rows)
    config = world.folder / f"{name}.yaml"
    config.write_text(world.config.read_text() + f"  past: {{kind: sqlite, path: {path}}}\n")
    return config


def plan_is_honest_about_low_traffic(world):
    (world.folder / "planned.yaml").write_text(PLANNED.format(below="1%", floor=5))
    result = world.ctl("plan", "planned.yaml", "--traffic", "2/min")
    expect(result.code == 0, "plan plans", result)
    for words in ("cannot show, and what would change it", "errors in step-1 (10 %) is proven",
                  "a weight of", "Faults found", "Fires on a healthy canary by chance"):
        expect(words in result.flat, f"plan says {words}", result)
    expect(all(len(line) <= 100 for line in result.out.splitlines()), "100 columns", result)
    expect(len(result.out.splitlines()) <= 50, "one screen", result)
    mix = (", farmer=30%, insurance=20%, jobs=15%, marketplace=12%, property=8%, rides=7%, "
           "support=5%, waiter=3%")
    for traffic in ("0.02", "0.2", "2", "60", "3000"):
        for agents in ("", mix, ", farmer=70%, insurance=29%"):
            whole = world.ctl("plan", ROOT / "policies" / "unified-webhook.yaml", "--traffic",
                              f"{traffic}/min{agents}")
            expect(whole.code == 0 and len(whole.out.splitlines()) <= 50,
                   f"eight agents at {traffic}/min{agents} are one screen", whole)
            expect(agents != mix or traffic == "0.02" or "agent rides" in whole.out,
                   "each agent has a row where agents differ", whole)
    again = world.ctl("plan", "planned.yaml", "--traffic", "2/min")
    expect(again.out == result.out, "the same again", again)
    checked = world.ctl("check", "planned.yaml", "--traffic", "2/min")
    expect(checked.code == 0 and result.out in checked.out, "check says it too", checked)
    plenty = world.ctl("plan", "planned.yaml", "--traffic", "60000/min")
    expect("Everything can be shown" in plenty.out, "plenty of traffic", plenty)
    document = json.loads(world.ctl("plan", "planned.yaml", "--traffic", "120/h", "--json").out)
    expect(document["per_minute"] == 2 and len(document["steps"]) == 3, "--json", document)
    expect(0 < document["steps"][0]["proofs"][0]["chance_by_bake"] < 0.6, "a chance", document)
    for traffic in ("2", "two/min", "-1/min", "2/fortnight", "0/min", "2/min, jobs=30%", "2/min,,",
                    "nowhere.csv", "1e999/min"):
        wrong = world.ctl("plan", "planned.yaml", f"--traffic={traffic}")
        expect(wrong.code == 64 and "--traffic" in wrong.err, f"{traffic} is a mistake", wrong)


def plan_measures_legacys_own_table(world):
    config = past(world, "past.db", 8, 250)
    result = world.ctl("plan", "planned.yaml", "--config", config)
    expect(result.code == 0 and "as legacy had in 8d" in result.out, "measured", result)
    expect("0.4 %" in result.out, "at legacy's own rate", result)
    by_file = world.ctl("plan", "planned.yaml", "--traffic", world.folder / "past.db")
    expect(by_file.out == result.out, "a file is the same", by_file)
    expect(world.ctl("plan", "planned.yaml").code == 1, "no settings, no table")
    checked = world.ctl("check", "planned.yaml", "--config", config)
    expect(checked.code == 0 and checked.out.endswith("\nWhat your traffic can show\n" + result.out),
           "check says it unasked", checked)
    document = json.loads(world.ctl("check", "planned.yaml", "--config", config, "--json").out)
    expect(document["plan"]["measured_over"] == "8d", "--json too", document)


def check_needs_no_table(world):
    lost = world.folder / "lost.yaml"
    lost.write_text(world.config.read_text() +
                    f"  past: {{kind: sqlite, path: {world.folder}/lost.db}}\n")
    hint = "\nWhat your traffic can show: canaryctl check planned.yaml --traffic 60/min\n"
    result = world.ctl("check", "planned.yaml", "--config", lost)
    expect(result.code == 0 and result.out.endswith(hint), "a table that is not there", result)
    expect("traffic can show is not known:" in result.err and "lost.db" in result.err, "says why",
           result)
    document = world.ctl("check", "planned.yaml", "--config", lost, "--json")
    expect(document.code == 0 and json.loads(document.out)["plan"] is None, "--json", document)
    result = world.ctl("check", "planned.yaml", "--config", world.config)
    expect(result.code == 0 and result.out.endswith(hint), "settings without the connection", result)
    expect("is not in" in result.err and "not known" not in result.err, "one note", result)


def aa_holds_legacy_against_itself(world):
    config = world.folder / "past.db.yaml"
    result = world.ctl("aa", "planned.yaml", "--config", config)
    expect(result.code == 0 and "The assumptions hold." in result.out, "a good legacy", result)
    counts = world.folder / "counts.csv"
    counts.write_text("time,requests,errors\n" + "".join(
        f"{1_767_225_600_000 + i * 300_000},100,{i % 3 == 0:d}\n" for i in range(8 * 288)))
    drawn = world.ctl("aa", "planned.yaml", "--from", counts)
    expect(drawn.code == 0 and "What counts can show holds." in drawn.out
           and "counts without users" in drawn.flat, "counts show less", drawn)
    (world.folder / "strict.yaml").write_text(PLANNED.format(below="0.1%", floor=5))
    strict = world.ctl("aa", "strict.yaml", "--config", config, "--share", "50%")
    expect(strict.code == 0 and "Set a limit above what legacy does" in strict.flat,
           "a limit that legacy breaks: warned, not refused", strict)
    document = json.loads(world.ctl("aa", "strict.yaml", "--config", config, "--share", "50%",
                                    "--json").out)
    expect(document["warnings"] and document["streams"][0]["stream"] == "errors", "--json", document)
    for share in ("0%", "100%", "10"):
        wrong = world.ctl("aa", "planned.yaml", "--config", config, "--share", share)
        expect(wrong.code == 64, f"--share {share} is a mistake", wrong)
    missing = world.ctl("aa", "planned.yaml", "--from", "nowhere.csv")
    expect(missing.code == 1 and "nowhere.csv" in missing.err, "no history", missing)


def start_notes_what_legacy_breaks_itself(world):
    config = world.folder / "past.db.yaml"
    good = world.ctl("start", "planned.yaml", "--config", config)
    expect(good.code == 2 and "against itself" not in good.err, "a good legacy, no daemon", good)
    # A tenth of eight days is too little to tell 0.4 % from 0.2 %, a half is not.
    (world.folder / "tight.yaml").write_text(PLANNED.format(below="0.2%", floor=5))
    tight = world.ctl("start", "tight.yaml", "--config", config)
    said = " ".join(tight.err.split())
    expect(tight.code == 2 and "note: legacy against itself, 50 % as the canary: errors" in said and
           "Set a limit above what legacy does" in said, "noted, not refused", tight)


def start_refuses_a_trigger_that_fires_by_chance(world):
    config = world.folder / "past.db.yaml"
    (world.folder / "eager.yaml").write_text(PLANNED.format(below="1%", floor=1))
    refused = world.ctl("start", "eager.yaml", "--config", config)
    expect(refused.code == 1 and "trigger burst would fire on a healthy canary" in refused.err,
           "refused", refused)
    expect("--accept-false-rollbacks" in refused.err, "and says the way out", refused)
    accepted = world.ctl("start", "eager.yaml", "--config", config, "--accept-false-rollbacks")
    expect(accepted.code == 2 and "trigger burst" in accepted.err, "accepted, no daemon", accepted)
    planned = world.ctl("start", "planned.yaml", "--config", config)
    expect(planned.code == 2 and "trigger burst" not in planned.err, "a floor mends it", planned)


def start_refuses_a_trigger_that_fired_on_legacy(world):
    """Twenty minutes of failures in eight days: by chance it never fires."""
    (world.folder / "steady.yaml").write_text(PLANNED.format(below="3%", floor=10))
    quiet = world.ctl("start", "steady.yaml", "--config", world.folder / "past.db.yaml")
    expect(quiet.code == 2 and "trigger burst" not in quiet.err, "quiet by chance", quiet)
    config = past(world, "burst.db", 8, 250, outage=range(9000, 9040))
    refused = world.ctl("start", "steady.yaml", "--config", config)
    expect(refused.code == 1 and "trigger burst would fire on a healthy canary" in refused.err and
           "on legacy's own history it fired 1 time, first Sun 4 Jan" in refused.err,
           "refused by the history", refused)


def start_refuses_nothing_by_half_a_day(world):
    config = past(world, "short.db", 0.5, 250)
    result = world.ctl("start", "eager.yaml", "--config", config)
    said = " ".join(result.err.split())
    expect(result.code == 2 and "note: trigger burst would fire on a healthy canary" in said,
           "a note, and on to the daemon", result)


# --- With a daemon -------------------------------------------------------------------------------


def nothing_has_been_started_yet(world):
    world.start_daemon()
    status = world.ctl("status")
    expect(status.code == 0 and "canaryctl start" in status.out, "no rollout yet", status)
    pause = world.ctl("pause")
    expect(pause.code == 1 and "no rollout yet" in pause.err, "pause what?", pause)


def two_daemons_on_one_store(world):
    second = subprocess.run(world.command(), capture_output=True, text=True, timeout=PATIENCE)
    expect(second.returncode == 75, "the second one gives way", second.returncode, second.stderr)
    expect(str(world.daemon.pid) in second.stderr, "and names who holds it", second.stderr)


def start_begins_a_rollout(world):
    bad = world.ctl("start", "bad.yaml")
    expect(bad.code == 1 and "canry" in bad.err, "a bad policy starts nothing", bad)
    result = world.ctl("start", "shop", "--config", world.config)
    expect(result.code == 0 and "shop-1" in result.out, "start", result)
    again = world.ctl("start", "shop.yaml")
    expect(again.code == 1, "one unfinished rollout a name", again)
    world.wait_for_weight("shop-1", 10)
    expect(world.route("shop")[0] == 1000, "the route is at 10 %", world.route("shop"))


def an_edited_policy_changes_nothing_that_runs(world):
    """Neither a reload nor a restart reads the file of a running rollout again."""
    def pinned():
        view = world.view("shop-1")
        return (view["policy"]["hash"], view["step"], view["desired"], view["bake"]["of_s"],
                view["soak"]["of_s"])

    def reloads():
        return (world.folder / "canaryd.log").read_text().count("configuration read again")

    file = world.folder / "shop.yaml"
    text, before, seen = file.read_text(), pinned(), reloads()
    edited = text.replace("{weight: 10%, bake: 10m}, {weight: 50%, bake: 10m}",
                          "{weight: 20%, bake: 1s}, {weight: 30%, bake: 1s}")
    expect(edited != text, "the file will be another one")
    file.write_text(edited.replace("soak: 10m", "soak: 11m"))
    try:
        world.daemon.send_signal(signal.SIGHUP)
        wait_for("the settings are read again", lambda: reloads() > seen)
        expect(pinned() == before, "a reload changes no rollout", before, pinned())
        world.stop_daemon()
        world.start_daemon()
        expect(pinned() == before, "nor does a restart", before, pinned())
        expect("Next: 50 %" in world.ctl("status").flat, "the next step is the old one")
        world.wait_for_weight("shop-1", 10)
    finally:
        file.write_text(text)


def status_is_a_page(world):
    wait_for("requests were seen", lambda: world.view("shop")["canary"]["requests"] > 0)
    page = world.ctl("status")
    expect(page.code == 0, "nothing is wrong", page)
    first, second = page.out.splitlines()[:2]
    expect("HEALTHY" in first and "10 % on new" in first, "the state in a word", page)
    expect("Nothing needs you. Next: 50 %" in second, "must I act, what is next", page)
    for words in ("Bake", "Traffic wanted 10 %, served 10 %", "Harm", "To promote", "errors",
                  "Ways in canaryctl rollback", "shop-1, revision"):
        expect(words in page.flat, f"the page has {words}", page)
    expect("\x1b" not in page.out, "no colours where no terminal is", page)
    expect(all(len(line) <= 80 for line in page.out.splitlines()), "80 columns", page)
    narrow = world.ctl("status", "--width", "60")
    expect(all(len(line) <= 60 for line in narrow.out.splitlines()), "60 columns", narrow)
    parsed = json.loads(world.ctl("--json", "status").out)
    expect(parsed["rollouts"][0]["state"] == "HEALTHY", "--json", parsed)
    unknown = world.ctl("status", "nobody")
    expect(unknown.code == 1 and "shop-1" in unknown.err, "names the ones there are", unknown)


def colours_only_on_a_terminal(world):
    expect("\x1b[" in world.on_terminal("status"), "a terminal has colours")
    expect("\x1b[" not in world.on_terminal("status", NO_COLOR="1"), "NO_COLOR is obeyed")
    expect("\x1b[" not in world.on_terminal("status", "--no-color"), "--no-color is obeyed")
    expect("\x1b[" not in world.on_terminal("status", TERM="dumb"), "a dumb terminal has none")


def watch_goes_on_until_interrupted(world):
    run = subprocess.Popen([CANARYCTL, "status", "--watch"], stdout=subprocess.PIPE, text=True,
                           env=world.environment())
    try:
        pages = 0
        while pages < 2:
            line = run.stdout.readline()
            expect(line, "watch ended by itself")
            pages += "Ways in" in line
    finally:
        run.kill()
        run.wait()
        run.stdout.close()


def explain_says_why_not_yet(world):
    result = world.ctl("explain")
    expect(result.code == 0 and "To go to 50 %" in result.flat, "what is missing", result)
    expect("bake:" in result.out, "the bake is", result)
    parsed = json.loads(world.ctl("explain", "shop", "--json").out)
    expect(len(parsed["text"].splitlines()) <= 12, "a dozen lines", parsed)
    for words in (["explain", "trigger", "burst"], ["explain", "shop-1", "trigger", "burst"]):
        trigger = world.ctl(*words)
        expect(trigger.code == 0 and "rule: error_rate above 50%" in trigger.flat, words, trigger)
    maths = world.ctl("explain", "--maths")
    expect(maths.code == 0 and "ln M" in maths.out, "the ledger's numbers", maths)
    then = world.ctl("explain", "--revision", "1")
    expect(then.code == 0 and "As of revision 1" in then.out, "as it was then", then)
    never = world.ctl("explain", "--revision", "99999")
    expect(never.code == 1 and "has no revision 99999" in never.err, "no such entry", never)
    both = world.ctl("explain", "trigger", "burst", "--maths")
    expect(both.code == 64, "maths of a trigger", both)
    unknown = world.ctl("explain", "trigger", "brst")
    expect(unknown.code == 1 and "burst" in unknown.err, "names the ones there are", unknown)


def pause_and_resume(world):
    hostile = world.ctl("pause", "--reason", "office \x1b[31mmove")
    expect(hostile.code == 1 and "\x1b" not in hostile.err, "no control characters", hostile)
    result = world.ctl("pause", "--reason", "office move")
    expect(result.code == 0 and "paused by " + ME in result.out, "journaled by name", result)
    page = world.ctl("status")
    expect(page.code == 4, "paused waits for a person", page)
    expect("PAUSED" in page.out and "canaryctl resume --reason" in page.flat, "way out", page)
    expect(world.ctl("pause").code == 1, "already paused")
    resumed = world.ctl("resume", "--reason", "moved", "--json")
    expect(resumed.code == 0 and json.loads(resumed.out)["id"] == "shop-1", "--json", resumed)
    again = world.ctl("resume", "--reason", "moved")
    expect(again.code == 1 and "nothing to resume" in again.err, "refused with why", again)


def extend_and_finish_and_ack_when_they_do_not_apply(world):
    result = world.ctl("extend", "1h", "--reason", "weekend")
    expect(result.code == 0 and "extended by 1h" in result.out, "extend", result)
    expect("of 1h 10m" in world.ctl("status").out, "the bake is longer")
    finish = world.ctl("finish", "--reason", "enough")
    expect(finish.code == 1 and "not at 100 %" in finish.err, "finish is refused", finish)
    ack = world.ctl("ack")
    expect(ack.code == 1 and "nothing to acknowledge" in ack.err, "ack is refused", ack)


def promote_needs_proof_or_an_override(world):
    refused = world.ctl("promote", "--reason", "hurry")
    expect(refused.code == 1 and "--override" in refused.flat + refused.err, "unproven", refused)
    result = world.ctl("promote", "--override", "--reason", "a lead decided")
    expect(result.code == 0 and "50 %" in result.out, "with an override", result)
    world.wait_for_weight("shop-1", 50)


def route_tells_a_users_side(world):
    result = world.ctl("route", "user 7/ü")
    expect(result.code == 0 and "bucket" in result.out, "route", result)
    sides = [json.loads(world.ctl("route", f"u{n}", "--json").out)["route"] for n in range(30)]
    expect({"canary", "baseline"} == set(sides), "half are on the canary", sides)


def notify_test_sends_to_every_channel(world):
    result = world.ctl("notify-test")
    expect(result.code == 0 and "log" in result.out, "one line a channel", result)
    expect("lines" in json.loads(world.ctl("notify-test", "--json").out), "--json")


def two_rollouts_have_to_be_told_apart(world):
    expect(world.ctl("start", "quick.yaml").code == 0, "another name")
    for words in (["pause"], ["explain"], ["rollback"]):
        result = world.ctl(*words)
        expect(result.code == 1, f"{words}: which one?", result)
        expect("shop-1" in result.err and "quick-1" in result.err, "lists them", result)
    page = world.ctl("status")
    expect("shop" in page.out and "quick" in page.out, "status shows both", page)


def a_rollout_that_is_proven_finishes(world):
    wait_for("quick is soaked", lambda: world.view("quick")["state"] == "FINISHING")
    page = world.ctl("status", "quick")
    expect(page.code == 4 and "canaryctl finish --reason" in page.flat, "asks a person", page)
    finished = world.ctl("finish", "quick", "--reason", "agreed")
    expect(finished.code == 0 and "finished by " + ME in finished.out, "finish", finished)
    page = world.ctl("status", "quick")
    expect(page.code == 0 and "FINISHED" in page.out, "finished", page)
    expect(world.ctl("explain", "quick-1").code == 0, "explain a finished one")


def rollback_says_so_after_the_read_back(world):
    result = world.ctl("rollback")
    expect(result.code == 0, "rollback without any argument", result)
    expect("rolled back by " + ME in result.out, "by name", result)
    expect("users are on legacy since " in result.out, "after read-back", result)
    expect(world.route("shop")[0] == 0, "the route is at 0", world.route("shop"))
    page = world.ctl("status", "shop")
    expect(page.code == 3 and "ROLLED BACK" in page.out, "exit 3", page)
    for words in ("Users are on legacy since", "canaryctl ack", "was 50 %", "will not rise again"):
        expect(words in page.flat, words, page)
    why = world.ctl("explain", "shop")
    expect("was rolled back from 50 %" in why.flat, "explain", why)
    again = world.ctl("rollback")
    expect(again.code == 1 and "no rollout is running" in again.err, "nothing to do", again)
    expect(world.ctl("ack").code == 0, "ack finds the one that needs it")
    expect("Acknowledged by " + ME in world.ctl("status", "shop").flat, "it is seen")


def history_tells_who_did_what(world):
    result = world.ctl("history", "shop-1")
    expect(result.code == 0, "history", result)
    for words in (ME + " pause: paused by", "promote REFUSED", "a lead decided", "rollback:",
                  "start:", " look"):
        expect(words in result.flat, f"has {words}", result)
    expect("\x1b" not in result.out, "escaped", result)
    expect(not any(" look: harm" in line for line in result.out.splitlines()), "folded", result)
    everything = world.ctl("history", "shop-1", "--all")
    expect(len(everything.out.splitlines()) > len(result.out.splitlines()), "--all has more")
    entries = json.loads(world.ctl("history", "shop-1", "--json").out)
    revisions = [entry["revision"] for entry in entries]
    expect(revisions == list(range(1, len(entries) + 1)), "--json has every revision", revisions)


def verify_proves_the_journal(world):
    result = world.ctl("verify")
    expect(result.code == 0 and ": all as recorded" in result.out, "verify", result)
    parsed = json.loads(world.ctl("verify", "--json").out)
    expect(parsed["good"] and parsed["looks"] > 0 and parsed["rollouts"] == 2, "--json", parsed)


def rollback_past_a_dead_daemon(world):
    again = world.ctl("start", "shop.yaml")
    expect(again.code == 0 and "shop-2" in again.out, "a retry is a new rollout", again)
    world.wait_for_weight("shop-2", 10)
    code = world.stop_daemon()
    expect(code == 0, "SIGTERM ends in 0", code)
    expect(world.route("shop")[0] == 1000, "a stopped daemon moves nobody")
    expect(world.ctl("rollback").code == 2, "without --direct it is unreachable")
    result = world.ctl("rollback", "--direct", "shop-2", "--config", world.config, "--reason",
                       "it's 3 am")
    expect(result.code == 0, "--direct, by the rollout's id", result)
    expect("users are on legacy" in result.out and "it''s 3 am" in result.out, "the SQL", result)
    weight, _, by, reason = world.route("shop")
    expect((weight, by, reason) == (0, ME, "it's 3 am"), "signed", world.route("shop"))
    world.start_daemon()
    wait_for("the start records it", lambda: world.view("shop-2")["state"] == "ROLLED BACK")
    page = world.ctl("status", "shop-2")
    expect(page.code == 3 and ME in page.out and "it's 3 am" in page.flat, "an operator's", page)
    expect(world.route("shop")[0] == 0, "and does not rise", world.route("shop"))
    expect(world.ctl("verify").code == 0, "the journal stays provable")


def the_sql_for_a_dead_daemon_moves_everybody_back(world):
    expect(world.ctl("start", "shop.yaml").code == 0, "shop-3")
    world.wait_for_weight("shop-3", 10)
    world.stop_daemon()
    result = world.ctl("rollback", "shop", "--config", world.config, "--reason", "it's 4 am")
    route = world.folder / "route.db"
    expect(result.code == 2 and f"By hand: sqlite3 {route}\n" in result.err, "the file", result)
    expect("psql" not in result.err, "and no other database's words", result)
    expect(world.route("shop")[0] == 1000, "printing moves nobody", world.route("shop"))
    sql = result.err[result.err.index("UPDATE canaryd_route"):]
    with contextlib.closing(sqlite3.connect(route, timeout=30)) as database, database:
        answer = database.execute(sql[:sql.index(";") + 1]).fetchall()
    expect(answer == [("shop", 0)], "it answers what it did", answer)
    world.start_daemon()
    wait_for("the start records it", lambda: world.view("shop-3")["state"] == "ROLLED BACK")
    page = world.ctl("status", "shop-3")
    expect(page.code == 3 and f"past the daemon by {ME}: it's 4 am" in page.flat, "whose", page)
    expect(world.route("shop")[0] == 0, "and does not rise", world.route("shop"))


def direct_also_works_beside_a_running_daemon(world):
    expect(world.ctl("start", "shop.yaml").code == 0, "shop-4")
    world.wait_for_weight("shop-4", 10)
    result = world.ctl("rollback", "--direct", "--route", world.folder / "route.db", "shop",
                       "--json")
    expect(result.code == 0 and json.loads(result.out)["was"] == 10, "--route", result)
    wait_for("the daemon takes it up", lambda: world.view("shop-4")["state"] == "ROLLED BACK")
    expect(world.route("shop")[0] == 0, "it stays down", world.route("shop"))
    none = world.ctl("rollback", "--direct", "--route", world.folder / "none.db", "shop")
    expect(none.code == 1 and "none.db" in none.err, "no such route file", none)
    expect(not (world.folder / "none.db").exists(), "and none is made")


def what_a_query_counts_is_watched_by_the_hour(world):
    crashing = POLICY.format(name="crashing", bake="10m", below="20%", soak="10m").replace(
        "criteria: [", 'metrics: {crashes: {query: "select count(*) from crashes where at >= $1 '
        'and at < $2"}}\ncriteria: [{metric: crashes, below: 1 per hour}, ')
    (world.folder / "crashing.yaml").write_text(crashing)
    planned = world.ctl("plan", "crashing.yaml", "--traffic", "60/min")
    expect(planned.code == 0 and "criterion crashes is left out" in planned.err, "plan", planned)
    expect("crashes" not in planned.out, "and plans without it", planned)
    world.keeper.execute("create table crashes (at integer)")
    expect(world.ctl("start", "crashing.yaml").code == 0, "crashing-1")
    world.wait_for_weight("crashing-1", 10)

    def counted():
        view = world.view("crashing-1")
        return next(one for one in view["criteria"] if one["criterion"] == "crashes")

    wait_for("time is watched", lambda: counted()["watched_s"] >= 2)
    quiet = counted()
    expect(quiet["per"] == "hour" and quiet["limit"] == 1 and quiet["events"] == 0, quiet)
    expect("crashes" in world.ctl("status", "crashing-1").out, "the page has it")
    with world.keeper:
        soon = int(time.time() * 1000) + 700  # a look's time that is not over yet
        world.keeper.executemany("insert into crashes values (?)", [(soon,)] * 5)
    wait_for("it is rolled back", lambda: world.view("crashing-1")["state"] == "ROLLED BACK")
    why = world.ctl("explain", "crashing-1")
    expect("criterion crashes: 5 crashes in" in why.flat and "limit 1 per hour" in why.flat,
           "and why", why)
    proof = world.ctl("verify")
    expect(proof.code == 0 and ": all as recorded" in proof.out, "verify works it out again", proof)


def a_share_of_what_a_query_counts_is_watched(world):
    sessions = POLICY.format(name="sessions", bake="10m", below="20%", soak="10m").replace(
        "criteria: [", 'metrics: {failed_sessions: {query: "select sum(failed), count(*) from '
        'sessions where ended >= $1 and ended < $2"}}\n'
        "criteria: [{metric: failed_sessions, below: 1%}, ")
    (world.folder / "sessions.yaml").write_text(sessions)
    world.keeper.execute("create table sessions (ended integer, failed real)")
    expect(world.ctl("start", "sessions.yaml").code == 0, "sessions-1")
    world.wait_for_weight("sessions-1", 10)
    with world.keeper:
        soon = int(time.time() * 1000) + 700  # a look's time that is not over yet
        world.keeper.executemany("insert into sessions values (?, ?)",
                                 [(soon, 0.75)] * 10 + [(soon, 0)] * 10)
    wait_for("it is rolled back", lambda: world.view("sessions-1")["state"] == "ROLLED BACK")
    counted = next(one for one in world.view("sessions-1")["criteria"]
                   if one["criterion"] == "failed_sessions")
    expect(counted["per"] == "cluster" and counted["clusters"] == 20 and counted["events"] == 7.5,
           counted)
    why = world.ctl("explain", "sessions-1")
    expect("criterion failed_sessions: failed_sessions 7.5 of 20 (37.5 %) at this step; limit 1 %"
           in why.flat, "and why", why)
    proof = world.ctl("verify")
    expect(proof.code == 0 and ": all as recorded" in proof.out, "verify works it out again", proof)


def the_socket_can_be_named_in_three_ways(world):
    path = str(world.state / "canaryd.sock")
    for words, env in ((["--socket", path], "/nowhere"), ([], path)):
        result = world.ctl("status", *words, CANARYD_SOCKET=env)
        expect(result.code != 2, words, result)
    config = world.folder / "with-socket.yaml"
    config.write_text(world.config.read_text() + f"socket: {path}\n")
    result = world.ctl("status", "--config", config, CANARYD_SOCKET="")
    expect(result.code != 2, "by --config", result)


def the_daemon_stops_in_order(world):
    code = world.stop_daemon()
    expect(code == 0, "SIGTERM ends in 0", code)


STORY = [every_command_teaches, typing_mistakes_are_64, a_reason_is_asked_for_where_it_counts,
         check_says_what_a_policy_does, check_says_the_first_users_plan_on_a_page,
         check_explain_has_every_field_of_the_reference, check_says_every_mistake_at_once,
         plan_is_honest_about_low_traffic, plan_measures_legacys_own_table,
         check_needs_no_table,
         aa_holds_legacy_against_itself, start_notes_what_legacy_breaks_itself,
         start_refuses_a_trigger_that_fires_by_chance,
         start_refuses_a_trigger_that_fired_on_legacy, start_refuses_nothing_by_half_a_day,
         init_writes_a_policy_that_passes_check, init_asks_on_a_terminal,
         without_a_daemon_it_is_2_and_says_what_helps,
         nothing_has_been_started_yet, two_daemons_on_one_store, start_begins_a_rollout,
         an_edited_policy_changes_nothing_that_runs, status_is_a_page,
         colours_only_on_a_terminal, watch_goes_on_until_interrupted,
         explain_says_why_not_yet, pause_and_resume,
         extend_and_finish_and_ack_when_they_do_not_apply, promote_needs_proof_or_an_override,
         route_tells_a_users_side, notify_test_sends_to_every_channel,
         two_rollouts_have_to_be_told_apart, a_rollout_that_is_proven_finishes,
         rollback_says_so_after_the_read_back, history_tells_who_did_what,
         verify_proves_the_journal, rollback_past_a_dead_daemon,
         the_sql_for_a_dead_daemon_moves_everybody_back,
         direct_also_works_beside_a_running_daemon,
         what_a_query_counts_is_watched_by_the_hour,
         a_share_of_what_a_query_counts_is_watched, the_socket_can_be_named_in_three_ways,
         the_daemon_stops_in_order]


def main():
    loud = "-v" in sys.argv[1:]
    world = World()
    passed = failed = 0
    try:
        for chapter in STORY:
            name = chapter.__name__.replace("_", " ")
            try:
                chapter(world)
                passed += 1
                if loud:
                    print("ok   ", name, flush=True)
            except Failed as error:
                failed += 1
                print(f"FAIL  {name}: {error}", flush=True)
            except Exception:  # pylint: disable=broad-except
                failed += 1
                print(f"FAIL  {name}:\n{traceback.format_exc()}", flush=True)
    finally:
        world.close()
        if failed:
            log = (world.folder / "canaryd.log").read_text(errors="replace")
            print("canaryd's log ends:\n" + log[-3000:])
        shutil.rmtree(world.folder, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
