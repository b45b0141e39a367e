#!/usr/bin/env python3
"""A real PostgreSQL 15 on loopback, in a temporary folder that goes with it.

    with Postgres() as server:
        server.query("select 1")                    # [["1"]]
        server.query("select 1", role="anon")       # after SET ROLE
        server.restart(); server.kill(); server.start()

From a shell, for programs that want a server by its address:

    server.py --run build/canaryd_tests --test-suite=store

runs the command with CANARYD_POSTGRES, a superuser's address, and CANARYD_PGBOUNCER, the same
database through PgBouncer in transaction mode with one connection, and ends with its exit status.
`--supabase` makes the roles that Supabase has, `--legacy` what the first user's migration made.

The servers end when the thread that started them does, however it ends. Root may not run
PostgreSQL: as root they run as `postgres`, else `nobody`.
"""

import argparse
import contextlib
import csv
import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection
from pathlib import Path

HERE = Path(__file__).resolve().parent
BIN = Path(os.environ.get("CANARYD_POSTGRES_BIN", "/usr/lib/postgresql/15/bin"))
PGBOUNCER = "/usr/sbin/pgbouncer"
PATIENCE = 60  # seconds until something is given up; nothing is expected to come near it
NULL = "\\N"
QUIET = ["-X", "-q", "--csv", "-t", "-P", f"null={NULL}"]
STRICT = ["-v", "ON_ERROR_STOP=1"]


class Error(Exception):
    """What the server, or psql, said."""


def missing():
    """What keeps these tests from running here; empty when nothing does."""
    wanted = [BIN / name for name in ("initdb", "postgres", "psql", "pg_basebackup")]
    wanted += [Path(PGBOUNCER), Path("/usr/bin/setpriv")]
    gone = [str(path) for path in wanted if not path.exists()]
    return f"{', '.join(gone)} not installed" if gone else ""


def owner():
    """The user that servers run as; nothing unless we are root."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Error("neither a user postgres nor nobody, and PostgreSQL does not run as root")


def as_owner(*command, dies_with_us=None):
    """The command, run as owner(); `dies_with_us` is the signal it gets when our thread ends."""
    user = owner()
    prefix = ["/usr/bin/setpriv"]
    if user:
        prefix += [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    if dies_with_us:
        prefix += [f"--pdeathsig={dies_with_us}"]
    return [*prefix, *map(str, command)] if len(prefix) > 1 else list(map(str, command))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class UnixConnection(HTTPConnection):
    """HTTP by the daemon's socket."""

    def __init__(self, path, timeout=60):
        super().__init__("localhost", timeout=timeout)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def children_of(pid):
    found = []
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it is gone
        if int(fields[1]) == pid:
            found.append(int(entry.parent.name))
    return found


def rows_of(text):
    def value(field):
        return None if field == NULL else field
    return [[value(field) for field in row] for row in csv.reader(io.StringIO(text))]


