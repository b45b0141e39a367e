// How often a trigger fires on a healthy canary by chance alone.
#include <algorithm>
#include <cmath>

#include "canaryd/planner.hpp"
#include "daemon/core/maths.hpp"

namespace canaryd {
namespace {

constexpr double nothing = 1e-12;  // a chance that nobody lives to see

double ln_poisson(double mean, double k) {
    if (!(mean > 0)) return k > 0 ? -std::numeric_limits<double>::infinity() : 0;
    return k * std::log(mean) - mean - std::lgamma(k + 1);
}

/// P(Poisson(mean) >= k), right far out in the tail too.
double above(double mean, double k) {
    if (k <= 0) return 1;
    double sum = 0;
    if (k > mean) {
        double term = std::exp(ln_poisson(mean, k));
        for (double i = k; term > 1e-18 * sum && term > 0; term *= mean / ++i) sum += term;
        return std::min(1.0, sum);
    }
    for (auto i = static_cast<std::int64_t>(k) - 1; i >= 0; --i) {
        const double term = std::exp(ln_poisson(mean, static_cast<double>(i)));
        sum += term;
        if (term < 1e-18 * sum) break;
    }
    return std::max(0.0, 1 - sum);
}

/// A trigger's window on the mean: failures and other requests in it.
struct Counts {
    double failures = 0, others = 0;
    [[nodiscard]] double requests() const { return failures + others; }
};

/// The most other requests with which so many failures are above the threshold.
double most_others(const Trigger& trigger, double failures) {
    if (trigger.threshold <= 0) return std::numeric_limits<double>::infinity();
    return std::ceil(failures * (1 - trigger.threshold) / trigger.threshold) - 1;
}

double floor_of(const Trigger& trigger) {
    return static_cast<double>(std::max({trigger.at_least, trigger.users, std::int64_t{1}}));
}

/// Failures that break the rule in a window of the mean size.
double failures_needed(const Trigger& trigger, const Counts& mean) {
    return std::max(floor_of(trigger), std::floor(trigger.threshold * mean.requests()) + 1);
}

/// P(the rule is broken in one window). Small windows differ much in size: both counts are free
/// there.
double broken_once(const Trigger& trigger, const Counts& mean) {
    constexpr double small = 400;
    const double fixed = above(mean.failures, failures_needed(trigger, mean));
    if (mean.requests() > small) return fixed;
    double sum = 0;
    const double first = floor_of(trigger);
    const double last = std::max(first, mean.failures) + 12 * std::sqrt(mean.failures) + 40;
    for (auto i = static_cast<std::int64_t>(first); static_cast<double>(i) <= last; ++i) {
        const auto k = static_cast<double>(i);
        const double term = std::exp(ln_poisson(mean.failures, k));
        if (term < nothing * 1e-6 && k > mean.failures) break;
        const double room = most_others(trigger, k);
        if (room >= 0) sum += term * (std::isinf(room) ? 1 : 1 - above(mean.others, room + 1));
    }
    return std::min(1.0, sum);
}

/// P(two windows, of which this part is common, are both broken).
double broken_twice(double failures, double needed, double common) {
    if (common <= 0) return std::pow(above(failures, needed), 2);
    const double own = failures * (1 - common);
    double sum = above(failures * common, needed);
    for (std::int64_t i = 0; static_cast<double>(i) < needed; ++i) {
        const auto c = static_cast<double>(i);
        const double term = std::exp(ln_poisson(failures * common, c));
        if (term > 0) sum += term * std::pow(above(own, needed - c), 2);
    }
    return std::min(1.0, sum);
}

/// Chance that the trigger begins to fire at one look. Windows overlap, so one burst breaks several
/// in a row: counted is the end of each run that is long enough, and chance meetings of two runs.
double fires_at_a_look(const Trigger& trigger, const Counts& mean, Duration every) {
    const double once = broken_once(trigger, mean);
    const double stride = minutes_of(every) / std::max(minutes_of(trigger.over), 1e-9);
    if (once < nothing) return once;
    const auto common = [&](int apart) { return std::max(0.0, 1 - apart * stride); };
    const int apart = trigger.needed - 1;
    const double ways = std::exp(std::lgamma(trigger.looks) - std::lgamma(trigger.needed) -
                                 std::lgamma(trigger.looks - trigger.needed + 1));
    if (stride >= 1) return std::min(once, ways * std::pow(once, trigger.needed));
    const double meetings = trigger.looks > trigger.needed || common(apart) <= 0
                                ? trigger.needed > 1 ? (ways * once * once) : 0
                                : 0;
    const double needed = failures_needed(trigger, mean);
    const double fixed = above(mean.failures, needed);
    if (!(fixed > 0)) return once;
    const auto both = [&](int distance) {
        return distance == 0 ? fixed : broken_twice(mean.failures, needed, common(distance));
    };
    const double runs = std::max(0.0, both(apart) - both(apart + 1)) * once / fixed;
    return std::min(once, runs + meetings);
}

/// P(the canary has less than its share in one window) when it should have `expected` requests.
double silent_once(const Trigger& trigger, double expected, double share) {
    const auto floor = static_cast<double>(trigger.at_least);
    const double base = std::max({expected, floor, 1.0});
    const double asked = above(expected / share, std::ceil(floor / share));
    const double most = std::ceil(trigger.threshold * base) - 1;
    return most < 0 ? 0 : asked * (1 - above(base, most + 1));
}

/// Expected firings in one scope at one step.
double firings_at(const Policy& policy, const Traffic& traffic, std::size_t which, double share,
                  const Step& step, Duration stays) {
    const Trigger& trigger = policy.triggers[which];
    const Duration every = trigger.at_peeks() ? policy.peek_every : policy.evaluate_every;
    const double looks =
        minutes_of(stays) / std::max(minutes_of(every), 1e-9) / static_cast<double>(24);
    double sum = 0;
    for (const double hour : traffic.hours) {
        const double requests =
            traffic.per_minute * hour * share * step.weight.share() * minutes_of(trigger.over);
        switch (trigger.kind) {
            case Trigger::Kind::share: {
                const double rate = traffic.triggers[which].value_or(0);
                const Counts mean{requests * rate, requests * (1 - rate)};
                sum += looks * fires_at_a_look(trigger, mean, every);
                break;
            }
            case Trigger::Kind::traffic:
                if (step.weight < everybody && !policy.baseline.empty()) {
                    sum += looks * silent_once(trigger, requests, step.weight.share());
                }
                break;
            case Trigger::Kind::number:
            case Trigger::Kind::off_weight:
                break;
        }
    }
    return sum;
}

/// How long a healthy rollout is at a step.
Duration stay_at(const Policy& policy, std::size_t step) {
    const Duration bake = policy.steps[step].bake;
    return step + 1 == policy.steps.size() ? std::max(bake, policy.soak) : bake;
}

}  // namespace

bool TriggerPlan::too_eager() const {
    return std::max(per_rollout.value_or(0), replayed.value_or(0)) > most_false_rollbacks;
}

TriggerPlan trigger_plan(const Policy& policy, const Traffic& traffic, std::size_t which) {
    const Trigger& trigger = policy.triggers[which];
    TriggerPlan plan;
    plan.name = trigger.name;
    if (trigger.kind == Trigger::Kind::number) {
        plan.why = "it asks your database, whose answers are in no record";
        return plan;
    }
    if (trigger.kind == Trigger::Kind::off_weight) {
        plan.why = "how many different users a window has is not known";
        return plan;
    }
    if (trigger.kind == Trigger::Kind::share && !traffic.triggers[which]) {
        plan.why = "how many healthy requests are that slow is not known without history";
        return plan;
    }
    double sum = 0;
    for (std::size_t i = 0; i < policy.steps.size(); ++i) {
        const Step& step = policy.steps[i];
        const Duration stays = stay_at(policy, i);
        if (!trigger.each_segment) {
            sum += firings_at(policy, traffic, which, 1, step, stays);
            continue;
        }
        for (const double share : traffic.segments) {
            sum += firings_at(policy, traffic, which, share, step, stays);
        }
    }
    plan.per_rollout = sum;
    return plan;
}

void add_past(const Policy& policy, const std::vector<SelfTest>& tests, Duration measured,
              Plan& plan) {
    for (std::size_t i = 0; i < plan.triggers.size(); ++i) {
        TriggerPlan& trigger = plan.triggers[i];
        if (policy.triggers[i].kind == Trigger::Kind::number) continue;
        double expected = 0;
        for (std::size_t step = 0; step < tests.size(); ++step) {
            const TriggerTest& test = tests[step].triggers[i];
            expected += static_cast<double>(test.fired) * minutes_of(stay_at(policy, step)) /
                        minutes_of(measured);
            trigger.fired += test.fired;
            if (test.first && (!trigger.fired_at || *test.first < *trigger.fired_at)) {
                trigger.fired_at = test.first;
            }
        }
        trigger.replayed = expected;
    }
}

}  // namespace canaryd
