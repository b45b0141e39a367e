#!/usr/bin/env python3
"""canaryctl in PostgreSQL: migrate, doctor, report, rollback --direct, pin, on a real server.

    postgres_ctl_test.py [NAME...]

NAME picks tests by a part of their name. The program by CANARYCTL, else build/canaryctl.
"""

import datetime
import json
import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "postgres"))
import server as postgres  # noqa: E402
from world import CANARY, IDS, LEGACY, NAME, SQL, World, expect, run  # noqa: E402

CANARYCTL = os.environ.get("CANARYCTL", str(ROOT / "build" / "canaryctl"))
PATIENCE = 120  # seconds until something is given up; nothing is expected to come near it
ME = pwd.getpwuid(os.getuid()).pw_name
FILES = [path.name for path in sorted(SQL.glob("0*.sql"))] + ["grants.sql"]
SECRET = "s3cret-of-the-shop"


class Result:
    def __init__(self, code, out, err):
        self.code, self.out, self.err = code, out, err
        self.flat = " ".join((out + err).split())

    def __str__(self):
        return f"exit {self.code}\n{self.out}{self.err}"

    @property
    def json(self):
        return json.loads(self.out)


def ctl(*words, **env):
    dropped = ("DATABASE_URL", "NO_COLOR", "COLUMNS", "CANARYD_SOCKET")
    kept = {key: value for key, value in os.environ.items()
            if key not in dropped and not key.startswith("PG")}
    run = subprocess.run([CANARYCTL, *map(str, words)], stdin=subprocess.DEVNULL, text=True,
                         capture_output=True, timeout=PATIENCE, env={**kept, **env}, check=False)
    expect(SECRET not in run.stdout + run.stderr, "a password is never printed", words,
           run.stdout, run.stderr)
    return Result(run.returncode, run.stdout, run.stderr)


def url(database, user="owner", **how):
    return database.server.url(user=user, database=database.name, **how)


def on(database, command, *words, user="owner", bouncer=False):
    return ctl(command, *words, "--database", url(database, user, bouncer=bouncer))


def schema_of(database):
    """Everything but rows, as text that can be compared."""
    run = subprocess.run([postgres.BIN / "pg_dump", "--schema-only",
                          database.server.url(database=database.name)],
                         capture_output=True, text=True, check=True)
    # Lines with a key of this run's own.
    return [line for line in run.stdout.splitlines()
            if not line.startswith(("\\restrict", "\\unrestrict"))]


def rows_of_user(database):
    return [database.query(f"select * from {table} order by 1") for table in
            ("users", "webhook_metrics", "migration_status", "migration_rollbacks")]


def columns_of_user(database):
    return database.query(
        "select table_name, column_name, data_type, is_nullable, column_default "
        "from information_schema.columns where table_schema = 'public' order by 1, ordinal_position")


def migrated(world, template="ready"):
    database = world.copy(template)
    result = on(database, "migrate")
    expect(result.code == 0, "migrate", result)
    return database


# --- migrate -------------------------------------------------------------------------------------


def migrate_makes_what_psql_makes_and_says_so(world):
    by_hand = world.copy("legacy")
    for name in FILES:
        by_hand.file(SQL / name)
    ours = world.copy("legacy")
    first = on(ours, "migrate")
    expect(first.code == 0, "migrate", first)
    for name in FILES:
        line = next(line for line in first.out.splitlines() if f"  {name} " in line)
        expect(" made " in line or "applied" in line, f"{name} is named with what it made", line)
    expect("schema canaryd" in first.flat and "functions" in first.flat, "what was made", first)
    expect(f"Route {NAME} is at 0 %" in first.flat, "where the route is", first)
    expect("doctor" in first.out, "what comes next", first)
    expect(schema_of(ours) == schema_of(by_hand), "the same as by psql")


def migrate_again_finds_everything_as_it_was(world):
    database = migrated(world, "legacy")
    before = schema_of(database), rows_of_user(database)
    again = on(database, "migrate")
    expect(again.code == 0, "again", again)
    for name in FILES:
        expect(f"{name}" in again.out, name, again)
    expect(again.out.count("as it was") == len(FILES), "nothing to do", again)
    expect((schema_of(database), rows_of_user(database)) == before, "and nothing was done")
    database.query("drop function canaryd.unpin(text, text)")
    mended = on(database, "migrate")
    expect("made again function canaryd.unpin" in mended.flat, "what had gone is back", mended)


