// backtest: a policy on recorded metrics, before anybody is moved. Needs no daemon.
#include "daemon/ctl/backtest/history.hpp"

#include <filesystem>
#include <fstream>
#include <iostream>

#include "daemon/ctl/backtest/report.hpp"
#include "daemon/ctl/ctl.hpp"
#include "daemon/ctl/database.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* lesson = R"(Records (--from), told apart by their first bytes:
  TABLE         of the policy's source connection in canaryd.yaml (the default:
                the policy's own table), or a SQLite file that has it. Of
                PostgreSQL the newest 14 days; $DATABASE_URL, if it is set, in
                place of the daemon's credential
  rows.csv      the metrics table with its column names: webhook_name, status,
                created_at, duration_ms (or started_at and completed_at),
                user_id, and the policy's segment column
  counts.csv    time, requests, errors, slow_2s (one for each latency limit of
                the policy); webhook_name and the segment column if there are
                any. A row counts what follows its time, up to the next row
  access.log    a web server's log in combined format. An address is a user,
                a segment is a part of the path (or --segment), an answer from
                500 on has failed; the latency is what stands behind the user
                agent: seconds with a point, or whole microseconds

Faults (--inject, any number):
  "errors 2% from=3d"               2 % of the canary's good requests fail
  "slow 20% agent=jobs until=12h"   take longer than the criteria allow
  "errors 100% from=2d until=2d30m both"   the legacy as well: a shared outage

Examples:
  canaryctl backtest policies/checkout.yaml --from metrics.csv
  canaryctl backtest checkout --from counts.csv --inject "errors 2% from=3d" \
      --html backtest.html

Exit codes: 0 it went as far as the records or the plan go, 1 a mistake in the
policy, the records or a fault, 3 rolled back, 4 held or waiting for a person.
No daemon is needed, and nothing is changed.)";

struct BacktestAsked {
    std::string policy;
    std::string from;
    std::vector<std::string> injections;
    std::string html;
    std::uint64_t seed = 1;
    bool repeat = false;
    bool ignore_latency = false;
    std::string path;
    std::vector<std::string> segments;
};

void read_segments(const Policy& policy, const BacktestAsked& asked, backtest::Reading& reading) {
    for (const std::string& word : asked.segments) {
        const std::size_t equals = word.rfind('=');
        if (equals == std::string::npos || equals == 0) {
            throw Usage("--segment " + as_written(word) + ": write PATH-PREFIX=NAME");
        }
        const std::string name = word.substr(equals + 1);
        const auto& names = policy.segments;
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            const std::string near = nearest(name, names);
            throw Usage("--segment: " + as_written(name) + " is no " +
                        (policy.segment.empty() ? "segment" : policy.segment) + " of the policy" +
                        (near.empty() ? "" : "; did you mean " + near + "?"));
        }
        reading.log.segments.emplace_back(word.substr(0, equals), name);
    }
}

void write_file(const std::string& path, const std::string& bytes) {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file << bytes;
    file.close();
    if (!file) throw Refused(path + ": cannot be written");
}

int run_backtest(const Options& options, const BacktestAsked& asked) {
    const std::string path = policy_path(options, asked.policy);
    backtest::Plan plan;
    plan.policy_text = read_file(path);
    plan.policy_file = path;
    plan.seed = asked.seed;
    plan.repeat = asked.repeat;
    const ParsedPolicy parsed = parse_policy(plan.policy_text, path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused(path + " has mistakes, see above");
    }
    const Policy whole = policy_of_requests(options, *parsed.policy);
    const Policy policy = asked.ignore_latency ? backtest::without_latency(whole) : whole;
    for (const std::string& text : asked.injections) {
        backtest::ReadInjection read = backtest::read_injection(policy, text);
        if (!read.value) throw Usage(read.fault);
        plan.injections.push_back(std::move(*read.value));
    }
    backtest::Reading reading = reading_of(options, policy, asked.from);
    reading.log.only = asked.path;
    read_segments(policy, asked, reading);
    const backtest::History history = backtest::read_history(policy, reading);
    const backtest::Result result = backtest::replay(policy, history, plan);
    const backtest::Report report{policy, history, plan, result};
    if (!asked.html.empty()) write_file(asked.html, backtest::as_html(report));
    if (options.json) {
        std::cout << backtest::as_json(report) << '\n';
    } else {
        std::cout << backtest::page(report, paper_of(options));
        if (!asked.html.empty()) std::cout << "\nCharts: " << escaped(asked.html) << '\n';
    }
    return backtest::exit_code_of(report);
}

}  // namespace

backtest::Reading reading_of(const Options& options, const Policy& policy,
                             const std::string& from) {
    backtest::Reading reading;
    std::error_code none;
    if (!from.empty() && std::filesystem::exists(from, none)) {
        reading.from = from;
        return reading;
    }
    const bool like_a_file = from.find_first_of("./") != std::string::npos;
    if (like_a_file) throw Refused(from + ": there is no such file");
    const Settings settings = load_settings(options);
    const auto found = settings.connections.find(policy.source.connection);
    if (found == settings.connections.end()) {
        throw Refused("the policy's source is connection \"" + policy.source.connection +
                      "\", which is not in canaryd.yaml; name its file with --config, or give "
                      "records with --from FILE");
    }
    reading.table = from;
    if (found->second.kind == "postgres") {
        // What the daemon reads by a credential, a person reads by an address of their own.
        reading.database =
            names_database("") ? database_of("") : postgres::Target::of(found->second);
    } else if (found->second.kind == "sqlite") {
        reading.from = found->second.path;
    } else {
        throw Refused("connection \"" + policy.source.connection + "\" is of kind " +
                      found->second.kind + "; give records with --from FILE");
    }
    return reading;
}

void add_backtest(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<BacktestAsked>();
    CLI::App* command = app.add_subcommand(
        "backtest", "play a policy on recorded metrics: what would have happened, and when");
    command->add_option("policy", asked->policy, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command->add_option("--from", asked->from, "the records; see below")->type_name("TABLE|FILE");
    command->add_option("--inject", asked->injections, "a fault that never was; see below")
        ->type_name("FAULT")
        ->expected(1)
        ->take_all();
    command->add_option("--html", asked->html, "write a page with charts, for a browser or paper")
        ->type_name("FILE");
    command->add_option("--seed", asked->seed, "of the faults and of what counts are split by")
        ->type_name("N")
        ->capture_default_str();
    command->add_flag("--repeat", asked->repeat,
                      "play the records again, in whole days, until the plan is over");
    command->add_flag("--ignore-latency", asked->ignore_latency,
                      "leave out what is about latency, for records that have none");
    command->add_option("--path", asked->path, "log: only requests whose path begins so")
        ->type_name("PREFIX");
    command->add_option("--segment", asked->segments, "log: the segment of a path")
        ->type_name("PREFIX=NAME")
        ->expected(1)
        ->take_all();
    command->footer(lesson);
    command->callback([&options, &code, asked] { code = run_backtest(options, *asked); });
}

}  // namespace canaryd::ctl
