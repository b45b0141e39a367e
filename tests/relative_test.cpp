// The canary against its baseline: what is called worse, what holds, and what is no evidence.
#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <cmath>
#include <cstring>
#include <vector>

#include "canaryd/analysis.hpp"
#include "canaryd/dedup.hpp"
#include "canaryd/other_counts.hpp"

using namespace canaryd;
using std::chrono::minutes;

namespace {

const Signal failed{};

Criterion limit(double p0, Action then = Action::rollback) {
    return {"errors", "error_rate", failed, p0, std::nullopt, then};
}
Criterion relative(const Margin& margin, Action then) {
    return {"errors-vs-old", "error_rate", failed, 0, margin, then};
}

Policy plan(std::vector<Criterion> criteria, std::size_t segments = 0) {
    Policy policy;
    policy.name = "plan";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.criteria = std::move(criteria);
    const Duration week = std::chrono::hours{24 * 7};
    policy.steps = {{"10", Weight{1000}, week}, {"100", everybody, week}};
    policy.segment = "agent";
    for (std::size_t i = 0; i < segments; ++i) policy.segments.push_back("a" + std::to_string(i));
    return policy;
}
const Margin tight{1.2, 0.001};

Tally tally(Population who, std::int64_t n, std::int64_t k, std::int64_t first,
            const std::string& segment = "") {
    Tally made;
    made.who = who;
    made.segment = segment;
    made.requests = n;
    made.events.push_back({k, {{0, first}}});
    made.bursts.push_back({k, k});
    return made;
}

struct Numbers {
    std::int64_t n = 1000, k = 0, old_n = 9000, old_k = 0;
};

struct Watch {
    Policy policy;
    Ledger ledger;
    TimePoint at{std::chrono::hours{490'000}};
    Verdict last;

    explicit Watch(Policy of) : policy(std::move(of)), ledger(new_ledger(policy)) {}

    [[nodiscard]] Look look(const Numbers& now) const {
        Look made;
        made.from = at;
        made.to = at + minutes{5};
        made.on_time = {tally(Population::canary, now.n, now.k, now.k),
                        tally(Population::baseline, now.old_n, now.old_k, now.old_k)};
        return made;
    }
    const Verdict& judge(const Look& look) {
        last = canaryd::judge(policy, ledger, look);
        ledger = last.ledger;
        at = look.to;
        return last;
    }
    const Verdict& see(const Numbers& now) { return judge(look(now)); }
    void see_often(const Numbers& now, int looks) {
        for (int i = 0; i < looks; ++i) see(now);
    }
};

bool same_bits(const Grid& a, const Grid& b) {
    return std::memcmp(a.data(), b.data(), sizeof a) == 0;
}

std::vector<double> binomial(int n, double p) {
    std::vector<double> chances;
    double ways = 1;
    for (int k = 0; k <= n; ++k) {
        chances.push_back(ways * std::pow(p, k) * std::pow(1 - p, n - k));
        ways = ways * (n - k) / (k + 1);
    }
    return chances;
}

/// 0.9 % on the canary, 0.5 % on the baseline: within the limit, worse than the margin.
constexpr Numbers worse{1000, 9, 9000, 45};
constexpr Numbers healthy{1000, 5, 9000, 45};

}  // namespace

TEST_SUITE("evidence-relative") {
    TEST_CASE("a canary within its margin is not expected to gain evidence, whatever both rates") {
        CHECK(rc::check("mean of exp(l) is at most 1 up to the margin", [] {
            const int n = *rc::gen::inRange(1, 12);
            const int old_n = *rc::gen::inRange(1, 12);
            const Margin margin{1 + *rc::gen::inRange(0, 10) / 10.0,
                                *rc::gen::inRange(0, 50) / 1000.0};
            const double old_p = *rc::gen::inRange(0, 40) / 100.0;
            const double p = std::min(1.0, margin.times * old_p + margin.plus) *
                             *rc::gen::inRange(0, 101) / 100.0;
            const auto ours = binomial(n, p);
            const auto theirs = binomial(old_n, old_p);
            for (const double delta : breach_grid) {
                double mean = 0;
                for (int x = 0; x <= n; ++x) {
                    for (int y = 0; y <= old_n; ++y) {
                        const Pair pair{double(n), double(x), double(old_n), double(y)};
                        mean += ours[std::size_t(x)] * theirs[std::size_t(y)] *
                                std::exp(log_evidence(pair, margin, delta));
                    }
                }
                RC_ASSERT(mean <= 1 + 1e-9);
            }
        }));
    }

    TEST_CASE("without a baseline there is no evidence") {
        CHECK(log_e_breach(Pair{1000, 900, 0, 0}, tight) == doctest::Approx(0));
        CHECK(log_e_promote(Pair{1000, 0, 0, 0}, tight) == doctest::Approx(0));
        CHECK(same_bits(relative_evidence({0, 0, 500, 3}, tight), Grid{}));
    }

    TEST_CASE("a canary within its limit and worse than the baseline is held, not rolled back") {
        Watch watch(plan({limit(0.01), relative(tight, Action::hold)}));
        watch.see_often(healthy, 300);
        CHECK(watch.last.decision == Decision::none);
        int looks = 0;
        while (watch.see(worse).decision != Decision::hold && looks < 500) ++looks;
        CHECK(watch.last.hold_acted);
        CHECK(looks < 300);
        CHECK(watch.last.ln_m < 0);
        CHECK(watch.last.suspicious);
        watch.see_often(healthy, 1000);
        CHECK(watch.last.decision == Decision::hold);  // until a person resumes
        CHECK_FALSE(watch.last.hold_acted);
        watch.ledger = forget_streams(watch.ledger, {}, suspects_of(watch.ledger.hold));
        CHECK(watch.see(healthy).decision == Decision::none);
    }

    TEST_CASE("a dispersion of comparisons divides theirs, and leaves the limits alone") {
        Watch plain(plan({limit(0.01), relative(tight, Action::hold)}));
        Watch wavy(plan({limit(0.01), relative(tight, Action::hold)}));
        wavy.policy.dispersion.comparisons = 2;
        plain.policy.warm_up = wavy.policy.warm_up = Duration{0};
        constexpr Numbers bad{1000, 30, 9000, 45};
        plain.see(bad);
        wavy.see(bad);
        const Pair counts{static_cast<double>(bad.n), static_cast<double>(bad.k),
                          static_cast<double>(bad.old_n), static_cast<double>(bad.old_k)};
        const double l = relative_evidence(counts, tight)[4];
        REQUIRE(l > 0);
        CHECK(plain.ledger.hold.streams[0].ln_r[4] - wavy.ledger.hold.streams[0].ln_r[4] ==
              doctest::Approx(l / 2));
        CHECK(same_bits(plain.ledger.streams[0].ln_r, wavy.ledger.streams[0].ln_r));
    }

    TEST_CASE("a comparison that rolls back does, and what hits both sides cancels") {
        Watch watch(plan({limit(0.2), relative({2, 0.002}, Action::rollback)}));
        watch.see_often(healthy, 30);
        watch.see_often({1000, 60, 9000, 540}, 12);
        CHECK(watch.last.decision == Decision::none);
        int looks = 0;
        while (watch.see({1000, 60, 9000, 45}).decision != Decision::rollback && looks < 100) {
            ++looks;
        }
        CHECK(looks < 5);
        CHECK(stream_name(watch.policy, watch.last.top) == "errors-vs-old");
    }

    TEST_CASE("the second ledger changes nothing of the first one") {
        Watch alone(plan({limit(0.01)}, 2));
        Watch both(plan({limit(0.01), relative(tight, Action::hold)}, 2));
        for (int i = 0; i < 200; ++i) {
            const Numbers now{1000, i % 17, 9000, i % 90};
            alone.see(now);
            both.see(now);
            REQUIRE(alone.last.ln_m == both.last.ln_m);
            for (std::size_t s = 0; s < alone.ledger.streams.size(); ++s) {
                REQUIRE(same_bits(alone.ledger.streams[s].ln_r, both.ledger.streams[s].ln_r));
            }
        }
        CHECK(alone.ledger.hold.streams.empty());
        CHECK(alone.last.hold_ln_m == 0);
        CHECK(both.ledger.hold.streams.size() == 3);
    }

    TEST_CASE("at 100 % comparisons rest: no mass is theirs, nothing of it is lost") {
        Watch watch(plan(
            {limit(0.01), relative({2, 0.002}, Action::rollback), relative(tight, Action::hold)}));
        watch.see_often({0, 0, 0, 0}, 10);
        const Ledger before = watch.ledger;
        watch.ledger = begin_phase(watch.policy, watch.ledger, watch.at, false);
        watch.see_often({1000, 5, 0, 0}, 10);
        CHECK(same_bits(watch.ledger.streams[1].ln_r, before.streams[1].ln_r));
        CHECK(watch.ledger.hold.ln_c == before.hold.ln_c);
        CHECK(watch.last.hold_ln_m == doctest::Approx(0));
        watch.see_often({0, 0, 0, 0}, 10);
        CHECK(comparisons_of(watch.policy, watch.ledger)[0].active == false);
    }

    TEST_CASE("a look in which one side is not complete compares nothing") {
        for (const bool canary : {true, false}) {
            Watch watch(plan({limit(0.5), relative(tight, Action::hold)}));
            watch.see_often(healthy, 30);
            const auto before = watch.ledger.hold.streams[0];
            Look look = watch.look({1000, 300, 9000, 45});
            (canary ? look.canary_complete : look.baseline_complete) = false;
            watch.judge(look);
            CHECK(watch.ledger.hold.streams[0].requests == before.requests);
            CHECK(watch.ledger.hold.streams[0].ln_sum() < before.ln_sum() + 1);
            CHECK(watch.ledger.streams[0].requests == 31'000 - 2000);
        }
    }

    TEST_CASE("rows that come late are for limits only") {
        Watch watch(plan({limit(0.5), relative(tight, Action::hold)}));
        watch.see_often(healthy, 30);
        Watch other = watch;
        Look look = watch.look(healthy);
        look.late = {tally(Population::canary, 500, 400, 400),
                     tally(Population::baseline, 500, 0, 0)};
        watch.judge(look);
        other.see(healthy);
        CHECK(same_bits(watch.ledger.hold.streams[0].ln_r, other.ledger.hold.streams[0].ln_r));
        CHECK(watch.ledger.streams[0].requests == other.ledger.streams[0].requests + 500);
    }

    TEST_CASE("more than 1 % of a day late is said once a day, where something is compared") {
        Watch watch(plan({limit(0.5), relative(tight, Action::hold)}));
        Watch alone(plan({limit(0.5)}));
        int said = 0;
        for (int i = 0; i < 288 * 2; ++i) {
            Look look = watch.look(healthy);
            look.late = {tally(Population::baseline, i < 288 ? 200 : 50, 0, 0)};
            said += watch.judge(look).raise_settle ? 1 : 0;
            CHECK_FALSE(alone.judge(look).raise_settle);
        }
        CHECK(said == 1);
        CHECK(alone.ledger.late_requests == 0);
    }

    TEST_CASE("a user who retries all hour on the canary makes it no worse") {
        Watch watch(plan({limit(0.5), relative(tight, Action::hold)}));
        watch.see_often(healthy, 30);
        for (int i = 0; i < 12; ++i) {
            Look look = watch.look(healthy);
            look.on_time[0] = tally(Population::canary, 1015, 20, i == 0 ? 6 : 5);
            watch.judge(look);
        }
        CHECK(watch.last.decision == Decision::none);
        CHECK(watch.last.hold_ln_m < std::log(5));
    }

    TEST_CASE("an agent is compared where both sides have it") {
        Watch watch(plan({limit(0.5), relative(tight, Action::hold)}, 2));
        for (int i = 0; i < 60; ++i) {
            Look look = watch.look(healthy);
            look.on_time.push_back(tally(Population::canary, 100, 9, 9, "a0"));
            look.on_time.push_back(tally(Population::canary, 100, 9, 9, "a1"));
            look.on_time.push_back(tally(Population::baseline, 900, 9, 9, "a1"));
            watch.judge(look);
        }
        CHECK(watch.last.decision == Decision::hold);
        CHECK(stream_name(watch.policy, watch.ledger.hold.suspect, Action::hold) ==
              "errors-vs-old, agent a1");
        const auto compared = comparisons_of(watch.policy, watch.ledger);
        REQUIRE(compared.size() == 3);
        CHECK(compared[1].harm < 1);
        CHECK(compared[2].worse);
        CHECK(compared[2].baseline_events == 58 * 9);
    }

    TEST_CASE("impossible counts of one side compare nothing, and are named") {
        Watch watch(plan({limit(0.5), relative(tight, Action::hold)}));
        watch.see_often(healthy, 30);
        const std::int64_t before = watch.ledger.hold.streams[0].requests;
        watch.see({1000, 5, 9000, 9001});
        CHECK(watch.last.remarks.size() == 1);
        CHECK(watch.ledger.hold.streams[0].requests == before);
    }

    TEST_CASE("a limit that holds is proven like any other, and holds when it is broken") {
        Watch watch(plan({limit(0.01, Action::hold)}));
        watch.see_often({1000, 2, 9000, 18}, 30);
        CHECK(watch.last.proven);
        CHECK(findings_of(watch.policy, watch.ledger)[0].outcome == Outcome::pass);
        watch.see({1000, 300, 9000, 18});
        CHECK(watch.last.decision == Decision::hold);
        CHECK(watch.last.hold_acted);
        CHECK(findings_of(watch.policy, watch.ledger)[0].outcome == Outcome::fail);
        Watch only(plan({relative(tight, Action::hold)}));
        only.see_often(healthy, 300);
        CHECK_FALSE(only.last.proven);  // nothing that could be
    }

    TEST_CASE("a histogram that is none is no evidence, and a bound makes a count exact") {
        const double inf = std::numeric_limits<double>::infinity();
        CHECK_FALSE(exceedances({1, 2, inf}, {5, 3, 9}, 1));
        CHECK_FALSE(exceedances({2, 1, inf}, {1, 2, 3}, 1));
        CHECK_FALSE(exceedances({1, 2}, {1, 2}, 1));
        CHECK_FALSE(exceedances({1, inf}, {-1, 2}, 1));
        CHECK_FALSE(exceedances({}, {}, 1));
        CHECK_FALSE(exceedances({1, inf}, {1, 2}, inf));
        CHECK_FALSE(exceedances({1, inf}, {1, 2}, std::nan("")));
        const auto exact = exceedances({1, 2, inf}, {5, 8, 10}, 2);
        REQUIRE(exact);
        CHECK(exact->at_bound);
        CHECK(exact->at_least == 2);
        CHECK(exact->at_most == 2);
        const auto between = exceedances({1, 2, inf}, {5, 8, 10}, 1.5);
        REQUIRE(between);
        CHECK_FALSE(between->at_bound);
        CHECK(between->at_least == 2);
        CHECK(between->at_most == 5);
    }

    TEST_CASE("history that tells nothing tempers nothing") {
        CHECK(batch_dispersion({}) == 1);
        CHECK(batch_dispersion({{100, 5}}) == 1);
        CHECK(batch_dispersion({{100, 0}, {100, 0}}) == 1);
        CHECK(batch_dispersion({{100, 100}, {100, 100}}) == 1);
        CHECK(batch_dispersion({{1000, 0}, {1000, 20}}) > 10);
        CHECK(split_dispersion({{0, 0}}, {{0, 0}}) == 1);
        CHECK(tempered(Grid{4.0}, 0.5)[0] == 4.0);
        CHECK(tempered(Grid{4.0}, 2)[0] == 2.0);
    }
}