def migrate_keeps_the_users_columns_and_rows(world):
    database = world.copy("drawn")
    before = rows_of_user(database), columns_of_user(database)
    flagged = {row[0] for row in database.query("select id from users where use_unified_webhook")}
    result = on(database, "migrate")
    expect(result.code == 0, "migrate", result)
    expect((rows_of_user(database), columns_of_user(database)) == before, "theirs is as it was")
    expect("is at 10 %" in result.flat and "taken over" in result.flat, "who was drawn stays", result)
    expect({row[0] for row in database.query(
        f"select id from users where get_webhook_route(id) = '{CANARY}'")} == flagged, "exactly")


def migrate_works_without_their_migration_and_with_profiles(world):
    for template in ("plain", "profiles"):
        database = world.copy(template)
        expect(on(database, "migrate").code == 0, template)
        answer = database.value(f"select get_webhook_route('{IDS[0]}')", user="owner")
        expect(answer == LEGACY, "the function answers", answer)


def print_is_what_is_applied(world):
    printed = ctl("migrate", "--print")
    expect(printed.code == 0, "without a database", printed)
    for name in FILES:
        expect((SQL / name).read_text() in printed.out, f"{name} is in it")
    expect("drop schema canaryd" not in printed.out, "without what takes away", printed)
    down = ctl("migrate", "--print", "--down")
    expect("drop schema canaryd" in down.out and "create table" not in down.out.lower(), "--down")
    database = world.copy("plain")
    database.server.psql("-q", "-v", "ON_ERROR_STOP=1", sql=printed.out, user="owner",
                         database=database.name)
    status = on(database, "migrate", "--status")
    expect(status.code == 0 and "applied by hand" in status.out, "psql took it", status)


def status_names_each_file(world):
    database = world.copy("legacy")
    before = on(database, "migrate", "--status")
    expect(before.code == 1 and before.out.count("not applied") == len(FILES), "nothing yet", before)
    expect(on(database, "migrate").code == 0, "migrate")
    after = on(database, "migrate", "--status", "--json")
    expect(after.code == 0 and after.json["complete"], "all of it", after)
    expect([one["file"] for one in after.json["files"]] == FILES, "in their order", after)
    database.query("update canaryd.applied set sha256 = 'x' where file = '0003_routing.sql'")
    other = on(database, "migrate", "--status")
    expect(other.code == 1 and "another version" in other.out, "another version", other)
    mended = on(database, "migrate")
    expect("brought to this version" in mended.out, "is brought to this one", mended)
    expect(on(database, "migrate", "--status").code == 0, "and it is")


def down_takes_away_only_what_is_ours(world):
    database = world.copy("legacy")
    before = rows_of_user(database), columns_of_user(database)
    body = database.value("select prosrc from pg_proc where proname = 'get_webhook_route'")
    on(database, "migrate")
    database.query("update canaryd.route set weight = 1000")
    early = on(database, "migrate", "--down")
    expect(early.code == 1 and "call canaryd.follow" in early.flat, "the flags come first", early)
    expect("nothing was taken away" in early.flat, "all or nothing", early)
    database.query("update canaryd.route set weight = 0")
    database.query(f"call canaryd.follow('{NAME}', 0)")
    result = on(database, "migrate", "--down")
    expect(result.code == 0 and "schema canaryd" in result.flat, "gone", result)
    expect((rows_of_user(database), columns_of_user(database)) == before, "theirs stays")
    expect(database.value("select prosrc from pg_proc where proname = 'get_webhook_route'") == body,
           "their function is again as it was")
    again = on(database, "migrate", "--down")
    expect(again.code == 0 and "nothing to take away" in again.out, "again", again)
    expect(on(database, "migrate").code == 0, "and it can come back")


def a_file_that_fails_leaves_nothing_half_done(world):
    world.server.database("empty", "owner")
    world.server.supabase(database="empty")
    result = ctl("migrate", "--database", world.server.url(user="owner", database="empty"))
    expect(result.code == 1 and "0001_user_schema.sql" in result.err, "named", result)
    expect("public.users or public.profiles" in result.flat, "what is missing", result)
    expect(world.server.value("select to_regnamespace('canaryd')", database="empty") is None,
           "undone", result)
    database = world.copy("legacy")
    with database.session() as other:
        other.query("begin")
        other.query("lock table users")
        locked = on(database, "migrate")
        other.query("rollback")
    expect(locked.code == 1 and "55P03" in locked.err, "its meaning", locked)
    expect("pg_blocking_pids" in locked.err, "and who is in the way", locked)
    expect(database.value("select to_regnamespace('canaryd')") is None, "undone")
    stranger = ctl("migrate", "--database", url(database, "authenticator"))
    expect(stranger.code == 1 and "42501" in stranger.err and "owner" in stranger.err,
           "a role that may not", stranger)


