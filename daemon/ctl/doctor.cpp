// doctor: whether canaryd can work with a database, and for each thing that is wrong what mends it.
#include "daemon/ctl/doctor.hpp"

#include <iostream>
#include <iterator>
#include <optional>
#include <utility>

#include "daemon/ctl/database.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Doctor {
    std::string url, role, policy;
};

const char* word(Grade grade) {
    switch (grade) {
        case Grade::ok:
            return "ok";
        case Grade::note:
            return "note";
        case Grade::bad:
            return "BAD";
    }
    return "BAD";
}

/// The one that connects; if that one owns canaryd's schema or is about to make it, the role that
/// the daemon will use.
Login login_of(postgres::Database& database, const std::string& asked) {
    const auto row = database.read(
        "select case when $1 <> '' then $1 when r.rolsuper or exists (select from pg_namespace "
        "where nspname = 'canaryd' and nspowner = r.oid) or not exists (select from pg_namespace "
        "where nspname = 'canaryd') then 'canaryd' else current_user::text end as name "
        "from pg_roles r where r.rolname = current_user",
        asked);
    const std::string name = row.empty() ? "canaryd" : row.text(0, 0);
    return {name, database.read("select format('%I', $1::text)", name).text(0, 0)};
}

/// What cannot be looked at is a finding too.
template <class Check>
void look(Findings& all, const char* subject, Check check) {
    try {
        Findings found = check();
        std::move(found.begin(), found.end(), std::back_inserter(all));
    } catch (const postgres::Broken&) {
        throw;
    } catch (const postgres::Error& error) {
        const std::string words = explained(error);
        const std::size_t end = words.find('\n');
        all.push_back({Grade::bad, subject, "could not be looked at: " + words.substr(0, end),
                       end == std::string::npos ? std::vector<std::string>{}
                                                : std::vector<std::string>{words.substr(end + 1)}});
    }
}

Findings examine(postgres::Database& database, const postgres::Target& target,
                 const std::string& role, const std::optional<Policy>& policy) {
    Findings all;
    try {
        database.open();
        look(all, "server", [&] { return check_server(database); });
        look(all, "connection", [&] { return check_connection(database, target); });
        look(all, "clock", [&] { return check_clock(database); });
        look(all, "schema", [&] { return check_schema(database); });
        const Login login = login_of(database, role);
        Findings who = check_login(database, login);
        const bool there = who.front().grade != Grade::bad || who.front().mend.empty() ||
                           !who.front().seen.starts_with("there is no role");
        std::move(who.begin(), who.end(), std::back_inserter(all));
        if (there) {
            look(all, "rights", [&] { return check_rights(database, login); });
            look(all, "rows", [&] { return check_rows(database, login, plan_tables); });
            if (policy) look(all, "policy", [&] { return check_policy(database, login, *policy); });
        }
        look(all, "doors", [&] { return check_doors(database); });
        look(all, "triggers", [&] { return check_triggers(database); });
        look(all, "indexes", [&] { return check_indexes(database); });
    } catch (const postgres::Error& error) {
        const std::string words = explained(error);
        const std::size_t end = words.find('\n');
        all.push_back({Grade::bad, "connection", words.substr(0, end),
                       end == std::string::npos ? std::vector<std::string>{}
                                                : std::vector<std::string>{words.substr(end + 1)}});
    }
    return all;
}

void print(const postgres::Database& database, const Findings& all, const Options& options) {
    const text::Paper paper = paper_of(options);
    std::cout << escaped(database.name()) << '\n';
    std::int64_t bad = 0, notes = 0;
    for (const Finding& one : all) {
        bad += one.grade == Grade::bad ? 1 : 0;
        notes += one.grade == Grade::note ? 1 : 0;
        std::string front = word(one.grade);
        front += std::string(6 - front.size(), ' ') + one.subject;
        front += std::string(18 - front.size(), ' ');
        std::cout << front << text::wrap(escaped(one.seen), paper.width, 18) << '\n';
        // Whole, to be copied.
        for (const std::string& mend : one.mend) std::cout << "        " << escaped(mend) << '\n';
    }
    std::cout << (bad == 0 ? "canaryd can work here"
                           : text::counted(bad, "thing", "things") + " to mend")
              << (notes == 0 ? "" : "; " + text::counted(notes, "note", "notes")) << ".\n";
}

void print_document(const postgres::Database& database, const Findings& all, bool good) {
    json::array list;
    for (const Finding& one : all) {
        json::array mend;
        for (const std::string& line : one.mend) mend.emplace_back(line);
        list.emplace_back(json::object{{"grade", one.grade == Grade::bad ? "bad" : word(one.grade)},
                                       {"subject", one.subject},
                                       {"seen", one.seen},
                                       {"mend", std::move(mend)}});
    }
    print_json(
        json::object{{"database", database.name()}, {"good", good}, {"findings", std::move(list)}});
}

/// The policy whose metrics are looked at as well, if one was named.
std::optional<Policy> policy_asked(const Options& options, const std::string& named) {
    if (named.empty()) return std::nullopt;
    const std::string path = policy_path(options, named);
    ParsedPolicy parsed = parse_policy(read_file(path), path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused(path + " has mistakes, see above");
    }
    if (parsed.policy->source.kind != "postgres") {
        throw Refused(path + " has no source of kind postgres: there is nothing of it to look at");
    }
    return std::move(parsed.policy);
}

int doctor(const Options& options, const Doctor& asked) {
    const std::optional<Policy> policy = policy_asked(options, asked.policy);
    const postgres::Target target = database_of(asked.url);
    postgres::Database database([target] { return target; });
    Findings all = examine(database, target, asked.role, policy);
    const std::string note = policy ? route_note(options, *policy) : "";
    if (!note.empty()) all.push_back({Grade::note, "policy", note, {}});
    bool good = true;
    for (const Finding& one : all) good = good && one.grade != Grade::bad;
    if (options.json) {
        print_document(database, all, good);
    } else {
        print(database, all, options);
    }
    return good ? done : refused;
}

}  // namespace

void add_doctor(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Doctor>();
    CLI::App* command = app.add_subcommand(
        "doctor", "can canaryd work with this PostgreSQL, and what mends what is wrong");
    add_database(*command, asked->url);
    command
        ->add_option("--role", asked->role,
                     "whose rights to look at; else the login's that connects, or canaryd's when "
                     "that one owns the schema")
        ->type_name("ROLE");
    command
        ->add_option("--policy", asked->policy,
                     "also what this policy reads: its table or query, and its numbers")
        ->type_name("FILE|NAME");
    command->footer(
        "Examples:\n  canaryctl doctor --database postgresql://canaryd@db.example/postgres\n"
        "  canaryctl doctor --policy policies/postgres.yaml\n  canaryctl doctor --json\n\n"
        "Looks at the server, the way there (direct, session or transaction pooler), TLS, the\n"
        "clocks, the schema, each right of the daemon's login, what anybody else may do,\n"
        "triggers and indexes; with --policy at each right that its queries need. It changes\n"
        "nothing. Exit codes: 0 canaryd can work here, 1 not, or the database was not reached.");
    command->callback([&options, &code, asked] { code = doctor(options, *asked); });
}

}  // namespace canaryd::ctl
