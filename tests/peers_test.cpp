// The small models of other people's judges against the figures worked out from their sources, and
// the traffic that they are compared on.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "tests/bench/evidence/peers/argo.hpp"
#include "tests/bench/evidence/peers/flagger.hpp"
#include "tests/bench/evidence/peers/threshold.hpp"
#include "tests/bench/evidence/traffic.hpp"
#include "tests/shares.hpp"

using namespace canaryd::peers;
using canaryd::comparison::Random;
namespace comparison = canaryd::comparison;

namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();
constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int week = 2016;  // looks of five minutes

constexpr int weeks = 1000;

/// Weeks of these in which a rule acts although each look fails by chance alone.
template <class Acts>
int weeks_lost(double chance, Acts acts) {
    int lost = 0;
    for (int trial = 0; trial < weeks; ++trial) {
        Random random(static_cast<std::uint64_t>(trial));
        auto rule = acts();
        bool out = false;
        for (int look = 0; look < week && !out; ++look) out = rule(random.uniform() < chance);
        lost += out ? 1 : 0;
    }
    return lost;
}

auto flagger_counter(int threshold) {
    return [threshold] {
        FlaggerRules rules;
        rules.ladder = {10, 50, 100};
        rules.threshold = threshold;
        Flagger flagger(rules);
        flagger.tick({});
        flagger.tick({});
        return [flagger](bool failed) mutable {
            flagger.tick({!failed, false});
            return flagger.phase() == Flagger::Phase::failed;
        };
    };
}
auto in_a_row(int needed) {
    return [needed] {
        return [rule = InARow(needed)](bool failed) mutable { return rule.look(failed); };
    };
}

Flagger started(FlaggerRules rules) {
    Flagger flagger(std::move(rules));
    flagger.tick({});
    return flagger;
}

ArgoRules every_five_minutes() {
    ArgoRules rules;
    rules.interval = std::chrono::minutes{5};
    return rules;
}

}  // namespace