# --- Which database ------------------------------------------------------------------------------


def a_database_is_named_and_its_password_is_not(world):
    database = world.copy()
    for words in (["doctor"], ["migrate"], ["report"], ["pin", IDS[0], "canary"], ["unpin", IDS[0]]):
        result = ctl(*words)
        expect(result.code == 64 and "DATABASE_URL" in result.err, f"{words} asks which", result)
        bad = ctl(*words, "--database", f"postgresql://owner:{SECRET}@b@127.0.0.1:1/x")
        expect(bad.code == 64 and "%40" in bad.err, "a URL that cannot be read", bad)
        nonsense = ctl(*words, DATABASE_URL=f"mysql://owner:{SECRET}@h/x")
        expect(nonsense.code == 64 and "$DATABASE_URL" in nonsense.err, "by variable", nonsense)
    by_variable = ctl("migrate", "--status", DATABASE_URL=url(database, password=SECRET))
    expect(by_variable.code in (0, 1) and "0001" in by_variable.out, "$DATABASE_URL", by_variable)
    nobody = postgres.free_port()
    for words in (["migrate"], ["report"], ["pin", IDS[0], "canary"],
                  ["rollback", "--direct"]):
        gone = ctl(*words, "--database", f"postgresql://owner:{SECRET}@127.0.0.1:{nobody}/x")
        expect(gone.code == 2 and "is the server up" in gone.err, "nobody listens", gone)
    none = ctl("report", "--database", database.server.url(user="owner", database="none"))
    expect(none.code == 2 and "no such database" in none.err, "no such database", none)
    who = ctl("report", "--database", database.server.url(user="who", database=database.name))
    expect(who.code == 2 and "no such login" in who.err, "no such login", who)


def everything_goes_through_a_transaction_pooler(world):
    database = world.copy("drawn")
    expect(on(database, "migrate", bouncer=True, user="postgres").code == 0, "migrate")
    again = on(database, "migrate", bouncer=True, user="postgres")
    expect(again.out.count("as it was") == len(FILES), "again", again)
    report = on(database, "report", bouncer=True, user="postgres")
    expect(report.code == 0, "report", report)
    back = on(database, "rollback", "--direct", bouncer=True, user="postgres")
    expect(back.code == 0 and "was 10 %" in back.out, "rollback", back)


# --- doctor --------------------------------------------------------------------------------------


def findings(result, grade="bad"):
    return [one for one in result.json["findings"] if one["grade"] == grade]


def well(database, *words, user="canaryd", **how):
    result = on(database, "doctor", "--json", *words, user=user, **how)
    expect(result.code == 0 and result.json["good"], "canaryd can work here",
           json.dumps(findings(result), indent=1), result.err)
    return result


def doctor_is_content_after_migrate(world):
    database = migrated(world)
    page = on(database, "doctor", user="canaryd")
    expect(page.code == 0 and "canaryd can work here" in page.out, "the daemon's login", page)
    for words in ("PostgreSQL 15", "direct", "TLS", "clock", "every right", "every file"):
        expect(words in page.flat, words, page)
    expect("BAD" not in page.out, "nothing is bad", page)
    for user in ("owner", "postgres"):
        well(database, user=user)
    stranger = on(database, "doctor", user="authenticator")
    expect(stranger.code == 1, "another login may not", stranger)


def doctor_before_migrate_says_migrate(world):
    result = on(world.copy("legacy"), "doctor", user="owner")
    expect(result.code == 1 and "canaryctl migrate" in result.out, "the mend", result)


# Not of the schema public, which everybody may enter by default.
RIGHTS = """
select 'schema ' || nspname, privilege_type from pg_namespace, aclexplode(nspacl)
 where grantee = 'canaryd'::regrole and nspname = 'canaryd'
union all
select 'table ' || oid::regclass, privilege_type from pg_class, aclexplode(relacl)
 where grantee = 'canaryd'::regrole
union all
select 'function ' || oid::regprocedure, privilege_type from pg_proc, aclexplode(proacl)
 where grantee = 'canaryd'::regrole order by 1, 2
"""


