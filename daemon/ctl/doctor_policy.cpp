// Whether the daemon's login can read what a policy names: its table or query, and its numbers.
#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "canaryd/text.hpp"
#include "daemon/ctl/doctor.hpp"
#include "daemon/sources/postgres_sql.hpp"

namespace canaryd::ctl {
namespace {

/// A view of a statement, made and never committed: by it the catalogue knows what the statement
/// reads, without its being run and whoever may read that.
class TrialView {
public:
    TrialView(postgres::Database& database, const std::string& from)
        : trial_(database, postgres::Transaction::Kind::write) {
        trial_.script("create temp view canaryd_doctor as select * from " + from);
    }

    postgres::Result uses(const Login& login) {
        return trial_.run(
            "select n.nspname::text, format('%I.%I', n.nspname, c.relname), "
            "format('%I', n.nspname), has_schema_privilege($1::name, n.oid, 'usage'), "
            "bool_and(case when d.refobjsubid > 0 "
            "then has_column_privilege($1::name, c.oid, d.refobjsubid::smallint, 'select') "
            "else has_any_column_privilege($1::name, c.oid, 'select') end) "
            "from pg_rewrite r join pg_depend d "
            "on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid "
            "join pg_class c on d.refclassid = 'pg_class'::regclass and c.oid = d.refobjid "
            "join pg_namespace n on n.oid = c.relnamespace "
            "where r.ev_class = 'pg_temp.canaryd_doctor'::regclass and c.oid <> r.ev_class "
            "group by n.oid, n.nspname, c.oid, c.relname order by 2",
            login.name);
    }
    postgres::Result functions(const Login& login) {
        return trial_.run(
            "select format('%I.%I(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), "
            "has_function_privilege($1::name, p.oid, 'execute') "
            "from pg_rewrite r join pg_depend d "
            "on d.classid = 'pg_rewrite'::regclass and d.objid = r.oid "
            "join pg_proc p on d.refclassid = 'pg_proc'::regclass and p.oid = d.refobjid "
            "join pg_namespace n on n.oid = p.pronamespace "
            "where r.ev_class = 'pg_temp.canaryd_doctor'::regclass group by 1, 2 order by 1",
            login.name);
    }
    std::int64_t width() {
        return trial_
            .run(
                "select count(*) from pg_attribute "
                "where attrelid = 'pg_temp.canaryd_doctor'::regclass and attnum > 0")
            .integer(0, 0);
    }
    postgres::Result columns() {
        return trial_.run("select * from pg_temp.canaryd_doctor limit 0");
    }

private:
    postgres::Transaction trial_;
};

Finding bad_policy(const std::string& seen, std::vector<std::string> mend = {}) {
    return {Grade::bad, "policy", seen, std::move(mend)};
}

/// What the login lacks to run it; adds the tables to `tables`.
Findings lacking(TrialView& view, const Login& login, const std::string& what,
                 std::vector<std::string>& tables) {
    Findings all;
    const auto uses = view.uses(login);
    for (int row = 0; row < uses.size(); ++row) {
        const std::string table = uses.text(row, 1);
        tables.push_back(table);
        if (!uses.boolean(row, 3)) {
            all.push_back(bad_policy(
                what + ": " + login.name + " may not enter " + uses.text(row, 0),
                {"GRANT USAGE ON SCHEMA " + uses.text(row, 2) + " TO " + login.quoted + ";"}));
        }
        if (!uses.boolean(row, 4)) {
            all.push_back(bad_policy(what + ": " + login.name + " may not read " + table,
                                     {"GRANT SELECT ON " + table + " TO " + login.quoted + ";"}));
        }
    }
    const auto functions = view.functions(login);
    for (int row = 0; row < functions.size(); ++row) {
        if (functions.boolean(row, 1)) continue;
        all.push_back(bad_policy(
            what + ": " + login.name + " may not call " + functions.text(row, 0),
            {"GRANT EXECUTE ON FUNCTION " + functions.text(row, 0) + " TO " + login.quoted + ";"}));
    }
    return all;
}

/// A statement that the server does not even understand is a finding, with the server's words.
template <class Check>
Findings understood(const std::string& what, Check check) {
    try {
        return check();
    } catch (const postgres::Broken&) {
        throw;
    } catch (const postgres::Error& error) {
        const std::string& said = error.said();
        const std::string why = said.empty() ? error.what() : said.substr(0, said.find('\n'));
        return {bad_policy(what + ": " + why)};
    }
}

Findings check_policy_source(postgres::Database& database, const Login& login, const Policy& policy,
                             std::vector<std::string>& tables) {
    const bool query = !policy.source.query.empty();
    const std::string what = query ? "source.query" : "source.table";
    return understood(what, [&] {
        const rows::pg::Table table = rows::pg::table_of(policy);
        TrialView view(database, table.from);
        Findings all = lacking(view, login, what, tables);
        if (!all.empty()) return all;
        try {
            rows::pg::checked(table, policy, view.columns());
        } catch (const postgres::Broken&) {
            throw;
        } catch (const postgres::Error& error) {
            // Who asks may read less than the daemon.
            all.push_back({Grade::note,
                           "policy",
                           what + ": its columns were not looked at: " + error.said(),
                           {}});
        } catch (const std::runtime_error& error) {
            all.push_back(bad_policy(error.what()));
        }
        return all;
    });
}

/// The query with two times in place of its parameters, which a view cannot have.
std::string without_parameters(const std::string& query) {
    std::string text;
    for (std::size_t i = 0; i < query.size(); ++i) {
        const bool time =
            query[i] == '$' && i + 1 < query.size() && (query[i + 1] == '1' || query[i + 1] == '2');
        const bool longer =
            i + 2 < query.size() && std::isdigit(static_cast<unsigned char>(query[i + 2])) != 0;
        if (time && !longer) {
            text += "'epoch'::timestamptz";
            ++i;
        } else {
            text += query[i];
        }
    }
    return text;
}

Findings check_policy_number(postgres::Database& database, const Login& login,
                             const NumberQuery& number, int wanted,
                             std::vector<std::string>& tables) {
    const std::string what = "metrics, " + number.name;
    return understood(what, [&] {
        // A view's columns need names of their own.
        TrialView view(database, "(" + without_parameters(number.query) + "\n) as number (a" +
                                     (wanted > 1 ? ", b)" : ")"));
        Findings all = lacking(view, login, what, tables);
        if (view.width() != wanted) {
            all.push_back(bad_policy(what + ": the query gives " + std::to_string(view.width()) +
                                     " columns, not " + rows::numbers_in_words(wanted)));
        }
        return all;
    });
}

/// Of a table under another name than the first user's, which check_indexes() knows.
Findings check_own_index(postgres::Database& database, const Policy& policy) {
    const std::string& table = policy.source.table;
    if (!policy.source.query.empty() || table == "webhook_metrics") return {};
    const auto facts = database.read(rows::pg::facts(), table);
    if (facts.empty()) return {};
    Findings all;
    if (!facts.boolean(0, 0)) {
        all.push_back(
            {Grade::bad,
             "indexes",
             "each look reads all of " + table +
                 ", which has no index on (webhook_name, created_at)",
             {"CREATE INDEX CONCURRENTLY ON " + table + " (webhook_name, created_at DESC);"}});
    }
    if (!facts.boolean(0, 1)) {
        all.push_back({Grade::bad,
                       "indexes",
                       table + " has no index on id",
                       {"CREATE UNIQUE INDEX CONCURRENTLY ON " + table + " (id);"}});
    }
    return all;
}

}  // namespace

Findings check_policy(postgres::Database& database, const Login& login, const Policy& policy) {
    Findings all;
    std::vector<std::string> tables;
    const auto add = [&](Findings found) {
        std::move(found.begin(), found.end(), std::back_inserter(all));
    };
    add(check_policy_source(database, login, policy, tables));
    for (const NumberQuery& number : policy.metrics) {
        add(check_policy_number(database, login, number, numbers_of(policy, number.name), tables));
    }
    std::erase_if(tables, [](const std::string& table) {
        return std::find(plan_tables.begin(), plan_tables.end(), table) != plan_tables.end();
    });
    add(check_rows(database, login, tables));
    add(check_own_index(database, policy));
    if (all.empty()) {
        const auto numbers = static_cast<std::int64_t>(policy.metrics.size());
        all.push_back(
            {Grade::ok,
             "policy",
             policy.name + ": its metrics can be read" +
                 (numbers == 0 ? "" : ", and " + text::counted(numbers, "number", "numbers")),
             {}});
    }
    return all;
}

}  // namespace canaryd::ctl
