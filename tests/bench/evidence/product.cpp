#include "tests/bench/evidence/product.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "tests/bench/bench.hpp"
#include "tests/bench/evidence/contenders.hpp"

namespace canaryd::comparison {

namespace {

constexpr std::uint64_t retrying_user = 0x5EED;
const TimePoint start{std::chrono::hours{24 * 20'000 + 6}};

TimePoint time_of(std::int64_t look) {
    return start + std::chrono::minutes{5} * look;
}

}  // namespace

Policy plan() {
    using std::chrono::hours;
    Policy policy;
    policy.name = "comparison";
    policy.canary = "new";
    policy.baseline = {"old"};
    policy.steps = {{"tenth", Weight{1'000}, hours{7 * 24}},
                    {"half", Weight{5'000}, hours{7 * 24}},
                    {"all", everybody, hours{7 * 24}}};
    const Signal failed;
    const Signal slow{Signal::Kind::slower, std::chrono::seconds{2}};
    policy.criteria = {{"errors", "error_rate", failed, error_limit},
                       {"latency", "latency_p95", slow, slow_limit}};
    // The margins that the design recommends for holding; they never roll back.
    policy.criteria.push_back(
        {"errors-like-old", "error_rate", failed, 0, Margin{1.2, 0.001}, Action::hold});
    policy.criteria.push_back(
        {"latency-like-old", "latency_p95", slow, 0, Margin{1.2, 0.005}, Action::hold});
    policy.segment = "agent";
    for (std::size_t i = 0; i < agents; ++i) {
        policy.segments.push_back(std::string("agent-") + std::to_string(i + 1));
    }
    policy.hash = "comparison";
    return policy;
}

Product::Product(const Policy& policy) : policy_(policy), event_{start, "canaryd", "engine", {}} {
    apply(start, event::Started{"comparison-1", "", ""});
    if (rollout_.desired != policy.steps.front().weight) {
        throw std::logic_error("the rollout did not start: " + rollout_.reason);
    }
}

double Product::weight() const {
    return rolled_back() ? 0.0 : rollout_.applied.value_or(nobody).share();
}

double Product::minute_of(TimePoint at) const {
    return std::chrono::duration<double, std::ratio<60>>(at - start).count();
}

/// One event, and the router's answer where it ordered something: it obeys at once.
void Product::apply(TimePoint at, What what) {
    event_.at = at;
    event_.what = std::move(what);
    Transition transition = step(rollout_, event_, policy_);
    rollout_ = std::move(transition.next);
    for (const Notice& notice : transition.notices) {
        waited_ = waited_ || notice.kind == Notice::Kind::waiting;
    }
    for (const Hold& hold : rollout_.holds) held_.push_back({minute_of(at), hold.kind});
    if (rolled_back() || rollout_.desired == rollout_.applied) return;
    event::RouteRead read;
    read.served = {rollout_.desired, 1, "canaryd", "comparison"};
    const bool raised = rollout_.desired > rollout_.applied.value_or(nobody);
    if (raised) raised_at_.push_back(minute_of(at));
    event_.what = std::move(read);
    rollout_ = step(rollout_, event_, policy_).next;
}

std::int64_t Product::count_retries(std::int64_t retries, std::int64_t block, Burst& burst) {
    std::int64_t first = 0;
    for (std::int64_t i = 0; i < retries; ++i) {
        const Dedup::Added added = dedup_.add(0, 1, block, retrying_user, true);
        first += added.first_total ? 1 : 0;
        burst.sum_e += 1;
        burst.sum_e2 += added.e2_gain;
    }
    return first;
}

/// The total first, then every agent. The retrying user is one of the first agent's; every other
/// failure is a user of its own.
void Product::add_tallies(std::vector<Tally>& tallies, Population who, const Side& side,
                          std::int64_t block, std::int64_t retries) {
    Burst burst{side.total.failed - retries, side.total.failed - retries};
    const std::int64_t first = count_retries(retries, block, burst);
    const auto add_one = [&](const Counts& counts, const std::string& segment, bool retried) {
        const std::int64_t failed = retried ? counts.failed - retries + first : counts.failed;
        Tally& tally = tallies.emplace_back();
        tally.who = who;
        tally.segment = segment;
        tally.requests = counts.requests;
        tally.events.resize(2);
        tally.events[0].raw = counts.failed;
        tally.events[1].raw = counts.slow;
        if (failed > 0) tally.events[0].first.push_back({block, failed});
        if (counts.slow > 0) tally.events[1].first.push_back({block, counts.slow});
    };
    const bool canary = who == Population::canary;
    tallies.reserve(tallies.size() + 1 + agents);
    add_one(side.total, "", true);
    if (canary) tallies.back().bursts = {burst, {side.total.slow, side.total.slow}};
    for (std::size_t i = 0; i < agents; ++i) {
        add_one(side.agent[i], policy_.segments[i], i == 0);
        if (!canary || rollout_.segments[i].seen_enough(policy_)) continue;
        const std::int64_t users = std::min<std::int64_t>(side.agent[i].requests, 10);
        for (std::int64_t u = 0; u < users; ++u) tallies.back().new_users.push_back(++users_);
    }
}

Look Product::made(const Scenario& scenario, std::int64_t look, const Arms& arms) {
    const auto block_at = [&](std::int64_t of) {
        return block_of(time_of(of), policy_.floor_within);
    };
    Look now;
    now.from = time_of(look);
    now.to = time_of(look + 1);
    // As a source says it: a side whose rows come late has none, and nothing tells that they will.
    const bool late = is_late(scenario, look);
    if (late) late_.push_back({look, arms.canary});
    add_tallies(now.on_time, Population::canary, late ? Side{} : arms.canary, block_at(look),
                late ? 0 : arms.retries);
    add_tallies(now.on_time, Population::baseline, arms.baseline, block_at(look), 0);
    if (!late_.empty() && late_.front().look + scenario.late->looks <= look) {
        const Late& arrived = late_.front();
        add_tallies(now.late, Population::canary, arrived.canary, block_at(arrived.look), 0);
        late_.erase(late_.begin());
    }
    return now;
}

void Product::look(const Scenario& scenario, std::int64_t look, const Arms& arms) {
    if (rolled_back()) return;
    event::Looked looked;
    looked.look = made(scenario, look, arms);
    const TimePoint at = looked.look.to;
    apply(at, std::move(looked));
}

JudgeCost judge_cost(const Policy& policy, std::int64_t looks) {
    const Scenario scenario;
    Product product(policy);
    Ledger ledger = begin_phase(policy, new_ledger(policy), start, true);
    double seconds = 0;
    for (std::int64_t i = 0; i < looks; ++i) {
        const Look look = product.made(scenario, i, happened(scenario, i, product.weight()));
        const bench::CpuWatch watch;
        Verdict verdict = judge(policy, ledger, look);
        seconds += watch.seconds();
        ledger = std::move(verdict.ledger);
    }
    return {seconds / static_cast<double>(looks) * 1e6,
            ledger.streams.size() + ledger.hold.streams.size()};
}

}  // namespace canaryd::comparison
