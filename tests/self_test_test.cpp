// Legacy against itself: what acts there is false, and the assumption that broke is named.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "canaryd/self_test.hpp"
#include "canaryd/text.hpp"

using namespace canaryd;
using namespace std::chrono_literals;

namespace {

Policy a_policy() {
    Policy policy;
    policy.name = "self";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.steps = {{"a", Weight{1000}, 168h}, {"b", everybody, 168h}};
    policy.criteria = {
        {"errors", "error_rate", Signal{}, 0.01},
        {"errors-vs-legacy", "error_rate", Signal{}, 0, Margin{1.2, 0.001}, Action::hold}};
    return policy;
}

/// One side's events in a look: how many users failed, and how often each.
struct Side {
    std::int64_t requests = 0, users = 0, each = 1;
};

Look look_of(TimePoint from, const Side& canary, const Side& baseline) {
    Look look;
    look.from = from;
    look.to = from + 5min;
    for (const auto& [who, side] :
         {std::pair{Population::canary, canary}, std::pair{Population::baseline, baseline}}) {
        Tally tally;
        tally.who = who;
        tally.requests = side.requests;
        tally.events = {Count{side.users * side.each, {}}};
        if (side.users > 0) {
            tally.events[0].first = {{from.time_since_epoch() / 60min, side.users}};
        }
        if (who == Population::canary) {
            tally.bursts = {Burst{side.users * side.each, side.users * side.each * side.each}};
        }
        look.on_time.push_back(std::move(tally));
    }
    return look;
}

/// A week of 60 requests a minute; `events` gives both sides' failing users by the look.
template <class Sides>
SelfTest week(const Policy& policy, unsigned seed, Sides sides) {
    SelfTester tester(policy, Weight{1000});
    std::mt19937_64 random(seed);
    for (int i = 0; i < 7 * 24 * 12; ++i) {
        const auto [canary, baseline] = sides(i, random);
        tester.add(look_of(TimePoint{480'000h} + i * 5min, canary, baseline));
    }
    return tester.result();
}

std::int64_t some(std::mt19937_64& random, double mean) {
    return mean > 0 ? std::poisson_distribution<std::int64_t>(mean)(random) : 0;
}

bool names(const std::vector<std::string>& warnings, const std::string& words) {
    return std::any_of(warnings.begin(), warnings.end(), [&](const std::string& warning) {
        return warning.find(words) != std::string::npos;
    });
}

}  // namespace

TEST_SUITE("self-test") {
    TEST_CASE("a legacy of independent requests breaks nothing") {
        const Policy policy = a_policy();
        const SelfTest test = week(policy, 1, [](int, auto& random) {
            return std::pair{Side{300, some(random, 1.5)}, Side{2700, some(random, 13.5)}};
        });
        CHECK(text::self_test_warnings(policy, test).empty());
        CHECK(test.requests == 300 * 7 * 24 * 12);
        CHECK(test.streams.size() == 2);
        CHECK(test.streams[0].dispersion < 1.7);
        CHECK(text::self_test_page(policy, test, 100).find("The assumptions hold.") !=
              std::string::npos);
    }

    TEST_CASE("a legacy above the limit is told to set another limit, or to compare") {
        const Policy policy = a_policy();
        const SelfTest test = week(policy, 2, [](int, auto& random) {
            return std::pair{Side{300, some(random, 4.5)}, Side{2700, some(random, 20)}};
        });
        const auto warnings = text::self_test_warnings(policy, test);
        CHECK(names(warnings, "errors: its evidence reached"));
        CHECK(names(warnings, "Set a limit above what legacy does"));
    }

    TEST_CASE("failures in waves are named as such, with a mend") {
        const Policy policy = a_policy();
        // Every eight hours half an hour fails a lot, on the pretended canary alone.
        const SelfTest test = week(policy, 3, [](int i, auto& random) {
            const bool wave = i % 96 < 6;
            return std::pair{Side{300, some(random, wave ? 15 : 0.5)},
                             Side{2700, some(random, 13.5)}};
        });
        const auto warnings = text::self_test_warnings(policy, test);
        CHECK(names(warnings, "come in waves"));
        CHECK(names(warnings, "count it as one"));
        CHECK(test.streams[0].dispersion > 3);
        // The line that tempers them is said, and is not said again to who has written it.
        SelfTest of_limits = test;
        of_limits.streams.resize(1);
        Policy tempered = policy;
        tempered.dispersion.limits = std::ceil(12 * test.streams[0].dispersion) / 10;
        const std::string line = "`dispersion: " + text::dispersion(tempered.dispersion) + "`";
        CHECK(names(text::self_test_warnings(policy, of_limits), line));
        CHECK_FALSE(names(text::self_test_warnings(tempered, of_limits), "dispersion:"));
    }

    TEST_CASE("counts without users never say that the assumptions hold") {
        const Policy policy = a_policy();
        SelfTest test = week(policy, 1, [](int, auto& random) {
            return std::pair{Side{300, some(random, 1.5)}, Side{2700, some(random, 13.5)}};
        });
        test.by_chance = true;
        const std::string page = text::self_test_page(policy, test, 1000);
        CHECK(page.find("The assumptions hold.") == std::string::npos);
        CHECK(page.find("counts without users") != std::string::npos);
    }

    TEST_CASE("a history of less than a week is told so") {
        const Policy policy = a_policy();
        SelfTest test;
        test.looks = 1;
        test.to = test.from + 7 * 24h;
        CHECK(text::self_test_warnings(policy, test).empty());
        test.to -= 5min;
        CHECK(names(text::self_test_warnings(policy, test), "only 6d 23h 55m of history"));
    }

    TEST_CASE("users that retry are counted once for harm, and the test shows both counts") {
        const Policy policy = a_policy();
        const SelfTest test = week(policy, 4, [](int, auto& random) {
            return std::pair{Side{300, some(random, 0.5), 4}, Side{2700, some(random, 4.5), 4}};
        });
        CHECK(test.streams[0].raw == 4 * test.streams[0].counted);
        CHECK(text::self_test_warnings(policy, test).empty());
    }

    TEST_CASE("a bucket without its share of the users is named") {
        const Policy policy = a_policy();
        CHECK(ln_sample_ratio(1'000, 10'000, 0.1) < std::log(doubtful_m));
        CHECK(ln_sample_ratio(1'040, 10'000, 0.1) < std::log(doubtful_m));
        CHECK(ln_sample_ratio(1'300, 10'000, 0.1) > std::log(doubtful_m));
        CHECK(ln_sample_ratio(700, 10'000, 0.1) > std::log(doubtful_m));
        CHECK(ln_sample_ratio(0, 0, 0.1) == 0);
        SelfTest test;
        test.weight = Weight{1000};
        test.users = 700;
        test.all_users = 10'000;
        CHECK(names(text::self_test_warnings(policy, test), "not spread evenly"));
    }

    TEST_CASE("requests without a user, and few users with most requests, are named") {
        const Policy policy = a_policy();
        SelfTest test;
        test.weight = Weight{1000};
        test.all_requests = 1'000;
        test.without_user = 400;
        CHECK(names(text::self_test_warnings(policy, test), "have no user"));
        test.without_user = 0;
        test.users = 10;
        test.all_users = 100;
        test.streams = {StreamTest{}};
        test.streams[0].limit = 0.01;
        test.users_per_request = 0.02;
        CHECK(names(text::self_test_warnings(policy, test), "Shorten harm_floor.within"));
        test.users_per_request = 0.5;
        CHECK(text::self_test_warnings(policy, test).empty());
    }

    TEST_CASE(
        "a trigger that fires on legacy is counted, unless the rest of legacy breaks it too") {
        Policy policy = a_policy();
        Trigger trigger;
        trigger.name = "burst";
        trigger.threshold = 0.05;
        trigger.over = 5min;
        trigger.needed = trigger.looks = 1;
        policy.triggers = {trigger};
        SelfTester tester(policy, Weight{1000});
        for (int i = 0; i < 20; ++i) {
            const TimePoint from = TimePoint{480'000h} + i * 5min;
            Look look = look_of(from, {300, 1}, {2700, 10});
            const bool ours = i == 4 || i == 5 || i == 12;
            const bool theirs = i == 12;
            for (const auto& [who, failed] :
                 {std::pair{Population::canary, ours}, std::pair{Population::baseline, theirs}}) {
                Window window;
                window.trigger = "burst";
                window.who = who;
                window.from = look.from;
                window.to = look.to;
                window.requests = 300;
                window.failures = window.users = failed ? 60 : 1;
                look.windows.push_back(window);
            }
            tester.add(look);
        }
        const TriggerTest test = tester.result().triggers.at(0);
        CHECK(test.fired == 1);
        CHECK(test.shared == 1);
        CHECK(test.first == TimePoint{480'000h} + 25min);
    }
}
