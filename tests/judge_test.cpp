// Looks against criteria: when a rollout is rolled back, waits, is held, and when it is left alone.
#include <doctest/doctest.h>
#include <rapidcheck.h>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "canaryd/analysis.hpp"
#include "canaryd/dedup.hpp"

using namespace canaryd;
using std::chrono::minutes;

namespace {

const Signal failed{};
const Signal slower_than_2s{Signal::Kind::slower, std::chrono::seconds{2}};

Policy plan(std::size_t segments) {
    Policy policy;
    policy.name = "plan";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.criteria = {{"errors", "error_rate", failed, 0.01},
                       {"latency", "latency_p95", slower_than_2s, 0.05}};
    const Duration week = std::chrono::hours{24 * 7};
    policy.steps = {
        {"10", Weight{1000}, week}, {"50", Weight{5000}, week}, {"100", everybody, week}};
    policy.segment = "agent";
    for (std::size_t i = 0; i < segments; ++i) {
        policy.segments.push_back("a" + std::to_string(i + 1));
    }
    return policy;
}

/// Every failure its own user, in the block of the look's start.
Tally tally(Population who, std::string segment, std::int64_t n, std::int64_t errors,
            std::int64_t slow, std::int64_t block) {
    Tally made;
    made.who = who;
    made.segment = std::move(segment);
    made.requests = n;
    for (const std::int64_t k : {errors, slow}) {
        Count count;
        count.raw = k;
        if (k > 0) {
            count.first = {{block, k}};
        }
        made.events.push_back(count);
        made.bursts.push_back({k, k});
    }
    return made;
}

/// A rollout being watched: looks of five minutes, one after the other.
struct Watch {
    Policy policy;
    Ledger ledger;
    TimePoint at{std::chrono::hours{490'000}};
    bool baseline_complete = true;
    Verdict last;

    explicit Watch(Policy of) : policy(std::move(of)), ledger(new_ledger(policy)) {}

    void phase(bool baseline) { ledger = begin_phase(policy, ledger, at, baseline); }

    [[nodiscard]] Look look(std::int64_t n, std::int64_t errors, std::int64_t old_errors) const {
        Look made;
        made.from = at;
        made.to = at + minutes{5};
        made.baseline_complete = baseline_complete;
        const std::int64_t block = block_of(at, policy.floor_within);
        made.on_time.push_back(tally(Population::canary, "", n, errors, 0, block));
        if (ledger.baseline_share) {
            made.on_time.push_back(tally(Population::baseline, "", 9 * n, old_errors, 0, block));
        }
        return made;
    }
    const Verdict& judge(const Look& look) {
        last = canaryd::judge(policy, ledger, look);
        ledger = last.ledger;
        at = look.to;
        return last;
    }
    const Verdict& see(std::int64_t n, std::int64_t errors, std::int64_t old_errors = 0) {
        return judge(look(n, errors, old_errors));
    }
    void healthy(int looks) {
        for (int i = 0; i < looks; ++i) {
            see(300, 1, 9);
        }
    }
    /// Nobody calls, and the query of the second criterion counts.
    [[nodiscard]] Look query_look(std::optional<double> count, std::int64_t clusters = 0) const {
        Look made;
        made.from = at;
        made.to = at + minutes{5};
        Window window;
        window.trigger = count_window(policy.criteria[1].metric);
        window.from = made.from;
        window.to = made.to;
        window.value = count;
        window.requests = clusters;
        made.windows.push_back(window);
        return made;
    }
    void query(int looks, double count, std::int64_t clusters = 0) {
        for (int i = 0; i < looks; ++i) {
            judge(query_look(count, clusters));
        }
    }
};

constexpr std::size_t query_stream = 3;

/// Errors below 1 %, crashes below 2 an hour, two agents.
Policy crashing() {
    Policy policy = plan(2);
    policy.criteria[1] = {"crashes", "worker_crashes",
                          Signal{Signal::Kind::counted, Duration{0}, "worker_crashes", Per::hour},
                          2};
    return policy;
}

/// Errors below 1 %, failures of sessions below 1 % on average.
Policy in_sessions() {
    Policy policy = plan(2);
    policy.criteria[1] = {
        "sessions", "failed_sessions",
        Signal{Signal::Kind::counted, Duration{0}, "failed_sessions", Per::cluster}, 0.01};
    return policy;
}

Finding queried_of(const Watch& watch) {
    for (const Finding& finding : findings_of(watch.policy, watch.ledger)) {
        if (finding.criterion == watch.policy.criteria[1].name) {
            return finding;
        }
    }
    return {};
}

bool same_bits(double a, double b) {
    return std::memcmp(&a, &b, sizeof a) == 0;
}

bool same_bits(const Ledger& a, const Ledger& b) {
    bool same = same_bits(a.ln_c, b.ln_c) && a.streams.size() == b.streams.size();
    for (std::size_t i = 0; same && i < a.streams.size(); ++i) {
        for (std::size_t j = 0; j < grid_size; ++j) {
            same = same && same_bits(a.streams[i].ln_r[j], b.streams[i].ln_r[j]) &&
                   same_bits(a.streams[i].ln_calm[j], b.streams[i].ln_calm[j]) &&
                   same_bits(a.streams[i].guard[j], b.streams[i].guard[j]);
        }
        same = same && a.streams[i].floor == b.streams[i].floor;
    }
    return same;
}

struct Numbers {
    std::int64_t n, k, old_k;
};
std::vector<Numbers> some_looks() {
    std::vector<Numbers> looks;
    const int how_many = *rc::gen::inRange(1, 40);
    for (int i = 0; i < how_many; ++i) {
        const auto n = *rc::gen::inRange<std::int64_t>(0, 400);
        const auto most = *rc::gen::element<std::int64_t>(0, n / 100, n);
        looks.push_back({n, *rc::gen::inRange<std::int64_t>(0, most + 1),
                         *rc::gen::inRange<std::int64_t>(0, 9 * most + 1)});
    }
    return looks;
}

/// A number per look and scope as traffic would have it; the same everywhere for a seed.
std::int64_t poisson(std::mt19937_64& random, double mean) {
    const double none = std::exp(-mean);
    std::int64_t count = 0;
    for (double product = 1;; ++count) {
        product *= static_cast<double>(random() >> 11) * 0x1p-53;
        if (product <= none) {
            return count;
        }
    }
}

}  // namespace

TEST_SUITE("evidence") {
    TEST_CASE("a rollback names a stream that may act, not a louder one of two users") {
        Watch watch(plan(2));
        watch.policy.floor_within = minutes{5};
        watch.phase(true);
        // Two users of agent a1 fail in each block, which is below the floor for ever.
        const auto block = [&] { return block_of(watch.at, watch.policy.floor_within); };
        const auto look = [&](std::int64_t second_fails) {
            Look made = watch.look(1'000, 2 + second_fails, 0);
            made.on_time.push_back(tally(Population::canary, "a1", 40, 2, 0, block()));
            made.on_time.push_back(tally(Population::canary, "a2", 40, second_fails, 0, block()));
            return made;
        };
        for (int i = 0; i < 40; ++i) watch.judge(look(0));
        REQUIRE(watch.last.decision != Decision::rollback);
        for (int i = 0; i < 40 && watch.last.decision != Decision::rollback; ++i) {
            watch.judge(look(4));
        }
        REQUIRE(watch.last.decision == Decision::rollback);
        CHECK(stream_name(watch.policy, watch.last.top).find("a1") != std::string::npos);
        CHECK(stream_name(watch.policy, watch.last.suspect).find("a2") != std::string::npos);
    }
    TEST_CASE("the same looks give the same bits again") {
        CHECK(rc::check("replay is bit-identical", [] {
            Watch one(plan(2));
            Watch two(plan(2));
            for (const Numbers& now : some_looks()) {
                one.see(now.n, now.k, now.old_k);
                two.see(now.n, now.k, now.old_k);
                RC_ASSERT(same_bits(one.last.ln_m, two.last.ln_m));
                RC_ASSERT(same_bits(one.ledger, two.ledger));
            }
        }));
    }

    TEST_CASE("a dispersion divides the evidence of limits, and stretches the proof of health") {
        Policy wavy = plan(0);
        wavy.dispersion.limits = 2.5;
        Watch plain(plan(0));
        Watch tempered(wavy);
        for (Watch* watch : {&plain, &tempered}) {
            watch->policy.warm_up = Duration{0};
            watch->phase(true);
            watch->see(1000, 30);
        }
        // One look: each effect holds its start mass times exp(l / dispersion).
        const Mass start = move_mass(0, true, 5, 1);
        const double begun = start.ln_moved + shares_of(2, 0).ln_total;
        const double l = log_evidence(1000, 30, 0.01, breach_grid[4]);
        CHECK(plain.ledger.streams[0].ln_r[4] == doctest::Approx(begun + l));
        CHECK(tempered.ledger.streams[0].ln_r[4] == doctest::Approx(begun + l / 2.5));
        // The guard that a failing baseline puts on is not tempered.
        for (Watch* watch : {&plain, &tempered}) watch->see(1000, 10, 300);
        CHECK(same_bits(tempered.ledger.streams[0].guard[4], plain.ledger.streams[0].guard[4]));
        // No failure at all proves a limit of 1 % at 393 requests, and at 2.5 times as few not.
        for (Watch* watch : {&plain, &tempered}) {
            watch->phase(true);
            watch->see(500, 0);
        }
        CHECK(plain.last.proven);
        CHECK_FALSE(tempered.last.proven);
        CHECK(findings_of(tempered.policy, tempered.ledger)[0].bounds.upper >
              findings_of(plain.policy, plain.ledger)[0].bounds.upper);
        tempered.see(600, 0);
        CHECK(tempered.last.proven);
    }

    TEST_CASE("counts that come late with their look's successor weigh the same") {
        CHECK(rc::check("on time plus late is one sum", [] {
            Watch whole(plan(0));
            Watch parts(plan(0));
            for (const Numbers& now : some_looks()) {
                Look look = parts.look(now.n, now.k, now.old_k);
                const auto late_k = *rc::gen::inRange<std::int64_t>(0, now.k + 1);
                const auto late_n =
                    *rc::gen::inRange<std::int64_t>(late_k, now.n - now.k + late_k + 1);
                const std::int64_t block = block_of(look.from, parts.policy.floor_within);
                look.on_time[0] =
                    tally(Population::canary, "", now.n - late_n, now.k - late_k, 0, block);
                look.late = {tally(Population::canary, "", late_n, late_k, 0, block)};
                parts.judge(look);
                whole.see(now.n, now.k, now.old_k);
                RC_ASSERT(same_bits(parts.last.ln_m, whole.last.ln_m));
                RC_ASSERT(parts.ledger.streams[0].requests == whole.ledger.streams[0].requests);
                RC_ASSERT(parts.ledger.streams[0].sum_e2 == whole.ledger.streams[0].sum_e2);
            }
        }));
    }

    TEST_CASE("a failing baseline only ever lowers the evidence") {
        CHECK(rc::check("the guard lowers", [] {
            Watch guarded(plan(0));
            Watch alone(plan(0));
            for (const Numbers& now : some_looks()) {
                guarded.see(now.n, now.k, now.old_k);
                alone.see(now.n, now.k, 0);
                RC_ASSERT(guarded.last.ln_m <= alone.last.ln_m);
            }
        }));
    }

    TEST_CASE("a rollout that nobody calls is neither harmed nor proven") {
        Watch watch(plan(8));
        for (int i = 0; i < 3000; ++i) {
            watch.see(0, 0);
        }
        CHECK(watch.last.ln_m == doctest::Approx(0).epsilon(1e-9));
        CHECK(watch.last.decision == Decision::none);
        CHECK_FALSE(watch.last.proven);
    }

    TEST_CASE("a failing canary is rolled back, and stays so when it gets well") {
        Watch watch(plan(0));
        watch.healthy(40);
        CHECK(watch.last.decision == Decision::none);
        CHECK(watch.see(300, 90).decision == Decision::rollback);
        CHECK(harm_of_100(watch.policy, watch.last.ln_m) > 100);
        watch.healthy(400);
        CHECK(watch.last.ln_m < 0);
        CHECK(watch.last.decision == Decision::rollback);
    }

    TEST_CASE("three healthy weeks do not hide a fault") {
        Watch watch(plan(0));
        watch.healthy(21 * 288);
        int looks = 1;
        while (watch.see(300, 9).decision != Decision::rollback && looks < 50) {
            ++looks;
        }
        CHECK(looks < 20);
    }

    TEST_CASE("one agent's fault is found and named") {
        Watch watch(plan(8));
        watch.healthy(10);
        while (watch.last.decision != Decision::rollback &&
               watch.at < watch.ledger.phase_from + minutes{600}) {
            Look look = watch.look(300, 8, 9);
            const std::int64_t block = block_of(look.from, watch.policy.floor_within);
            look.on_time.push_back(tally(Population::canary, "a6", 15, 7, 0, block));
            look.on_time.push_back(tally(Population::canary, "nobody-knows", 15, 15, 15, block));
            watch.judge(look);
        }
        CHECK(watch.last.decision == Decision::rollback);
        CHECK(stream_name(watch.policy, watch.last.top) == "errors, agent a6");
        CHECK(stream_name(watch.policy, 9) == "latency");
        CHECK(stream_name(watch.policy, 18) == "stream 18");
    }

    TEST_CASE("two users never roll back, whatever they do; a third one can") {
        Watch watch(plan(0));
        watch.healthy(10);
        for (int hour = 0; hour < 200; ++hour) {
            watch.see(2, 2);
            for (int rest = 0; rest < 11; ++rest) {
                watch.see(0, 0);
            }
        }
        CHECK(watch.last.ln_m > std::log(100.0));
        CHECK(watch.last.ln_m_acting < 0);
        CHECK(watch.last.decision == Decision::suspicious);
        CHECK(findings_of(watch.policy, watch.ledger)[0].outcome == Outcome::inconclusive);
        CHECK(watch.see(3, 3).decision == Decision::rollback);
        CHECK(findings_of(watch.policy, watch.ledger)[0].outcome == Outcome::fail);
    }

    TEST_CASE("users are forgotten when the stream is calm again") {
        Watch watch(plan(0));
        watch.see(60, 3);
        watch.see(10, 2);
        while (watch.ledger.streams[0].ln_sum() >= 0) {
            watch.see(300, 0);
        }
        CHECK(watch.ledger.streams[0].floor.empty());
    }

    TEST_CASE("while it warms up small effects are not believed, gross faults act") {
        Watch mild(plan(0));
        const Verdict& first = mild.see(3000, 100);
        CHECK(first.decision == Decision::none);
        CHECK(mild.ledger.streams[0].requests == 0);
        mild.see(3000, 100);
        CHECK(mild.ledger.streams[0].requests == 0);
        CHECK(mild.see(3000, 100).decision == Decision::rollback);
        CHECK(mild.ledger.streams[0].requests == 3000);
        Watch gross(plan(0));
        CHECK(gross.see(300, 150).decision == Decision::rollback);
    }

    TEST_CASE("an outage that both sides share is held, not rolled back, and heals") {
        Watch watch(plan(0));
        watch.healthy(30);
        CHECK(watch.see(300, 280, 2500).decision == Decision::hold);
        CHECK(watch.last.guard);
        CHECK(watch.see(300, 280, 2500).decision == Decision::hold);
        int looks = 0;
        while (watch.see(300, 1, 9).guard && looks < 100) {
            ++looks;
        }
        CHECK(looks < 20);
        CHECK(watch.last.decision == Decision::none);
        CHECK(watch.see(300, 200, 9).decision == Decision::rollback);
    }

    TEST_CASE("on_shared_outage: rollback switches the guard off") {
        Watch watch(plan(0));
        watch.policy.hold_on_shared_outage = false;
        watch.healthy(30);
        CHECK(watch.see(300, 280, 2500).decision == Decision::rollback);
        CHECK_FALSE(watch.last.guard);
    }

    TEST_CASE("at 100 % a three-minute outage ends in a hold until a person resumes") {
        Watch watch(plan(0));
        watch.phase(false);
        watch.healthy(30);
        CHECK(watch.see(300, 180).decision == Decision::waiting);
        CHECK(watch.last.alarm);
        watch.healthy(3);
        CHECK(watch.last.decision == Decision::waiting);
        CHECK_FALSE(watch.last.alarm);
        watch.healthy(1);
        CHECK(watch.last.decision == Decision::hold);
        CHECK(watch.last.confirmation_failed);
        CHECK(watch.last.ln_m < 0);
        watch.healthy(100);
        CHECK(watch.last.decision == Decision::hold);
        watch.ledger = forget_streams(watch.ledger, {watch.ledger.suspect});
        watch.healthy(1);
        CHECK(watch.last.decision == Decision::none);
    }

    TEST_CASE("at 100 % a fault that lasts is rolled back, after a hold as well") {
        Watch watch(plan(0));
        watch.phase(false);
        watch.healthy(30);
        watch.see(300, 180);
        watch.healthy(4);
        REQUIRE(watch.last.decision == Decision::hold);
        CHECK(watch.see(300, 60).decision == Decision::waiting);
        for (int look = 0; look < 3; ++look) {
            CHECK(watch.see(300, 60).decision == Decision::waiting);
        }
        CHECK(watch.see(300, 60).decision == Decision::rollback);
    }

    TEST_CASE("an alarm acts at once where the policy does not wait or the baseline is complete") {
        Watch at_once(plan(0));
        at_once.policy.confirm_without_baseline = Duration{0};
        at_once.phase(false);
        at_once.healthy(30);
        CHECK(at_once.see(300, 180).decision == Decision::rollback);
        Watch late(plan(0));
        late.healthy(30);
        late.baseline_complete = false;
        CHECK(late.see(300, 180).decision == Decision::waiting);
        Policy alone = plan(0);
        alone.baseline.clear();
        Watch nothing_to_compare(alone);
        nothing_to_compare.phase(true);
        nothing_to_compare.healthy(30);
        CHECK(nothing_to_compare.see(300, 180).decision == Decision::waiting);
    }

    TEST_CASE("a baseline that comes late and shows the same outage does not confirm an alarm") {
        Watch watch(plan(0));
        watch.healthy(30);
        watch.baseline_complete = false;
        REQUIRE(watch.see(300, 180, 0).decision == Decision::waiting);
        watch.baseline_complete = true;
        for (int look = 0; look < 4; ++look) {
            watch.see(300, 180, 1600);
        }
        CHECK(watch.last.confirmation_failed);
        CHECK(watch.last.decision == Decision::hold);
    }

    TEST_CASE("a new step keeps the evidence of harm and begins the proof anew") {
        Watch watch(plan(0));
        watch.healthy(50);
        watch.see(300, 20);
        CHECK(watch.last.proven);
        const double before = watch.ledger.streams[0].ln_sum();
        watch.phase(true);
        CHECK(same_bits(watch.ledger.streams[0].ln_sum(), before));
        CHECK(watch.ledger.streams[0].requests == 0);
        CHECK(watch.ledger.streams[0].events == 0);
        CHECK(watch.ledger.streams[0].sum_e == 0);
        CHECK(watch.ledger.streams[0].sum_e2 == 0);
        watch.see(300, 1);
        CHECK_FALSE(watch.last.proven);
    }

    TEST_CASE("a person's resume forgets the named streams only") {
        Watch watch(plan(2));
        watch.see(300, 20);
        const Ledger after = forget_streams(watch.ledger, {0, 99});
        CHECK(std::isinf(after.streams[0].ln_sum()));
        CHECK(after.streams[0].floor.empty());
        CHECK(same_bits(after.streams[1].ln_sum(), watch.ledger.streams[1].ln_sum()));
        CHECK(ln_m_of(after) < ln_m_of(watch.ledger));
    }

    TEST_CASE("events per hour beyond their limit roll back, within it they are proven") {
        const auto after = [](double per_hour, int looks) {
            Watch watch(crashing());
            watch.phase(true);
            watch.query(2, 0);  // warm-up
            for (int i = 0; i < looks && !watch.ledger.latched; ++i) {
                const double due = per_hour * (i + 1) / 12;
                watch.query(1,
                            static_cast<double>(std::floor(due) - std::floor(per_hour * i / 12)));
            }
            return watch;
        };
        const Watch sick = after(12, 12 * 24);
        CHECK(sick.ledger.latched);
        CHECK(sick.last.suspect == query_stream);
        CHECK(stream_name(sick.policy, sick.last.suspect) == "crashes");
        const Watch well = after(0.5, 12 * 24);
        CHECK_FALSE(well.ledger.latched);
        const Finding finding = queried_of(well);
        CHECK(finding.outcome == Outcome::pass);
        CHECK(finding.bounds.per == Per::hour);
        CHECK(finding.bounds.events == 12);
        CHECK(finding.bounds.rate() == doctest::Approx(0.5));
        CHECK(finding.bounds.upper < 2);
        CHECK(finding.bounds.lower < 0.5);
        // Errors are proven by no request: with a limit per hour proven alone nothing rises.
        CHECK_FALSE(well.last.proven);
    }

    TEST_CASE("two events never roll back, whatever their limit; a third one can") {
        Policy policy = crashing();
        policy.criteria[1].limit = 0.001;
        Watch watch(policy);
        watch.phase(true);
        watch.query(2, 0);
        watch.query(1, 2);
        CHECK(watch.last.ln_m > std::log(100));
        CHECK_FALSE(watch.ledger.latched);
        watch.query(1, 1);
        CHECK(watch.ledger.latched);
    }

    TEST_CASE("a look whose events nobody could count is no evidence of anything") {
        const auto judged = [](std::optional<double> count, Duration off = Duration{0}) {
            Watch watch(crashing());
            watch.phase(true);
            watch.query(2, 0);
            Look look = watch.query_look(count);
            look.windows[0].from += off;
            watch.judge(look);
            return watch;
        };
        const Watch known = judged(4);
        CHECK(queried_of(known).bounds.requests == 5 * 60'000);
        CHECK(known.ledger.streams[query_stream].floor.size() == 1);
        for (const Watch& unknown :
             {judged(std::nullopt), judged(0.5), judged(-1), judged(1e18),
              judged(std::numeric_limits<double>::quiet_NaN()),
              judged(std::numeric_limits<double>::infinity()), judged(4, Duration{1})}) {
            CHECK(queried_of(unknown).bounds.requests == 0);
            CHECK(queried_of(unknown).bounds.events == 0);
            CHECK(unknown.ledger.streams[query_stream].floor.empty());
            CHECK(unknown.last.remarks.size() <= 1);
        }
        const Watch half = judged(0.5);
        REQUIRE(half.last.remarks.size() == 1);
        CHECK(half.last.remarks[0] ==
              "crashes: worker_crashes is no count of the look's time: no evidence from it");
        CHECK(judged(std::nullopt).last.remarks.empty());  // the source has said why
    }

    TEST_CASE("a claim per hour has its share in total, and its segments' streams stay empty") {
        Policy policy = crashing();
        Watch watch(policy);
        watch.phase(true);
        watch.judge(watch.query_look(std::nullopt));
        const double ln_moved = std::log(phase_start_share);
        const auto& streams = watch.ledger.streams;
        REQUIRE(streams.size() == 6);
        CHECK(streams[query_stream].ln_sum() == doctest::Approx(ln_moved + std::log(0.5)));
        CHECK(streams[query_stream + 1].ln_sum() == -std::numeric_limits<double>::infinity());
        CHECK(streams[0].ln_sum() == doctest::Approx(ln_moved + std::log(0.25)));
        CHECK(watch.last.ln_m == doctest::Approx(0).epsilon(1e-12));
    }

    TEST_CASE("at 100 % events per hour wait for their confirmation as errors do") {
        const auto alarmed = [] {
            Watch watch(crashing());
            watch.phase(false);
            watch.query(2, 0);
            watch.query(1, 9);
            REQUIRE(watch.ledger.waiting);
            CHECK(watch.ledger.waiting->stream == query_stream);
            return watch;
        };
        Watch lasting = alarmed();
        for (int i = 0; i < 4; ++i) lasting.query(1, 1);
        CHECK(lasting.ledger.latched);
        Watch over = alarmed();
        for (int i = 0; i < 4; ++i) over.query(1, 0);
        CHECK_FALSE(over.ledger.latched);
        CHECK(over.ledger.failed_confirmation);
    }

    TEST_CASE("events at their limit hardly ever roll back: 50 rollouts of a week") {
        std::mt19937_64 random(20'261'128);
        int rolled_back = 0;
        for (int rollout = 0; rollout < 50; ++rollout) {
            Watch watch(crashing());
            watch.phase(true);
            for (int look = 0; look < 12 * 24 * 7 && !watch.ledger.latched; ++look) {
                watch.query(1, static_cast<double>(poisson(random, 2.0 / 12)));
            }
            rolled_back += watch.ledger.latched ? 1 : 0;
        }
        // At most 1 % by theorem: more than 4 of 50 with a chance below 1 in 5,000.
        CHECK(rolled_back <= 4);
    }

    TEST_CASE("clusters weigh with their shares of events, by the formula of requests") {
        Policy policy = in_sessions();
        policy.warm_up = Duration{0};
        Watch watch(policy);
        watch.phase(true);
        watch.query(1, 13.25, 400);
        const double begun = std::log(phase_start_share) + std::log(0.5);
        const Stream& stream = watch.ledger.streams[query_stream];
        for (std::size_t j = 0; j < grid_size; ++j) {
            CHECK(stream.ln_r[j] ==
                  doctest::Approx(begun - std::log(10) +
                                  log_evidence(400, 13.25, 0.01, breach_grid[j])));
        }
        CHECK(watch.ledger.streams[query_stream + 1].ln_sum() ==
              -std::numeric_limits<double>::infinity());
        const Bounds bounds = queried_of(watch).bounds;
        CHECK(bounds.per == Per::cluster);
        CHECK(bounds.rate() == doctest::Approx(13.25 / 400));
        // A whole number of clusters that failed whole is what so many requests are.
        Watch whole(policy);
        whole.phase(true);
        whole.query(1, 13, 400);
        const Bounds requests = bounds_of(400, 13, policy.false_rollback, policy.false_promotion);
        CHECK(queried_of(whole).bounds.lower == doctest::Approx(requests.lower));
        CHECK(queried_of(whole).bounds.upper == doctest::Approx(requests.upper));
    }

    TEST_CASE("clusters beyond their limit roll back, within it they are proven") {
        const auto after = [](double share) {
            Watch watch(in_sessions());
            watch.phase(true);
            watch.query(2, 0, 100);  // warm-up
            for (int i = 0; i < 12 * 24 && !watch.ledger.latched; ++i) {
                watch.query(1, share * 100, 100);
            }
            return watch;
        };
        const Watch sick = after(0.025);
        CHECK(sick.ledger.latched);
        CHECK(stream_name(sick.policy, sick.last.suspect) == "sessions");
        const Watch well = after(0.0025);
        CHECK_FALSE(well.ledger.latched);
        const Finding finding = queried_of(well);
        CHECK(finding.outcome == Outcome::pass);
        CHECK(finding.bounds.requests == 12 * 24 * 100 * std::int64_t{unit_of(Per::cluster)});
        CHECK(finding.bounds.events == 12 * 24 * unit_of(Per::cluster) / 4);
        CHECK(finding.bounds.upper < 0.01);
        CHECK_FALSE(well.last.proven);  // nothing shows that requests do not fail
    }

    TEST_CASE("two clusters never roll back, whatever their share; a third one can") {
        Policy policy = in_sessions();
        policy.criteria[1].limit = 1e-6;
        Watch watch(policy);
        watch.phase(true);
        watch.query(2, 0, 5);
        watch.query(1, 1.5, 5);  // of at least two
        CHECK(watch.last.ln_m > std::log(100));
        CHECK_FALSE(watch.ledger.latched);
        watch.query(1, 0.4, 5);
        CHECK(watch.ledger.latched);
    }

    TEST_CASE("shares that cannot be are no evidence, and are named") {
        const auto judged = [](std::optional<double> shares, std::int64_t clusters) {
            Watch watch(in_sessions());
            watch.phase(true);
            watch.query(2, 0, 10);
            watch.judge(watch.query_look(shares, clusters));
            return watch;
        };
        CHECK(queried_of(judged(4, 4)).bounds.requests == 4 * unit_of(Per::cluster));
        CHECK(judged(0, 0).last.remarks.empty());
        for (const Watch& bad :
             {judged(4.1, 4), judged(-0.1, 4), judged(1, -1), judged(1, 1LL << 50),
              judged(std::numeric_limits<double>::quiet_NaN(), 4),
              judged(std::numeric_limits<double>::infinity(), 4)}) {
            CHECK(queried_of(bad).bounds.requests == 0);
            CHECK(bad.ledger.streams[query_stream].floor.empty());
            REQUIRE(bad.last.remarks.size() == 1);
            CHECK(bad.last.remarks[0] ==
                  "sessions: failed_sessions is no sum of shares of so many "
                  "of the look's time: no evidence from it");
        }
    }

    TEST_CASE("what fails on both sides is no evidence of what a query counts") {
        const auto after = [](std::int64_t old_errors, bool hold_on_outage) {
            Policy policy = in_sessions();
            policy.hold_on_shared_outage = hold_on_outage;
            Watch watch(policy);
            watch.phase(true);
            watch.healthy(3);
            for (int i = 0; i < 6 && !watch.ledger.latched; ++i) {
                Look look = watch.look(300, 3, old_errors);
                look.windows = watch.query_look(20, 50).windows;
                watch.judge(look);
            }
            return watch;
        };
        CHECK(after(9, true).ledger.latched);
        CHECK(stream_name(after(9, true).policy, after(9, true).last.suspect) == "sessions");
        const Watch outage = after(1'350, true);
        CHECK_FALSE(outage.ledger.latched);
        CHECK_FALSE(outage.ledger.waiting);
        CHECK(after(1'350, false).ledger.latched);
    }

    TEST_CASE("clusters are tempered, confirmed and held as requests are") {
        Policy policy = in_sessions();
        policy.warm_up = Duration{0};
        policy.dispersion.limits = 2.5;
        Watch tempered(policy);
        tempered.phase(true);
        tempered.query(1, 13.25, 400);
        CHECK(tempered.ledger.streams[query_stream].ln_r[4] ==
              doctest::Approx(std::log(phase_start_share) + std::log(0.5) - std::log(10) +
                              log_evidence(400, 13.25, 0.01, breach_grid[4]) / 2.5));

        // At 100 % an alarm waits, and looks without a session say nothing.
        const auto confirmed = [](double later) {
            Watch watch(in_sessions());
            watch.phase(false);
            watch.query(2, 0, 50);
            watch.query(1, 20, 50);
            REQUIRE(watch.ledger.waiting);
            CHECK(watch.ledger.waiting->stream == query_stream);
            for (int i = 0; i < 5; ++i) {
                watch.query(1, 0, 0);
                CHECK(watch.ledger.waiting);
            }
            watch.query(1, later, 50);
            CHECK(watch.ledger.waiting);
            watch.query(1, later, 50);
            return watch;
        };
        CHECK(confirmed(10).ledger.latched);
        CHECK(confirmed(0.25).ledger.failed_confirmation);

        Policy holding = in_sessions();
        holding.criteria[1].then = Action::hold;
        Watch held(holding);
        held.phase(true);
        held.query(2, 0, 50);
        held.query(1, 20, 50);
        CHECK(held.ledger.hold.acted);
        CHECK_FALSE(held.ledger.latched);
    }

    TEST_CASE("one literal in a query proves no more than there may be") {
        Watch watch(in_sessions());
        watch.phase(true);
        for (int i = 0; i < 1'500; ++i) watch.query(1, 0, 10'000'000);
        const Bounds bounds = queried_of(watch).bounds;
        CHECK(bounds.requests > 8'000'000'000'000'000);
        CHECK(bounds.requests <= std::int64_t{1} << 53);
    }

    TEST_CASE(
        "sessions at their limit hardly ever roll back, however their requests hang together") {
        // In half of the rollouts a session that fails does so whole, in the others by a quarter.
        std::mt19937_64 random(7'4'2026);
        int rolled_back = 0;
        for (int rollout = 0; rollout < 50; ++rollout) {
            const double share = rollout % 2 == 0 ? 1.0 : 0.25;
            Watch watch(in_sessions());
            watch.phase(true);
            for (int look = 0; look < 12 * 24 * 7 && !watch.ledger.latched; ++look) {
                const auto failing = std::min<std::int64_t>(30, poisson(random, 0.3 / share));
                watch.query(1, share * static_cast<double>(failing), 30);
            }
            rolled_back += watch.ledger.latched ? 1 : 0;
        }
        // At most 1 % by theorem: more than 4 of 50 with a chance below 1 in 5,000.
        CHECK(rolled_back <= 4);
    }

    TEST_CASE("counts that cannot be are no evidence, and are named") {
        Watch watch(plan(1));
        watch.healthy(10);
        Look look = watch.look(300, 301, 0);
        look.on_time.push_back(tally(Population::canary, "a1", -5, 0, 0, 0));
        watch.judge(look);
        CHECK(watch.last.decision == Decision::none);
        REQUIRE(watch.last.remarks.size() == 3);
        CHECK(watch.last.remarks[0].rfind("errors: the canary's counts", 0) == 0);
        CHECK(watch.last.remarks[1].rfind("errors, agent a1: the canary's counts", 0) == 0);
        CHECK(watch.ledger.streams[0].requests == 300 * 8);
        CHECK(watch.ledger.streams[2].requests == 300 * 9);

        Look missing = watch.look(300, 0, 0);
        missing.on_time[0].events.clear();
        missing.on_time[0].bursts.clear();
        watch.judge(missing);
        CHECK(watch.ledger.streams[0].requests == 300 * 8);
        CHECK(watch.last.remarks.size() == 2);
    }

    TEST_CASE("more failures than requests are no evidence where they count once as well") {
        Watch watch(plan(0));
        Look look = watch.look(5, 3, 0);
        look.on_time[0].events[0].raw = 6;
        CHECK(watch.judge(look).remarks.size() == 1);
        CHECK(watch.ledger.streams[0].floor.empty());
        Look first = watch.look(5, 3, 0);
        first.on_time[0].events[0].first[0].failures = 6;
        CHECK(watch.judge(first).remarks.size() == 1);
        CHECK(watch.ledger.streams[0].floor.empty());
        Look late = watch.look(5, 3, 0);  // six of the look's own five, though late ones make up
        late.on_time[0].events[0].raw = 6;
        late.late.push_back(tally(Population::canary, "", 50, 0, 0, 0));
        CHECK(watch.judge(late).remarks.size() == 1);
        Look more = watch.look(5, 3, 0);  // eight users of seven requests, the late ones among them
        more.late.push_back(tally(Population::canary, "", 2, 2, 0, 0));
        more.late[0].events[0].first[0].failures = 5;
        CHECK(watch.judge(more).remarks.size() == 1);
        Look negative = watch.look(5, 3, 0);
        negative.on_time[0].events[0].raw = -1;
        CHECK(watch.judge(negative).remarks.size() == 1);
        CHECK(watch.ledger.streams[0].events == 0);
    }

    TEST_CASE("of streams that are as large the first is named") {
        Watch watch(plan(2));
        watch.ledger.streams[1].ln_r[3] = 3.0;
        watch.ledger.streams[2].ln_r[3] = 3.0 + 5e-10;
        CHECK(watch.see(0, 0).top == 1);
        watch.ledger.streams[2].ln_r[3] = 3.1;
        CHECK(watch.see(0, 0).top == 2);
    }

    TEST_CASE(
        "a canary that falls silent while its alarm waits keeps it waiting, in little space") {
        Watch watch(plan(0));
        watch.phase(false);
        watch.healthy(30);
        watch.see(300, 180);
        watch.see(300, 180);
        for (int look = 0; look < 500; ++look) {
            REQUIRE(watch.see(0, 0).decision == Decision::waiting);
        }
        CHECK(watch.ledger.waiting->looks.size() == 2);
        CHECK(watch.see(300, 180).decision == Decision::rollback);
    }

    TEST_CASE("failures without their bursts prove no health") {
        Watch watch(plan(0));
        watch.healthy(2);
        Look look = watch.look(100'000, 10, 0);
        look.on_time[0].bursts.clear();
        watch.judge(look);
        CHECK(watch.ledger.streams[0].requests == 0);
        CHECK(watch.ledger.streams[1].requests == 100'000);
        CHECK_FALSE(watch.last.proven);
        CHECK(watch.last.remarks.size() == 1);
    }

    TEST_CASE("a ledger of another policy is refused") {
        const Policy policy = plan(8);
        CHECK_THROWS_AS(judge(policy, new_ledger(plan(3)), Look{}), std::invalid_argument);
        Ledger waits = new_ledger(policy);
        waits.waiting = Waiting{99, {}, {}, false};
        CHECK_THROWS_AS(judge(policy, waits, Look{}), std::invalid_argument);
    }

    TEST_CASE("what people see of each limit agrees with what decides") {
        Watch watch(plan(1));
        watch.healthy(60);
        const std::vector<Finding> findings = findings_of(watch.policy, watch.ledger);
        REQUIRE(findings.size() == 4);
        CHECK(findings[0].criterion == "errors");
        CHECK(findings[0].segment.empty());
        CHECK(findings[0].outcome == Outcome::pass);
        CHECK(findings[0].bounds.upper < 0.01);
        CHECK(findings[0].bounds.events == 58);
        CHECK(findings[1].segment == "a1");
        CHECK(findings[1].outcome == Outcome::inconclusive);
        CHECK(findings[1].bounds.upper == 1);
        CHECK(watch.last.proven);
        CHECK(harm_of_100(watch.policy, 1e9) == doctest::Approx(999'999));
        CHECK(harm_of_100(watch.policy, std::log(100.0)) == doctest::Approx(100));
    }

    TEST_CASE("hardly any healthy rollout is rolled back: 200 of a week at 0.5 % errors") {
        std::mt19937_64 random(20'260'111);
        int rolled_back = 0;
        int proven = 0;
        for (int rollout = 0; rollout < 200; ++rollout) {
            Watch watch(plan(0));
            for (int look = 0; look < 2016; ++look) {
                const std::int64_t n = poisson(random, 25);
                const std::int64_t k = poisson(random, 0.005 * static_cast<double>(n));
                watch.see(n, std::min(n, k), 0);
            }
            rolled_back += watch.last.decision == Decision::rollback ? 1 : 0;
            proven += watch.last.proven ? 1 : 0;
        }
        CHECK(rolled_back <= 5);
        CHECK(proven >= 150);
    }
}