def each_missing_right_is_named_with_its_grant(world):
    database = migrated(world)
    before = database.query(RIGHTS)
    expect(len(before) > 40, "grants.sql grants something", before)
    database.query("revoke all on all tables in schema canaryd, public from canaryd;"
                   "revoke all on all functions in schema canaryd, public from canaryd;"
                   "revoke all on schema canaryd, public from canaryd;"
                   "drop policy canaryd_reads on webhook_metrics", user="postgres")
    expect(not database.query(RIGHTS), "all taken away")
    sick = on(database, "doctor", "--json", user="owner")
    expect(sick.code == 1, "it says so", sick)
    for one in findings(sick):
        expect(len(one["mend"]) == 1 and one["mend"][0].startswith(("GRANT ", "CREATE POLICY ")),
               "each with SQL that mends it", one)
        database.query(one["mend"][0])
    expect(database.query(RIGHTS) == before, "then it is as grants.sql makes it, no more, no less",
           set(map(tuple, before)) ^ set(map(tuple, database.query(RIGHTS))))
    well(database)


SICK = [
    ("alter table users disable trigger canaryd_flags_end", "triggers", "disabled"),
    ("alter table webhook_metrics disable row level security; alter table migration_status "
     "force row level security; drop policy canaryd_reads on migration_status", "rows", "silence"),
    ("grant execute on function assign_users_to_unified_webhook(integer) to public", "doors",
     "anybody may call"),
    ("grant execute on function assign_users_to_unified_webhook(integer) to anon", "doors",
     "anon may call"),
    ("grant execute on function log_webhook_metric(text, uuid, text, timestamptz, timestamptz, "
     "text, text, text) to authenticated", "doors", "authenticated may call"),
    ("grant usage on schema canaryd to anon", "doors", "anon may enter"),
    ("drop index idx_webhook_metrics_name", "indexes", "reads all of webhook_metrics"),
    ("alter role canaryd nologin", "login", "may not log in"),
]


def what_is_wrong_is_named_with_sql_that_mends_it(world):
    for sick, subject, words in SICK:
        database = migrated(world)
        database.query(sick, user="postgres")
        result = on(database, "doctor", "--json", user="owner")
        bad = findings(result)
        expect(result.code == 1 and [one["subject"] for one in bad] == [subject], sick, bad)
        expect(words in bad[0]["seen"], words, bad)
        for one in bad:
            for mend in one["mend"]:
                database.query(mend, user="postgres")
        well(database)


def what_no_sql_mends_is_named_too(world):
    database = migrated(world)
    database.query("alter role authenticator set pgrst.db_schemas = 'public, canaryd'",
                   user="postgres")
    exposed = on(database, "doctor", user="owner")
    database.query("alter role authenticator reset pgrst.db_schemas", user="postgres")
    expect(exposed.code == 1 and "the API exposes" in exposed.flat, "an exposed schema", exposed)
    database.query("create schema ahead; grant usage on schema ahead to public; "
                   "create function ahead.clock_timestamp() returns timestamptz language sql as "
                   "'select pg_catalog.clock_timestamp() + interval ''1 hour''';"
                   "alter role canaryd in database " + database.name +
                   " set search_path = ahead, pg_catalog", user="postgres")
    clock = on(database, "doctor", user="canaryd")
    expect(clock.code == 1 and "ahead of this machine's" in clock.flat and "ntp" in clock.out,
           "a clock that is an hour off", clock)
    database.query(f"alter role canaryd in database {database.name} reset search_path;"
                   "drop trigger canaryd_rollback_recorded on migration_rollbacks", user="postgres")
    trigger = on(database, "doctor", user="owner")
    expect(trigger.code == 1 and "canaryd_rollback_recorded is not there" in trigger.flat, "", trigger)
    on(database, "migrate")
    database.query("alter database " + database.name + " set default_transaction_read_only = on",
                   user="postgres")
    readonly = on(database, "doctor", user="owner")
    expect(readonly.code == 1 and "set to read-only" in readonly.flat, "read-only", readonly)
    database.query("set default_transaction_read_only = off; alter database " + database.name +
                   " reset default_transaction_read_only", user="postgres")
    well(database)
    gone = ctl("doctor", "--database", "postgresql://canaryd@127.0.0.1:1/x")
    expect(gone.code == 1 and "is the server up" in gone.out, "no server is a finding", gone)


