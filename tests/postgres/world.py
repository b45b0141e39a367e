"""The first user's world on a server: databases with and without their migration, and ours."""

import hashlib
import traceback
import uuid
from pathlib import Path

SQL = Path(__file__).resolve().parent.parent.parent / "deploy" / "sql"
FILES = sorted(SQL.glob("0*.sql"))
NAME = "unified-webhook"
USERS = 2000
IDS = [uuid.uuid5(uuid.NAMESPACE_OID, str(n)) for n in range(USERS)]
CANARY, LEGACY = "wa-webhook-unified", "legacy"


class Failed(Exception):
    """A sentence that turned out false."""


class Skipped(Exception):
    """What is missing here to try it."""


def expect(true, sentence, *facts):
    if not true:
        raise Failed("\n    ".join([sentence, *map(str, facts)]))


def bucket(salt, user):
    """Independent of canaryd: Python's own sha256 and integers."""
    digest = hashlib.sha256(f"{salt}:{user}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % 10_000


BUCKETS = {str(user): bucket(NAME, user) for user in IDS}


def below(weight):
    return {user for user, number in BUCKETS.items() if number < weight}


class Database:
    """One database; `owner` owns the user's tables, as `postgres` does on Supabase."""

    def __init__(self, server, name):
        self.server, self.name = server, name

    def query(self, sql, **how):
        how.setdefault("user", "owner")
        return self.server.query(sql, database=self.name, **how)

    def value(self, sql, **how):
        rows = self.query(sql, **how)
        return rows[0][0] if rows else None

    def fails(self, sql, **how):
        how.setdefault("user", "owner")
        return self.server.fails(sql, database=self.name, **how)

    def file(self, path, **how):
        how.setdefault("user", "owner")
        return self.server.file(path, database=self.name, **how)

    def session(self, user="owner"):
        return self.server.session(database=self.name, user=user)

    def migrate(self, **how):
        for path in FILES:
            self.file(path, **how)
        self.file(SQL / "grants.sql", **how)

    # --- What tests ask again and again ---

    def order(self, weight, revision, by="canaryd", reason="because", valid_until="null",
              name=NAME):
        return self.value(f"select canaryd.order_route('{name}', {weight}, {revision}, "
                          f"{valid_until}, '{by}', '{reason}')", user="canaryd") == "t"

    def route(self):
        """weight, revision, by, reason"""
        row = self.query(f"select weight, revision, by, reason from canaryd.route "
                         f"where name = '{NAME}'")[0]
        return int(row[0]), int(row[1]), row[2], row[3]

    def on_canary(self, table="users"):
        rows = self.query(f"select id from {table} where get_webhook_route(id) = '{CANARY}'")
        return {row[0] for row in rows}

    def flagged(self, table="users"):
        return {row[0] for row in self.query(f"select id from {table} where use_unified_webhook")}

    def follow(self, blocks=64, calls=10_000):
        """Batches until done, each a transaction of its own; the rows that they changed."""
        changed = 0
        for _ in range(calls):
            done, now, *_ = self.query(f"select * from canaryd.follow_flags('{NAME}', {blocks})",
                                       user="canaryd")[0]
            changed += int(now)
            if done == "t":
                break
        return changed


class World:
    """The server, and databases copied from prepared ones."""

    def __init__(self, server):
        self.server, self.made = server, 0
        server.supabase()
        for name, table, legacy, share in (
                ("plain", "users", False, 0), ("legacy", "users", True, 0),
                ("drawn", "users", True, 10), ("profiles", "profiles", True, 0)):
            self.prepare(name, table, legacy, share)
        server.query("create database ready template legacy owner owner")
        Database(server, "ready").migrate()

    def prepare(self, name, table, legacy, share):
        self.server.database(name, "owner")
        self.server.supabase(database=name)
        database = Database(self.server, name)
        database.query(f"create table public.{table} (id uuid primary key, email text, "
                       "seen timestamptz)")
        values = ", ".join(f"('{user}', 'user-{n}@example.org')" for n, user in enumerate(IDS))
        database.query(f"insert into public.{table} (id, email) values {values}")
        database.query(f"alter table public.{table} enable row level security; "
                       f"create policy own on public.{table} to authenticated using (false)")
        if legacy:
            self.server.legacy(database=name, table=table)
        if share:
            database.query(f"select assign_users_to_unified_webhook({share})")
        if legacy:
            database.query("insert into webhook_metrics (webhook_name, user_id, status) "
                           f"select 'wa-webhook-jobs', id, 'success' from {table} limit 7")

    def copy(self, template="ready"):
        self.made += 1
        name = f"copy_{self.made}"
        self.server.query(f"create database {name} template {template} owner owner")
        return Database(self.server, name)


def run(tests, names, trial):
    """trial(test) for each whose name has one of the words, or all; the exit status of the suite."""
    passed = failed = 0
    for test in tests:
        if names and not any(word in test.__name__ for word in names):
            continue
        name = test.__name__.replace("_", " ")
        try:
            trial(test)
            print(f"ok   {name}", flush=True)
            passed += 1
        except Skipped as why:
            print(f"skipped: {name}: {why}", flush=True)
        except Failed as error:
            print(f"FAIL {name}\n    {error}", flush=True)
            failed += 1
        except Exception:  # pylint: disable=broad-except
            print(f"FAIL {name}\n{traceback.format_exc()}", flush=True)
            failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0
