// check: what a policy will do, or every mistake in it. Needs no daemon.
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"

namespace canaryd::ctl {
namespace {

struct Check {
    std::string file;
    bool explain = false;
    std::string traffic;  // empty: that of the policy's own table, if there is one
};

/// check is answered while somebody edits: what its own table would say is not worth more.
constexpr Duration patience = std::chrono::seconds{5};

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

/// By the stated traffic, else by the policy's own table where the settings name its connection.
/// Without settings, or offline, check says the rest: nothing that fails here fails it.
std::optional<Plan> known_plan(const Options& options, const Policy& policy,
                               const std::string& traffic) {
    if (!traffic.empty()) return plan_of(options, policy, traffic);
    try {
        const Settings settings = load_settings(options);
        if (!settings.connections.contains(policy.source.connection)) return std::nullopt;
        return plan_of(options, policy, "", patience);
    } catch (const std::exception& error) {
        const std::string why =
            std::string("note: what legacy's traffic can show is not known: ") + error.what();
        std::cerr << text::wrap(escaped(why), paper_of(options).width, 2) << '\n';
        return std::nullopt;
    }
}

void print_plan(const Options& options, const Check& asked, const Policy& policy,
                const std::optional<Plan>& plan) {
    std::cout << "\nWhat your traffic can show";
    if (plan) {
        std::cout << '\n'
                  << text::plan_page(policy, *plan, options.width > 0 ? options.width : 100);
    } else {
        std::cout << ": canaryctl check " << escaped(asked.file) << " --traffic 60/min\n";
    }
}

int check(const Options& options, const Check& asked) {
    const std::string path = policy_path(options, asked.file);
    const ParsedPolicy parsed = parse_policy(read_file(path), path);
    if (options.json) {
        json::value document = checked_json(path, parsed);
        if (parsed.policy) {
            const Policy requests = without_counts(*parsed.policy);
            const auto plan = known_plan(options, requests, asked.traffic);
            document.as_object()["plan"] =
                plan ? json::value(plan_json(requests, *plan)) : json::value(nullptr);
        }
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
    // A traffic that cannot be read is said before anything is printed.
    const bool stated = !asked.traffic.empty();
    const Policy requests = without_counts(*parsed.policy);
    std::optional<Plan> plan;
    if (stated) plan = known_plan(options, requests, asked.traffic);
    std::cout << text::policy_page(*parsed.policy, asked.explain) << std::flush;
    note_connections(options, *parsed.policy);
    const std::string route = route_note(options, *parsed.policy);
    if (!route.empty()) std::cerr << "note: router: " << escaped(route) << '\n';
    if (!stated) plan = known_plan(options, requests, "");
    print_plan(options, asked, requests, plan);
    return done;
}

}  // namespace

void add_check(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<Check>();
    CLI::App* command = app.add_subcommand(
        "check",
        "what a policy will do and what its traffic can show; or every mistake, with its place");
    command->add_option("policy", asked->file, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command->add_flag("--explain", asked->explain, "every field with its value, defaults too");
    command
        ->add_option(
            "--traffic", asked->traffic,
            "what that traffic can show, see plan; else the table of the policy's source, where "
            "the settings name its connection and it is read within 5 s")
        ->type_name("N/min[, AGENT=SHARE…]|FILE");
    command->footer(
        "Examples:\n  canaryctl check policies/checkout.yaml\n"
        "  canaryctl check policies/checkout.yaml --traffic 2/min\n"
        "  canaryctl check checkout --explain --config /etc/canaryd/canaryd.yaml\n\n"
        "Exit codes: 0 good, 1 mistakes. No daemon is needed.");
    command->callback([&options, &code, asked] { code = check(options, *asked); });
}

}  // namespace canaryd::ctl