SHOP = """\
name: shop-v2
canary: new
baseline: old
source:
  kind: postgres
  connection: shop
  query: >-
    select n as id, service as webhook_name, who as user_id, began as started_at,
    began as completed_at, began as created_at, 5 as duration_ms, 'success' as status,
    null::text as error_message, null::text as request_id from shop.calls
router: {kind: sql, connection: shop}
steps: [{weight: 100%, bake: 1h}]
criteria: [{metric: error_rate, below: 1%}]
triggers: [{name: dead, metric: letters, above: 3, over: 5m, for: 1 of 1 looks}]
metrics:
  letters: {query: "select count(*) from letters where at >= $1 and at < $2"}
notify: [{kind: log}]
"""


def doctor_names_what_a_policys_queries_lack(world):
    database = migrated(world)
    database.query("create schema shop; create table shop.calls (n bigint, service text, who text, "
                   "began timestamptz); create table letters (at timestamptz); "
                   "alter table letters enable row level security")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shop.yaml"
        path.write_text(SHOP)
        sick = on(database, "doctor", "--json", "--policy", path)
        expect(sick.code == 1, "it cannot work yet", sick)
        mends = [line for one in findings(sick) for line in one["mend"]]
        for mend in ("GRANT USAGE ON SCHEMA shop TO canaryd;",
                     "GRANT SELECT ON shop.calls TO canaryd;",
                     "GRANT SELECT ON public.letters TO canaryd;"):
            expect(mend in mends, mend, sick)
        database.query(" ".join(mends))
        expect(well(database, "--policy", path, user="owner"), "the mends are all it took")
        page = on(database, "doctor", "--policy", path, user="canaryd")
        expect("shop-v2: its metrics can be read, and 1 number" in page.flat, "a sentence", page)
        expect("get_webhook_route() serves the policy unified-webhook only" in page.flat
               and "canaryd.on_canary('shop-v2', user)" in page.flat, "who else to ask", page)
        database.query("select canaryd.on_canary('shop-v2', 'anybody')")
        checked = ctl("check", path)
        expect(checked.code == 0 and "canaryd.on_canary('shop-v2', user)" in checked.err,
               "check says it too", checked)
        for was, instead, why in (
                ("who as user_id, ", "", "source.query has no column user_id"),
                ("from letters", "from nowhere", 'metrics, letters: relation "nowhere" does not'),
                ("select count(*)", "select count(*), 1", "metrics, letters: the query gives 2")):
            path.write_text(SHOP.replace(was, instead))
            ill = on(database, "doctor", "--policy", path, user="canaryd")
            expect(ill.code == 1 and why in ill.flat, why, ill)
        shared = SHOP.replace("below: 1%}]", "below: 1%}, {metric: lost, below: 2%}]").replace(
            "notify:", "  lost: {query: 'select count(*), count(*) from letters where at >= $1 "
            "and at < $2'}\nnotify:")
        path.write_text(shared)
        page = on(database, "doctor", "--policy", path, user="canaryd")
        expect(page.code == 0 and "and 2 numbers" in page.flat, "a share has two columns", page)
        path.write_text(shared.replace("count(*), count(*)", "count(*)"))
        ill = on(database, "doctor", "--policy", path, user="canaryd")
        expect(ill.code == 1 and "metrics, lost: " in ill.flat, "and not one", ill)
        path.write_text(SHOP.replace("name: shop-v2", f"name: {NAME}"))
        page = on(database, "doctor", "--policy", path, user="canaryd")
        expect("on_canary" not in page.flat, "the one of get_webhook_route()", page)
        expect("on_canary" not in ctl("check", path).flat, "for check as well")
    expect(database.value("select count(*) from pg_class where relname = 'canaryd_doctor'") == "0",
           "nothing is left behind")


def doctor_tells_the_kind_of_connection(world):
    database = migrated(world)
    transaction = well(database, user="postgres", bouncer=True)
    expect("transaction mode" in transaction.out, "PgBouncer in transaction mode", transaction)
    server = world.server
    server.bouncer.end(15)
    try:
        for size in (1, 5):
            server.start_pgbouncer(size, mode="session")
            session = well(database, user="postgres", bouncer=True)
            expect("session mode" in session.out, f"in session mode, {size}", session)
            server.bouncer.end(15)
        server.start_pgbouncer(5)
        several = well(database, user="postgres", bouncer=True)
        expect("transaction mode" in several.out, "with five connections", several)
    finally:
        if server.bouncer.ended():
            server.start_pgbouncer()
    expect("direct" in well(database).out, "and without one")


