// plan: what a policy can show at a traffic, before day one. Part of check and start.
#include <algorithm>
#include <cctype>
#include <filesystem>
#include <iostream>

#include "daemon/ctl/ctl.hpp"
#include "daemon/log.hpp"
#include "daemon/units.hpp"

namespace canaryd::ctl {
namespace {

constexpr const char* traffic_form =
    "write \"N/min\" or \"N/min, AGENT=SHARE, …\" (also /s, /h, /d)";

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) return {};
    return std::string(text.substr(first, text.find_last_not_of(" \t") - first + 1));
}

std::vector<std::string> parts_of(const std::string& text, char by) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    while (true) {
        const std::size_t end = text.find(by, from);
        parts.push_back(trimmed(std::string_view(text).substr(from, end - from)));
        if (end == std::string::npos) return parts;
        from = end + 1;
    }
}

double per_minute_of(const std::string& text) {
    const std::size_t slash = text.find('/');
    const auto fault = [&](const std::string& what) {
        return Usage("--traffic " + as_written(text) + " " + what + "; " + traffic_form);
    };
    if (slash == std::string::npos) throw fault("says no time");
    const Read<double> count = read_number(trimmed(std::string_view(text).substr(0, slash)));
    if (!count.value) throw fault(count.fault);
    if (!(*count.value > 0 && *count.value <= 1e9)) throw fault("is not between 0 and 1e9");
    const std::string unit = trimmed(std::string_view(text).substr(slash + 1));
    if (unit == "s") return *count.value * 60;
    if (unit == "min" || unit == "m") return *count.value;
    if (unit == "h") return *count.value / 60;
    if (unit == "d") return *count.value / (24 * 60);
    throw fault("has an unknown time " + as_written(unit));
}

void name_segment(const Policy& policy, const std::string& part,
                  std::vector<std::optional<double>>& segments) {
    const std::size_t equals = part.find('=');
    const auto fault = [&](const std::string& what) {
        return Usage("--traffic: " + as_written(part) + " " + what);
    };
    if (equals == std::string::npos) throw fault(std::string("is no NAME=SHARE; ") + traffic_form);
    const std::string name = trimmed(std::string_view(part).substr(0, equals));
    const auto place = std::find(policy.segments.begin(), policy.segments.end(), name);
    if (place == policy.segments.end()) {
        const std::string near = nearest(name, policy.segments);
        throw fault("names no segment of the policy" +
                    (near.empty()
                         ? "; it has " + (policy.segments.empty() ? std::string("none")
                                                                  : text::list(policy.segments))
                         : "; did you mean " + near + "?"));
    }
    const Read<Share> share = read_share(trimmed(std::string_view(part).substr(equals + 1)));
    if (!share.value) throw fault(share.fault);
    auto& known = segments[static_cast<std::size_t>(place - policy.segments.begin())];
    if (known) throw fault("is said twice");
    known = share.value->value();
}

Traffic stated(const Policy& policy, const std::string& text) {
    const std::vector<std::string> parts = parts_of(text, ',');
    const double per_minute = per_minute_of(parts.front());
    std::vector<std::optional<double>> segments(policy.segments.size());
    for (std::size_t i = 1; i < parts.size(); ++i) name_segment(policy, parts[i], segments);
    double sum = 0;
    for (const auto& share : segments) sum += share.value_or(0);
    if (sum > 1 + 1e-9) throw Usage("--traffic: the shares are more than 100 % together");
    return stated_traffic(policy, per_minute, segments);
}

json::value rate_json(const std::optional<double>& rate) {
    return rate ? json::value(*rate) : json::value(nullptr);
}
json::value time_json(const std::optional<Duration>& time) {
    return time ? json::value(as_yaml(*time)) : json::value(nullptr);
}

json::object scope_json(const Policy& policy, const Plan& plan, const ScopePlan& scope) {
    json::array found;
    for (std::size_t i = 0; i < scope.found.size(); ++i) {
        const Smallest& one = scope.found[i];
        found.push_back(
            json::object{{"criterion", policy.criteria[plan.watches[i].claim.criterion].name},
                         {"within_1h", rate_json(one.hour)},
                         {"within_1d", rate_json(one.day)},
                         {"within_bake", rate_json(one.bake)},
                         {"begun_later_within_1d", rate_json(one.late)}});
    }
    return {{"segment", scope.segment.empty() ? json::value(nullptr) : json::value(scope.segment)},
            {"per_minute", scope.per_minute},
            {"smallest_found", std::move(found)}};
}

json::object step_json(const Policy& policy, const Plan& plan, const StepPlan& step) {
    json::array scopes;
    for (const ScopePlan& scope : step.scopes) scopes.push_back(scope_json(policy, plan, scope));
    json::array proofs;
    for (const ProofPlan& proof : step.proofs) {
        proofs.push_back(json::object{
            {"criterion", policy.criteria[plan.watches[proof.watch].claim.criterion].name},
            {"healthy_rate", proof.rate},
            {"half_proven_in", time_json(proof.even)},
            {"nearly_all_proven_in", time_json(proof.sure)},
            {"chance_by_bake", proof.by_bake},
            {"chance_by_max_step", proof.by_max_step},
            {"weight_that_would",
             proof.weight ? json::value(text::weight(*proof.weight)) : json::value(nullptr)},
            {"limit_that_would", rate_json(proof.limit)}});
    }
    json::array quiet;
    for (const std::string& segment : step.quiet) quiet.push_back(json::value(segment));
    return {{"step", step.name},
            {"weight", step.weight.share()},
            {"bake", as_yaml(step.bake)},
            {"per_minute", step.per_minute},
            {"chance_to_extend", step.extends},
            {"scopes", std::move(scopes)},
            {"proofs", std::move(proofs)},
            {"not_seen_enough", std::move(quiet)}};
}

