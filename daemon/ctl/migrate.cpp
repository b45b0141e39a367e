// migrate: the files of deploy/sql, applied from this program, each in one transaction.
#include <algorithm>
#include <iostream>
#include <map>
#include <set>

#include "daemon/ctl/database.hpp"
#include "daemon/ctl/sql_files.hpp"
#include "daemon/log.hpp"
#include "daemon/sha256.hpp"

namespace canaryd::ctl {
namespace {

using postgres::Transaction;

/// Indexes of a large table take their time.
constexpr postgres::Limits file_limits{std::chrono::hours{1}, std::chrono::seconds{5},
                                       std::chrono::minutes{1}};
/// Two people at once: the second waits, and then finds everything there.
constexpr const char* one_at_a_time = "select pg_advisory_xact_lock(72623859790382856)";

struct Migrate {
    std::string url;
    bool print = false, status = false, down = false;
};

bool is_down(const SqlFile& file) {
    return file.name == "down.sql";
}

/// How many of what, and their names: "tables" → canaryd.route, …
using Objects = std::map<std::string, std::set<std::string>>;

/// What is there that one of the files could have made.
constexpr const char* objects_sql = R"(
select 'schema', nspname::text from pg_namespace where nspname = 'canaryd'
union all
select case when c.relkind = 'v' then 'view' when c.relkind in ('i', 'I') then 'index'
            else 'table' end, format('%s.%s', n.nspname, c.relname)
  from pg_class c join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('canaryd', 'public') and c.relkind in ('r', 'p', 'v', 'i', 'I')
   and not exists (select from pg_constraint k where k.conindid = c.oid and c.relkind = 'i')
union all
select 'function', format('%s.%s(%s)', n.nspname, p.proname,
                          pg_get_function_identity_arguments(p.oid))
  from pg_proc p join pg_namespace n on n.oid = p.pronamespace
 where n.nspname in ('canaryd', 'public')
union all
select 'column', format('public.%s.%s', c.relname, a.attname)
  from pg_attribute a join pg_class c on c.oid = a.attrelid
 where c.relnamespace = 'public'::regnamespace and c.relname in ('users', 'profiles')
   and a.attnum > 0 and not a.attisdropped
union all
select 'trigger', format('%s on %s.%s', t.tgname, n.nspname, c.relname)
  from pg_trigger t join pg_class c on c.oid = t.tgrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('canaryd', 'public') and not t.tgisinternal
union all
select 'policy', format('%s on %s.%s', p.polname, n.nspname, c.relname)
  from pg_policy p join pg_class c on c.oid = p.polrelid
  join pg_namespace n on n.oid = c.relnamespace
 where n.nspname in ('canaryd', 'public')
union all
select 'role', rolname::text from pg_roles where rolname = 'canaryd')";

Objects objects(Transaction& transaction) {
    const auto rows = transaction.run(objects_sql);
    Objects all;
    for (int row = 0; row < rows.size(); ++row) all[rows.text(row, 0)].insert(rows.text(row, 1));
    return all;
}

/// Those of `more` that are not in `less`.
Objects only_in(const Objects& more, const Objects& less) {
    Objects found;
    for (const auto& [kind, names] : more) {
        const auto there = less.find(kind);
        for (const std::string& name : names) {
            if (there == less.end() || !there->second.contains(name)) found[kind].insert(name);
        }
    }
    return found;
}

/// "1 schema, 4 tables and 12 functions"
std::string counted(const Objects& all) {
    static const std::map<std::string, std::string> many{
        {"schema", "schemas"},   {"table", "tables"},    {"view", "views"},
        {"index", "indexes"},    {"column", "columns"},  {"function", "functions"},
        {"trigger", "triggers"}, {"policy", "policies"}, {"role", "roles"}};
    std::vector<std::string> parts;
    for (const char* kind :
         {"schema", "role", "table", "column", "index", "view", "function", "trigger", "policy"}) {
        const auto found = all.find(kind);
        if (found == all.end()) continue;
        parts.push_back(found->second.size() == 1
                            ? std::string(kind) + " " + *found->second.begin()
                            : text::counted(static_cast<std::int64_t>(found->second.size()), kind,
                                            many.at(kind)));
    }
    return text::list(parts);
}

json::object json_of(const Objects& all) {
    json::object object;
    for (const auto& [kind, names] : all) {
        json::array list;
        for (const std::string& name : names) list.emplace_back(name);
        object[kind] = std::move(list);
    }
    return object;
}

// --- What is applied ----------------------------------------------------------------------------

struct Applied {
    std::string sha256;  // empty: by psql, so that nobody knows which version it was
    TimePoint at;
};

std::map<std::string, Applied> applied(postgres::Database& database) {
    std::map<std::string, Applied> all;
    const auto there = database.read("select to_regclass('canaryd.applied') is not null");
    if (!there.boolean(0, 0)) return all;
    const auto rows = database.read(
        "select file, coalesce(to_jsonb(a) ->> 'sha256', ''), "
        "floor(extract(epoch from at) * 1000)::bigint from canaryd.applied a");
    for (int row = 0; row < rows.size(); ++row)
        all[rows.text(row, 0)] = {rows.text(row, 1), rows.time(row, 2)};
    return all;
}

std::string state_of(const SqlFile& file, const std::map<std::string, Applied>& all) {
    const auto found = all.find(file.name);
    if (found == all.end()) return "not applied";
    if (found->second.sha256.empty()) return "applied by hand";
    return found->second.sha256 == sha256_hex(file.text) ? "applied" : "another version is applied";
}

int status(postgres::Database& database, const Options& options) {
    const auto all = applied(database);
    json::array list;
    bool complete = true;
    if (!options.json) std::cout << escaped(database.name()) << '\n';
    for (const SqlFile& file : all_sql_files()) {
        if (is_down(file)) continue;
        const std::string state = state_of(file, all);
        complete = complete && state != "not applied" && state != "another version is applied";
        json::object one{{"file", file.name}, {"state", state}};
        std::string line = "  " + file.name + std::string(24 - file.name.size(), ' ') + state;
        if (state != "not applied") {
            const std::string at = text::time(all.at(file.name).at);
            one["at"] = at;
            line += ", " + at;
        }
        list.emplace_back(std::move(one));
        if (!options.json) std::cout << line << '\n';
    }
    if (options.json) {
        print_json(json::object{{"complete", complete}, {"files", std::move(list)}});
    } else if (!complete) {
        std::cout
            << "canaryctl migrate --database URL applies what is missing, and changes nothing "
               "else.\n";
    }
    return complete ? done : refused;
}

// --- Up -----------------------------------------------------------------------------------------

struct Step {
    std::string file, before;  // what state_of() said
    Objects made;
};

Step apply(postgres::Database& database, const SqlFile& file) {
    Step step;
    step.file = file.name;
    step.before = state_of(file, applied(database));
    Transaction transaction(database, Transaction::Kind::write, file_limits);
    transaction.run(one_at_a_time);
    const Objects before = objects(transaction);
    transaction.script(file.text);
    transaction.run(
        "insert into canaryd.applied as a (file, sha256) values ($1, $2) "
        "on conflict (file) do update set sha256 = excluded.sha256, at = case "
        "when a.sha256 = excluded.sha256 then a.at else clock_timestamp() end",
        file.name, sha256_hex(file.text));
    step.made = only_in(objects(transaction), before);
    transaction.commit();
    return step;
}

std::string sentence(const Step& step) {
    const std::string made = counted(step.made);
    if (step.before == "not applied")
        return made.empty() ? "applied: all of it was there" : "made " + made;
    if (step.before == "applied")
        return made.empty() ? "as it was" : "made again " + made + ", which had gone";
    return made.empty() ? "brought to this version" : "brought to this version: made " + made;
}

/// What people look for next: is anybody moved by this, and what to do now.
void print_next(postgres::Database& database, const Options& options) {
    const auto routes =
        database.read("select name, weight, by, reason from canaryd.route order by name");
    for (int row = 0; row < routes.size(); ++row) {
        const std::string by = routes.text(row, 2), reason = routes.text(row, 3);
        print_lines("Route " + routes.text(row, 0) + " is at " +
                        text::weight(Weight{static_cast<int>(routes.integer(row, 1))}) +
                        (by.empty() ? "" : ", " + by) + (reason.empty() ? "" : ": " + reason) + ".",
                    options);
    }
    std::cout << "Next, if it has none yet, a password for the daemon's login:\n"
                 "  psql URL -c '\\password canaryd'\n"
                 "and as that login:\n"
                 "  canaryctl doctor --database URL\n";
}

int up(postgres::Database& database, const Options& options) {
    json::array list;
    database.open();
    if (!options.json) std::cout << escaped(database.name()) << '\n';
    for (const SqlFile& file : all_sql_files()) {
        if (is_down(file)) continue;
        Step step;
        try {
            step = apply(database, file);
        } catch (const postgres::UnknownOutcome& error) {
            give_up(file.name, error);
        } catch (const postgres::Error& error) {
            std::cout.flush();
            give_up(file.name + ", of which nothing was done", error);
        }
        if (options.json) {
            list.emplace_back(json::object{
                {"file", step.file}, {"before", step.before}, {"made", json_of(step.made)}});
        } else {
            const std::string name = step.file + std::string(24 - step.file.size(), ' ');
            std::cout << "  " << name
                      << text::wrap(escaped(sentence(step)), paper_of(options).width, 26)
                      << std::endl;
        }
    }
    if (options.json) {
        print_json(json::object{{"files", std::move(list)}});
    } else {
        print_next(database, options);
    }
    return done;
}

// --- Down ---------------------------------------------------------------------------------------

int down(postgres::Database& database, const Options& options, const SqlFile& file) {
    const auto there = database.read("select to_regnamespace('canaryd') is not null");
    Objects gone;
    if (there.boolean(0, 0)) {
        Transaction transaction(database, Transaction::Kind::write, file_limits);
        transaction.run(one_at_a_time);
        const Objects before = objects(transaction);
        transaction.script(file.text);
        gone = only_in(before, objects(transaction));
        transaction.commit();
    }
    if (options.json) {
        print_json(json::object{{"gone", json_of(gone)}});
    } else if (gone.empty()) {
        std::cout << "There is no schema canaryd: nothing to take away.\n";
    } else {
        print_lines("Gone: " + counted(gone) +
                        ". Your tables, their columns and rows are as they were; from now on the "
                        "flag column decides.",
                    options);
        std::cout << "The login stays, since other databases may know it: drop role canaryd\n";
    }
    return done;
}

int print(bool all_down) {
    for (const SqlFile& file : all_sql_files()) {
        if (is_down(file) != all_down) continue;
        std::cout << "-- deploy/sql/" << file.name << '\n' << file.text << '\n';
    }
    return done;
}

int migrate(const Options& options, const Migrate& asked) {
    if (asked.print) return print(asked.down);
    const postgres::Target target = database_of(asked.url);
    postgres::Database database([target] { return target; });
    const auto& all = all_sql_files();
    try {
        if (asked.status) return status(database, options);
        if (asked.down)
            return down(database, options, *std::find_if(all.begin(), all.end(), is_down));
        return up(database, options);
    } catch (const postgres::Error& error) {
        give_up(asked.down ? "nothing was taken away" : "", error);
    }
}

}  // namespace

void add_migrate(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Migrate>();
    CLI::App* command = app.add_subcommand(
        "migrate",
        "what canaryd needs in your PostgreSQL; adds to it and changes nothing of yours");
    add_database(*command, asked->url);
    CLI::Option* print =
        command->add_flag("--print", asked->print, "the SQL, for psql or supabase db push");
    CLI::Option* status =
        command->add_flag("--status", asked->status, "what is applied; 1: not all");
    CLI::Option* down = command->add_flag(
        "--down", asked->down, "takes away again what canaryd itself added; with --print its SQL");
    status->excludes(print)->excludes(down);
    command->footer(
        "Examples:\n  canaryctl migrate --database postgresql://postgres@db.example/postgres\n"
        "  canaryctl migrate --status\n"
        "  canaryctl migrate --print > supabase/migrations/20260101000000_canaryd.sql\n\n"
        "As the role that owns the user table (on Supabase postgres). Each file is one\n"
        "transaction and may be applied again at any time: it says what it made, and `as it\n"
        "was` where there was nothing to do. The first plan's tables, columns and rows stay\n"
        "as they are, also with --down.");
    command->callback([&options, &code, asked] { code = migrate(options, *asked); });
}

}  // namespace canaryd::ctl