class Process:
    """A server program in the foreground, stopped by its pid."""

    def __init__(self, command, log, signal_name):
        self.log = open(log, "ab")
        self.running = subprocess.Popen(as_owner(*command, dies_with_us=signal_name),
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    @property
    def pid(self):
        return self.running.pid

    def ended(self):
        return self.running.poll() is not None

    def end(self, with_signal):
        if not self.ended():
            self.running.send_signal(with_signal)
        self.running.wait(PATIENCE)
        self.log.close()


class Postgres:
    """settings: lines of postgresql.conf, as {"fsync": "off"}. `ends_with_us`: also if we are killed."""

    def __init__(self, settings=None, folder=None, ends_with_us=True):
        self.ends_with_us = ends_with_us
        self.folder = Path(folder or tempfile.mkdtemp(prefix="canaryd-postgres-"))
        self.data = self.folder / "data"
        self.settings = dict(settings or {})
        self.server = self.bouncer = None
        self.bouncer_port = 0
        self.port = free_port()
        if owner():
            os.chown(self.folder, owner().pw_uid, owner().pw_gid)

    def __enter__(self):
        try:
            self.initialise()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    # --- Life and death ---

    def initialise(self):
        made = subprocess.run(as_owner(
            BIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync", "--no-instructions"),
            capture_output=True, text=True, cwd=self.folder, check=False)
        if made.returncode != 0:
            raise Error(made.stdout + made.stderr)

    def command(self):
        fixed = {"port": self.port, "listen_addresses": "127.0.0.1", "max_connections": 60,
                 "unix_socket_directories": self.folder, "shared_buffers": "64MB",
                 "logging_collector": "off", "log_line_prefix": "%m [%p] %u "}
        options = [f"-c{name}={value}" for name, value in {**fixed, **self.settings}.items()]
        return [BIN / "postgres", "-D", self.data, *options]

    def start(self):
        """Waits until it answers; a server that was killed recovers first."""
        until = time.monotonic() + PATIENCE
        while True:
            self.server = Process(self.command(), self.folder / "postgres.log",
                                  "INT" if self.ends_with_us else None)
            while not self.server.ended() and time.monotonic() < until:
                if self.answers():
                    return
                time.sleep(0.05)
            # The children of a killed server may hold its memory for a moment.
            self.server.end(signal.SIGQUIT)
            if time.monotonic() > until:
                raise Error("PostgreSQL did not start:\n" + self.log())
            time.sleep(0.2)

    def answers(self):
        return subprocess.run([BIN / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)],
                              check=False).returncode == 0

    def stop(self, how=signal.SIGINT):
        """SIGINT ends sessions (fast), SIGTERM waits for them (smart), SIGQUIT is no shutdown."""
        self.server.end(how)

    def kill(self):
        """kill -9: nothing is written, the next start recovers."""
        self.stop(signal.SIGKILL)

    def restart(self, how=signal.SIGINT):
        self.stop(how)
        self.start()

    def freeze(self):
        """It holds its connections and answers nothing, until thaw()."""
        self.signal_all(signal.SIGSTOP)

    def thaw(self):
        self.signal_all(signal.SIGCONT)

    def signal_all(self, number):
        for pid in [self.server.pid, *children_of(self.server.pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self):
        if self.bouncer:
            self.bouncer.end(signal.SIGTERM)
        if self.server and not self.server.ended():
            self.thaw()
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self):
        return (self.folder / "postgres.log").read_text(errors="replace")

    @contextlib.contextmanager
    def only_encrypted(self, user):
        """This user's connections by TCP have to be encrypted, with a certificate of the moment."""
        key, certificate, hba = (self.data / name for name in ("server.key", "server.crt",
                                                               "pg_hba.conf"))
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                               "-subj", "/CN=localhost", "-keyout", key, "-out", certificate],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            raise Error(made.stderr)
        key.chmod(0o600)
        if owner():
            for path in key, certificate:
                os.chown(path, owner().pw_uid, owner().pw_gid)
        before = hba.read_text()
        hba.write_text(f"hostssl all {user} all trust\nhost all {user} all reject\n{before}")
        self.query("alter system set ssl = on")
        self.query("select pg_reload_conf()")
        try:
            yield
        finally:
            hba.write_text(before)
            self.query("alter system reset ssl")
            self.query("select pg_reload_conf()")

    # --- Neighbours ---

    def start_pgbouncer(self, pool_size=1, mode="transaction"):
        """In front of every database, with `pool_size` connections to the server."""
        users = self.folder / "users.txt"
        users.write_text('"postgres" ""\n')
        for _ in range(5):
            self.bouncer_port = free_port()
            settings = self.folder / "pgbouncer.ini"
            settings.write_text(
                f"[databases]\n* = host=127.0.0.1 port={self.port}\n"
                f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.bouncer_port}\n"
                "unix_socket_dir =\nauth_type = trust\nauth_user = postgres\n"
                f"auth_file = {users}\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n"
                "max_client_conn = 200\nserver_login_retry = 1\n"
                "ignore_startup_parameters = extra_float_digits\n")
            self.bouncer = Process([PGBOUNCER, settings], self.folder / "pgbouncer.log", "TERM")
            until = time.monotonic() + PATIENCE
            while not self.bouncer.ended() and time.monotonic() < until:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", self.bouncer_port)) == 0:
                        return
                time.sleep(0.05)
        raise Error((self.folder / "pgbouncer.log").read_text(errors="replace"))

    def standby(self, settings=None):
        """A copy that follows this server, read only until promote(). The caller closes it."""
        copy = Postgres({"hot_standby": "on", **self.settings, **(settings or {})})
        made = subprocess.run(as_owner(
            BIN / "pg_basebackup", "-D", copy.data, "-R", "-c", "fast", "--no-sync", "-X", "stream",
            "-d", self.url()), capture_output=True, text=True, cwd=copy.folder, check=False)
        if made.returncode != 0:
            copy.close()
            raise Error(made.stderr)
        copy.start()
        return copy

    def promote(self):
        self.query("select pg_promote(true, 60)")

    # --- Talking to it ---

    def url(self, user="postgres", database="postgres", bouncer=False, password=None):
        who = f"{user}:{password}" if password else user
        port = self.bouncer_port if bouncer else self.port
        return f"postgresql://{who}@127.0.0.1:{port}/{database}"

    def psql(self, *arguments, sql=None, check=True, **url):
        """psql as it is; its standard output."""
        run = subprocess.run([BIN / "psql", "-X", self.url(**url), *map(str, arguments)], input=sql,
                             text=True, capture_output=True, check=False,
                             env={**os.environ, "PGCONNECT_TIMEOUT": "10"})
        if check and run.returncode != 0:
            raise Error(run.stderr.strip())
        return run.stdout + run.stderr

    def query(self, sql, role=None, **url):
        """Every row of every statement, each a list of texts and Nones. `role`: after SET ROLE."""
        if role:
            sql = f'set role "{role}";\n{sql}'
        run = subprocess.run([BIN / "psql", *QUIET, *STRICT, self.url(**url)], input=sql, text=True,
                             capture_output=True, check=False)
        if run.returncode != 0:
            raise Error(run.stderr.strip())
        return rows_of(run.stdout)

    def value(self, sql, **how):
        """The only value of the only row; None also for no row."""
        rows = self.query(sql, **how)
        return rows[0][0] if rows else None

    def fails(self, sql, **how):
        """What the server says of it; empty when it went well."""
        try:
            self.query(sql, **how)
        except Error as error:
            return str(error)
        return ""

    def file(self, path, one_transaction=False, **url):
        """A file of SQL, as `psql -f` takes it; what it said."""
        more = ["--single-transaction"] if one_transaction else []
        return self.psql("-q", *STRICT, *more, "-f", path, **url)

    def session(self, **url):
        return Session(self.url(**url))

    def database(self, name, owner_name="postgres"):
        """A fresh database."""
        self.query(f'create database "{name}" owner "{owner_name}"')

    def drop_database(self, name):
        self.query(f'drop database if exists "{name}" with (force)')

    # --- The first user's world ---

    def supabase(self, database="postgres"):
        """Roles and default rights as Supabase has them; the role `owner` is its `postgres`."""
        self.file(HERE / "supabase_roles.sql", database=database)

    def legacy(self, database="postgres", user="owner", table="users"):
        """What the first user's own migration makes."""
        self.psql("-q", *STRICT, "-v", f"users={table}", "-f", HERE / "legacy_migration.sql",
                  database=database, user=user)


