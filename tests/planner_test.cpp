// What a policy can show at a traffic, said before day one: against other programs' numbers, and
// against rollouts that were really judged.
#include <doctest/doctest.h>
#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "canaryd/planner.hpp"
#include "daemon/core/draft.hpp"
#include "tests/story.hpp"
#include "tests/vectors.hpp"

using namespace canaryd;
using namespace canaryd::vectors;

namespace {

Onset onset_of(const Row& row) {
    return row.at("mode") == "begin" ? Onset::begin : Onset::mid;
}

Stake stake_of(const Row& row) {
    return {number(row.at("alpha")), number(row.at("v")), number(row.at("eta")),
            number(row.at("H_min")), number(row.at("C"))};
}

void check_walk(const Walk& walk, double chance, const Row& row) {
    check_close(walk.delta, number(row.at("delta")), row, "grid point");
    check_close(walk.threshold, number(row.at("threshold_nats")), row, "threshold");
    check_close(walk.drift, number(row.at("drift")), row, "drift");
    check_close(walk.variance, number(row.at("var")), row, "variance");
    check_close(chance, number(row.at("P_detect")), row, "chance");
}

using namespace std::chrono_literals;

constexpr int rollouts = 1000;
constexpr Duration look_length = 5min;

/// 10, 50, 100 %, a week each; errors below 1 %.
Policy plain_policy(std::vector<std::string> segments = {}) {
    Policy policy;
    policy.name = "plan";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.steps = {{"a", Weight{1000}, 168h}, {"b", Weight{5000}, 168h}, {"c", everybody, 168h}};
    policy.criteria = {{"errors", "error_rate", Signal{}, 0.01}};
    policy.segment = "agent";
    policy.segments = std::move(segments);
    return policy;
}

/// Requests and failures of one side and scope, every failure another user.
struct Flow {
    std::string segment;
    double per_minute = 0;
    double rate = 0;
    Population who = Population::canary;
    std::int64_t together = 1;  // failures come so many at once
};

class Rollouts {
public:
    Rollouts(const Policy& policy, unsigned seed) : policy_(policy), random_(seed) {}

