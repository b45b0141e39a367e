// Whether the database is as deploy/sql makes it, and quick enough for the looks.
#include "daemon/ctl/doctor.hpp"
#include "daemon/ctl/sql_files.hpp"
#include "daemon/sha256.hpp"

namespace canaryd::ctl {

Findings check_schema(postgres::Database& database) {
    const auto there = database.read(
        "select exists (select from pg_class c join pg_namespace n on n.oid = c.relnamespace "
        "where n.nspname = 'canaryd' and c.relname = 'applied')");
    if (!there.boolean(0, 0)) {
        return {{Grade::bad,
                 "schema",
                 "canaryd's part is not in this database",
                 {"canaryctl migrate --database URL"}}};
    }
    const auto rows = database.read("select file, to_jsonb(a) ->> 'sha256' from canaryd.applied a");
    Findings all;
    for (const SqlFile& file : all_sql_files()) {
        if (file.name == "down.sql") continue;
        std::string seen = file.name + " is not applied";
        for (int row = 0; row < rows.size(); ++row) {
            if (rows.text(row, 0) != file.name) continue;
            const bool unknown = rows.is_null(row, 1);
            seen = unknown || rows.text(row, 1) == sha256_hex(file.text)
                       ? ""
                       : file.name + " is applied in another version than this program has";
        }
        if (seen.empty()) continue;
        all.push_back({Grade::bad, "schema", seen, {"canaryctl migrate --database URL"}});
    }
    if (all.empty())
        all.push_back({Grade::ok, "schema", "every file of deploy/sql is applied", {}});
    return all;
}

Findings check_triggers(postgres::Database& database) {
    const auto rows = database.read(
        "select w.name, w.what, quote_ident(n.nspname) || '.' || quote_ident(c.relname), "
        "t.tgenabled::text "
        "from (values ('canaryd_new_user', 'new users get no flag'), "
        "('canaryd_flags_begin', 'the UPDATE of the plan moves nobody'), "
        "('canaryd_flag_moves', 'the UPDATE of the plan moves nobody'), "
        "('canaryd_flags_end', 'the UPDATE of the plan moves nobody'), "
        "('canaryd_rollback_recorded', 'an insert into migration_rollbacks moves nobody'), "
        "('canaryd_emergency_commits', 'emergency SQL moves nobody'), "
        "('canaryd_route_changes', 'a change of the route by hand goes unnoticed'), "
        "('canaryd_pinned', 'pins are not honoured')) w (name, what) "
        "left join pg_trigger t on t.tgname = w.name and not t.tgisinternal "
        "left join pg_class c on c.oid = t.tgrelid "
        "left join pg_namespace n on n.oid = c.relnamespace order by 1");
    Findings all;
    for (int row = 0; row < rows.size(); ++row) {
        const std::string name = rows.text(row, 0), what = rows.text(row, 1);
        if (rows.is_null(row, 2)) {
            all.push_back({Grade::bad,
                           "triggers",
                           name + " is not there: " + what,
                           {"canaryctl migrate --database URL"}});
        } else if (const std::string on = rows.text(row, 3); on == "D" || on == "R") {
            all.push_back({Grade::bad,
                           "triggers",
                           name + " is disabled: " + what,
                           {"ALTER TABLE " + rows.text(row, 2) + " ENABLE TRIGGER " + name + ";"}});
        }
    }
    if (all.empty())
        all.push_back({Grade::ok, "triggers", "the plan's emergency SQL is honoured", {}});
    return all;
}

Findings check_indexes(postgres::Database& database) {
    const auto tables = database.read(
        "select c.relname::text, greatest(c.reltuples, 0)::bigint, "
        "exists (select from pg_index i "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] "
        "join pg_attribute b on b.attrelid = c.oid and b.attnum = i.indkey[1] "
        "where i.indrelid = c.oid and i.indisvalid and i.indpred is null "
        "and a.attname = 'webhook_name' and b.attname = 'created_at'), "
        "exists (select from pg_index i "
        "join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0] "
        "where i.indrelid = c.oid and i.indisvalid and i.indpred is null and a.attname = 'id') "
        "from pg_class c where c.relnamespace = 'public'::regnamespace "
        "and c.relname in ('webhook_metrics', 'users', 'profiles') and c.relkind in ('r', 'p') "
        "order by 1");
    Findings all;
    std::string size;
    const auto missing = [&](const std::string& seen, const std::string& mend) {
        all.push_back({Grade::bad, "indexes", seen, {mend}});
    };
    for (int row = 0; row < tables.size(); ++row) {
        const std::string table = tables.text(row, 0);
        if (table == "webhook_metrics") {
            size = std::to_string(tables.integer(row, 1));
            if (!tables.boolean(row, 2)) {
                missing(
                    "each look reads all of webhook_metrics, which has no index on "
                    "(webhook_name, created_at)",
                    "CREATE INDEX CONCURRENTLY ON public.webhook_metrics (webhook_name, "
                    "created_at DESC);");
            }
        }
        if (!tables.boolean(row, 3)) {
            missing(table + " has no index on id",
                    "CREATE UNIQUE INDEX CONCURRENTLY ON public." + table + " (id);");
        }
    }
    const auto broken = database.read(
        "select format('%I.%I', n.nspname, x.relname), c.relname::text from pg_index i "
        "join pg_class x on x.oid = i.indexrelid join pg_class c on c.oid = i.indrelid "
        "join pg_namespace n on n.oid = x.relnamespace "
        "where not i.indisvalid and n.nspname = 'public' "
        "and c.relname in ('webhook_metrics', 'users', 'profiles') "
        "and not exists (select from pg_stat_progress_create_index p "
        "where p.index_relid = i.indexrelid) order by 1");
    for (int row = 0; row < broken.size(); ++row) {
        all.push_back({Grade::note,
                       "indexes",
                       broken.text(row, 0) + " of " + broken.text(row, 1) +
                           " was never finished: it costs writes and serves nobody",
                       {"DROP INDEX CONCURRENTLY " + broken.text(row, 0) + ";"}});
    }
    if (all.empty() && !size.empty()) {
        all.push_back({Grade::ok,
                       "indexes",
                       "the looks have theirs; webhook_metrics has about " + size + " rows",
                       {}});
    }
    return all;
}

}  // namespace canaryd::ctl
