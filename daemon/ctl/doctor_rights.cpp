// What the daemon's login may do, and what nobody else should: deploy/sql/grants.sql as questions.
#include <map>

#include "daemon/ctl/doctor.hpp"

namespace canaryd::ctl {
namespace {

/// What a right is for, and so what its lack means.
struct Wanted {
    const char* kind;  // schema, table (SELECT) or function (EXECUTE, all of that name)
    const char* name;
    bool always;  // else only where it is there
};

constexpr Wanted wanted[] = {
    {"schema", "canaryd", true},
    {"schema", "public", true},
    // The route and its flags.
    {"table", "canaryd.route", true},
    {"table", "canaryd.pins", true},
    {"table", "canaryd.flags", true},
    {"table", "canaryd.emergency", true},
    {"table", "canaryd.applied", true},
    {"function", "canaryd.order_route", true},
    {"function", "canaryd.served", true},
    {"function", "canaryd.rollback", true},
    {"function", "canaryd.user_table", true},
    {"function", "canaryd.pin", true},
    {"function", "canaryd.unpin", true},
    {"function", "canaryd.bucket", true},
    {"function", "canaryd.user_text", true},
    {"function", "canaryd.on_canary", true},
    {"function", "canaryd.follow_flags", true},
    {"function", "public.get_webhook_route", true},
    {"function", "public.webhook_route", true},
    // The user's own tables.
    {"function", "canaryd.record_rollback", true},
    {"function", "canaryd.record_phase", true},
    {"table", "public.webhook_metrics", true},
    {"table", "public.migration_status", true},
    {"table", "public.migration_rollbacks", true},
    {"table", "public.webhook_dlq", false},
    // The reports.
    {"table", "canaryd.traffic_distribution", true},
    {"table", "canaryd.error_rates", true},
    {"table", "canaryd.response_times", true},
    {"table", "canaryd.agent_usage", true},
    {"table", "canaryd.success_rates", true},
    {"table", "canaryd.user_distribution", true},
    {"table", "canaryd.unified_vs_legacy", true},
    {"table", "canaryd.top_errors", true},
    {"table", "canaryd.slow_requests", true},
    {"table", "canaryd.migration_progress", true},
    {"table", "canaryd.rollback_history", true},
    {"table", "canaryd.health_check", true},
    // The store, for those who keep it here.
    {"table", "canaryd.rollout", false},
    {"table", "canaryd.journal", false},
    {"table", "canaryd.outbox", false},
    {"table", "canaryd.lease", false},
    {"function", "canaryd.store_version", false},
    {"function", "canaryd.take_lease", false},
    {"function", "canaryd.renew_lease", false},
    {"function", "canaryd.release_lease", false},
    {"function", "canaryd.commit", false},
    {"function", "canaryd.settle", false},
    {"function", "canaryd.record_decided", false},
    {"function", "canaryd.fault_began", false},
    {"function", "canaryd.complete_rollback", false},
    {"function", "canaryd.order_route_fenced", false},
};

/// By the catalogue and not by name, which would itself need a right on the schema.
constexpr const char* rights_sql = R"(
select w.kind, w.name, found.what, found.has
  from unnest($2::text[], $3::text[]) with ordinality as w (kind, name, n)
  left join lateral (
    select format('SCHEMA %I', nspname) as what, has_schema_privilege($1::name, oid, 'usage') as has
      from pg_namespace where w.kind = 'schema' and nspname = w.name
    union all
    select format('%I.%I', n.nspname, c.relname), has_table_privilege($1::name, c.oid, 'select')
      from pg_class c join pg_namespace n on n.oid = c.relnamespace
     where w.kind = 'table' and c.relkind in ('r', 'p', 'v')
       and n.nspname || '.' || c.relname = w.name
    union all
    select format('FUNCTION %I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)),
           has_function_privilege($1::name, p.oid, 'execute')
      from pg_proc p join pg_namespace n on n.oid = p.pronamespace
     where w.kind = 'function' and n.nspname || '.' || p.proname = w.name
  ) found on true
 order by w.n)";

std::string grant(const std::string& kind, const std::string& what, const std::string& to) {
    const char* right = kind == "schema" ? "USAGE" : kind == "table" ? "SELECT" : "EXECUTE";
    return std::string("GRANT ") + right + " ON " + what + " TO " + to + ";";
}

}  // namespace

Findings check_login(postgres::Database& database, const Login& login) {
    const auto row = database.read(
        "select rolsuper, rolbypassrls, rolcreaterole, rolcanlogin, "
        "exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where c.relowner = r.oid and n.nspname in ('public', 'canaryd')), "
        "coalesce((select max(split_part(s, '=', 2)) from unnest(rolconfig) s "
        "where s like 'statement_timeout=%'), '') from pg_roles r where rolname = $1",
        login.name);
    if (row.empty()) {
        return {{Grade::bad,
                 "login",
                 "there is no role " + login.name + " for the daemon",
                 {"canaryctl migrate --database URL makes the role canaryd"}}};
    }
    Findings all;
    if (row.boolean(0, 0) || row.boolean(0, 1) || row.boolean(0, 2) || row.boolean(0, 4)) {
        all.push_back(
            {Grade::note,
             "login",
             login.name + " may do more than the daemon needs" +
                 (row.boolean(0, 0)   ? ": it is a superuser"
                  : row.boolean(0, 4) ? ": it owns tables, so that the daemon could change them"
                                      : ""),
             {"let the daemon log in as canaryd, which migrate makes"}});
    }
    if (!row.boolean(0, 3)) {
        all.push_back({Grade::bad,
                       "login",
                       login.name + " may not log in",
                       {"ALTER ROLE " + login.quoted + " LOGIN;"}});
    }
    if (row.text(0, 5).empty()) {
        all.push_back({Grade::note,
                       "login",
                       login.name +
                           " has no limit of its own for a statement, and behind a pooler a "
                           "session cannot set one",
                       {"ALTER ROLE " + login.quoted + " SET statement_timeout = '3s';"}});
    }
    if (all.empty())
        all.push_back({Grade::ok, "login", login.name + ": owns nothing, is no superuser", {}});
    return all;
}

Findings check_rights(postgres::Database& database, const Login& login) {
    std::vector<std::string> kinds, names;
    std::map<std::string, bool> always;
    for (const Wanted& one : wanted) {
        kinds.emplace_back(one.kind);
        names.emplace_back(one.name);
        always[one.name] = one.always;
    }
    const auto rows = database.read(rights_sql, login.name, kinds, names);
    Findings all;
    std::vector<std::string> gone;
    for (int row = 0; row < rows.size(); ++row) {
        const std::string kind = rows.text(row, 0), name = rows.text(row, 1);
        if (rows.is_null(row, 2)) {
            if (always.at(name)) gone.push_back(name);
            continue;
        }
        if (rows.boolean(row, 3)) continue;
        const char* verb = kind == "schema"  ? " may not enter "
                           : kind == "table" ? " may not read "
                                             : " may not call ";
        all.push_back({Grade::bad,
                       "rights",
                       login.name + verb + name,
                       {grant(kind, rows.text(row, 2), login.quoted)}});
    }
    if (!gone.empty()) {
        all.push_back({Grade::bad,
                       "rights",
                       std::to_string(gone.size()) +
                           " of the things that the daemon uses are not " + "there, as " +
                           gone.front(),
                       {"canaryctl migrate --database URL"}});
    }
    if (all.empty()) {
        all.push_back({Grade::ok, "rights", "every right that the daemon needs", {}});
    }
    return all;
}

Findings check_rows(postgres::Database& database, const Login& login,
                    const std::vector<std::string>& tables) {
    const auto rows = database.read(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c "
        "join pg_namespace n on n.oid = c.relnamespace "
        "join pg_roles r on r.rolname = $1 "
        "where format('%I.%I', n.nspname, c.relname) = any ($2) and c.relrowsecurity "
        "and not r.rolsuper and not r.rolbypassrls "
        "and not (pg_has_role(r.oid, c.relowner, 'usage') and not c.relforcerowsecurity) "
        "and not exists (select from pg_policy p where p.polrelid = c.oid and p.polpermissive "
        "and p.polcmd in ('*', 'r') and (p.polroles = '{0}' or exists (select from "
        "unnest(p.polroles) one where one <> 0 and pg_has_role(r.oid, one, 'usage')))) order by 1",
        login.name, tables);
    Findings all;
    for (int row = 0; row < rows.size(); ++row) {
        const std::string table = rows.text(row, 0);
        all.push_back({Grade::bad,
                       "rows",
                       "row level security hides every row of " + table + " from " + login.name +
                           ", which looks like silence",
                       {"CREATE POLICY canaryd_reads ON " + table + " FOR SELECT TO " +
                        login.quoted + " USING (true);"}});
    }
    return all;
}

Findings check_doors(postgres::Database& database) {
    Findings all;
    const auto functions = database.read(
        "select format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), who.name "
        "from pg_proc p join pg_namespace n on n.oid = p.pronamespace "
        "cross join (select 'public' as name union all "
        "select rolname from pg_roles where rolname in ('anon', 'authenticated')) who "
        "where ((n.nspname = 'public' and p.proname in ('assign_users_to_unified_webhook', "
        "'log_webhook_metric', 'webhook_route')) or (n.nspname = 'canaryd' and p.prosecdef)) "
        "and has_function_privilege(who.name, p.oid, 'execute') "
        // What PUBLIC has, everybody has: named once.
        "and (who.name = 'public' or not has_function_privilege('public', p.oid, 'execute')) "
        "order by 1, 2");
    for (int row = 0; row < functions.size(); ++row) {
        const std::string who =
            functions.text(row, 1) == "public" ? "PUBLIC" : functions.text(row, 1);
        all.push_back(
            {Grade::bad,
             "doors",
             (who == "PUBLIC" ? "anybody" : who) + " may call " + functions.text(row, 0),
             {"REVOKE EXECUTE ON FUNCTION " + functions.text(row, 0) + " FROM " + who + ";"}});
    }
    const auto schemas = database.read(
        "select who.name from pg_namespace n cross join (select 'public' as name union all "
        "select rolname from pg_roles where rolname in ('anon', 'authenticated')) who "
        "where n.nspname = 'canaryd' and has_schema_privilege(who.name, n.oid, 'usage') "
        "and (who.name = 'public' or not has_schema_privilege('public', n.oid, 'usage'))");
    for (int row = 0; row < schemas.size(); ++row) {
        const std::string who = schemas.text(row, 0) == "public" ? "PUBLIC" : schemas.text(row, 0);
        all.push_back({Grade::bad,
                       "doors",
                       (who == "PUBLIC" ? "anybody" : who) + " may enter the schema canaryd",
                       {"REVOKE ALL ON SCHEMA canaryd FROM " + who + ";"}});
    }
    const auto exposed = database.read(
        "select distinct r.rolname::text from pg_db_role_setting s "
        "join pg_roles r on r.oid = s.setrole cross join unnest(s.setconfig) one "
        "where one ~ '^pgrst\\.db_schemas=(.*[ ,\"])?canaryd([ ,\"].*)?$'");
    for (int row = 0; row < exposed.size(); ++row) {
        all.push_back(
            {Grade::bad,
             "doors",
             "the API exposes the schema canaryd (pgrst.db_schemas of " + exposed.text(row, 0) +
                 ")",
             {"take canaryd out of the exposed schemas; on Supabase under Settings, API"}});
    }
    if (all.empty())
        all.push_back({Grade::ok, "doors", "nobody else moves users or sees canaryd's schema", {}});
    return all;
}

}  // namespace canaryd::ctl