TEST_SUITE("peers") {
    // --- Thresholds -----------------------------------------------------------------------------

    TEST_CASE("a threshold breaks above its limit, and never without a request") {
        CHECK(above({100, 2}, 0.01));
        CHECK_FALSE(above({100, 1}, 0.01));
        CHECK_FALSE(above({0, 0}, 0.01));
    }

    TEST_CASE("a threshold of 1 % at 0.5 % errors: 6.5 % of windows of 300 requests break it") {
        constexpr int windows = 20'000;
        const auto broken = [](std::int64_t requests) {
            Random random(static_cast<std::uint64_t>(requests));
            int count = 0;
            for (int i = 0; i < windows; ++i) {
                const Count window{requests, random.poisson(0.005 * static_cast<double>(requests))};
                count += above(window, 0.01) ? 1 : 0;
            }
            return count;
        };
        canaryd::check_share(broken(300), windows, 0.0656);
        CHECK(broken(15'000) == 0);
    }

    TEST_CASE("three in a row are three in a row") {
        InARow rule(3);
        for (const bool breached : {true, true, false, true, true})
            CHECK_FALSE(rule.look(breached));
        CHECK(rule.look(true));
    }

    TEST_CASE("a week of checks ends cumulative counters, and rows much less often") {
        struct Lost {
            double chance;
            double once, of_5, of_10, of_20;  // by a counter of so many failed checks
            double two, three, five;          // by so many in a row
        };
        constexpr Lost all[] = {{0.0005, 0.635, 0.004, 0, 0, 0.0005, 2.5e-7, 0},
                                {0.001, 0.867, 0.054, 0, 0, 0.002, 2e-6, 0},
                                {0.005, 1, 0.972, 0.552, 0.004, 0.049, 2.5e-4, 0},
                                {0.01, 1, 1, 0.996, 0.544, 0.181, 0.002, 2e-7}};
        const auto check = [](int lost, double want) { canaryd::check_share(lost, weeks, want); };
        for (const Lost& row : all) {
            CAPTURE(row.chance);
            check(weeks_lost(row.chance, flagger_counter(1)), row.once);
            check(weeks_lost(row.chance, flagger_counter(5)), row.of_5);
            check(weeks_lost(row.chance, flagger_counter(10)), row.of_10);
            check(weeks_lost(row.chance, flagger_counter(20)), row.of_20);
            check(weeks_lost(row.chance, in_a_row(2)), row.two);
            check(weeks_lost(row.chance, in_a_row(3)), row.three);
            check(weeks_lost(row.chance, in_a_row(5)), row.five);
        }
    }

    // --- Flagger --------------------------------------------------------------------------------

    TEST_CASE("Flagger: 10, 50, 100 and promoted, a tick each") {
        Flagger flagger({{10, 50, 100}, 0, 0, 1});
        const int weights[] = {0, 10, 50, 100, 100, 0, 0};
        const Flagger::Phase phases[] = {Flagger::Phase::progressing, Flagger::Phase::progressing,
                                         Flagger::Phase::progressing, Flagger::Phase::progressing,
                                         Flagger::Phase::promoting,   Flagger::Phase::finalising,
                                         Flagger::Phase::succeeded};
        for (std::size_t i = 0; i < 7; ++i) {
            flagger.tick({});
            CHECK(flagger.weight() == weights[i]);
            CHECK(flagger.phase() == phases[i]);
        }
    }

    TEST_CASE("Flagger: a breach at minute 11 with a threshold of 3 rolls back at minute 30") {
        Flagger flagger({{10, 50, 100}, 0, 0, 3});
        std::map<int, int> failed_at;
        int minute = 0;
        for (; flagger.phase() != Flagger::Phase::failed && minute < 100; minute += 5) {
            const int before = flagger.failed_checks();
            flagger.tick({minute < 11, true});
            if (flagger.failed_checks() > before) failed_at[minute] = flagger.failed_checks();
        }
        CHECK(failed_at == std::map<int, int>{{15, 1}, {20, 2}, {25, 3}});
        CHECK(minute - 5 == 30);
        CHECK(flagger.weight() == 0);
    }

    TEST_CASE("Flagger: the weight is capped at 100, not at maxWeight") {
        Flagger flagger = started({{}, 30, 50, 1});
        flagger.tick({});
        CHECK(flagger.weight() == 30);
        flagger.tick({});
        CHECK(flagger.weight() == 60);
        flagger.tick({});
        CHECK(flagger.phase() == Flagger::Phase::promoting);
    }

    TEST_CASE("Flagger: a weight that is no rung goes to 100 %") {
        Flagger flagger = started({{10, 50, 100}, 0, 0, 1});
        flagger.set_weight(20);
        flagger.tick({});
        CHECK(flagger.weight() == 100);
    }

    TEST_CASE("Flagger: a restart is a tick, so a crash loop promotes") {
        Flagger flagger({{10, 50, 100}, 0, 0, 1});
        for (int restart = 0; restart < 5; ++restart) flagger.tick({});
        CHECK(flagger.phase() == Flagger::Phase::promoting);
    }

    TEST_CASE("Flagger: failed checks stay for the rollout's life, a closed gate counts none") {
        Flagger flagger = started({{10, 50, 100}, 0, 0, 2});
        flagger.tick({});
        flagger.tick({false, false});
        for (int look = 0; look < week; ++look) flagger.tick({true, false});
        CHECK(flagger.weight() == 10);
        CHECK(flagger.failed_checks() == 1);
        flagger.tick({false, false});
        CHECK(flagger.phase() == Flagger::Phase::progressing);
        flagger.tick({true, true});
        CHECK(flagger.phase() == Flagger::Phase::failed);
        flagger.restart_analysis();
        CHECK(flagger.failed_checks() == 0);
    }

    TEST_CASE("Flagger: no value and NaN are failed checks, an infinite one may pass") {
        const FlaggerRange success{99.0, std::nullopt};
        CHECK(flagger_passes(99.0, success));
        CHECK_FALSE(flagger_passes(98.9, success));
        CHECK_FALSE(flagger_passes(not_a_number, success));
        CHECK_FALSE(flagger_passes(std::nullopt, success));
        CHECK(flagger_passes(infinity, success));
        CHECK_FALSE(flagger_passes(501, {std::nullopt, 500.0}));
    }

    // --- Argo -----------------------------------------------------------------------------------

    TEST_CASE("Argo: what a measurement is") {
        const ArgoCondition good = [](double r) { return r >= 0.95; };
        const ArgoCondition bad = [](double r) { return r < 0.95; };
        CHECK(argo_measure(0.9, good, {}) == Measured::failed);
        CHECK(argo_measure(0.9, {}, bad) == Measured::failed);
        CHECK(argo_measure(0.99, good, bad) == Measured::successful);
        CHECK(argo_measure(not_a_number, good, {}) == Measured::failed);
        CHECK(argo_measure(not_a_number, {}, bad) == Measured::successful);
        CHECK(argo_measure(not_a_number, good, bad) == Measured::inconclusive);
        CHECK(argo_measure(infinity, good, {}) == Measured::successful);
        CHECK(argo_measure(0.1, {}, {}) == Measured::successful);
        CHECK(argo_measure(std::nullopt, good, bad) == Measured::error);
        CHECK(argo_measure(
                  2, [](double r) { return r > 1; }, [](double r) { return r > 1; }) ==
              Measured::failed);
    }

    TEST_CASE("Argo: more failures than the limit, in all the run's life, end it") {
        ArgoRules rules = every_five_minutes();
        rules.failure_limit = 3;
        ArgoMetric metric(rules);
        for (int failures = 1; failures <= 3; ++failures) {
            metric.add(Measured::failed);
            for (int look = 0; look < 100; ++look) metric.add(Measured::successful);
        }
        CHECK(metric.phase() == ArgoPhase::running);
        metric.add(Measured::failed);
        CHECK(metric.phase() == ArgoPhase::failed);

        ArgoMetric strict(every_five_minutes());
        strict.add(Measured::failed);
        CHECK(strict.phase() == ArgoPhase::failed);
        rules.failure_limit = -1;
        ArgoMetric off(rules);
        for (int look = 0; look < 100; ++look) off.add(Measured::failed);
        CHECK(off.phase() == ArgoPhase::running);
    }

    TEST_CASE("Argo: five errors in a row abort after 40 s, or 190 s with 30 s for each") {
        for (const int each : {0, 30}) {
            ArgoMetric metric(every_five_minutes());
            int seconds = 0;
            for (auto wait = metric.next_after(); wait; wait = metric.next_after()) {
                seconds += static_cast<int>(wait->count()) + each;
                metric.add(Measured::error);
            }
            CHECK(metric.phase() == ArgoPhase::error);
            CHECK(seconds == (each == 0 ? 40 : 190));
        }
        ArgoMetric forgiven(every_five_minutes());
        for (int i = 0; i < 50; ++i)
            forgiven.add(i % 5 == 4 ? Measured::successful : Measured::error);
        CHECK(forgiven.phase() == ArgoPhase::running);
    }

    TEST_CASE("Argo: the count of measurements, and errors do not count") {
        CHECK(ArgoRules{}.effective_count() == 1);
        CHECK_FALSE(every_five_minutes().effective_count());
        ArgoRules rules = every_five_minutes();
        rules.count = 2;
        ArgoMetric metric(rules);
        CHECK(metric.phase() == ArgoPhase::pending);
        metric.add(Measured::successful);
        metric.add(Measured::error);
        CHECK(metric.phase() == ArgoPhase::running);
        CHECK(metric.next_after() == std::chrono::seconds{10});
        metric.add(Measured::successful);
        CHECK(metric.phase() == ArgoPhase::successful);
        CHECK_FALSE(metric.next_after());
    }

    TEST_CASE("Argo: inconclusive hides failed, an error hides both") {
        ArgoRules rules = every_five_minutes();
        rules.consecutive_error_limit = 0;
        ArgoMetric metric(rules);
        metric.add(Measured::failed);
        metric.add(Measured::inconclusive);
        CHECK(metric.phase() == ArgoPhase::inconclusive);
        metric.add(Measured::error);
        CHECK(metric.phase() == ArgoPhase::error);
    }

    TEST_CASE("Argo: a run is as bad as its worst metric, and what it cut short is a success") {
        ArgoMetric fine(every_five_minutes());
        ArgoMetric unmeasured(every_five_minutes());
        ArgoMetric failed(every_five_minutes());
        failed.add(Measured::failed);
        fine.add(Measured::successful);
        CHECK(argo_run({fine, unmeasured}) == ArgoPhase::pending);
        CHECK(argo_run({fine, unmeasured}, true) == ArgoPhase::successful);
        CHECK(argo_run({fine, unmeasured, failed}) == ArgoPhase::failed);
        ArgoRules dry = every_five_minutes();
        dry.dry_run = true;
        ArgoMetric told(dry);
        told.add(Measured::failed);
        CHECK(argo_run({fine, told}) == ArgoPhase::running);

        CHECK(argo_effect(ArgoPhase::inconclusive) == ArgoEffect::pause);
        CHECK(argo_effect(ArgoPhase::error) == ArgoEffect::abort);
        CHECK(argo_effect(ArgoPhase::failed) == ArgoEffect::abort);
        CHECK(argo_effect(ArgoPhase::running) == ArgoEffect::go_on);
    }

    // --- Traffic --------------------------------------------------------------------------------

    TEST_CASE("the traffic's Poisson counts have their mean and variance, small and large") {
        for (const double mean : {0.02, 0.7, 9.9, 10.1, 45.0, 15'000.0}) {
            Random random(42);
            constexpr int draws = 40'000;
            double sum = 0;
            double squares = 0;
            for (int i = 0; i < draws; ++i) {
                const double off = static_cast<double>(random.poisson(mean)) - mean;
                sum += off;
                squares += off * off;
            }
            CHECK(std::abs(sum / draws) < 5 * std::sqrt(mean / draws));
            CHECK(std::abs(squares / draws / mean - 1) < 5 * std::sqrt((2 + 1 / mean) / draws));
        }
    }

    TEST_CASE("the same look at the same weight is the same for everybody") {
        comparison::Scenario scenario;
        const comparison::Arms one = comparison::happened(scenario, 77, 0.1);
        const comparison::Arms two = comparison::happened(scenario, 77, 0.1);
        CHECK(one.canary.total.requests == two.canary.total.requests);
        CHECK(one.baseline.agent[3].failed == two.baseline.agent[3].failed);
        CHECK(comparison::happened(scenario, 77, 1.0).baseline.total.requests == 0);
        CHECK(comparison::happened(scenario, 78, 0.1).canary.total.requests !=
              one.canary.total.requests);
    }

    TEST_CASE("a day's traffic has its volume, its rates and its faults") {
        comparison::Scenario scenario;
        scenario.per_minute = 3000;
        comparison::Episode outage;
        outage.from = 602;
        outage.to = 607;
        outage.failed = 1;
        scenario.episodes = {outage};
        comparison::Counts sum;
        std::int64_t baseline = 0;
        for (std::int64_t look = 0; look < comparison::looks_a_day; ++look) {
            const comparison::Arms arms = comparison::happened(scenario, look, 0.1);
            const auto n = static_cast<double>(arms.canary.total.requests);
            if (look == 120) CHECK(static_cast<double>(arms.canary.total.failed) > 0.55 * n);
            if (look == 120) CHECK(static_cast<double>(arms.canary.total.failed) < 0.65 * n);
            if (look < 120) comparison::add(sum, arms.canary.total);
            baseline += arms.baseline.total.requests;
        }
        CHECK(static_cast<double>(baseline) == doctest::Approx(9 * 3000 * 1440.0).epsilon(0.001));
        const auto n = static_cast<double>(sum.requests);
        CHECK(static_cast<double>(sum.failed) / n == doctest::Approx(0.005).epsilon(0.02));
        CHECK(static_cast<double>(sum.slow) / n == doctest::Approx(0.995 * 0.018).epsilon(0.02));
        CHECK(comparison::slow_share(0.018, 1) == doctest::Approx(0.018));
        CHECK(comparison::slow_share(0.018, 1.5) == doctest::Approx(0.0993).epsilon(0.01));
    }

    TEST_CASE("500 retries are 500, however they fall into looks") {
        comparison::Scenario scenario;
        scenario.retries = comparison::Retries{1001, 1061, 500};
        std::int64_t sum = 0;
        for (std::int64_t look = 190; look < 230; ++look) {
            sum += comparison::happened(scenario, look, 0.1).retries;
        }
        CHECK(sum == 500);
    }
}
