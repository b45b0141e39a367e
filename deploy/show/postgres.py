"""The show's world on a real PostgreSQL: the first user's schema, canaryd's part beside it."""

import sys

import load
import pg
from world import HERE, POLICY, World, until

sys.path.insert(0, str(HERE.parent.parent / "tests" / "postgres"))
import server  # noqa: E402

NAME, CANARY = "unified-webhook", "wa-webhook-unified"
OLD = ["wa-webhook-ai-agents", "wa-webhook-jobs", "wa-webhook-marketplace"]

SETTINGS = """\
# The daemon of the quickstart, with PostgreSQL as source and router. Everything else has its default.
policies: "{folder}/policies"
listen: 127.0.0.1:{port}
connections:
  database: {{kind: postgres, dsn: "{url}"}}   # a login without a password: a server on loopback
  ops:      {{kind: slack, webhook: "http://127.0.0.1:{slack}/hook"}}   # a stand-in for Slack
"""

PLACES = """\
source: {kind: postgres, connection: database}
router: {kind: sql, connection: database, readers: both}
"""


class PostgresWorld(World):
    route_place = "canaryd.route"
    data = "a PostgreSQL     "
    last = NAME

    def __init__(self, programs, folder, keep):
        super().__init__(programs, folder, keep)
        self.server = server.Postgres({"synchronous_commit": "off"}, ends_with_us=not keep)
        self.server.initialise()
        self.server.start()
        self.server.supabase()
        self.server.query("create table users (id uuid primary key, created_at timestamptz not null "
                          "default now())", user="owner")
        self.server.legacy()
        self.connection = pg.Connection(self.url("owner"))
        self.connection.query("insert into users select unnest($1::uuid[])",
                              pg.array(load.user_ids(5000)))

    def url(self, user):
        return self.server.url(user=user)

    def stop_all(self):
        super().stop_all()
        self.server.close()

    def pids(self):
        return [*super().pids(), self.server.server.pid]

    def settings(self):
        return SETTINGS.format(folder=self.folder, port=self.daemon_port,
                               url=self.url("canaryd"), slack=self.ports["slack"])

    def policy_of(self, baseline, canary):
        return POLICY.format(name=canary, canary=CANARY, baseline=f"[{', '.join(OLD)}]",
                             places=PLACES)

    def load_arguments(self, old, new):
        # As Supabase's API does: authenticator, which becomes the service's role.
        return ["--database", self.url("authenticator") + "?options=-c%20role%3Dservice_role",
                "--old", f"legacy={self.ports[old]}", "--new", f"{new}={self.ports[new]}"]

    # --- What the show reads ---

    def query(self, sql, *values):
        return self.connection.query(sql, *values)

    def messages_since(self, began):
        return self.query("select 1 from webhook_metrics where created_at > "
                          "timestamptz 'epoch' + $1::bigint * interval '1 ms' limit 1", began)

    def last_messages(self, service):
        return self.whole("select max(started_at) filter (where webhook_name = $1), max(started_at) "
                          "from webhook_metrics", service)

    def route_row(self, _):
        return self.whole_row("select weight, floor(extract(epoch from changed_at) * 1000)::bigint "
                              "from canaryd.route where name = $1", NAME)

    def failures(self, service, words):
        first, _ = self.whole("select min(started_at), null::timestamptz from webhook_metrics "
                              "where webhook_name = $1 and error_message = $2", service, words)
        count = self.query("select count(*) from webhook_metrics where webhook_name = $1 "
                           "and error_message = $2", service, words)[0][0]
        return first, int(count)

    def whole(self, sql, *values):
        """Two times, in milliseconds since 1970."""
        one, two = self.query(f"select extract(epoch from a) * 1000, extract(epoch from b) * 1000 "
                              f"from ({sql}) as times (a, b)", *values)[0]
        return one and int(float(one)), two and int(float(two))

    def whole_row(self, sql, *values):
        return [int(value) for value in self.query(sql, *values)[0]]

    def flags(self):
        """How many users' flags say the new service, once they have followed."""
        until("the flags follow the route", 60, lambda: self.query(
            "select 1 from canaryd.flags f join canaryd.route r using (name) "
            "where f.decided = r.decided and f.done_at is not null"))
        return int(self.query("select count(*) from users where use_unified_webhook")[0][0])
