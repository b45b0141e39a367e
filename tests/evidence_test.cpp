// Counts in, evidence out: the tests themselves, the ledger's arithmetic, users that fail again.
#include "canaryd/evidence.hpp"

#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "canaryd/dedup.hpp"

using namespace canaryd;

namespace {

constexpr double minus_infinity = -std::numeric_limits<double>::infinity();

/// Expectation of exp(l) over a binomial count, term by term.
double expected_evidence(int n, double p, double p0, double delta) {
    double sum = 0;
    double ways = 1;
    for (int k = 0; k <= n; ++k) {
        sum += ways * std::pow(p, k) * std::pow(1 - p, n - k) *
               std::exp(log_evidence(n, k, p0, delta));
        ways = ways * (n - k) / (k + 1);
    }
    return sum;
}

Criterion criterion(const char* name, Signal signal, double limit) {
    return {name, name, signal, limit};
}
const Signal failed{};
const Signal slower_than_2s{Signal::Kind::slower, std::chrono::seconds{2}};

}  // namespace

TEST_SUITE("evidence") {
    TEST_CASE("a healthy rate is not expected to gain evidence of harm, whatever the count") {
        CHECK(rc::check("mean of exp(l) is at most 1 up to the limit", [] {
            const int n = *rc::gen::inRange(0, 25);
            const double p0 = *rc::gen::inRange(1, 100) / 101.0;
            const double p = p0 * *rc::gen::inRange(0, 101) / 100.0;
            for (const double delta : breach_grid) {
                RC_ASSERT(expected_evidence(n, p, p0, delta) <= 1 + 1e-9);
            }
        }));
        CHECK(expected_evidence(20, 0.05, 0.01, 0.7) > 1);
    }

    TEST_CASE("a sick rate is not expected to gain evidence of health") {
        CHECK(rc::check("mean of exp(l) is at most 1 down to the limit", [] {
            const int n = *rc::gen::inRange(0, 25);
            const double p0 = *rc::gen::inRange(1, 100) / 101.0;
            const double p = p0 + (1 - p0) * *rc::gen::inRange(0, 101) / 100.0;
            for (std::size_t j = 0; j < promote_grid_size; ++j) {
                RC_ASSERT(expected_evidence(n, p, p0, -breach_grid[j]) <= 1 + 1e-9);
            }
        }));
    }

    TEST_CASE("no request is no evidence, and a user share may be a fraction") {
        CHECK(log_e_breach(0, 0, 0.01) == doctest::Approx(0));
        CHECK(log_e_promote(0, 0, 0.01) == doctest::Approx(0));
        CHECK(
            log_evidence(10, 2.5, 0.01, 0.7) ==
            doctest::Approx((log_evidence(10, 2, 0.01, 0.7) + log_evidence(10, 3, 0.01, 0.7)) / 2));
    }

    TEST_CASE("sums of logarithms keep what is huge, tiny or nothing") {
        const std::array<double, 3> terms{7000.0, minus_infinity, 7000.0};
        CHECK(log_sum_exp(terms.data(), terms.data() + terms.size()) ==
              doctest::Approx(7000.0 + std::log(2.0)));
        CHECK(log_sum_exp(terms.data(), terms.data()) == minus_infinity);
        CHECK(log_add_exp(minus_infinity, minus_infinity) == minus_infinity);
        CHECK(log_add_exp(-5.0, minus_infinity) == -5.0);
        CHECK(log_add_exp(-2000.0, -2000.0) == doctest::Approx(-2000.0 + std::log(2.0)));
    }

    TEST_CASE("bounds hold the rate, and more failures never lower them") {
        CHECK(rc::check("lower <= rate <= upper, both rise with the failures", [] {
            const auto n = *rc::gen::inRange<std::int64_t>(1, 100'000);
            const auto k = *rc::gen::inRange<std::int64_t>(0, n);
            const Bounds one = bounds_of(n, k, 0.01, 0.05);
            const Bounds two = bounds_of(n, k + 1, 0.01, 0.05);
            RC_ASSERT(one.lower <= one.rate());
            RC_ASSERT(one.rate() <= one.upper);
            RC_ASSERT(one.lower <= two.lower);
            RC_ASSERT(one.upper <= two.upper);
        }));
        CHECK(bounds_of(1000, 5, 0.01, 0.05, 3.0).upper > bounds_of(1000, 5, 0.01, 0.05).upper);
        const Bounds impossible = bounds_of(3, 7, 0.01, 0.05);
        CHECK(impossible.lower == 0);
        CHECK(impossible.upper == 1);
    }

    TEST_CASE("the bound people see and the gate agree") {
        CHECK(rc::check("proven iff the upper bound is below the limit", [] {
            const auto n = *rc::gen::inRange<std::int64_t>(1, 50'000);
            const auto k = *rc::gen::inRange<std::int64_t>(0, n / 50 + 2);
            RC_PRE(k <= n);
            const double limit = *rc::gen::inRange(1, 1000) / 10'000.0;
            const double phi = 1.0 + *rc::gen::inRange(0, 30) / 10.0;
            const double upper = bounds_of(n, k, 0.01, 0.05, phi).upper;
            RC_PRE(std::abs(upper - limit) > 1e-9);
            RC_ASSERT(proven_below(n, k, limit, 0.05, phi) == (upper < limit));
        }));
    }

    TEST_CASE("bounds per hour hold the rate, and agree with the gate") {
        CHECK(rc::check("lower <= rate <= upper; proven iff the upper bound is below", [] {
            const auto n = *rc::gen::inRange<std::int64_t>(60'000, 10'000'000'000);
            const auto k = *rc::gen::inRange<std::int64_t>(0, 100);
            const Bounds bounds = bounds_of(n, k, 0.01, 0.05, 1.0, Per::hour);
            RC_ASSERT(bounds.lower <= bounds.rate());
            RC_ASSERT(bounds.rate() <= bounds.upper);
            RC_ASSERT(bounds.proves_upper());
            const double limit = *rc::gen::inRange(1, 1000) / 10.0;
            RC_PRE(std::abs(bounds.upper / limit - 1) > 1e-9);
            RC_ASSERT(proven_below(n, k, limit, 0.05, 1.0, Per::hour) == (bounds.upper < limit));
        }));
        const Bounds nothing = bounds_of(0, 0, 0.01, 0.05, 1.0, Per::hour);
        CHECK_FALSE(nothing.proves_upper());
        CHECK(nothing.lower == 0);
        CHECK(nothing.rate() == 0);
    }

    TEST_CASE("393 requests without a failure prove a 1 % limit, 392 do not") {
        CHECK(proven_below(393, 0, 0.01, 0.05, 1.0));
        CHECK_FALSE(proven_below(392, 0, 0.01, 0.05, 1.0));
        CHECK_FALSE(proven_below(0, 0, 0.01, 0.05, 1.0));
        CHECK(burst_size(0, 0) == 1.0);
        CHECK(burst_size(4, 16) == 4.0);
        CHECK_MESSAGE(!proven_below(898, 2, 0.01, 0.05, burst_size(2, 4)),
                      "one user who failed twice proves less than two users who failed once");
    }

    TEST_CASE("mass is moved, never made: a rollout without requests keeps M at 1") {
        double ln_c = 0;
        Stream total;
        Stream segment;
        const Shares shares = shares_of(1, 1);
        for (int look = 0; look < 5000; ++look) {
            const Mass mass = move_mass(ln_c, look % 2000 == 0, 5.0, 63'360.0);
            ln_c = mass.ln_kept;
            add_look(total.ln_r, mass.ln_moved + shares.ln_total, Grid{});
            add_look(segment.ln_r, mass.ln_moved + shares.ln_segment, Grid{});
        }
        const double all = std::exp(ln_c) + std::exp(total.ln_sum()) + std::exp(segment.ln_sum());
        CHECK(all == doctest::Approx(1).epsilon(1e-12));
        const Mass whole = move_mass(0, false, 1e12, 1.0);
        CHECK(whole.ln_moved == doctest::Approx(0));
        CHECK(move_mass(0, false, 0.0, 60.0).ln_moved == minus_infinity);
    }

    TEST_CASE("the limits share the mass equally, the total has half of each") {
        const Shares shares = shares_of(2, 8);
        const double one = static_cast<double>(grid_size);
        CHECK(std::exp(shares.ln_total) * one == doctest::Approx(0.25));
        CHECK(std::exp(shares.ln_segment) * one == doctest::Approx(0.03125));
        CHECK(std::exp(shares_of(1, 0).ln_total) * one == doctest::Approx(1));
    }

    TEST_CASE("a shared outage is remembered for about an hour, not for ever") {
        Grid guard{};
        const LimitTest test(0.01);
        add_baseline(guard, test.evidence(3000, 900), 5);
        CHECK(guard_on(guard));
        CHECK(*std::max_element(guard.begin(), guard.end()) == 7.0);
        int minutes = 0;
        while (guard_on(guard) && minutes < 600) {
            add_baseline(guard, Grid{}, 5);  // nobody calls the baseline
            minutes += 5;
        }
        CHECK(minutes == 30);
    }

    TEST_CASE("a healthy half never confirms an alarm") {
        using std::chrono::minutes;
        CHECK_FALSE(above_in_both_halves({{minutes{5}, 100, 90}, {minutes{5}, 100, 1}}, 0.01));
        CHECK_FALSE(above_in_both_halves({{minutes{5}, 100, 1}, {minutes{5}, 100, 90}}, 0.01));
        CHECK(above_in_both_halves({{minutes{5}, 100, 2}, {minutes{5}, 100, 2}}, 0.01));
        CHECK_FALSE(above_in_both_halves({{minutes{10}, 100, 90}, {minutes{10}, 0, 0}}, 0.01));
        CHECK_FALSE(above_in_both_halves({}, 0.01));
        // Cuts at 5 and 15 of 20 are as near to the middle: the earlier one stands.
        CHECK_FALSE(above_in_both_halves(
            {{minutes{5}, 100, 0}, {minutes{10}, 100, 90}, {minutes{5}, 100, 90}}, 0.01));
        CHECK(above_in_both_halves(
            {{minutes{5}, 100, 90}, {minutes{10}, 100, 90}, {minutes{5}, 100, 0}}, 0.01));
    }

    TEST_CASE("a confirmation waits for its time and for two looks with requests") {
        using std::chrono::minutes;
        CHECK_FALSE(waited_enough({{minutes{5}, 9, 9}, {minutes{10}, 9, 9}}, minutes{20}));
        CHECK(waited_enough({{minutes{10}, 9, 9}, {minutes{10}, 9, 9}}, minutes{20}));
        CHECK_FALSE(waited_enough({{minutes{30}, 9, 9}, {minutes{30}, 0, 0}}, minutes{20}));
    }

    TEST_CASE("one user who retries all hour counts once in each block and scope") {
        Dedup dedup;
        const std::uint64_t anna = hash_of_user("anna");
        std::int64_t sum_e2 = 0;
        for (int times = 1; times <= 180; ++times) {
            const Dedup::Added added = dedup.add(0, 3, 17, anna, true);
            CHECK(added.first_total == (times == 1));
            CHECK(added.first_segment == (times == 1));
            CHECK(added.e == times);
            sum_e2 += added.e2_gain;
        }
        CHECK(sum_e2 == 180 * 180);
        CHECK_FALSE(dedup.add(0, 4, 17, anna, true).first_total);
        CHECK(dedup.add(0, 5, 17, anna, true).first_segment);
        CHECK(dedup.add(1, 3, 17, anna, true).first_total);
        CHECK(dedup.add(0, 3, 18, anna, true).first_total);
        CHECK(dedup.add(0, 3, 17, hash_of_user("ben"), true).first_total);
    }

    TEST_CASE("a request without a user is a user of its own") {
        Dedup dedup;
        for (int times = 0; times < 3; ++times) {
            const Dedup::Added added = dedup.add(0, 1, 17, std::nullopt, true);
            CHECK(added.first_total);
            CHECK(added.first_segment);
            CHECK(added.e2_gain == 1);
        }
        CHECK_FALSE(dedup.add(0, Dedup::no_segment, 17, std::nullopt, true).first_segment);
    }

    TEST_CASE("a new phase forgets bursts, not who failed; a block that was let go is unknown") {
        Dedup dedup;
        dedup.add(0, 1, 17, 5, true);
        dedup.restart_gate();
        const Dedup::Added again = dedup.add(0, 1, 17, 5, true);
        CHECK_FALSE(again.first_total);
        CHECK(again.e == 1);
        CHECK(dedup.add(0, 1, 17, 5, false).e2_gain == 0);
        dedup.open(19);
        dedup.forget_before(18);
        CHECK_FALSE(dedup.knows(17));
        CHECK(dedup.knows(19));
        CHECK(dedup.add(0, 1, 17, 5, true).first_total);
    }

    TEST_CASE("blocks are aligned to UTC, and a user's hash is the same for ever") {
        const Duration hour{std::chrono::hours{1}};
        CHECK(block_of(TimePoint{Duration{3'599'999}}, hour) == 0);
        CHECK(block_of(TimePoint{Duration{3'600'000}}, hour) == 1);
        CHECK(block_of(TimePoint{Duration{-1}}, hour) == -1);
        CHECK(block_of(TimePoint{Duration{-3'600'000}}, hour) == -1);
        CHECK(hash_of_user("") != hash_of_user("a"));
        CHECK(hash_of_user("+250788123456") == 0xeb0b7c77712f6d02ULL);
    }

    TEST_CASE("durations in buckets give an estimate near the truth") {
        Latencies latencies;
        CHECK_FALSE(latencies.quantile(0.95));
        for (int ms = 1; ms <= 10'000; ++ms) {
            latencies.add(Duration{ms});
        }
        const double p95 = static_cast<double>(latencies.quantile(0.95)->count());
        CHECK(p95 == doctest::Approx(9500).epsilon(0.2));
        Latencies hung;
        hung.add(std::chrono::hours{5}, 3);
        CHECK(*hung.quantile(0.5) > std::chrono::minutes{1});
        hung.add(latencies);
        CHECK(std::accumulate(hung.counts.begin(), hung.counts.end(), std::int64_t{0}) == 10'003);
    }

    TEST_CASE("error rate below 1% and success rate above 99% are one limit, judged once") {
        Policy policy;
        policy.criteria = {criterion("errors", failed, 0.01),
                           criterion("latency", slower_than_2s, 0.05),
                           criterion("success", failed, 0.01), criterion("strict", failed, 0.005)};
        CHECK(signals_of(policy).size() == 2);
        const std::vector<Limit> limits = limits_of(policy);
        REQUIRE(limits.size() == 3);
        CHECK(limits[0].criterion == 0);
        CHECK(limits[1].signal == 1);
        CHECK(limits[2].signal == 0);
        CHECK(limits[2].p0 == 0.005);
    }

    TEST_CASE("the horizon is every bake but the last, and the soak") {
        const Duration day = std::chrono::hours{24};
        Policy policy;
        policy.steps = {
            {"a", Weight{1000}, 7 * day}, {"b", Weight{5000}, 7 * day}, {"c", everybody, 7 * day}};
        policy.soak = 30 * day;
        CHECK(horizon_of(policy) == std::chrono::minutes{63'360});
    }

    TEST_CASE("a problem says where, what, and leaves out what it does not know") {
        CHECK(to_string(Problem{"p.yaml", 9, 11, "steps[1].bake", "no unit"}) ==
              "p.yaml:9:11: steps[1].bake: no unit");
        CHECK(to_string(Problem{"p.yaml", 0, 0, "", "is empty"}) == "p.yaml: is empty");
    }
}