def a_standby_is_refused(world):
    database = migrated(world)
    copy = world.server.standby()
    try:
        result = ctl("doctor", "--database", copy.url(user="canaryd", database=database.name))
        expect(result.code == 1 and "standby" in result.flat, "doctor", result)
        back = ctl("rollback", "--direct", "--database",
                   copy.url(user="owner", database=database.name))
        expect(back.code == 1 and "25006" in back.err and "primary" in back.err, "rollback", back)
    finally:
        copy.close()


# --- report --------------------------------------------------------------------------------------

VIEWS = ["traffic_distribution", "error_rates", "response_times", "agent_usage", "success_rates",
         "user_distribution", "unified_vs_legacy", "top_errors", "slow_requests",
         "migration_progress", "rollback_history", "health_check"]


def report_is_one_page_of_twelve_tables(world):
    database = migrated(world)
    database.query("""
        insert into webhook_metrics (webhook_name, user_id, agent_type, completed_at, duration_ms,
                                     status, error_message, request_id)
        select case n % 4 when 0 then 'wa-webhook-unified' else 'wa-webhook-jobs' end, null,
               'rides', now(), n * 10, case n % 40 when 0 then 'error' else 'success' end,
               case n % 40 when 0 then E'bad \\x1b[31mred\\nline' end, 'req-' || n
          from generate_series(1, 2000) n;
        insert into migration_rollbacks (phase, reason) values ('week4', 'High error rate')""")
    page = on(database, "report", user="canaryd")
    expect(page.code == 0, "report", page)
    lines = page.out.splitlines()
    for number in range(1, 13):
        expect(any(line.startswith(f"{number}  ") for line in lines), f"table {number}", page)
    expect("\x1b" not in page.out, "nothing moves the cursor", page)
    expect(all(len(line) <= 80 for line in lines), "80 columns",
           [line for line in lines if len(line) > 80])
    expect("more: select * from canaryd.slow_requests" in page.out, "long lists are cut", page)
    for words in ("wa-webhook-unified", "24.91", "High error rate", "error rate %", "p95 ms"):
        expect(words in page.out, words, page)
    whole = on(database, "report", "--json", user="canaryd").json
    expect(list(whole) == VIEWS, "all twelve in the plan's order", list(whole))
    expect(len(whole["slow_requests"]) == 50, "whole", len(whole["slow_requests"]))
    rates = {row["webhook_name"]: row for row in whole["error_rates"]}
    # The seven rows of the prepared world are successes of the same webhook.
    expect(rates[CANARY]["requests"] == 500 and rates[CANARY]["error_rate_percent"] == 10,
           "numbers are numbers", rates)
    expect(whole["rollback_history"][0]["error_rate"] is None, "and null is null")


def a_view_that_fails_does_not_take_the_others_along(world):
    database = migrated(world)
    database.query("drop view canaryd.top_errors; revoke select on canaryd.error_rates from canaryd")
    page = on(database, "report", user="canaryd")
    expect(page.code == 1 and page.out.count("could not be asked") == 2, "two of them", page)
    expect("42P01" in page.out and "42501" in page.out and "Health" in page.out, "why", page)
    whole = on(database, "report", "--json", user="canaryd").json
    expect("error" in whole["top_errors"] and isinstance(whole["health_check"], list), "--json")


# --- rollback --direct, pins ---------------------------------------------------------------------


def canaries(database):
    return int(database.value(
        f"select count(*) from users where get_webhook_route(id) = '{CANARY}'"))


def at_half(world):
    database = migrated(world)
    database.query("update canaryd.route set weight = 5000, revision = 7, by = 'canaryd'")
    database.query(f"call canaryd.follow('{NAME}', 0)")
    expect(canaries(database) > 900, "half are on the canary")
    return database