class Session:
    """One connection that stays open, for locks and transactions beside others."""

    def __init__(self, url):
        self.process = subprocess.Popen(
            [BIN / "psql", *QUIET, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True)
        self.asked = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, sql):
        """Does not wait; finish() does."""
        self.asked += 1
        self.process.stdin.write(f"{sql};\n\\echo done-{self.asked}\n")
        self.process.stdin.flush()

    def finish(self):
        """The rows of what was sent last; errors are rows too, as psql prints them."""
        lines = []
        for line in self.process.stdout:
            if line.strip() == f"done-{self.asked}":
                return rows_of("".join(lines))
            lines.append(line)
        raise Error("the session ended: " + "".join(lines))

    def query(self, sql):
        self.send(sql)
        return self.finish()

    def close(self):
        self.process.stdin.close()
        self.process.terminate()
        self.process.wait(PATIENCE)
        self.process.stdout.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--supabase", action="store_true", help="Supabase's roles")
    parser.add_argument("--legacy", action="store_true", help="the first user's migration")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE",
                        help="a setting of the server")
    parser.add_argument("--run", nargs=argparse.REMAINDER, required=True, metavar="COMMAND")
    options = parser.parse_args()
    if missing():
        print(f"skipped: {missing()}")
        print("0 passed, 0 failed, 1 skipped")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with Postgres(dict(one.split("=", 1) for one in options.set)) as server:
        server.start_pgbouncer()
        if options.supabase or options.legacy:
            server.supabase()
        if options.legacy:
            server.query("create table public.users (id uuid primary key)", role="owner")
            server.legacy()
        return subprocess.run(options.run, check=False, env={
            **os.environ, "CANARYD_POSTGRES": server.url(),
            "CANARYD_PGBOUNCER": server.url(bouncer=True)}).returncode


if __name__ == "__main__":
    sys.exit(main())
