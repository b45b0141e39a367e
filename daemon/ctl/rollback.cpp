// rollback: everybody to legacy, now. Through the daemon, or past it when it is down.
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <filesystem>
#include <iostream>
#include <sstream>
#include <thread>

#include "daemon/async.hpp"
#include "daemon/ctl/ctl.hpp"
#include "daemon/ctl/database.hpp"
#include "daemon/http/client.hpp"
#include "daemon/log.hpp"
#include "daemon/routers/routers.hpp"

namespace canaryd::ctl {
namespace {

struct Rollback {
    std::string rollout, reason;
    bool direct = false;
    std::vector<std::string> route;  // FILE NAME
    std::string database;            // URL
};

// --- Past the daemon ----------------------------------------------------------------------------

/// Where the route row is, and its name.
struct Target {
    std::string name;
    Connection connection;
};

/// A rollout's id will do as well, since that is what messages name: checkout-2 is of checkout,
/// unless a policy has that very name.
std::string policy_of(const Options& options, const std::string& asked) {
    const std::string path = policy_path(options, asked);
    const std::size_t dash = asked.find_last_not_of("0123456789");
    const bool id = dash != std::string::npos && dash + 1 < asked.size() && asked[dash] == '-';
    return id && !std::filesystem::exists(path) ? policy_path(options, asked.substr(0, dash))
                                                : path;
}

Target target_of(const Options& options, const Rollback& asked) {
    if (!asked.route.empty()) {
        Connection file;
        file.name = "route";
        file.kind = "sqlite";
        file.path = asked.route[0];
        return {asked.route[1], file};
    }
    if (asked.rollout.empty()) {
        throw Usage(
            "which one? canaryctl rollback --direct NAME, or without the policy's file: "
            "canaryctl rollback --direct --route ROUTE_FILE NAME, or with PostgreSQL: canaryctl "
            "rollback --direct --database URL");
    }
    const std::string path = policy_of(options, asked.rollout);
    const ParsedPolicy parsed = parse_policy(read_file(path), path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused(path +
                      " has mistakes; name the route itself: canaryctl rollback --direct "
                      "--route ROUTE_FILE NAME");
    }
    const Settings settings = load_settings(options);
    const auto found = settings.connections.find(parsed.policy->router.connection);
    if (found == settings.connections.end()) {
        throw Refused("router.connection \"" + parsed.policy->router.connection +
                      "\" is not among the connections of the settings; give --config "
                      "canaryd.yaml, or --route ROUTE_FILE NAME");
    }
    return {parsed.policy->name, found->second};
}

/// Who signs the row. The daemon's own name would make it an order of the daemon, and no person's.
std::string signature() {
    const std::string name = user_name();
    return name == "canaryd" ? "canaryd's login" : name;
}

/// What `--direct` changes, for sqlite3 and a runbook: it asks for no revision.
std::string sql_of(const std::string& name, const std::string& reason) {
    return "UPDATE canaryd_route SET weight = 0, revision = revision + 1, valid_until = NULL,\n"
           "  by = " +
           sql_text(signature()) + ", reason = " + sql_text(reason) +
           ",\n  changed_at = CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)\n"
           "  WHERE name = " +
           sql_text(name) + " RETURNING name, weight;";
}

/// The ways that need no daemon. What cannot be read at this hour stands as a word to fill in.
std::string ways_past_the_daemon(const Options& options, const Rollback& asked) {
    Target target;
    std::string trouble;
    try {
        if (!asked.rollout.empty()) target = target_of(options, asked);
    } catch (const std::exception& error) {
        trouble = "\nROUTE_FILE is not known here: " + std::string(error.what());
        std::string path = asked.rollout;
        try {
            path = policy_of(options, asked.rollout);  // a rollout's id names its policy
        } catch (const std::exception&) {
        }
        target.name = std::filesystem::path(path).stem().string();
    }
    const std::string& kind = target.connection.kind;
    const std::string name = target.name.empty() ? "NAME" : target.name;
    const std::string file = kind == "sqlite" ? target.connection.path : "ROUTE_FILE";
    const std::string reason = asked.reason.empty() ? "canaryd did not answer" : asked.reason;
    std::string ways = "Move users back without it: canaryctl rollback --direct " +
                       (asked.rollout.empty() ? "NAME" : asked.rollout);
    if (kind != "postgres") {
        ways += "\nWithout the policy's file: canaryctl rollback --direct --route " + file + " " +
                name + "\nBy hand: sqlite3 " + file + "\n" + sql_of(name, reason);
    }
    if (kind != "sqlite") {
        ways += "\nWith PostgreSQL: canaryctl rollback --direct " + name +
                " --database URL, or in psql:\nselect canaryd.rollback(" + sql_text(reason) + ", " +
                sql_text(name) + ");";
    }
    return ways + trouble;
}

struct Written {
    Served before, after;
    Order order;
};

Async<Written> write_row(std::shared_ptr<Router> router, std::string name, std::string reason) {
    Written written;
    written.before = co_await router->read(name);
    written.order.name = name;
    written.order.weight = nobody;
    written.order.revision = written.before.revision + 1;
    written.order.by = signature();
    written.order.reason = reason.empty() ? "canaryctl rollback --direct" : reason;
    co_await router->set(written.order);
    written.after = co_await router->read(name);
    co_return written;
}

int direct(const Options& options, const Rollback& asked) {
    const bool named = !asked.rollout.empty() || !asked.route.empty();
    if (!asked.database.empty() || (!named && names_database(asked.database))) {
        const postgres::Target database = database_of(asked.database);
        return roll_back_in(database, asked.rollout, asked.reason, options);
    }
    const Target target = target_of(options, asked);
    if (target.connection.kind == "postgres") {
        const auto database = postgres::Target::of(target.connection);
        return roll_back_in(database, target.name, asked.reason, options);
    }
    if (target.connection.kind != "sqlite") {
        throw Refused("connection \"" + target.connection.name + "\" holds no route");
    }
    if (::access(target.connection.path.c_str(), F_OK) != 0) {
        throw Refused(target.connection.path + ": there is no route file; nobody is routed by it");
    }
    asio::io_context io{1};
    const auto router = make_sqlite_router(target.connection, io.get_executor());
    std::exception_ptr error;
    Written written;
    asio::co_spawn(io, write_row(router, target.name, asked.reason),
                   [&](const std::exception_ptr& failed, Written result) {
                       error = failed;
                       written = std::move(result);
                   });
    io.run();
    if (error) std::rethrow_exception(error);
    if (written.after.weight > nobody) {
        throw Refused("the route still says " + text::weight(written.after.weight) + ", set by " +
                      written.after.by);
    }
    if (options.json) {
        print_json(json::object{{"name", target.name},
                                {"was", written.before.weight.basis_points / 100.0},
                                {"weight", 0},
                                {"revision", written.after.revision},
                                {"by", written.after.by},
                                {"sql", sql_of(target.name, written.order.reason)}});
        return done;
    }
    std::cout << escaped(target.name) << ": the route was " << text::weight(written.before.weight)
              << " and is 0 % now, read back: users are on legacy.\n"
              << "A running daemon records it at its next read-back, else the next start does.\n"
              << "By hand, on " << escaped(target.connection.path) << ":\n";
    std::istringstream sql(sql_of(target.name, written.order.reason));
    for (std::string line; std::getline(sql, line);) std::cout << "  " << escaped(line) << '\n';
    return done;
}

// --- Through the daemon -------------------------------------------------------------------------

double served_weight(const json::value& view) {
    const json::value* served = view.as_object().if_contains("served");
    if (served == nullptr || !served->is_object()) return -1;
    const json::value* weight = served->get_object().if_contains("weight");
    json::error_code none;
    return weight == nullptr ? -1 : weight->to_number<double>(none);
}

/// "2026-01-11T03:12:04.123Z" becomes "03:12:04 UTC".
std::string clock_of(const std::string& iso) {
    return iso.size() >= 19 ? iso.substr(11, 8) + " UTC" : iso;
}

/// Said only after it was read back; ten seconds are waited for that.
int say_when_served(const Options& options, const std::string& id) {
    const std::string target = "/api/v1/rollouts/" + url_encoded(id);
    json::value view;
    for (int tries = 0; tries < 100; ++tries) {
        view = get_json(options, target);
        if (served_weight(view) == 0) {
            const json::value& served = view.as_object().at("served");
            std::cout << "users are on legacy since " << escaped(clock_of(string_of(served, "at")))
                      << '\n';
            return done;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds{100});
    }
    const std::string trouble = string_of(view, "router_error");
    std::cout << "0 % is ordered and kept trying, but not read back yet"
              << (trouble.empty() ? "" : ": " + escaped(trouble)) << '\n'
              << "Past the daemon, by any of:\n";
    const json::value* ways = view.as_object().if_contains("by_hand");  // an older daemon has none
    if (ways == nullptr) {
        std::cout << "  canaryctl rollback --direct " << escaped(id) << '\n';
    } else {
        for (const json::value& way : ways->as_array())
            std::cout << "  " << escaped(std::string(way.as_string())) << '\n';
    }
    return refused;
}

int through_daemon(const Options& options, const Rollback& asked) {
    const std::string id = rollout_of(options, asked.rollout, Meant::running);
    json::object body;
    if (!asked.reason.empty()) body["reason"] = asked.reason;
    const json::value answer =
        post(options, "/api/v1/rollouts/" + url_encoded(id) + "/rollback", body);
    if (options.json) {
        print_json(answer);
        return done;
    }
    print_lines(string_of(answer, "id") + ": " + string_of(answer, "reason"), options);
    return say_when_served(options, string_of(answer, "id"));
}

int rollback(const Options& options, const Rollback& asked) {
    if (asked.direct) return direct(options, asked);
    if (!asked.route.empty()) throw Usage("--route is for --direct");
    if (!asked.database.empty()) throw Usage("--database is for --direct");
    try {
        return through_daemon(options, asked);
    } catch (const http::Unreachable& error) {
        throw http::Unreachable(std::string(error.what()) + "\n" +
                                ways_past_the_daemon(options, asked));
    }
}

}  // namespace

void add_rollback(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Rollback>();
    CLI::App* command =
        app.add_subcommand("rollback", "everybody to legacy, now and for good; asks for no reason");
    command
        ->add_option("rollout", asked->rollout,
                     "the only one without; with --direct the policy's name or file, or the "
                     "rollout's id")
        ->type_name("ROLLOUT");
    command->add_option("--reason", asked->reason, "for the journal")->type_name("WHY");
    command->add_flag("--direct", asked->direct,
                      "past the daemon: writes the route row itself, with your name");
    command
        ->add_option("--route", asked->route,
                     "with --direct: the route's SQLite file and the rollout's name, when the "
                     "policy is not at hand")
        ->type_name("FILE NAME")
        ->expected(2)
        ->excludes(add_database(*command, asked->database));
    command->footer(
        "Examples:\n  canaryctl rollback\n  canaryctl rollback checkout --reason 'drivers time "
        "out'\n"
        "  canaryctl rollback --direct checkout --config /etc/canaryd/canaryd.yaml\n"
        "  canaryctl rollback --direct --route /srv/webhooks/route.db checkout-v2\n"
        "  canaryctl rollback --direct --database postgresql://postgres@db.example/postgres\n\n"
        "Says \"users are on legacy\" only after the route was read back. When the daemon does\n"
        "not answer it prints the ways past it: --direct, and the SQL for sqlite3 or psql. Exit\n"
        "codes: 0 read back, 1 refused or not read back within 10 s, 2 daemon unreachable.");
    command->callback([&options, &code, asked] { code = rollback(options, *asked); });
}

}  // namespace canaryd::ctl