def rollback_past_the_daemon_sets_the_route_and_the_flags(world):
    for user in ("owner", "canaryd"):
        database = at_half(world)
        result = on(database, "rollback", "--direct", "--reason", "it's 3 am", user=user)
        expect(result.code == 0 and "was 50 % and is 0 %" in result.out, user, result)
        expect("users are on legacy" in result.out, "read back", result)
        expect("select canaryd.rollback('why'" in result.out, "the same by hand", result)
        weight, revision, by, reason = database.query(
            "select weight, revision, by, reason from canaryd.route")[0]
        expect((weight, by) == ("0", user) and int(revision) > 7, "as that role", by, revision)
        expect(reason.startswith(f"it's 3 am ({ME}, "), "why, and which person", reason)
        expect(canaries(database) == 0, "the function")
        flags = database.value("select count(*) from users where use_unified_webhook")
        expect(flags == "0", "and the flags of those who read the column", flags)
    again = on(database, "rollback", "--direct", "--json")
    expect(again.code == 0 and again.json["was"] == 0 and again.json["name"] == NAME, "again", again)


def rollback_asks_for_nothing_more_than_it_must(world):
    database = at_half(world)
    database.query("insert into canaryd.route (name, weight, revision) values ('shop', 0, 1)")
    only = on(database, "rollback", "--direct")
    expect(only.code == 0 and only.out.startswith(NAME), "the only one with users on it", only)
    database.query("update canaryd.route set weight = 1000")
    which = on(database, "rollback", "--direct")
    expect(which.code == 1 and "shop" in which.err and NAME in which.err, "two: which?", which)
    named = on(database, "rollback", "--direct", "shop")
    expect(named.code == 0 and database.value(
        "select weight from canaryd.route where name = 'shop'") == "0", "by name", named)
    file = on(database, "rollback", "--direct", ROOT / "policies" / "unified-webhook.yaml")
    expect(file.code == 0 and canaries(database) == 0, "by the policy's file", file)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "canaryd.yaml"
        config.write_text(f"policies: {ROOT / 'policies'}\nconnections:\n"
                          "  database: {kind: postgres, dsn: {credential: database}}\n")
        database.query("update canaryd.route set weight = 1000")
        known = ctl("rollback", "--direct", NAME, "--config", config,
                    CANARYD_CRED_DATABASE=url(database, password=SECRET))
        expect(known.code == 0 and canaries(database) == 0, "by the settings' connection", known)
    wrong = on(database, "rollback", "--direct", "checkout")
    expect(wrong.code == 1 and "checkout" in wrong.err, "no such route", wrong)
    by_variable = ctl("rollback", "--direct", DATABASE_URL=url(database))
    expect(by_variable.code in (0, 1) and "route" in by_variable.flat, "by variable", by_variable)
    expect(ctl("rollback", "--database", url(database)).code == 64, "only with --direct")


def rollback_says_what_is_in_its_way(world):
    unmade = on(world.copy("legacy"), "rollback", "--direct")
    expect(unmade.code == 1 and "UPDATE users SET use_unified_webhook = false" in unmade.err,
           "without canaryd's part the plan's own SQL is what helps", unmade)
    database = at_half(world)
    stranger = on(database, "rollback", "--direct", user="authenticator")
    expect(stranger.code == 1 and "42501" in stranger.err, "a role that may not", stranger)
    expect(canaries(database) > 900, "and nobody was moved")


def rollback_waits_for_a_locked_row_but_not_for_ever(world):
    database = at_half(world)
    with database.session() as holder:
        held = holder.query("begin; select id from users where use_unified_webhook limit 1 "
                            "for update")[0][0]
        result = on(database, "rollback", "--direct")
        expect(result.code == 0 and canaries(database) == 0, "nobody is on the canary", result)
        expect("not all followed yet" in result.flat and "canaryd.follow" in result.flat,
               "and it says that a flag is left", result)
        left = database.query("select id from users where use_unified_webhook")
        expect(left == [[held]], "the one that somebody holds", left)


def pins_hold_whatever_the_weight_is(world):
    database = migrated(world)
    route = f"select get_webhook_route('{IDS[0]}')"
    result = on(database, "pin", str(IDS[0]).upper(), "canary", "--reason", "QA", user="canaryd")
    expect(result.code == 0 and "unpin" in result.out, "pin", result)
    expect(database.value(route) == CANARY, "on the canary at 0 %")
    by, reason = database.query("select by, reason from canaryd.pins")[0]
    expect((by, reason) == (ME, "QA"), "who and why", by, reason)
    database.query("update canaryd.route set weight = 10000")
    expect(on(database, "pin", IDS[0], "legacy").code == 0, "the other side")
    expect(database.value(route) == LEGACY, "on legacy at 100 %")
    gone = on(database, "unpin", IDS[0], "--json")
    expect(gone.code == 0 and gone.json["was_pinned"], "unpin", gone)
    expect(database.value(route) == CANARY, "by the weight again")
    again = on(database, "unpin", IDS[0])
    expect(again.code == 0 and "was not pinned" in again.out, "again", again)
    side = on(database, "pin", IDS[0], "unified")
    expect(side.code == 64 and "canary" in side.err, "no such side", side)