struct PlanAsked {
    std::string file, traffic;
};

int plan(const Options& options, const PlanAsked& asked) {
    const std::string path = policy_path(options, asked.file);
    const ParsedPolicy parsed = parse_policy(read_file(path), path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused("no plan: " + path + " has mistakes, see above");
    }
    const Policy policy = policy_of_requests(options, *parsed.policy);
    const Plan made = plan_of(options, policy, asked.traffic);
    if (options.json) {
        print_json(plan_json(policy, made));
    } else {
        std::cout << text::plan_page(policy, made, options.width > 0 ? options.width : 100);
    }
    return done;
}

}  // namespace

Plan plan_of(const Options& options, const Policy& policy, const std::string& said,
             Duration patience) {
    std::error_code none;
    const bool number = !said.empty() && std::isdigit(static_cast<unsigned char>(said[0])) != 0;
    if (number && !std::filesystem::exists(said, none)) {
        return make_plan(policy, stated(policy, said));
    }
    if (!said.empty() && !std::filesystem::exists(said, none)) {
        throw Usage("--traffic " + as_written(said) + " is no file and no rate; " + traffic_form);
    }
    const Past past = read_past(options, policy, said, patience);
    Plan plan = make_plan(policy, past.traffic);
    add_past(policy, past.tests, past.traffic.measured, plan);
    return plan;
}

void preflight(const Options& options, const Policy& whole, bool accept_false_rollbacks) {
    const Policy policy = without_counts(whole);
    const auto note = [&](const std::string& words) {
        std::cerr << text::wrap("note: " + escaped(words), paper_of(options).width, 2) << '\n';
    };
    std::optional<Past> past;
    try {
        past = read_past(options, policy, "");
    } catch (const std::exception& error) {
        note(std::string("what legacy's traffic can show is not known: ") + error.what());
        return;
    }
    Plan plan = make_plan(policy, past->traffic);
    add_past(policy, past->tests, past->traffic.measured, plan);
    for (const std::string& gap : text::plan_gaps(policy, plan)) note(gap);
    // What breaks at one weight breaks at those above it: the first that does is said.
    for (const SelfTest& test : past->tests) {
        const std::vector<std::string> warnings = text::self_test_warnings(policy, test);
        for (const std::string& warning : warnings) {
            note("legacy against itself, " + text::weight(test.weight) +
                 " as the canary: " + warning);
        }
        if (!warnings.empty()) break;
    }
    const std::vector<std::string> eager = text::eager_triggers(policy, plan);
    // A few hours say too little of a day to refuse anything by.
    const bool enough = past->traffic.measured >= std::chrono::hours{24};
    if (eager.empty()) return;
    if (accept_false_rollbacks || !enough) {
        for (const std::string& sentence : eager) note(sentence);
        return;
    }
    std::string why = "nothing was started: ";
    for (const std::string& sentence : eager) why += sentence + "\n";
    throw Refused(why + "Start all the same: --accept-false-rollbacks");
}

json::object plan_json(const Policy& policy, const Plan& plan) {
    json::array steps;
    for (const StepPlan& step : plan.steps) steps.push_back(step_json(policy, plan, step));
    json::array triggers;
    for (const TriggerPlan& trigger : plan.triggers) {
        triggers.push_back(
            json::object{{"trigger", trigger.name},
                         {"false_firings_per_rollout", rate_json(trigger.per_rollout)},
                         {"on_history_per_rollout", rate_json(trigger.replayed)},
                         {"refused", trigger.too_eager()},
                         {"why_unknown", trigger.why}});
    }
    json::array gaps;
    for (const std::string& gap : text::plan_gaps(policy, plan)) gaps.push_back(json::value(gap));
    return {{"name", policy.name},
            {"per_minute", plan.traffic.per_minute},
            {"measured_over", as_yaml(plan.traffic.measured)},
            {"steps", std::move(steps)},
            {"triggers", std::move(triggers)},
            {"cannot_be_shown", std::move(gaps)}};
}

void add_plan(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<PlanAsked>();
    CLI::App* command = app.add_subcommand(
        "plan", "what a policy can show at a traffic: faults found, time to prove, false alarms");
    command->add_option("policy", asked->file, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command
        ->add_option("--traffic", asked->traffic,
                     "requests of all users, or a file of them as for backtest; else the table "
                     "of the policy's source")
        ->type_name("N/min[, AGENT=SHARE…]|FILE");
    command->footer(
        "Examples:\n  canaryctl plan checkout\n"
        "  canaryctl plan policies/checkout.yaml --traffic 60/min\n"
        "  canaryctl plan checkout --traffic '2/min, jobs=30%, rides=5%'\n\n"
        "No daemon is needed.");
    command->callback([&options, &code, asked] { code = plan(options, *asked); });
}

}  // namespace canaryd::ctl
