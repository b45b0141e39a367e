// aa: the statistics on legacy's own history, one part of its users as the canary; and what the
// planner wants to know of that history. Part of start's preflight.
#include <algorithm>
#include <iostream>
#include <unordered_set>

#include "daemon/ctl/backtest/arms.hpp"
#include "daemon/ctl/backtest/looks.hpp"
#include "daemon/ctl/ctl.hpp"
#include "daemon/units.hpp"

namespace canaryd::ctl {
namespace {

using backtest::Arms;
using backtest::History;
using backtest::Looks;
using backtest::Played;

/// Every look of the history at this weight, no fault added.
template <class Take>
void play(const Policy& policy, const History& history, Weight weight, Take take) {
    const std::vector<backtest::Injection> none;
    const Arms arms(policy, history, none, 1);
    Looks looks(policy, history);
    for (std::int64_t i = 0; i < history.looks; ++i) {
        Ask ask;
        ask.from = history.begin + i * history.look;
        ask.to = ask.from + history.look;
        ask.gate_from = ask.windows_from = history.begin;
        Played played = arms.play(i, weight);
        const Played::Side side = played.sides[0];
        take(side, looks.next(ask, std::move(played)));
    }
}

struct Sums {
    std::vector<std::int64_t> requests, events;  // by scope; by signal
    std::vector<Burst> bursts;
    std::array<std::int64_t, 24> by_hour{};
    std::array<std::int64_t, 24> looks{};
};

Sums sums_of(const Policy& policy, const History& history, std::size_t signals) {
    Sums sums;
    sums.requests.resize(1 + policy.segments.size());
    sums.events.resize(signals);
    sums.bursts.resize(signals_of(policy).size());
    play(policy, history, everybody, [&](const Played::Side& side, const Look& look) {
        for (std::size_t i = 0; i < sums.requests.size(); ++i) sums.requests[i] += side.requests[i];
        for (std::size_t i = 0; i < signals; ++i) sums.events[i] += side.events[i];
        const auto& bursts = look.on_time.front().bursts;
        for (std::size_t i = 0; i < bursts.size(); ++i) {
            sums.bursts[i].sum_e += bursts[i].sum_e;
            sums.bursts[i].sum_e2 += bursts[i].sum_e2;
        }
        const auto hour = static_cast<std::size_t>(
            std::chrono::floor<std::chrono::hours>(look.from).time_since_epoch().count() % 24);
        sums.by_hour[hour] += side.requests[0];
        ++sums.looks[hour];
    });
    return sums;
}

Traffic measured_traffic(const Policy& policy, const History& history) {
    const std::vector<Signal> signals = backtest::replayed_signals(policy);
    const Sums sums = sums_of(policy, history, signals.size());
    const Duration whole = history.looks * history.look;
    const auto all = static_cast<double>(std::max<std::int64_t>(sums.requests[0], 1));
    Traffic traffic;
    traffic.measured = whole;
    traffic.per_minute =
        static_cast<double>(sums.requests[0]) / (static_cast<double>(whole.count()) / 60'000);
    for (std::size_t i = 0; i < policy.segments.size(); ++i) {
        traffic.segments.push_back(static_cast<double>(sums.requests[i + 1]) / all);
    }
    const auto rate = [&](std::size_t i) { return static_cast<double>(sums.events[i]) / all; };
    for (std::size_t i = 0; i < sums.bursts.size(); ++i) {
        traffic.healthy.push_back(rate(i));
        traffic.bursts.push_back(burst_size(sums.bursts[i].sum_e, sums.bursts[i].sum_e2));
    }
    for (const Trigger& trigger : policy.triggers) {
        const auto place = std::find(signals.begin(), signals.end(), trigger.signal);
        const auto i = static_cast<std::size_t>(place - signals.begin());
        const bool known = trigger.kind == Trigger::Kind::share && i < signals.size() &&
                           (history.has_users || history.counts.known[i]);
        traffic.triggers.push_back(known ? std::optional(rate(i)) : std::nullopt);
    }
    double sum = 0;
    for (std::size_t hour = 0; hour < traffic.hours.size(); ++hour) {
        // Hours that the history does not have are taken as the mean.
        const double looks = static_cast<double>(sums.looks[hour]);
        const double mean = all / static_cast<double>(history.looks);
        traffic.hours[hour] =
            looks > 0 ? static_cast<double>(sums.by_hour[hour]) / looks / mean : 1;
        sum += traffic.hours[hour];
    }
    for (double& hour : traffic.hours) hour *= static_cast<double>(traffic.hours.size()) / sum;
    return traffic;
}

/// How many different users make the requests of one block.
void add_users(const Policy& policy, const History& history, SelfTest& test) {
    test.all_requests = history.requests;
    test.by_chance = !history.has_users;
    if (test.by_chance) return;
    test.all_users = static_cast<std::int64_t>(history.users.size());
    test.users =
        std::count_if(history.users.begin(), history.users.end(), [&](const backtest::User& user) {
            return static_cast<int>(user.bucket) < test.weight.basis_points;
        });
    std::unordered_set<std::uint32_t> in_block;
    std::int64_t block = 0;
    std::int64_t different = 0;
    for (const backtest::Recorded& request : history.recorded) {
        const std::int64_t now =
            block_of(history.begin + std::chrono::seconds{request.second}, policy.floor_within);
        if (now != block) in_block.clear();
        block = now;
        const bool nobody = request.user == backtest::not_known;
        test.without_user += nobody ? 1 : 0;
        different += nobody || in_block.insert(request.user).second ? 1 : 0;
    }
    test.users_per_request = static_cast<double>(different) /
                             static_cast<double>(std::max<std::size_t>(history.recorded.size(), 1));
}

SelfTest self_test(const Policy& policy, const History& history, Weight weight) {
    SelfTester tester(policy, weight);
    play(policy, history, weight, [&](const Played::Side&, const Look& look) { tester.add(look); });
    SelfTest test = tester.result();
    add_users(policy, history, test);
    return test;
}

struct SelfTestAsked {
    std::string file, from;
    std::string weight = "10%";
};

json::object self_test_json(const Policy& policy, const SelfTest& test) {
    json::array streams;
    for (const StreamTest& stream : test.streams) {
        streams.push_back(json::object{{"stream", stream.name},
                                       {"then", std::string(text::name(stream.then))},
                                       {"requests", stream.requests},
                                       {"events", stream.raw},
                                       {"counted", stream.counted},
                                       {"dispersion", stream.dispersion},
                                       {"highest", std::exp(std::min(stream.highest, 300.0))}});
    }
    json::array warnings;
    for (const std::string& warning : text::self_test_warnings(policy, test)) {
        warnings.push_back(json::value(warning));
    }
    return {{"name", policy.name},
            {"from", text::iso(test.from)},
            {"to", text::iso(test.to)},
            {"weight", test.weight.share()},
            {"requests", test.requests},
            {"users", test.users},
            {"all_users", test.all_users},
            {"streams", std::move(streams)},
            {"warnings", std::move(warnings)}};
}

int aa(const Options& options, const SelfTestAsked& asked) {
    const Read<Weight> weight = read_weight(asked.weight);
    if (!weight.value) throw Usage("--share " + as_written(asked.weight) + " " + weight.fault);
    if (*weight.value <= nobody || *weight.value >= everybody) {
        throw Usage("--share " + as_written(asked.weight) +
                    " leaves nobody on one side; write 10%");
    }
    const std::string path = policy_path(options, asked.file);
    const ParsedPolicy parsed = parse_policy(read_file(path), path);
    if (!parsed.policy) {
        print_problems(parsed.problems);
        throw Refused("no self-test: " + path + " has mistakes, see above");
    }
    const Policy policy = policy_of_requests(options, *parsed.policy);
    const History history = backtest::read_history(policy, reading_of(options, policy, asked.from));
    const SelfTest test = self_test(policy, history, *weight.value);
    if (options.json) {
        print_json(self_test_json(policy, test));
    } else {
        std::cout << text::self_test_page(policy, test, options.width > 0 ? options.width : 100);
    }
    return done;
}

}  // namespace

Past read_past(const Options& options, const Policy& policy, const std::string& file,
               Duration patience) {
    backtest::Reading reading = reading_of(options, policy, file);
    reading.patience = patience;
    const History history = backtest::read_history(policy, reading);
    if (history.looks <= 0 || history.requests <= 0) {
        throw Refused(history.what + ": no request of the legacy");
    }
    Past past;
    past.traffic = measured_traffic(policy, history);
    for (const Step& step : policy.steps) {
        past.tests.push_back(self_test(policy, history, step.weight));
    }
    return past;
}

void add_aa(CLI::App& app, const Options& options, int& code) {
    const auto asked = std::make_shared<SelfTestAsked>();
    CLI::App* command = app.add_subcommand(
        "aa", "the statistics on legacy's own history: which assumption breaks, and what mends it");
    command->add_option("policy", asked->file, "a file, or a name in the policies folder")
        ->type_name("FILE|NAME")
        ->required();
    command
        ->add_option("--from", asked->from,
                     "a file of requests, as for backtest; else the table of the policy's source")
        ->type_name("FILE");
    command->add_option("--share", asked->weight, "of the users who play the canary; 10%")
        ->type_name("SHARE");
    command->footer(
        "Both sides are legacy, so nothing should act: at 20 to 1 a stream is doubtful, which\n"
        "happens to one good installation in 20. It warns and never refuses; start runs it too.\n\n"
        "Examples:\n  canaryctl aa policies/checkout.yaml\n"
        "  canaryctl aa checkout --from metrics.csv\n\n"
        "Exit codes: 0 tested, whatever it found; 1 no history. No daemon is needed.");
    command->callback([&options, &code, asked] { code = aa(options, *asked); });
}

}  // namespace canaryd::ctl