# --- history -------------------------------------------------------------------------------------


def the_legacys_history_is_read_where_it_is(world):
    database = migrated(world)
    database.query("""
        delete from webhook_metrics;
        insert into webhook_metrics (webhook_name, user_id, agent_type, started_at, completed_at,
                                     duration_ms, status, created_at)
        select 'wa-webhook-jobs', ids[1 + n % cardinality(ids)], 'jobs', at, at, 120,
               case when n % 250 = 0 then 'error' else 'success' end, at
        from (select n, now() - make_interval(secs => n * 10) as at
              from generate_series(1, 17280) as n) as rows,
             (select array_agg(id) as ids from users) as people
        union all select 'wa-webhook-jobs', null, 'jobs', now() - interval '20 days', null, 1,
               'error', now() - interval '20 days' from generate_series(1, 1000)""",
                   user="postgres")
    config, policy = ROOT / "deploy" / "postgres.yaml", ROOT / "policies" / "postgres.yaml"
    as_daemon = {"CANARYD_CRED_DATABASE": url(database, "canaryd")}
    as_person = {"DATABASE_URL": url(database, "canaryd")}
    for env in as_daemon, as_person:
        test = ctl("aa", policy, "--json", "--config", config, **env)
        expect(test.code == 0 and test.json["all_users"] > 100, "those who wrote", test)
        began = datetime.datetime.fromisoformat(test.json["from"].replace("Z", "+00:00"))
        age = datetime.datetime.now(datetime.timezone.utc) - began
        expect(age < datetime.timedelta(days=3), "two days, the old rows not", test)
    plan = ctl("plan", policy, "--config", config, **as_daemon)
    expect(plan.code == 0 and "6" in plan.out, "planned by the traffic that was", plan)
    played = ctl("backtest", policy, "--config", config, **as_daemon)
    expect(played.code == 4 and "its newest 14d, 17,280 requests" in played.flat, "played", played)
    gone = ctl("aa", policy, "--config", config, "--from", "no_such_table", **as_daemon)
    expect(gone.code == 1 and "no_such_table" in gone.err, "what is missing is named", gone)
    nobody = ctl("aa", policy, "--config", config)
    expect(nobody.code == 1 and "CANARYD_CRED_DATABASE" in nobody.err, "no address", nobody)


TESTS = [
    migrate_makes_what_psql_makes_and_says_so,
    migrate_again_finds_everything_as_it_was,
    migrate_keeps_the_users_columns_and_rows,
    migrate_works_without_their_migration_and_with_profiles,
    print_is_what_is_applied,
    status_names_each_file,
    down_takes_away_only_what_is_ours,
    a_file_that_fails_leaves_nothing_half_done,
    a_database_is_named_and_its_password_is_not,
    everything_goes_through_a_transaction_pooler,
    doctor_is_content_after_migrate,
    doctor_before_migrate_says_migrate,
    each_missing_right_is_named_with_its_grant,
    what_is_wrong_is_named_with_sql_that_mends_it,
    what_no_sql_mends_is_named_too,
    doctor_names_what_a_policys_queries_lack,
    doctor_tells_the_kind_of_connection,
    a_standby_is_refused,
    report_is_one_page_of_twelve_tables,
    a_view_that_fails_does_not_take_the_others_along,
    rollback_past_the_daemon_sets_the_route_and_the_flags,
    rollback_asks_for_nothing_more_than_it_must,
    rollback_says_what_is_in_its_way,
    rollback_waits_for_a_locked_row_but_not_for_ever,
    pins_hold_whatever_the_weight_is,
    the_legacys_history_is_read_where_it_is,
]


def main():
    if postgres.missing():
        print(f"skipped: {postgres.missing()}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    with postgres.Postgres({"synchronous_commit": "off"}) as server:
        server.start_pgbouncer()
        world = World(server)
        return run(TESTS, sys.argv[1:], lambda test: test(world))


if __name__ == "__main__":
    sys.exit(main())
