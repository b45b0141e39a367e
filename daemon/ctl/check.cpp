// check: what a policy will do, or every mistake in it. Needs no daemon.
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Check {
    std::string file;
    bool explain = false;
    std::string traffic;  // empty: nothing is said of it
};

json::object problem_json(const Problem& problem) {
    return {{"file", problem.file},
            {"line", problem.line},
            {"column", problem.column},
            {"field", problem.field},
            {"message", problem.message}};
}

json::value checked_json(const std::string& path, const ParsedPolicy& parsed) {
    json::array problems;
    for (const Problem& problem : parsed.problems) problems.push_back(problem_json(problem));
    json::object document{
        {"file", path}, {"good", parsed.policy.has_value()}, {"problems", std::move(problems)}};
    if (parsed.policy) {
        document["name"] = parsed.policy->name;
        document["hash"] = parsed.policy->hash;
    }
    return document;
}

/// The policy names connections, canaryd.yaml has them: said here, since start would be refused.
void note_connections(const Options& options, const Policy& policy) {
    if (options.config.empty()) return;
    const Settings settings = load_settings(options);
    const auto note = [&](const std::string& field, const std::string& connection) {
        if (connection.empty() || settings.connections.contains(connection)) return;
        std::cerr << "note: " << field << ": connection \"" << escaped(connection)
                  << "\" is not in " << escaped(options.config) << '\n';
    };
    note("source", policy.source.connection);
    note("router", policy.router.connection);
    for (const NotifySpec& place : policy.notify) note("notify", place.connection);
}

int check(const Options& options, const Check& asked) {
    const std::string path = policy_path(options, asked.file);
    const ParsedPolicy parsed = parse_policy(read_file(path), path);
    std::optional<Plan> plan;
    if (parsed.policy && !asked.traffic.empty()) {
        plan = plan_of(options, *parsed.policy, asked.traffic);
    }
    if (options.json) {
        json::value document = checked_json(path, parsed);
        if (plan) document.as_object()["plan"] = plan_json(*parsed.policy, *plan);
        print_json(document);
        return parsed.policy ? done : refused;
    }
    if (!parsed.policy) {
        print_problems(parsed.problems);
        std::cerr << text::counted(static_cast<std::int64_t>(parsed.problems.size()), "mistake",
                                   "mistakes")
                  << '\n';
        return refused;
    }
    std::cout << text::policy_page(*parsed.policy, asked.explain);
    if (plan) {
        std::cout << "\nWhat your traffic can show\n"
                  << text::plan_page(*parsed.policy, *plan,
                                     options.width > 0 ? options.width : 100);
    }
    note_connections(options, *parsed.policy);
    const std::string route = route_note(options, *parsed.policy);
    if (!route.empty()) std::cerr << "note: router: " << escaped(route) << '\n';
    return done;
}

}  // namespace

void add_check(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Check>();
    CLI::App* command = app.add_subcommand(
        "check", "what a policy will do, in a page; or every mistake in it, with its place");
    command->add_option("policy", asked->file, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command->add_flag("--explain", asked->explain, "every field with its value, defaults too");
    command->add_option("--traffic", asked->traffic, "and what that traffic can show, see plan")
        ->type_name("N/min[, AGENT=SHARE…]|FILE");
    command->footer(
        "Examples:\n  canaryctl check policies/checkout.yaml\n"
        "  canaryctl check policies/checkout.yaml --traffic 2/min\n"
        "  canaryctl check checkout --explain --config /etc/canaryd/canaryd.yaml\n\n"
        "Exit codes: 0 good, 1 mistakes. No daemon is needed.");
    command->callback([&options, &code, asked] { code = check(options, *asked); });
}

}  // namespace canaryd::ctl