    void begin() {
        at_ = TimePoint{480'000h};
        ledger_ = begin_phase(policy_, new_ledger(policy_), at_, true);
        verdict_ = {};
    }
    Look drawn(TimePoint from, Duration length, const std::vector<Flow>& flows) {
        Look look;
        look.from = from;
        look.to = from + length;
        const double minutes = static_cast<double>(length.count()) / 60'000;
        for (const Flow& flow : flows) {
            Tally tally;
            tally.who = flow.who;
            tally.segment = flow.segment;
            const double mean = flow.per_minute * minutes;
            const std::int64_t failed =
                flow.together * poisson(mean * flow.rate / static_cast<double>(flow.together));
            tally.requests = failed + poisson(mean * (1 - flow.rate));
            tally.events = {Count{failed, {{look.from.time_since_epoch() / 60min, failed}}}};
            if (failed == 0) tally.events[0].first.clear();
            if (flow.who == Population::canary && flow.segment.empty()) {
                tally.bursts = {Burst{failed, failed}};
            }
            const std::int64_t users = std::min(tally.requests, policy_.segment_users);
            while (std::ssize(tally.new_users) < users) tally.new_users.push_back(++users_);
            look.on_time.push_back(std::move(tally));
        }
        return look;
    }
    void look(Duration length, const std::vector<Flow>& flows) {
        verdict_ = judge(policy_, ledger_, drawn(at_, length, flows));
        at_ += length;
        ledger_ = verdict_.ledger;
    }
    /// True as soon as `done` is, after at most `time`.
    template <class Done>
    bool within(Duration time, Duration length, const std::vector<Flow>& flows, Done done) {
        for (Duration passed{0}; passed + length <= time; passed += length) {
            look(length, flows);
            if (done(verdict_)) return true;
        }
        return false;
    }
    /// How many of `rollouts` from their begin are `done` within `time`.
    template <class Done>
    int found_within(Duration time, Duration length, const std::vector<Flow>& flows, Done done) {
        int found = 0;
        for (int i = 0; i < rollouts; ++i) {
            begin();
            found += within(time, length, flows, done) ? 1 : 0;
        }
        return found;
    }
    [[nodiscard]] const Verdict& verdict() const { return verdict_; }

private:
    std::int64_t poisson(double mean) {
        return mean > 0 ? std::poisson_distribution<std::int64_t>(mean)(random_) : 0;
    }
    const Policy& policy_;
    std::mt19937_64 random_;
    std::uint64_t users_ = 0;  // every request is another user's
    TimePoint at_;
    Ledger ledger_;
    Verdict verdict_;
};

/// The canary's total of the segments that were drawn.
Tally total_of(const std::vector<Tally>& drawn) {
    Tally total;
    total.events.resize(1);
    for (const Tally& tally : drawn) {
        if (tally.who != Population::canary) continue;
        const Count& failed = tally.events[0];
        total.requests += tally.requests;
        total.events[0].raw += failed.raw;
        for (const InBlock& first : failed.first) total.events[0].first.push_back(first);
    }
    total.bursts = {Burst{total.events[0].raw, total.events[0].raw}};
    return total;
}

bool rolled_back(const Verdict& verdict) {
    return verdict.decision == Decision::rollback;
}

/// Of 1,000 rollouts with the planned chance, so many more or fewer are chance: 3.3 deviations,
/// which one honest test in a thousand exceeds.
void check_share(int times, double planned, const std::string& what) {
    const double spread = std::sqrt(planned * (1 - planned) / rollouts);
    const double share = static_cast<double>(times) / rollouts;
    CHECK_MESSAGE(std::abs(share - planned) <= 3.3 * spread + 1e-3, what, ": planned ", planned,
                  ", simulated ", share);
}

}  // namespace

TEST_SUITE("planner") {
    TEST_CASE("vector planner_detect: the chance to find a rate above a limit") {
        for (const Row& row : rows_of("planner_detect.csv")) {
            const Walk walk =
                limit_walk(number(row.at("p0")), number(row.at("q")), number(row.at("p_healthy")),
                           number(row.at("req_per_min")), stake_of(row), onset_of(row));
            check_walk(walk, chance_to_reach(walk, number(row.at("n"))), row);
        }
    }

    TEST_CASE("vector planner_detect_rel: the chance to find a canary worse than its baseline") {
        for (const Row& row : rows_of("planner_detect_rel.csv")) {
            const Margin margin{number(row.at("rho")), number(row.at("dm"))};
            const Beside baseline{number(row.at("kappa")), number(row.at("p_b"))};
            const Walk walk = relative_walk(
                margin, baseline, number(row.at("p_c")), number(row.at("p_c_healthy")),
                number(row.at("req_per_min")), stake_of(row), onset_of(row));
            check_walk(walk, chance_to_reach(walk, number(row.at("n"))), row);
        }
    }

    TEST_CASE("vector planner_promote: the chance to pass the gate") {
        for (const Row& row : rows_of("planner_promote.csv")) {
            const Walk walk =
                gate_walk(number(row.at("p0")), number(row.at("p")), number(row.at("beta")));
            check_close(walk.delta, number(row.at("delta")), row, "grid point");
            check_close(walk.threshold, number(row.at("threshold_nats")), row, "threshold");
            check_close(walk.drift, number(row.at("drift")), row, "drift");
            check_close(chance_above(walk, number(row.at("n"))), number(row.at("P_pass")), row,
                        "chance");
        }
    }

    TEST_CASE("vector theory_bounds: the fewest requests that any rule needs") {
        for (const Row& row : rows_of("theory_bounds.csv")) {
            const Yardstick yardstick =
                yardstick_of(number(row.at("p0")), number(row.at("q")), number(row.at("alpha")),
                             number(row.at("req_per_min")), number(row.at("horizon_min")));
            check_close(yardstick.divergence, number(row.at("kl")), row, "divergence");
            check_close(yardstick.wald, number(row.at("wald_requests")), row, "Wald's bound");
            check_close(yardstick.changepoint, number(row.at("changepoint_requests")), row,
                        "the bound of an unknown start");
        }
    }

    TEST_CASE("a fault from the first look on is found as often as planned") {
        const Policy policy = plain_policy();
        const Traffic traffic = stated_traffic(policy, 600, {});
        const Watch watch = watches_of(policy, traffic).front();
        unsigned seed = 1;
        for (const auto& [rate, time] : {std::pair{0.02, Duration{40min}},
                                         {0.02, Duration{60min}},
                                         {0.015, Duration{150min}}}) {
            Rollouts simulated(policy, seed++);
            const int found =
                simulated.found_within(time, look_length, {{"", 60, rate}}, rolled_back);
            const Fault fault{rate, 60, true, Onset::begin, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        std::to_string(rate) + " within " + std::to_string(time / 1min) + " min");
        }
    }

    TEST_CASE("a fault that begins later is found as often as planned") {
        const Policy policy = plain_policy();
        const Traffic traffic = stated_traffic(policy, 600, {});
        const Watch watch = watches_of(policy, traffic).front();
        unsigned seed = 11;
        for (const auto& [rate, time] :
             {std::pair{0.02, Duration{70min}}, {0.02, Duration{90min}}, {0.03, Duration{35min}}}) {
            Rollouts simulated(policy, seed++);
            int found = 0;
            for (int i = 0; i < rollouts; ++i) {
                simulated.begin();
                // Half of the bake in coarse looks: a look may have any length.
                simulated.within(84h, 2h, {{"", 60, 0.005}}, rolled_back);
                simulated.look(look_length, {{"", 60, 0.5 * (0.005 + rate)}});
                found += rolled_back(simulated.verdict()) ||
                                 simulated.within(time - look_length, look_length, {{"", 60, rate}},
                                                  rolled_back)
                             ? 1
                             : 0;
            }
            const Fault fault{rate, 60, true, Onset::mid, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        std::to_string(rate) + " within " + std::to_string(time / 1min) + " min");
        }
    }

    TEST_CASE("a fault of one agent, with its floor of users, is found as often as planned") {
        const Policy policy = plain_policy({"jobs", "rides"});
        const Traffic traffic = stated_traffic(policy, 100, {0.9, 0.1});
        const Watch watch = watches_of(policy, traffic).front();
        unsigned seed = 21;
        for (const auto& [rate, time] :
             {std::pair{0.2, Duration{60min}}, {0.1, Duration{240min}}}) {
            Rollouts simulated(policy, seed++);
            const int found = simulated.found_within(
                time, look_length, {{"jobs", 9, 0.005}, {"rides", 1, rate}}, rolled_back);
            const Fault fault{rate, 1, false, Onset::begin, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        std::to_string(rate) + " within " + std::to_string(time / 1min) + " min");
        }
    }

    TEST_CASE("failures that come in waves are found as late as their dispersion plans") {
        Policy policy = plain_policy();
        const Traffic traffic = stated_traffic(policy, 600, {});
        const Plan calm = make_plan(policy, traffic);
        policy.dispersion.limits = 3;
        const Watch watch = watches_of(policy, traffic).front();
        unsigned seed = 61;
        for (const auto& [rate, time] :
             {std::pair{0.02, Duration{180min}}, {0.015, Duration{600min}}}) {
            Rollouts simulated(policy, seed++);
            const int found = simulated.found_within(
                time, look_length, {{"", 60, rate, Population::canary, 3}}, rolled_back);
            const Fault fault{rate, 60, true, Onset::begin, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        std::to_string(rate) + " within " + std::to_string(time / 1min) + " min");
        }
        const Plan wavy = make_plan(policy, traffic);
        CHECK(*wavy.steps[0].scopes[0].found[0].day > *calm.steps[0].scopes[0].found[0].day);
        CHECK(*wavy.steps[0].proofs[0].sure > 2 * *calm.steps[0].proofs[0].sure);
    }

    TEST_CASE("an agent of six requests an hour waits for its floor as often as planned") {
        const Policy policy = plain_policy({"jobs", "rides"});
        const Traffic traffic = stated_traffic(policy, 20, {0.95, 0.05});
        const Watch watch = watches_of(policy, traffic).front();
        unsigned seed = 26;
        for (const Duration time : {Duration{12h}, Duration{20h}}) {
            Rollouts simulated(policy, seed++);
            const int found = simulated.found_within(
                time, 20min, {{"jobs", 1.9, 0.005}, {"rides", 0.1, 0.2}}, rolled_back);
            const Fault fault{0.2, 0.1, false, Onset::begin, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        "20 % within " + std::to_string(time / 1h) + " h");
        }
    }

    TEST_CASE("a canary worse than legacy holds as often as planned") {
        Policy policy = plain_policy();
        policy.criteria.push_back(
            {"errors-vs-legacy", "error_rate", Signal{}, 0, Margin{1.2, 0.001}, Action::hold});
        Traffic traffic = stated_traffic(policy, 600, {});
        traffic.healthy = {0.005};
        const Watch watch = watches_of(policy, traffic).back();
        CHECK(watch.limit == doctest::Approx(0.007));
        unsigned seed = 31;
        for (const auto& [rate, time] :
             {std::pair{0.015, Duration{75min}}, {0.012, Duration{180min}}}) {
            Rollouts simulated(policy, seed++);
            const int found = simulated.found_within(
                time, look_length, {{"", 60, rate}, {"", 540, 0.005, Population::baseline}},
                [](const Verdict& verdict) { return verdict.ledger.hold.acted; });
            const Fault fault{rate, 60, true, Onset::begin, 0};
            check_share(found, chance_to_find(policy, traffic, watch, fault, time),
                        std::to_string(rate) + " within " + std::to_string(time / 1min) + " min");
        }
    }

    TEST_CASE("a healthy canary is proven by the end of its bake as often as planned") {
        Policy policy = plain_policy();
        policy.warm_up = 0h;
        unsigned seed = 41;
        for (const auto& [per_minute, rate] : {std::pair{2.0, 0.005},
                                               {2.0, 0.001},
                                               {20.0, 0.008},
                                               {20.0, 0.0085},
                                               {600.0, 0.0095}}) {
            Traffic traffic = stated_traffic(policy, per_minute, {});
            traffic.healthy = {rate};
            const Plan plan = make_plan(policy, traffic);
            Rollouts simulated(policy, seed++);
            const auto never = [](const Verdict&) { return false; };
            int proven = 0;
            int later = 0;
            for (int i = 0; i < rollouts; ++i) {
                simulated.begin();
                simulated.within(168h, 42h, {{"", per_minute / 10, rate}}, never);
                proven += simulated.verdict().proven ? 1 : 0;
                simulated.within(336h, 42h, {{"", per_minute / 10, rate}}, never);
                later += simulated.verdict().proven ? 1 : 0;
            }
            const ProofPlan& proof = plan.steps[0].proofs[0];
            REQUIRE(plan.steps[0].max_step == 504h);
            check_share(proven, proof.by_bake, std::to_string(per_minute));
            check_share(later, proof.by_max_step, std::to_string(per_minute) + " in three weeks");
        }
    }

    TEST_CASE("a healthy rollout is extended beyond its bake as often as planned") {
        Policy policy = plain_policy({"jobs", "rides"});
        policy.steps[1].weight = Weight{1100};  // the second step is another one, no more
        policy.warm_up = policy.settle = 0s;
        policy.evaluate_every = 42h;
        unsigned seed = 51;
        // Most wait for their proof; for both; most for the requests of one agent.
        for (const auto& [per_minute, rides] :
             {std::pair{3.0, 0.05}, {6.0, 0.0085}, {40.0, 0.00125}}) {
            Traffic traffic = stated_traffic(policy, per_minute, {1 - rides, rides});
            traffic.healthy = {0.005};
            const StepPlan planned = make_plan(policy, traffic).steps[0];
            Rollouts simulated(policy, seed++);
            int extended = 0;
            int promoted = 0;
            for (int i = 0; i < rollouts; ++i) {
                test::Story story(policy);
                story.start().confirm();
                const auto raised_after = [&](int looks) {
                    for (int look = 0; look < looks && story.rollout.step == 0; ++look) {
                        event::Looked looked;
                        looked.look =
                            simulated.drawn(story.now, policy.evaluate_every,
                                            {{"jobs", 0.1 * per_minute * (1 - rides), 0.005},
                                             {"rides", 0.1 * per_minute * rides, 0.005},
                                             {"", 0.9 * per_minute, 0.005, Population::baseline}});
                        looked.look.on_time.push_back(total_of(looked.look.on_time));
                        story.now = looked.look.to;
                        story.happens(looked);
                        story.confirm();
                    }
                    return story.rollout.step == 1;
                };
                extended += raised_after(4) ? 0 : 1;
                promoted += raised_after(8) ? 1 : 0;
            }
            check_share(extended, planned.extends, std::to_string(per_minute) + " a minute");
            // By max_step it is raised at any look that proves it, not only at the last one.
            const double by_max_step = planned.proofs[0].by_max_step;
            const double chance = 3.3 * std::sqrt(by_max_step * (1 - by_max_step) / rollouts);
            CHECK(static_cast<double>(promoted) / rollouts >= by_max_step - chance - 1e-3);
        }
    }

    TEST_CASE("a trigger fires on a healthy canary no more often than planned, nor much less") {
        Policy policy = plain_policy();
        policy.steps = {{"a", Weight{1000}, 168h}, {"b", everybody, 1ms}};
        policy.soak = 1ms;
        Trigger two_of_three;
        two_of_three.over = 15min;
        two_of_three.threshold = 0.05;
        two_of_three.at_least = 4;
        Trigger at_once = two_of_three;
        at_once.needed = at_once.looks = 1;
        at_once.over = 30min;
        at_once.at_least = 6;
        Trigger apart = two_of_three;
        apart.over = 5min;
        apart.at_least = apart.users = 2;
        policy.peek_every = policy.evaluate_every;
        Traffic traffic = stated_traffic(policy, 40, {});
        traffic.hours.fill(1);
        unsigned seed = 61;
        for (Trigger trigger : {two_of_three, at_once, apart}) {
            trigger.name = "burst";
            policy.triggers = {trigger};
            traffic.triggers = {0.02};
            const double planned = *trigger_plan(policy, traffic, 0).per_rollout;
            std::mt19937_64 random(seed++);
            std::poisson_distribution<std::int64_t> failures(4 * 5 * 0.02);
            std::poisson_distribution<std::int64_t> others(4 * 5 * 0.98);
            Rollout rollout;
            rollout.applied = Weight{1000};
            std::vector<std::int64_t> failed, all;
            const int weeks = 60;
            int fired = 0;
            bool acting = false;
            for (std::int64_t i = 0; i < weeks * 7 * 24 * 12; ++i) {
                failed.push_back(failures(random));
                all.push_back(failed.back() + others(random));
                Look look;
                look.to = TimePoint{480'000h} + (i + 1) * look_length;
                Window window;
                window.trigger = "burst";
                window.from = look.to - trigger.over;
                window.to = look.to;
                const auto wide = static_cast<std::size_t>(trigger.over / look_length);
                for (std::size_t back = 1; back <= std::min(wide, all.size()); ++back) {
                    window.requests += all[all.size() - back];
                    window.failures += failed[failed.size() - back];
                }
                window.users = window.failures;
                look.windows = {window};
                const TriggerSaw saw = read_triggers(rollout, policy, look, false).front();
                remember(saw, rollout.triggers[saw.key]);
                fired += saw.acts && !acting ? 1 : 0;
                acting = saw.acts;
            }
            const double simulated = static_cast<double>(fired) / weeks;
            REQUIRE(fired > 100);
            // Chance alone makes a difference of three times the root of the count.
            const double chance = 3 / std::sqrt(static_cast<double>(fired));
            CHECK_MESSAGE(simulated <= (1 + chance) * planned, "planned ", planned, ", simulated ",
                          simulated);
            CHECK_MESSAGE(simulated >= (0.8 - chance) * planned, "planned ", planned,
                          ", simulated ", simulated);
        }
    }

    TEST_CASE("what fired on legacy's history counts for each step as long as it lasts") {
        Policy policy = plain_policy();
        policy.soak = 30 * 24h;
        Trigger burst;
        burst.name = "burst";
        burst.over = 5min;
        burst.at_least = 1000;
        Trigger letters;
        letters.name = "letters";
        letters.kind = Trigger::Kind::number;
        policy.triggers = {burst, letters};
        const TimePoint first{480'000h};
        std::vector<SelfTest> tests(3);
        for (SelfTest& test : tests) test.triggers.resize(2);
        tests[0].triggers[0] = {1, 3, first + 2h};  // what legacy shared is no firing
        tests[2].triggers[0] = {2, 0, first};
        const Traffic traffic = stated_traffic(policy, 60, {});
        Plan plan = make_plan(policy, traffic);
        CHECK_FALSE(plan.triggers[0].too_eager());
        add_past(policy, tests, 14 * 24h, plan);
        // Half a time in the week at 10 %, twice 30/14 times in the soak at 100 %.
        CHECK(*plan.triggers[0].replayed == doctest::Approx(1 * 7.0 / 14 + 2 * 30.0 / 14));
        CHECK(plan.triggers[0].fired == 3);
        CHECK(plan.triggers[0].fired_at == first);
        CHECK(plan.triggers[0].too_eager());
        const std::vector<std::string> eager = text::eager_triggers(policy, plan);
        REQUIRE(eager.size() == 1);
        CHECK_MESSAGE(eager[0].find("it fired 3 times, first ") != std::string::npos, eager[0]);
        // No record has what a query would have said.
        CHECK_FALSE(plan.triggers[1].replayed.has_value());
        const std::string page = text::plan_page(policy, plan, 100);
        CHECK_MESSAGE(page.find("not counted: letters (it asks your database") != std::string::npos,
                      page);
        CHECK_MESSAGE(page.find("without the peeks between them: burst") == std::string::npos,
                      page);
        policy.triggers[0].needed = policy.triggers[0].looks = 1;
        CHECK(text::plan_page(policy, plan, 100).find("without the peeks between them: burst") !=
              std::string::npos);
    }

    TEST_CASE("low traffic is told what it cannot prove, and what would") {
        const Policy policy = plain_policy();
        const Plan plan = make_plan(policy, stated_traffic(policy, 2, {}));
        const std::vector<std::string> gaps = text::plan_gaps(policy, plan);
        REQUIRE(gaps.size() == 1);
        CHECK(gaps[0].find("errors in a (10 %)") != std::string::npos);
        CHECK(gaps[0].find("a bake of ") != std::string::npos);
        CHECK(gaps[0].find("a weight of ") != std::string::npos);
        CHECK(gaps[0].find("a limit of ") != std::string::npos);
        // What is offered keeps its word.
        const ProofPlan& proof = plan.steps[0].proofs[0];
        Policy longer = policy;
        longer.steps[0].bake = *proof.sure;
        Policy wider = policy;
        wider.steps[0].weight = *proof.weight;
        Policy looser = policy;
        looser.criteria[0].limit = *proof.limit;
        for (const Policy& mended : {longer, wider, looser}) {
            Traffic traffic = stated_traffic(mended, 2, {});
            traffic.healthy = {0.005};
            CHECK(make_plan(mended, traffic).steps[0].proofs[0].by_bake > 0.94);
        }
    }

    TEST_CASE("legacy above the limit can never be proven, whatever the traffic") {
        const Policy policy = plain_policy();
        Traffic traffic = stated_traffic(policy, 60'000, {});
        traffic.healthy = {0.02};
        const Plan plan = make_plan(policy, traffic);
        CHECK(plan.steps[0].proofs[0].by_bake == 0);
        CHECK_FALSE(plan.steps[0].proofs[0].sure.has_value());
        CHECK(text::plan_gaps(policy, plan)[0].find("legacy itself is at 2 %") !=
              std::string::npos);
    }

    TEST_CASE("a segment too quiet to be seen is named") {
        const Policy policy = plain_policy({"jobs", "waiter"});
        const Plan plan = make_plan(policy, stated_traffic(policy, 60, {0.999, 0.001}));
        CHECK(plan.steps[0].quiet == std::vector<std::string>{"waiter"});
        CHECK(plan.steps[2].quiet.empty());
        CHECK(plan.steps[0].extends > 0.05);
    }

    TEST_CASE("more traffic finds smaller faults, sooner and with more certainty") {
        const Policy policy = plain_policy();
        const Traffic traffic = stated_traffic(policy, 600, {});
        const Watch watch = watches_of(policy, traffic).front();
        double before = 0;
        for (const double per_minute : {0.0, 1.0, 5.0, 20.0, 100.0, 1000.0}) {
            const double chance = chance_to_find(policy, traffic, watch,
                                                 {0.03, per_minute, true, Onset::begin, 0}, 2h);
            CHECK(chance >= before);
            before = chance;
        }
        CHECK(before > 0.999);
        const Plan plan = make_plan(policy, traffic);
        const Smallest& found = plan.steps[0].scopes[0].found[0];
        CHECK(*found.hour > *found.day);
        CHECK(*found.day > *found.bake);
        CHECK(*found.bake > watch.limit);
    }

    TEST_CASE("at 100 % nothing is compared with legacy") {
        Policy policy = plain_policy();
        policy.criteria.push_back(
            {"errors-vs-legacy", "error_rate", Signal{}, 0, Margin{1.2, 0.001}, Action::hold});
        const Plan plan = make_plan(policy, stated_traffic(policy, 600, {}));
        CHECK(plan.steps[0].scopes[0].found[1].day.has_value());
        CHECK_FALSE(plan.steps[2].scopes[0].found[1].day.has_value());
        CHECK(text::plan_page(policy, plan, 100).find("errors-vs-legacy (0.7 %)") !=
              std::string::npos);
    }
}
