#!/usr/bin/env python3
"""deploy/sql on a real PostgreSQL: the migration, the route, the flags, the emergency SQL, rights.

    postgres_sql_test.py [--rows N] [NAME...]

NAME picks tests by a part of their name. --rows: how many metric rows the monitoring views are run
on, 20000 unless told; 1000000 is what their second is promised for.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "postgres"))
import server as postgres  # noqa: E402
from world import BUCKETS, CANARY, FILES, IDS, LEGACY, NAME, SQL, USERS  # noqa: E402
from world import Skipped, World, below, bucket, expect, run  # noqa: E402

# --- The migration -------------------------------------------------------------------------------


COLUMNS = """select table_name, column_name, data_type, is_nullable, column_default,
    character_maximum_length, numeric_precision, numeric_scale
    from information_schema.columns where table_schema = 'public' order by 1, 2"""
CONTRACT = ["webhook_metrics", "migration_status", "migration_rollbacks"]


def shape(database, table="users"):
    return {(row[0], row[1]): row[2:] for row in database.query(COLUMNS)
            if row[0] in [*CONTRACT, table]}


def rows_kept(database, table="users"):
    return [database.query(f"select * from {it} order by 1") for it in [*CONTRACT, table]]


def where_the_users_migration_was_applied_nothing_of_it_changes(world):
    for template, table in (("drawn", "users"), ("profiles", "profiles")):
        database = world.copy(template)
        before, rows = shape(database, table), rows_kept(database, table)
        database.migrate()
        expect(shape(database, table) == before, "no column changes its type or default")
        expect(rows_kept(database, table) == rows, "every row is kept as it is")
        found = database.value("select canaryd.user_table()")
        expect(found == table, "the user table is found", found)


def where_it_was_not_the_same_objects_are_made(world):
    database, theirs = world.copy("plain"), world.copy("legacy")
    database.migrate()
    ours, model = shape(database), shape(theirs)
    expect(set(ours) == set(model), "the same columns", set(ours) ^ set(model))
    for column, facts in model.items():
        expect(ours[column][0] == facts[0], f"{column} has the contract's type", ours[column])
    expect(database.query("select phase, percentage from migration_status") == [["week4", "0"]],
           "the first phase is there once")
    functions = ("select proname, pg_get_function_arguments(oid), pg_get_function_result(oid), "
                 "provolatile, prosecdef from pg_proc where pronamespace = 'public'::regnamespace "
                 "and proname <> 'webhook_route' order by 1")
    expect(database.query(functions) == theirs.query(functions), "the same functions",
           database.query(functions), theirs.query(functions))
    rls = ("select relname, relrowsecurity from pg_class where relname = any(array"
           f"{CONTRACT}) order by 1")
    expect(database.query(rls) == theirs.query(rls), "row level security is on")
    indexed = ("select tablename, regexp_replace(indexdef, 'INDEX [^ ]+ ', '') from pg_indexes "
               "where schemaname = 'public' order by 1, 2")
    expect(database.query(indexed) == theirs.query(indexed), "the same indexes")


def applied_twice_it_changes_nothing(world):
    for template in ("plain", "drawn"):
        database = world.copy(template)
        database.migrate()
        database.order(5000, 7)
        database.query(f"select canaryd.pin('{NAME}', '{IDS[0]}', 'legacy')")
        dump = [postgres.BIN / "pg_dump", "--schema-only",
                world.server.url(user="owner", database=database.name)]

        def schema():
            run = postgres.subprocess.run(dump, capture_output=True, text=True, check=True)
            return [line for line in run.stdout.splitlines() if "restrict" not in line]
        rows = "select * from canaryd.route, canaryd.applied order by file"
        before = schema(), database.query(rows)
        database.migrate()
        database.migrate(one_transaction=True)
        after = schema(), database.query(rows)
        expect(before[1] == after[1], "the route stays as it is", before[1], after[1])
        expect(before[0] == after[0], "the schema stays as it is",
               set(before[0]) ^ set(after[0]))
    expect([row[0] for row in database.query("select file from canaryd.applied order by 1")]
           == [path.name for path in FILES] + ["grants.sql"], "each file says that it was applied")


def a_superuser_may_apply_it_too(world):
    database = world.copy("drawn")
    database.migrate(user="postgres")
    flags = database.flagged()
    expect(database.on_canary() == flags, "the user's own role still asks the route")
    database.query("select * from assign_users_to_unified_webhook(0)")
    expect(not database.on_canary(), "and may still assign")
    database.query("insert into migration_rollbacks (phase, reason) values ('week4', 'x')")


def the_supabase_cli_pushes_the_files_as_the_page_says(world):
    cli = shutil.which("supabase")
    if not cli:
        raise Skipped("no supabase on PATH (npm install -g supabase)")
    page = (SQL / "README.md").read_text()
    copies = re.search(r"With the Supabase CLI.*?^    (n=.*?done)$", page, re.S | re.M)[1]
    database = world.copy("drawn")
    flags = database.flagged()
    url = world.server.url(user="owner", database=database.name)
    version = subprocess.run([cli, "--version"], capture_output=True, text=True, check=True).stdout
    target = ([f"--remote={url}"] if int(re.search(r"\d+", version)[0]) >= 3
              else ["--db-url", f"{url}?sslmode=disable"])
    quiet = {**os.environ, "SUPABASE_TELEMETRY_DISABLED": "1", "DO_NOT_TRACK": "1"}
    with tempfile.TemporaryDirectory(prefix="canaryd-supabase-") as folder:
        Path(folder, "supabase", "migrations").mkdir(parents=True)
        Path(folder, "supabase", "config.toml").write_text('project_id = "first-user"\n')
        Path(folder, "deploy").symlink_to(SQL.parent)
        subprocess.run(["bash", "-euc", copies], cwd=folder, check=True)
        for _ in range(2):  # the second time there is nothing to push
            push = subprocess.run([cli, "db", "push", "--yes", *target], cwd=folder, text=True,
                                  env=quiet, stdin=subprocess.DEVNULL, capture_output=True,
                                  timeout=120)
            expect(push.returncode == 0, "it pushes them", push.stdout, push.stderr)
    expect([row[0] for row in database.query("select file from canaryd.applied order by 1")]
           == [path.name for path in FILES] + ["grants.sql"], "each file says that it was applied")
    expect(database.on_canary() == flags, "those who were drawn are the canary, and nobody else")


def without_a_user_table_it_says_what_it_needs(world):
    world.made += 1
    name = f"empty_{world.made}"
    world.server.database(name, "owner")
    said = world.server.fails((SQL / "0001_user_schema.sql").read_text(), database=name,
                              user="owner")
    expect("public.users or public.profiles" in said, "it names the tables", said)


def down_removes_what_is_ours_and_moves_nobody(world):
    for template in ("plain", "drawn"):
        database, untouched = world.copy(template), world.copy(template)
        database.migrate()
        database.query("select * from assign_users_to_unified_webhook(50)")
        rows = rows_kept(database)
        canary = database.on_canary()
        expect(len(canary) > USERS / 3, "half of them are on the canary")
        database.order(6000, 20)
        said = database.fails((SQL / "down.sql").read_text())
        expect("do not follow the route yet" in said and "canaryd.follow" in said,
               "as long as flags and route differ it refuses and says what to do", said)
        database.order(5000, 21)
        database.query(f"call canaryd.follow('{NAME}')")
        database.file(SQL / "down.sql", one_transaction=True)
        expect(rows_kept(database) == rows, "the user's rows stay")
        expect(database.on_canary() == canary, "nobody moves")
        left = ("select 'function', oid::regprocedure::text, prosrc from pg_proc "
                "where pronamespace = 'public'::regnamespace union all "
                "select 'trigger', tgname, tgrelid::regclass::text from pg_trigger "
                "where not tgisinternal union all "
                "select 'policy', polname, polrelid::regclass::text from pg_policy union all "
                "select 'schema', nspname, '' from pg_namespace where nspname not like 'pg_%' "
                "order by 1, 2, 3")
        if template == "drawn":
            expect(database.query(left) == untouched.query(left), "nothing else is different",
                   database.query(left), untouched.query(left))
        database.query("update users set use_unified_webhook = false")
        expect(not database.on_canary(), "the flag decides again")
        database.migrate()
        expect(database.on_canary() == set(), "and it can be applied again")


def down_refuses_while_a_recorded_rollout_is_not_over(world):
    database = world.copy()
    database.query(f"call canaryd.follow('{NAME}', 0)")
    database.query("insert into canaryd.rollout values "
                   "('rides-1', 'rides', 1, 'finished', 9, '{}', '', '', ''), "
                   "('rides-2', 'rides', 2, 'progressing', 3, '{}', '', '', '')")
    said = database.fails((SQL / "down.sql").read_text())
    expect("rides-2 is not over" in said and "canaryctl rollback" in said,
           "it names the rollout and what to do", said)
    expect("rides-1" not in said, "and none that is over", said)
    expect(database.value("select count(*) from canaryd.rollout") == "2", "nothing is gone")
    database.query("update canaryd.rollout set status = 'rolled_back' where id = 'rides-2'")
    database.file(SQL / "down.sql", one_transaction=True)
    expect(database.value("select to_regnamespace('canaryd')") is None, "then it goes")


# --- Routing -------------------------------------------------------------------------------------


def ids_of_several_shapes():
    draw = random.Random(4)
    for n in range(2500):
        yield str(uuid.UUID(int=draw.getrandbits(128), version=4))
    for n in range(1500):  # like version 7: time first
        yield str(uuid.UUID(int=(1_764_000_000_000 + n * 137) << 80 | 7 << 76 | draw.getrandbits(62)
                            | 2 << 62))
    for n in range(1000):
        yield f"00000000-0000-0000-0000-{n:012x}"
    for n in range(1000):
        yield str(uuid.UUID(int=draw.getrandbits(128))).upper()
    for n in range(1000):
        yield str(n)
    for n in range(1000):
        yield f"+2507{draw.randrange(10**8):08d}"
    alphabet = "aZ09 '\"\\\\x:;%é漢😀\t\n"
    for n in range(1990):
        yield "".join(draw.choice(alphabet) for _ in range(draw.randrange(1, 40)))
    yield from ("", "\\x41", "\\", "\\\\", "x" * 5000, "12345678-1234-1234-1234-12345678901G",
                "ABCDEF12-1234-1234-1234-1234567890AB\n", " ABCDEF12-1234-1234-1234-1234567890AB",
                "ABCDEF12123412341234123456789 0AB", "ÀÉ")


def lowered(user):
    parts = user.split("-")
    shaped = (len(user) == 36 and [len(part) for part in parts] == [8, 4, 4, 4, 12]
              and all(c in "0123456789abcdefABCDEF" for part in parts for c in part))
    return user.lower() if shaped else user


def the_bucket_is_that_of_an_independent_sha256(world):
    database = world.copy()
    users = list(ids_of_several_shapes())
    expect(len(users) == 10_000, "ten thousand ids", len(users))

    def quoted(text):
        return "'" + text.replace("'", "''") + "'"
    for salt in (NAME, "a:b\\c é"):
        values = ", ".join(f"({n}, {quoted(user)})" for n, user in enumerate(users))
        rows = database.query("set standard_conforming_strings = on; "
                              f"select n, canaryd.bucket({quoted(salt)}, id) "
                              f"from (values {values}) v (n, id) order by n")
        for (n, answer), user in zip(rows, users):
            wanted = bucket(salt, lowered(user))
            expect(int(answer) == wanted, f"{user!r} is in bucket {wanted}", answer)
    rows = database.query(f"select id, canaryd.bucket('{NAME}', id) from users")
    for user, answer in rows:
        expect(int(answer) == BUCKETS[user], f"the uuid {user} is in its text's bucket", answer)
    expect(database.query("select provolatile, proparallel from pg_proc where proname = 'bucket'")
           == [["i", "s"]] * 2, "immutable and safe in parallel plans")


def buckets_are_uniform(world):
    database = world.copy()
    shapes = {"version 4": "md5(n::text)::uuid",
              "version 7": "(lpad(to_hex(1764000000000 + n * 137), 12, '0') || '7' || "
                           "left(md5(n::text), 3) || '8' || right(md5(n::text), 15))::uuid",
              "sequential": "lpad(to_hex(n), 32, '0')::uuid"}
    for shape_name, made in shapes.items():
        statistic = float(database.value(
            f"select sum((seen - 500.0) ^ 2 / 500) from (select count(*) as seen from "
            f"generate_series(1, 50000) n group by canaryd.bucket('{NAME}', {made}) / 100) c"))
        # 99 degrees of freedom; 148 is exceeded once in a thousand draws, and these are fixed.
        expect(statistic < 148, f"{shape_name}: chi-square of 100 groups", statistic)


def four_ways_of_asking_agree(world):
    database = world.copy()
    database.query(f"select canaryd.pin('{NAME}', '{str(IDS[1]).upper()}', 'canary'), "
                   f"canaryd.pin('{NAME}', '{IDS[2]}', 'legacy')")
    revision = 0
    for weight in (0, 1, 1000, 5000, 9999, 10000):
        revision += 1
        database.order(weight, revision)
        wanted = (below(weight) | {str(IDS[1])}) - {str(IDS[2])}
        for way in (f"get_webhook_route(id) = '{CANARY}'",
                    f"(select route from webhook_route(id)) = '{CANARY}'",
                    f"canaryd.on_canary('{NAME}', id::text)",
                    f"canaryd.on_canary('{NAME}', upper(id::text))"):
            got = {row[0] for row in database.query(f"select id from users where {way}")}
            expect(got == wanted, f"{way} at {weight}", len(got), len(wanted))
        database.follow()
        expect(database.flagged() == wanted, f"the flags at {weight}")
    database.query(f"select canaryd.unpin('{NAME}', '{IDS[2]}')")
    expect(str(IDS[2]) in database.on_canary() & database.flagged(), "an unpinned user is back")
    database.query("truncate canaryd.pins")
    expect(database.value("select pinned from canaryd.route") == "f", "no pin is left")
    expect(database.query("select get_webhook_route(null), get_webhook_route(gen_random_uuid())")
           == [[LEGACY, CANARY]], "nobody is on the old side, and a stranger has a bucket")


def the_set_returning_form_is_inlined(world):
    database = world.copy()
    plan = "\n".join(row[0] for row in database.query(
        "explain (verbose) select route from users, webhook_route(users.id)"))
    expect("Function Scan" not in plan and "sha256" in plan, "the plan shows what is inside", plan)


def any_rollout_has_its_row(world):
    database = world.copy()
    database.query("delete from canaryd.route")
    expect(database.query("select get_webhook_route(id), (select route from webhook_route(id)), "
                          f"canaryd.on_canary('{NAME}', id::text) from users limit 1")
           == [[LEGACY, LEGACY, "f"]], "without a row everybody is on the old side")
    database.order(2500, 1, name="rides")
    users = ["anna", "+250788000000", "42", str(IDS[0])]
    for user in users:
        got = database.value(f"select canaryd.on_canary('rides', '{user}')") == "t"
        expect(got == (bucket("rides", user) < 2500), f"{user} is on their side")
    expect(database.value("select canaryd.on_canary('nothing', 'anna')") == "f", "no row: nobody")


def a_lapsed_lease_means_legacy(world):
    database = world.copy()
    database.order(10000, 1, valid_until="clock_timestamp() + interval '1 h'")
    expect(len(database.on_canary()) == USERS, "a lease that runs is no matter")
    database.query(f"select canaryd.pin('{NAME}', '{IDS[0]}', 'canary')")
    database.follow()
    database.query("update canaryd.route set valid_until = clock_timestamp()")
    expect(database.on_canary() == {str(IDS[0])}, "lapsed: legacy, but for a pinned tester")
    expect(len(database.flagged()) == USERS, "a column cannot expire")
    expect(database.query(f"select weight, revision, lapsed from canaryd.served('{NAME}')")
           == [["0", "1", "t"]], "what is served says so")
    database.query(f"select canaryd.unpin('{NAME}', '{IDS[0]}')")
    expect(not database.on_canary(), "without pins nobody")
    expect(database.value(f"select count(*) from users, webhook_route(id) where route = '{CANARY}'")
           == "0", "nor inlined")
    database.order(10000, 2, valid_until="clock_timestamp() + interval '1 h'")
    expect(len(database.on_canary()) == USERS, "renewed")
    expect(database.value("select decided from canaryd.route") == "1",
           "a renewal moves nobody, and the flags need not start over")


def orders_follow_the_rules_of_the_sqlite_route(world):
    database = world.copy()
    expect(database.query("select * from canaryd.served('none')") == [["0", "0", "", "", "f"]],
           "no row: nobody, revision 0, by nobody")
    expect(database.order(1000, 5) and not database.order(1000, 5), "the same again is nothing new")
    expect(not database.order(5000, 4) and database.route() == (1000, 5, "canaryd", "because"),
           "an older one is ignored", database.route())
    expect(database.order(5000, 6) and database.order(0, 1), "an old order lowers too")
    expect(database.route()[:2] == (0, 7), "the revision never goes back", database.route())
    expect(not database.order(5000, 7) and not database.order(5000, 6), "overtaken")
    database.query("update canaryd.route set weight = 9000, by = 'bob'")
    expect(database.route()[1:3] == (8, "bob"), "a hand's change is a revision", database.route())
    expect(database.order(1000, 3) and database.route()[0] == 1000, "and lowers again")
    database.query("update canaryd.route set weight = 0")
    expect(database.route() == (0, 10, "owner", "by hand"), "by whom, though they forgot to say",
           database.route())
    database.query("update canaryd.route set revision = 1")
    expect(database.route()[1] == 10, "nor by hand does it go back")
    for bad in ("-1, 20", "10001, 20", "null, 20", "10, -1", "10, null"):
        expect(database.fails(f"select canaryd.order_route('{NAME}', {bad}, null, 'x', 'y')"),
               f"{bad} is refused")


# --- assign_users_to_unified_webhook -------------------------------------------------------------


def assign(database, percentage, **how):
    return [int(n) for n in database.query(
        f"select * from assign_users_to_unified_webhook({percentage})", **how)[0]]


def assigning_is_sticky_and_monotone(world):
    database = world.copy()
    last = set()
    for percentage in (1, 10, 50, 100):
        assigned, total = assign(database, percentage, role="service_role")
        canary = database.on_canary()
        expect(canary == database.flagged() == below(percentage * 100), f"at {percentage} %")
        expect(last <= canary, "whoever was on the canary stays")
        expect((assigned, total) == (len(canary), USERS), "the counts", assigned, total)
        last = canary
    for percentage in (50, 50, 10, 0):
        before, version = database.flagged(), {tuple(row) for row in database.query(
            "select id, xmin from users")}
        assign(database, percentage)
        after = {tuple(row) for row in database.query("select id, xmin from users")}
        expect(database.flagged() <= before, "down removes only the excess")
        expect({user for user, _ in after - version} == before - database.flagged(),
               "only changed rows are written", len(after - version))
    with database.session() as holder:
        holder.query(f"begin; update users set seen = now() where id = '{IDS[0]}'")
        assign(database, 100)
        expect(len(database.on_canary()) == USERS, "a row that is locked stops nothing")
        holder.query("commit")
    for bad in (-1, 101, "null"):
        expect("0 to 100" in database.fails(f"select assign_users_to_unified_webhook({bad})"),
               f"{bad} is refused")


def during_a_rollout_assign_lowers_and_never_raises(world):
    database = world.copy()
    database.order(5000, 3)
    said = database.fails("select assign_users_to_unified_webhook(51)")
    expect("refused" in said and "canaryctl promote unified-webhook" in said,
           "higher is refused", said)
    expect(database.route()[:2] == (5000, 3), "and nothing changes")
    expect(assign(database, 50) == [1000, USERS] and database.route()[1] == 3,
           "the same is no change")
    assign(database, 20, role="service_role")
    expect(database.route() == (2000, 4, "service_role", "assign_users_to_unified_webhook(20)"),
           "lower is an operator's wish", database.route())
    expect("promote" in database.fails("select assign_users_to_unified_webhook(50)"),
           "after it too canaryd steers")
    assign(database, 0)
    expect(database.route()[0] == 0 and not database.on_canary(), "0 is a rollback")
    expect("canaryctl start" in database.fails("select assign_users_to_unified_webhook(10)"),
           "past a rollback as well")


# --- The flags -----------------------------------------------------------------------------------


def flags_change_only_where_they_must(world):
    database = world.copy()
    database.order(1000, 1)
    expect(database.follow() == len(below(1000)), "as many rows are written as flags change")
    database.query("update users set seen = now()")
    before = {tuple(row) for row in database.query("select id, xmin from users")}
    database.order(1500, 2)
    changed = database.follow()
    after = {tuple(row) for row in database.query("select id, xmin from users")}
    expect({user for user, _ in after - before} == below(1500) - below(1000),
           "the others keep their version", len(after - before))
    expect(changed == len(below(1500) - below(1000)), "and it says how many", changed)
    expect(database.follow() == 0, "when it is done it is done")


def a_batch_leaves_room_for_the_next(world):
    database = world.copy()
    database.order(10000, 1)
    changed = [int(database.value(f"select changed from canaryd.follow_flags('{NAME}', 100000)",
                                  user="canaryd")) for _ in range(4)]
    expect(sum(changed) == USERS, "four batches change what is in their blocks", changed)
    expect(max(changed) < 0.3 * USERS, "a quarter each", changed)
    database.order(0, 2)
    for blocks in (1, 1, 1, 100000):
        at = database.value(f"select at_block from canaryd.follow_flags('{NAME}', {blocks})",
                            user="canaryd")
    expect(at == "1", "all quarters are of the same blocks, whoever asks", at)


def the_follower_resumes_and_prefers_the_newest_decision(world):
    database = world.copy()
    database.order(5000, 1)
    first = database.query(f"select * from canaryd.follow_flags('{NAME}', 1)", user="canaryd")[0]
    expect(first[0] == "f" and int(first[1]) > 0 and first[4] == "1", "a first batch", first)
    expect(int(first[3]) > 5, "the table has many blocks", first)
    world.server.restart(how=postgres.signal.SIGKILL)
    at = int(database.value("select at_block from canaryd.flags"))
    database.follow(blocks=2, calls=4)
    expect(int(database.value("select at_block from canaryd.flags")) > at,
           "it goes on after a crash")
    some = database.flagged()
    expect(some and some < below(5000), "half way", len(some))
    database.order(0, 2)
    after = database.query(f"select * from canaryd.follow_flags('{NAME}', 1)", user="canaryd")[0]
    expect(after[4] == "2" and after[2] in "01", "the next batch begins to follow the rollback",
           after)
    database.follow(blocks=3)
    expect(not database.flagged(), "to its end")
    database.order(10000, 3)
    with database.session() as holder:
        holder.query("begin; update users set seen = now() where id = (select min(id::text)::uuid "
                     "from users)")
        database.follow(calls=60)
        left = {str(user) for user in IDS} - database.flagged()
        expect(len(left) == 1, "it waits for nobody: a locked row is left", len(left))
        expect(database.value("select done_at from canaryd.flags") is None, "and it is not done")
        holder.query("commit")
    database.follow()
    expect(len(database.flagged()) == USERS, "a later pass finds it")
    expect("follow unified-webhook" in database.fails("select canaryd.follow_flags('rides')"),
           "another rollout has no flag")


def a_pin_waits_for_nobody(world):
    database = world.copy()
    database.order(5000, 1)
    database.follow()
    one = sorted(below(5000))[0]
    with database.session() as holder:
        holder.query(f"begin; update users set seen = now() where id = '{one}'")
        database.query(f"select canaryd.pin('{NAME}', '{one}', 'legacy')", user="canaryd")
        expect(one not in database.on_canary(), "the function knows it at once")
        expect(database.order(0, 2) and database.order(5000, 3), "the route is free")
        holder.query("commit")
    database.follow()
    expect(database.flagged() == below(5000) - {one}, "the flag follows")


def the_table_hardly_grows(world):
    database = world.copy("plain")
    database.query("alter table users set (autovacuum_enabled = false); insert into users "
                   "select md5(n::text)::uuid, 'user ' || n from generate_series(1, 60000) n")
    database.migrate()
    before = int(database.value("select pg_relation_size('users')"))
    for revision, weight in enumerate((5000, 0), 1):
        database.order(weight, revision)
        database.query(f"call canaryd.follow('{NAME}', 0)")
    growth = int(database.value("select pg_relation_size('users')")) / before
    expect(growth <= 1.5, "0 to 50 % and back, without any vacuum", growth)
    print(f"    growth {growth:.2f}")


def a_row_that_moves_while_flags_follow_is_met(world):
    database = world.copy()
    database.order(10000, 1)
    database.follow(blocks=4, calls=8)
    behind = database.query("select id from users where not use_unified_webhook "
                            "order by ctid desc limit 50")
    ids = ", ".join(f"'{row[0]}'" for row in behind)
    # To the front: the first blocks are emptied and vacuumed, and these are written into them.
    database.query("delete from users where id in (select id from users order by ctid limit 150) "
                   "and not exists (select from webhook_metrics where user_id = users.id)")
    database.query("vacuum users")
    database.query(f"update users set seen = now() where id in ({ids})")
    expect(int(database.value(f"select count(*) from users where id in ({ids}) and ctid < "
                              "'(8,0)'")) > 20, "many of them are where it has been")
    database.follow(blocks=4)
    left = "select count(*) from users where not use_unified_webhook"
    expect(database.value(left) == "0", "all of them are followed")
    by_id = "cluster users using users_pkey"
    database.query(by_id)
    alone = database.value("select id from users order by id limit 1")
    database.query("select canaryd.act(true); update users set use_unified_webhook = false "
                   f"where id = '{alone}'; update canaryd.flags set decided = -1")
    ahead = f"select ctid >= '(8,0)' from users where id = '{alone}'"
    expect(database.value(ahead) == "t" and database.value(left) == "1", "one, at the end")
    database.follow(blocks=4, calls=8)
    database.query(by_id)
    expect(database.value(ahead) == "f", "it went to where nothing has been found")
    database.follow(blocks=4)
    expect(database.value(left) == "0", "it is followed as well")


def a_new_user_gets_the_flag_of_their_bucket(world):
    database = world.copy()
    database.order(3000, 1)
    database.follow()
    newcomers = [uuid.uuid5(uuid.NAMESPACE_URL, str(n)) for n in range(200)]
    values = ", ".join(f"('{user}', {n % 2 == 0})" for n, user in enumerate(newcomers))
    database.query(f"insert into users (id, use_unified_webhook) values {values}",
                   role="service_role")
    wanted = {str(user) for user in newcomers if bucket(NAME, user) < 3000}
    expect(database.flagged() - below(3000) == wanted, "whatever the insert said")
    expect(database.on_canary() == database.flagged(), "as the function answers")


def a_flag_changed_by_hand_is_followed_anew(world):
    database = world.copy()
    database.order(1000, 1)
    database.follow()
    some = sorted(set(map(str, IDS)) - below(1000))[:5]
    database.query("update users set use_unified_webhook = true "
                   f"where id = any('{{{','.join(some)}}}')")
    expect(database.follow() == 5 and database.flagged() == below(1000), "and put right")
    database.query("update users set email = 'x', use_unified_webhook = use_unified_webhook")
    expect(database.follow() == 0, "writing what is there is no change")


# --- The take-over -------------------------------------------------------------------------------


def nobody_flips_twice_when_a_draw_is_taken_over(world):
    for template, steps in (("drawn", (1000, 5000, 10000)), ("drawn", (1000, 500, 5000, 0))):
        database = world.copy(template)
        drawn = database.flagged()
        expect(len(drawn) == USERS / 10, "a tenth was drawn")
        database.migrate()
        expect(database.on_canary() == drawn, "the migration moves nobody")
        expect(database.route()[:3] == (1000, 1, "taken over"), "the route says 10 %")
        sides, revision = [drawn], 1
        for weight in steps:
            revision += 1
            database.order(weight, revision)
            canary = database.on_canary()
            rest = {user for user in map(str, IDS) if user not in drawn}
            if weight >= 1000:
                limit = (weight - 1000) * 10000 // 9000 if weight < 10000 else 10000
                wanted = drawn | {user for user in rest if BUCKETS[user] < limit}
            else:
                wanted = {user for user in drawn if BUCKETS[user] < weight * 10}
            expect(canary == wanted, f"at {weight}", len(canary), len(wanted))
            share = len(canary) / USERS
            expect(abs(share - weight / 10000) < 0.03, f"the share is that of {weight}", share)
            inlined = {row[0] for row in database.query(
                f"select id from users, webhook_route(id) where route = '{CANARY}'")}
            expect(inlined == canary, "the inlined form agrees")
            database.follow()
            expect(database.flagged() == canary, "the flags agree")
            sides.append(canary)
        if steps == (1000, 5000, 10000):
            expect(all(a <= b for a, b in zip(sides, sides[1:])), "nobody is ever sent back")
            expect(len(sides[-1]) == USERS, "and at 100 % it is everybody")
        if steps[-1] == 0:
            database.order(3000, 40)
            expect(database.on_canary() == below(3000), "after a rollback the bucket alone decides")


def a_crooked_share_is_taken_over_at_its_percent(world):
    for flagged, share in ((0, 0), (1, 5), (194, 1000), (207, 1000), (1999, 9900), (2000, 10000)):
        database = world.copy("legacy")
        database.query("update users set use_unified_webhook = true where id in "
                       f"(select id from users limit {flagged})")
        database.migrate()
        expect(database.route()[0] == share, f"{flagged} of 2000 are {share}", database.route())
        expect(database.on_canary() == database.flagged(), "and nobody moves")


# --- The emergency SQL ---------------------------------------------------------------------------

PLAN_UPDATE = "update users set use_unified_webhook = false"
PLAN_INSERT = ("insert into migration_rollbacks (phase, reason, rolled_back_by) "
               "values ('week4', 'High error rate', 'operator_name')")


def honoured(database, sql, why, by, **how):
    database.order(5000, database.route()[1] + 1)
    database.follow()
    expect(database.on_canary() == below(5000), "half of them are on the canary")
    revision = database.route()[1]
    database.query(sql, **how)
    weight, now, who, reason = database.route()
    expect(weight == 0 and not database.on_canary(), f"nobody after: {sql}", database.route())
    expect(now > revision and who == by, "a new revision, by that role", database.route())
    expect(why in reason, "with a reason", reason)


def the_plans_emergency_sql_is_honoured(world):
    database = world.copy()
    honoured(database, PLAN_UPDATE, "took the flag from 100 users or more", "owner")
    honoured(database, PLAN_INSERT, "High error rate", "operator_name (role owner)")
    honoured(database, "insert into migration_rollbacks (phase, reason) "
             "values ('weekX', 'High error rate')", "High error rate", "owner")
    honoured(database, f"{PLAN_UPDATE}; {PLAN_INSERT}", "High error rate",
             "operator_name (role owner)")
    honoured(database, f"begin; {PLAN_UPDATE}; {PLAN_INSERT}; commit",
             "took the flag from 100 users or more; High error rate", "operator_name (role owner)")
    expect(database.value("select count(*) from canaryd.emergency where reason like '%; %'") == "1",
           "one transaction, one record")
    honoured(database, PLAN_INSERT.replace("'operator_name'", "null"), "High error rate",
             "service_role", role="service_role")
    honoured(database, "update users set use_unified_webhook = null", "took the flag", "postgres",
             user="postgres")
    honoured(database, "update users set use_unified_webhook = false where id in "
             "(select id from users where use_unified_webhook limit 100)", "100 users", "owner")
    honoured(database, "do $$ declare u uuid; begin for u in select id from users where "
             "use_unified_webhook limit 100 loop update users set use_unified_webhook = false "
             "where id = u; end loop; end $$", "100 users", "owner")
    honoured(database, "select canaryd.rollback('burning')", "burning", "service_role",
             role="service_role")
    honoured(database, "select canaryd.rollback()", "no reason given", "canaryd", user="canaryd")


def where_few_or_none_have_the_flag_it_is_honoured_too(world):
    database = world.copy()
    database.order(10, 1)
    database.query("vacuum analyze users")
    database.follow()
    expect(0 < len(database.flagged()) < 10, "very few", len(database.flagged()))
    one = sorted(database.flagged())[0]
    if len(database.flagged()) > 1:
        database.query(f"update users set use_unified_webhook = false where id = '{one}'")
        expect(database.route()[0] == 10, "one of several is no rollback")
    database.query(PLAN_UPDATE)
    expect(database.route()[0] == 0 and "all users that had it" in database.route()[3],
           "all of them are", database.route())
    database = world.copy()
    database.order(5000, 1)  # readers ask the function: no flag was ever set
    database.query("update users set email = 'x', use_unified_webhook = false "
                   f"where id = '{IDS[0]}'")
    database.query("update users set email = 'x', use_unified_webhook = false where id in "
                   "(select id from users limit 500)")
    expect(database.route()[0] == 5000, "an application that saves users is none")
    database.query(PLAN_UPDATE)
    expect(database.route()[0] == 0 and "for everybody" in database.route()[3],
           "the plan's statement is known by its reach", database.route())


def profiles_serve_as_well_as_users(world):
    database = world.copy("profiles")
    database.migrate()
    database.query("select * from assign_users_to_unified_webhook(10)")
    expect(database.flagged("profiles") == database.on_canary("profiles") == below(1000),
           "a tenth is assigned")
    database.order(5000, 9)
    database.follow()
    expect(database.flagged("profiles") == below(5000), "the flags follow")
    database.query("insert into profiles (id) select gen_random_uuid() from generate_series(1, 20)")
    expect(database.flagged("profiles") == database.on_canary("profiles"), "new ones as well")
    database.query("update profiles set use_unified_webhook = false")
    expect(database.route()[0] == 0 and "UPDATE of profiles" in database.route()[3],
           "the plan's statement is honoured", database.route())
    expect(database.query("select flag, users from canaryd.user_distribution") == [["f", "2020"]],
           "the report counts them")


def what_is_no_emergency_rolls_nothing_back(world):
    database = world.copy()
    database.order(5000, 1)
    database.follow()
    some = ", ".join(f"'{user}'" for user in sorted(database.flagged())[:99])
    for sql in (f"update users set use_unified_webhook = false where id in ({some})",
                "update users set seen = now()", "update users set use_unified_webhook = true",
                f"begin; {PLAN_UPDATE}; rollback", f"begin; {PLAN_INSERT}; rollback",
                f"begin; savepoint a; {PLAN_INSERT}; rollback to a; commit"):
        database.query(sql)
        expect(database.route()[0] == 5000, f"no rollback: {sql}", database.route())
        database.follow()
    database.order(1000, 2)
    database.follow()
    expect(database.route()[:3] == (1000, 2, "canaryd"), "the follower is no operator")
    database.query("select canaryd.record_rollback('week4', 'error rate', 6.25, 2100, 0, "
                   "'canaryd')", user="canaryd")
    expect(database.route()[:3] == (1000, 2, "canaryd"), "nor is canaryd's own record")
    database.query("begin; select canaryd.record_rollback('week4', 'x', 1, 1, 0, 'canaryd'); "
                   f"{PLAN_INSERT}; commit")
    expect(database.route()[0] == 0, "but a person's in the same transaction is")


def an_emergency_before_the_first_raise_counts(world):
    database = world.copy()
    revision = database.route()[1]
    database.query(PLAN_INSERT)
    expect(database.route()[:2] == (0, revision + 1), "nobody, and a new revision")
    expect(not database.order(1000, revision + 1), "a raise that knew nothing of it is ignored")


def a_long_emergency_does_not_stop_the_daemons_own(world):
    database = world.copy()
    database.order(5000, 1)
    database.follow()
    with database.session() as operator:
        operator.query("begin; " + PLAN_UPDATE)
        expect(database.route()[0] == 5000, "nothing is committed yet")
        expect(database.order(0, 2) and database.route()[0] == 0, "canaryd rolls back meanwhile")
        operator.query("commit")
    expect(database.route()[:3] == (0, 3, "owner"), "the operator's is recorded after it",
           database.route())


def rollback_by_hand_names_what_there_is(world):
    database = world.copy()
    database.order(2500, 1, name="rides")
    said = database.fails("select canaryd.rollback('why', 'rydes')")
    expect('no route "rydes"' in said and "rides, unified-webhook" in said,
           "a typing mistake", said)
    database.order(5000, 5)
    said = database.value("select canaryd.rollback('why')")
    expect("from 50 % to 0 %" in said, "it says what it did", said)


def the_begin_of_a_fault_is_found(world):
    """Three hours of a request a second, in minutes before now; the last of them broken."""
    def began(database, broken, failed="0.01", slower=2000, too_slow="0.05"):
        database.query("truncate webhook_metrics")
        database.query(
            "insert into webhook_metrics (webhook_name, status, duration_ms, created_at) "
            f"select '{CANARY}', case when {broken[0]} then 'error' else 'success' end, "
            f"case when {broken[1]} then 3000 else 100 end, timestamptz '2026-01-01' + n * "
            "interval '1 s' from generate_series(0, 10799) n")
        return int(database.value(
            "select extract(epoch from canaryd.fault_began("
            f"'{CANARY}', '2026-01-01', '2026-01-01 02:55', '2026-01-01 03:00', {failed}, {slower}, "
            f"{too_slow}) - timestamptz '2026-01-01') / 60", user="canaryd").split(".")[0])
    database = world.copy()
    healthy = "n % 211 = 0"  # below 1 %
    fault = "n >= 7200 and n % 20 = 0"  # 5 %, for the last hour
    expect(began(database, (healthy, "false")) == 175, "nothing is seen: what was looked at")
    minute = began(database, (f"{healthy} or {fault}", "false"))
    expect(117 <= minute <= 121, "an hour before, and not only what was looked at last", minute)
    minute = began(database, (healthy, "n >= 9000 and n % 5 = 0"))
    expect(147 <= minute <= 151, "slow answers count as well", minute)
    expect(began(database, (healthy, "n >= 9000 and n % 5 = 0"), slower="null", too_slow="null")
           == 175, "not where the policy has no limit for them")
    expect(began(database, ("true", "false")) == 0, "broken from the first request on")
    database.query("truncate webhook_metrics")
    expect(database.value(f"select canaryd.fault_began('{CANARY}', now() - interval '1 h', now(), "
                          "now(), 0.01, null, null) = now()") == "t", "no request at all")


# --- Rights --------------------------------------------------------------------------------------

PUBLIC_MOVERS = ["select assign_users_to_unified_webhook(100)",
                 "select * from webhook_route(gen_random_uuid())"]
# Each function and procedure of ours with nulls for its arguments: a right is asked for first.
CALLS = """select oid::regprocedure, format('%s canaryd.%I(%s)',
        case prokind when 'p' then 'call' else 'select' end, proname,
        (select string_agg('null::' || format_type(t, null), ', ' order by n)
           from unnest(proargtypes) with ordinality a (t, n)))
    from pg_proc where pronamespace = 'canaryd'::regnamespace order by 1"""
# What the application's own service may call; nobody else of Supabase's roles any.
OF_THE_SERVICE = {"canaryd.rollback(text,text)", "canaryd.bucket(text,uuid)",
                  "canaryd.on_canary(text,text,boolean)"}


def no_function_of_ours_is_for_others(world):
    database = world.copy()
    if database.value("select to_regrole('stranger')") is None:
        database.query("create role stranger login")
    calls = {row[0]: row[1] for row in database.query(CALLS)}
    for known in ("canaryd.commit(jsonb)", "canaryd.follow(text,double precision)",
                  "canaryd.take_lease(text,text,interval)", "canaryd.act(boolean)",
                  "canaryd.record_decided(jsonb,text)"):
        expect(known in calls, f"{known} is among them", *calls)
    for how in ({"role": "anon"}, {"role": "authenticated"}, {"role": "service_role"},
                {"user": "stranger"}):
        role = how.get("role", "public")
        for signature, call in calls.items():
            may = role == "service_role" and signature in OF_THE_SERVICE
            # Not only hidden behind the schema, which an owner may open to others one day.
            right = database.value(f"select has_function_privilege('{role}', '{signature}', "
                                   "'execute')")
            expect(right == ("t" if may else "f"), f"{role}'s right to {signature}", right)
            if not may:
                said = database.fails(call, **how)
                expect("permission denied" in said, f"{role} may not {call}", said)


def no_search_path_of_a_caller_changes_an_answer(world):
    for template in ("ready", "plain"):
        database = world.copy(template)
        if template == "plain":
            database.migrate()
        loose = database.query(
            "select oid::regprocedure from pg_proc where prosecdef and pronamespace in "
            "('canaryd'::regnamespace, 'public'::regnamespace) and not exists (select from "
            "unnest(proconfig) c where c = 'search_path=pg_catalog, pg_temp')"
            # The user's own are theirs.
            + (" and proname <> 'log_webhook_metric'" if template == "ready" else ""))
        expect(not loose, "whoever lends the owner's rights fixes the search path", loose)
    # What the functions call, and what they compare with, in a schema that comes first.
    database.query("""create schema trap;
        create function trap.sha256(bytea) returns bytea language sql as $$ select '\\x00'::bytea $$;
        create function trap.clock_timestamp() returns timestamptz language sql
            as $$ select timestamptz 'infinity' $$;
        create function trap.less(integer, integer) returns boolean language sql
            as $$ select true $$;
        create operator trap.< (leftarg = integer, rightarg = integer, function = trap.less);
        grant usage on schema trap to anon, service_role""")
    ask = ("select id from unnest('{" + ",".join(map(str, IDS[:200])) + "}'::uuid[]) id "
           f"where public.get_webhook_route(id) = '{CANARY}'")
    for pinned in (False, True):
        database.order(3000, database.route()[1] + 1,
                       valid_until="pg_catalog.clock_timestamp() + interval '1 h'")
        if pinned:
            database.query(f"select canaryd.pin('{NAME}', '{IDS[3]}', 'canary')")
        for role in ("anon", "service_role"):
            honest = database.query(ask, role=role)
            expect(30 < len(honest) < 90, "some of them are on the canary", len(honest))
            trapped = database.query("set search_path = trap, pg_catalog, public; "
                                     "create temp table route (name text, weight integer); "
                                     f"select 2 < 1; {ask}", role=role)
            expect(trapped[0] == ["t"], "the trap works", trapped[0])
            expect(trapped[1:] == honest, "and nobody falls into it", len(trapped), len(honest))


def each_role_has_its_rights_and_no_more(world):
    database = world.copy()
    database.order(10000, 1)
    if database.value("select to_regrole('stranger')") is None:
        database.query("create role stranger login")
    public = {"user": "stranger"}
    for role in ({"role": "anon"}, {"role": "authenticated"}, public):
        for mover in PUBLIC_MOVERS:
            said = database.fails(mover, **role)
            expect("permission denied" in said, f"{role} may not {mover}", said)
        for hidden in ("select * from canaryd.route", "update canaryd.route set weight = 10000",
                       "select * from canaryd.pins", "select * from canaryd.health_check",
                       "select * from canaryd.journal", "update canaryd.lease set epoch = 0"):
            said = database.fails(hidden, **role)
            expect("permission denied" in said, f"{role}: {hidden}", said)
        said = database.fails("select log_webhook_metric('wa-webhook-unified', null, 'jobs', "
                              "now(), now(), 'success')", **role)
        expect("permission denied" in said, f"{role} may not vouch for the canary", said)
        if role is not public:
            expect("row-level security" in database.fails(PLAN_INSERT, **role),
                   f"{role} may not record a rollback", database.fails(PLAN_INSERT, **role))
            expect(database.query("select * from webhook_metrics", **role) == [],
                   "row level security hides the metrics")
    expect(database.route()[0] == 10000, "nothing moved")
    for role in ("anon", "authenticated", "service_role"):
        expect(database.value(f"select get_webhook_route('{IDS[0]}')", role=role) == CANARY,
               f"{role} asks for its route")
    expect(database.query("select id from users", role="anon") == [], "anon sees no user under RLS")
    expect(database.value(f"select route from webhook_route('{IDS[0]}')", role="service_role")
           == CANARY, "the service may inline it")
    database.query("select log_webhook_metric('wa-webhook-unified', null, 'jobs', now() - interval "
                   "'1 s', now(), 'success')", role="service_role")
    expect(database.value("select duration_ms between 990 and 1010 from webhook_metrics "
                          "order by id desc limit 1") == "t", "the service logs")
    assign(database, 50, role="service_role")
    expect(database.value("select count(*) from migration_status", role="service_role") == "1",
           "and reads its tables")


def the_daemons_login_is_least_privileged(world):
    database = world.copy()
    expect(database.query("select rolsuper, rolcreaterole, rolcreatedb, rolbypassrls from pg_roles "
                          "where rolname = 'canaryd'") == [["f"] * 4], "no power of its own")
    owned = database.value("select count(*) from pg_class where relowner = 'canaryd'::regrole")
    expect(owned == "0", "it owns nothing")
    for sql in ("update canaryd.route set weight = 10000", "delete from canaryd.pins",
                "insert into canaryd.drawn values ('x', gen_random_uuid())",
                "update users set use_unified_webhook = true", "select email from users",
                "delete from webhook_metrics", PLAN_INSERT,
                "select * from assign_users_to_unified_webhook(100)",
                "update migration_status set percentage = 1", "create table public.mine ()",
                "create table canaryd.mine ()", "select canaryd.act(true)"):
        expect("permission denied" in database.fails(sql, user="canaryd"), f"it may not: {sql}",
               database.fails(sql, user="canaryd"))
    rows = database.value("select count(*) from webhook_metrics", user="canaryd")
    expect(rows == "7", "it sees the metrics under row level security", rows)
    expect(database.value("show statement_timeout", user="canaryd") == "10s", "its statements end")
    database.query("select canaryd.record_phase('week4', 10, now())", user="canaryd")
    database.query("select canaryd.record_phase('week5', 50, now(), null, null, 'x')",
                   user="canaryd")
    database.query("select canaryd.record_phase('week4', 10, null, now(), true)", user="canaryd")
    phases = database.query("select phase, percentage, total_users, unified_users, "
                            "success_criteria_met, completed_at is not null "
                            "from migration_status order by id")
    expect(phases == [["week4", "10", "2000", "200", "t", "t"],
                      ["week5", "50", "2000", "1000", "f", "f"]], "one row a phase", phases)


# --- The monitoring views ------------------------------------------------------------------------


def twelve_views_run_on_the_real_schema(world, rows):
    database = world.copy()
    database.order(1000, 1)
    database.query(f"""
        insert into webhook_metrics (webhook_name, user_id, agent_type, started_at, completed_at,
            duration_ms, status, error_message, request_id, created_at)
        select ('{{wa-webhook-unified,wa-webhook-ai-agents,wa-webhook-jobs,wa-webhook-marketplace,'
                'wa-webhook-property,wa-webhook-mobility}}'::text[])[n % 6 + 1],
               case when n % 5 > 0 then (array{list(map(str, IDS[:50]))}::uuid[])[n % 50 + 1] end,
               ('{{farmer,insurance,jobs,marketplace,property,rides,support}}'::text[])[n % 7 + 1],
               at, case when n % 100 > 0 then at + interval '1 s' end,
               case when n % 100 > 0 then 100 + n % 1000 + (n % 50 = 1)::integer * 2000 end,
               case when n % 200 = 6 then 'error' when n % 400 = 12 then 'timeout'
                    else 'success' end,
               case when n % 200 = 6 then 'boom ' || n % 3 end, 'req-' || n, at
          from (select n, now() - n * interval '80000 s' / {rows} as at
                  from generate_series(1, {rows}) n) r;
        insert into webhook_metrics (webhook_name, status, created_at)
        values ('wa-webhook-unified', 'error', now() - interval '25 h');
        insert into migration_rollbacks (phase, reason) values ('week4', 'tried');
        """)
    database.query("analyze webhook_metrics")
    views = ["traffic_distribution", "error_rates", "response_times", "agent_usage",
             "success_rates", "user_distribution", "unified_vs_legacy", "top_errors",
             "slow_requests", "migration_progress", "rollback_history", "health_check"]
    for view in views:
        began = time.monotonic()
        got = database.query(f"select * from canaryd.{view}", user="canaryd")
        took = time.monotonic() - began
        expect(got, f"{view} has rows")
        if rows >= 1_000_000:
            print(f"    {view} {took:.2f} s on {rows} rows")
    monitoring = database.file(SQL / "monitoring.sql")
    expect(monitoring.count(" row") >= 12, "the file runs all twelve", monitoring)
    exact = database.query("""select webhook_name, count(duration_ms),
        percentile_disc(array[0.5, 0.95, 0.99]) within group (order by duration_ms),
        max(duration_ms) from webhook_metrics
        where webhook_name <> 'wa-webhook-mobility' and duration_ms is not null
        and created_at > now() - interval '1 day' group by 1 order by 1""")
    got = database.query("select * from canaryd.response_times")
    for mine, theirs in zip(got, exact):
        expect([mine[0], mine[1], "{" + ",".join(mine[2:5]) + "}", mine[5]] == theirs,
               "percentiles are exact", mine, theirs)
    expect(len(got) == 5, "the protected webhooks are not counted", got)
    rates = dict((row[0], row[1:]) for row in database.query("select * from canaryd.error_rates"))
    counted = database.query("""
        select count(*), count(*) filter (where status = 'error'),
               count(*) filter (where status = 'timeout') from webhook_metrics
         where webhook_name = 'wa-webhook-unified' and created_at > now() - interval '1 day'""")[0]
    expect(rates[CANARY][:3] == counted, "errors and timeouts", rates[CANARY], counted)
    waiter = database.query("select * from canaryd.agent_usage where agent_type = 'waiter'")
    expect(waiter == [["waiter", "0", "0", None, None, None]], "a silent agent is listed", waiter)
    users = database.query("select flag, users, decided_percent from canaryd.user_distribution")
    expect(users == [["f", "2000", "100.00"]], "after the rollback", users)
    expect(any(row[1] == "f" for row in database.query("select * from canaryd.health_check")),
           "the health check says what is not fine")


TESTS = [
    where_the_users_migration_was_applied_nothing_of_it_changes,
    where_it_was_not_the_same_objects_are_made,
    applied_twice_it_changes_nothing,
    a_superuser_may_apply_it_too,
    the_supabase_cli_pushes_the_files_as_the_page_says,
    without_a_user_table_it_says_what_it_needs,
    the_bucket_is_that_of_an_independent_sha256,
    buckets_are_uniform,
    four_ways_of_asking_agree,
    the_set_returning_form_is_inlined,
    any_rollout_has_its_row,
    a_lapsed_lease_means_legacy,
    orders_follow_the_rules_of_the_sqlite_route,
    assigning_is_sticky_and_monotone,
    during_a_rollout_assign_lowers_and_never_raises,
    flags_change_only_where_they_must,
    a_batch_leaves_room_for_the_next,
    the_follower_resumes_and_prefers_the_newest_decision,
    a_pin_waits_for_nobody,
    the_table_hardly_grows,
    a_row_that_moves_while_flags_follow_is_met,
    a_new_user_gets_the_flag_of_their_bucket,
    a_flag_changed_by_hand_is_followed_anew,
    nobody_flips_twice_when_a_draw_is_taken_over,
    a_crooked_share_is_taken_over_at_its_percent,
    the_plans_emergency_sql_is_honoured,
    where_few_or_none_have_the_flag_it_is_honoured_too,
    profiles_serve_as_well_as_users,
    what_is_no_emergency_rolls_nothing_back,
    an_emergency_before_the_first_raise_counts,
    a_long_emergency_does_not_stop_the_daemons_own,
    rollback_by_hand_names_what_there_is,
    the_begin_of_a_fault_is_found,
    each_role_has_its_rights_and_no_more,
    no_function_of_ours_is_for_others,
    no_search_path_of_a_caller_changes_an_answer,
    the_daemons_login_is_least_privileged,
    twelve_views_run_on_the_real_schema,
    down_removes_what_is_ours_and_moves_nobody,
    down_refuses_while_a_recorded_rollout_is_not_over,
]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("names", nargs="*", metavar="NAME")
    options = parser.parse_args()
    if postgres.missing():
        print(f"skipped: {postgres.missing()}")
        print("0 passed, 0 failed, 1 skipped")
        return 0

    with postgres.Postgres({"fsync": "off"}) as server:
        world = World(server)

        def trial(test):
            more = [options.rows] if test is twelve_views_run_on_the_real_schema else []
            test(world, *more)

        return run(TESTS, options.names, trial)


if __name__ == "__main__":
    sys.exit(main())
